"""Sharing: pushes, fetches, pulls and clones by the name or the URL of a remote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from castore.errors import InvalidInput, ObjectNotFound, RefNotFound
from castore.model.ids import Id
from castore.remote.census import BucketStats, take_census
from castore.remote.collect import BucketReport, collect_bucket
from castore.remote.transport import Transport
from castore.store import sync_bring, sync_clone, sync_fetch, sync_pull, sync_push, sync_repair
from castore.store.config import ON_DEMAND, KnownRemote
from castore.store.heal import heal as heal_store
from castore.store.heal_bucket import heal_bucket
from castore.store.heal_report import HealReport
from castore.store.opening import clock
from castore.store.remotes import (
    naming_repair,
    open_remote,
    refuse_offline,
    remote,
    remotes,
    write_remote,
)
from castore.store.store import Store
from castore.store.sync_fetch import FetchReport
from castore.store.sync_pull import PullReport
from castore.store.sync_remote import connect
from castore.store.sync_repair import RemoteRepair
from castore.store.sync_report import PushReport
from castore.store.sync_verify import verify_bucket
from castore.store.verify_report import FsckReport

ORIGIN: Final = "origin"
Options = Mapping[str, str] | None
"""obstore's own, such as credentials that are neither in the environment nor on the machine."""


def remote_meant(store: Store, name: str = "") -> str:
    """The name of the remote that is meant: `name`, else `origin`, else the only one there is.

    Raises RefNotFound.
    """
    known = remotes(store)
    if name:
        remote(store, name)
        return name
    if ORIGIN in known or len(known) == 1:
        return ORIGIN if ORIGIN in known else next(iter(known))
    if not known:
        raise RefNotFound("there is no remote yet", fix="cas remote add origin URL")
    raise RefNotFound(
        f"which of {len(known)} remotes? {', '.join(list(known)[:10])}",
        fix=f"name one, such as {next(iter(known))}",
        candidates=list(known),
    )


@contextmanager
def reached(
    store: Store, name: str, options: Options = None, *, sends: bool = False
) -> Iterator[tuple[str, Transport]]:
    """The name of the remote that is meant and a transport to it, closed at the end.

    Damage is told as the bucket's, where the store `sends` if it was read there.
    """
    meant = remote_meant(store, name)
    refuse_offline(store, f"remote {meant}")
    transport = open_remote(remote(store, meant), options=options)
    try:
        place, folder = transport.url, store.folder
        with naming_repair(meant, store.url, place=place, folder=folder, sends=sends):
            yield meant, transport
    finally:
        transport.close()


def push(
    store: Store,
    name: str = "",
    refs: Sequence[str] = (),
    *,
    by: str = "",
    dry_run: bool = False,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> PushReport:
    """See `castore.store.sync_push.push`."""
    with reached(store, name, options, sends=True) as (meant, transport):
        return sync_push.push(
            store, meant, transport, refs, by=by, dry_run=dry_run, progress=progress
        )


def fetch(
    store: Store,
    name: str = "",
    refs: Sequence[str] = (),
    *,
    by: str = "",
    depth: int | None = None,
    dry_run: bool = False,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> FetchReport:
    """See `castore.store.sync_fetch.fetch`."""
    with reached(store, name, options) as (meant, transport):
        return sync_fetch.fetch(
            store,
            meant,
            transport,
            refs,
            by=by,
            contents=_contents(remote(store, meant)),
            depth=depth,
            inbox=True,
            dry_run=dry_run,
            progress=progress,
        )


def pull(
    store: Store,
    name: str = "",
    refs: Sequence[str] = (),
    *,
    by: str = "",
    rebase: bool = False,
    depth: int | None = None,
    dry_run: bool = False,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> PullReport:
    """See `castore.store.sync_pull.pull`."""
    with reached(store, name, options) as (meant, transport):
        return sync_pull.pull(
            store,
            meant,
            transport,
            refs,
            by=by,
            rebase=rebase,
            contents=_contents(remote(store, meant)),
            depth=depth,
            dry_run=dry_run,
            progress=progress,
        )


def clone(
    found: KnownRemote,
    folder: str | Path,
    *,
    name: str = ORIGIN,
    by: str = "",
    depth: int | None = None,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> tuple[Store, PullReport]:
    """See `castore.store.sync_clone.clone`."""
    if not found.url:
        raise InvalidInput("a clone needs a URL", fix="cas clone URL DIR")
    transport = open_remote(found, options=options)
    try:
        with naming_repair(ORIGIN, found.url):
            return sync_clone.clone(
                transport,
                Path(os.path.abspath(folder)),
                now=now,
                entropy=entropy,
                configure=lambda store: write_remote(store, name, found),
                by=by,
                name=name,
                contents=_contents(found),
                depth=depth,
                progress=progress,
            )
    finally:
        transport.close()


def collect_remote(
    store: Store,
    name: str = "",
    *,
    dry_run: bool = False,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> BucketReport:
    """See `castore.remote.collect.collect_bucket`."""
    with reached(store, name, options) as (meant, transport):
        known = connect(store, meant, transport)
        report = collect_bucket(
            known.bucket, known, store.entropy, dry_run=dry_run, progress=progress
        )
        if not dry_run:
            store.database.write(known.note_seen)
        return report


def heal(
    store: Store,
    name: str = "",
    *,
    by: str = "",
    dry_run: bool = False,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> HealReport:
    """See `castore.store.heal.heal`."""
    with reached(store, name, options, sends=True) as (meant, transport):
        return heal_store(store, meant, transport, by=by, dry_run=dry_run, progress=progress)


def heal_remote(
    store: Store,
    name: str = "",
    *,
    dry_run: bool = False,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> HealReport:
    """See `castore.store.heal_bucket.heal_bucket`."""
    with reached(store, name, options, sends=True) as (meant, transport):
        return heal_bucket(store, meant, transport, dry_run=dry_run, progress=progress)


def repair_remote(
    store: Store, name: str = "", *, dry_run: bool = False, options: Options = None
) -> RemoteRepair:
    """See `castore.store.sync_repair.repair`."""
    with reached(store, name, options) as (meant, transport):
        return sync_repair.repair(store, meant, transport, dry_run=dry_run)


def verify_remote(
    store: Store,
    name: str = "",
    *,
    options: Options = None,
    progress: Callable[[int], None] | None = None,
) -> FsckReport:
    """See `castore.store.sync_verify.verify_bucket`."""
    with reached(store, name, options) as (meant, transport):
        known = connect(store, meant, transport)
        report = verify_bucket(known.bucket, known, progress)
        return helped(report, meant, store.url)


def helped(report: FsckReport, name: str, url: str = "") -> FsckReport:
    """The report of a remote, with the command that helps; `url` is that of one that is a store."""
    if report.ok:
        return report
    root = any(found.kind == "store" for found in report.findings)
    helps = f"remote repair {name}" if root else f"heal --remote {name}"
    return replace(report, helps=f"cas --store {url} {helps}" if url else f"cas {helps}")


def remote_stats(store: Store, name: str = "", *, options: Options = None) -> BucketStats:
    """See `castore.remote.census.take_census`."""
    with reached(store, name, options) as (meant, transport):
        known = connect(store, meant, transport)
        return known.at_rest(lambda root, there: take_census(root, there, transport))


def bring(
    store: Store, ids: Sequence[Id], *, sharing: Set[Id] | None = None, options: Options = None
) -> None:
    """Fetch files that a remote promised; raises ObjectNotFound where none has them.

    With `sharing` what no remote has is passed over. See `castore.store.sync_bring.bring`.
    """
    left = list(ids)
    for name, found in remotes(store).items():
        if left and not _contents(found):
            with reached(store, name, options) as (meant, transport):
                left = sync_bring.bring(store, meant, transport, left, sharing=sharing)
    if left and sharing is None:
        raise ObjectNotFound(
            f"no remote has {left[0].hex()} and {len(left) - 1} more of what was promised"
            if len(left) > 1
            else f"no remote has {left[0].hex()}, which was promised",
            id=left[0].hex(),
            state="promised",
        )


def _contents(found: KnownRemote) -> bool:
    """Whether files come from a remote at once."""
    return found.contents != ON_DEMAND
