"""Repairing or checking a bucket that is used as a store, by its cache: it cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from castore.database.environment import Database
from castore.database.reading import Reading
from castore.errors import CastoreError, RefNotFound
from castore.model.ids import Id
from castore.model.refs import HEADS, REMOTES, TAGS
from castore.remote.repair import repair_root
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.store.cache_opening import open_database
from castore.store.caches import CacheUse, cache_folder
from castore.store.config import ON_DEMAND, KnownRemote
from castore.store.opening import FOLDER, clock, is_store
from castore.store.remotes import naming_repair, open_remote, place_url
from castore.store.store import Store
from castore.store.sync import helped
from castore.store.sync_clone import ORIGIN
from castore.store.sync_plan import Move
from castore.store.sync_push import push_moves
from castore.store.sync_remote import connect
from castore.store.sync_repair import RemoteRepair, repair
from castore.store.sync_verify import verify_bucket
from castore.store.verify_report import FsckReport

_ELSEWHERE: Final = f"cas heal --remote {ORIGIN}, in a store of its own that has what is damaged"


def repair_shared(
    place: str,
    caches: Path,
    name: str = ORIGIN,
    *,
    by: str = "",
    dry_run: bool = False,
    options: Mapping[str, str] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> RemoteRepair:
    """Give the bucket at a URL that is used as a store a copy of its root, and what is here anew.

    What the cache of it below the folder `caches` saw there and the copy does not know is sent
    again. Without a cache the bucket's own copies are believed. See `castore.remote.repair`.
    """
    if name != ORIGIN:
        raise RefNotFound(
            f"there is no remote {name!r}: a bucket that is the store is called {ORIGIN}",
            fix=f"cas --store {place} remote repair {ORIGIN}",
        )
    found = KnownRemote(place_url(place), "", "", ON_DEMAND)
    home = cache_folder(caches, found)
    transport = open_remote(found, options=options)
    try:
        with naming_repair(ORIGIN, found.url):
            if not is_store(home / FOLDER):
                report = repair_root(
                    transport, None, client=entropy(16), entropy=entropy, dry_run=dry_run
                )
                return RemoteRepair(report, 0, 0, {})
            return _from_cache(home, found, transport, by, now, entropy, dry_run=dry_run)
    finally:
        transport.close()


def verify_shared(
    place: str,
    caches: Path,
    *,
    options: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> FsckReport:
    """What is wrong with a bucket that is used as a store and too damaged to be opened as one.

    As `castore.store.sync_verify.verify_bucket`; there is a cache of it below the folder `caches`.
    """
    found = KnownRemote(place_url(place), "", "", ON_DEMAND)
    home = cache_folder(caches, found)
    transport = open_remote(found, options=options)
    use = CacheUse(home)
    try:
        with naming_repair(ORIGIN, found.url):
            database = open_database(home / FOLDER, found.url)
            try:
                known = connect(Store(database, now=now, entropy=entropy), ORIGIN, transport)
                report = helped(verify_bucket(known.bucket, known, progress), ORIGIN, found.url)
                root = report.ok or any(one.kind == "store" for one in report.findings)
                return report if root else replace(report, helps=_ELSEWHERE)
            finally:
                database.close()
    finally:
        use.close()
        transport.close()


def _from_cache(
    home: Path,
    found: KnownRemote,
    transport: Transport,
    by: str,
    now: Callable[[], int],
    entropy: Callable[[int], bytes],
    *,
    dry_run: bool,
) -> RemoteRepair:
    use = CacheUse(home)
    try:
        database = open_database(home / FOLDER, found.url)
        try:
            return _repaired(database, transport, by, now, entropy, dry_run=dry_run)
        finally:
            database.close()
    finally:
        use.close()


def _repaired(
    database: Database,
    transport: Transport,
    by: str,
    now: Callable[[], int],
    entropy: Callable[[int], bytes],
    *,
    dry_run: bool,
) -> RemoteRepair:
    store = Store(database, now=now, entropy=entropy)
    done = repair(store, ORIGIN, transport, dry_run=dry_run)
    if not (done.behind or done.notes):
        return done
    moves = database.read(lambda tables: _behind(tables, done.report.root))
    names = tuple(move.ref for move in moves)
    if dry_run:
        return replace(done, again=names)
    try:
        sent = push_moves(store, ORIGIN, transport, moves, by=by)
    except CastoreError as error:
        # The root is repaired; the next command keeps what is here only as lost.
        return replace(done, unsent=error.message)
    return replace(done, again=names, notes_again=sent.notes)


def _behind(tables: Reading, root: Root) -> list[Move]:
    """What was seen in the bucket and a root does not know: branches further on, and tags."""
    prefix = f"{REMOTES}{ORIGIN}/"
    seen = [(HEADS + ref.removeprefix(prefix), id) for ref, id in tables.refs(prefix)]
    found = []
    for ref, id in (*seen, *tables.refs(TAGS)):
        there = root.refs.get(ref, b"")
        gone = ref in root.tombs or not tables.present((id,))
        if there == id or gone or (there and not _after(tables, ref, there, id)):
            continue
        found.append(Move(ref, there, id))
    return found


def _after(tables: Reading, ref: str, there: Id, id: Id) -> bool:
    """Whether a version is on the line of a branch after the one that is there."""
    step = tables.step(there)
    return ref.startswith(HEADS) and step is not None and tables.ancestor(id, step.number) == there
