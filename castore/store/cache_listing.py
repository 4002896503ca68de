"""What the caches of buckets on a machine hold, and letting go of it on demand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from castore.database.environment import Database
from castore.database.reading import Reading
from castore.errors import CastoreError, Conflict, InvalidInput, RefNotFound
from castore.model.names import near_names
from castore.model.refs import HEADS, LOST, PARTIALS, REMOTES
from castore.remote.index import Catalogue
from castore.remote.root import Root
from castore.store.caches import CacheUse, contents_bytes, shrink, trim
from castore.store.opening import FOLDER, clock, is_store
from castore.store.remotes import open_remote, place_url, remote
from castore.store.store import Store
from castore.store.sync_need import find_need
from castore.store.sync_remote import connect

_ORIGIN: Final = "origin"


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds: bytes of its `folder`, and of stored contents in it.

    `seen_at` tells when the bucket was last read, in microseconds; `unsent` counts versions and
    incomplete sets that are here only, as far as is known here. `problem` is why one cannot be
    read, and then the rest is unknown.
    """

    url: str
    folder: Path
    bytes: int
    contents: int = 0
    seen_at: int | None = None
    unsent: int = 0
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """The cache as `--json` prints it."""
        return {
            "url": self.url or None,
            "folder": str(self.folder),
            "bytes": self.bytes,
            "contents": self.contents,
            "seen_at": self.seen_at,
            "unsent": self.unsent,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True)
class PrunedCache:
    """What pruning did to a cache, or with `dry_run` would: its bytes before and after."""

    url: str
    folder: Path
    before: int
    after: int
    removed: bool
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The cache as `--json` prints it."""
        return {
            "url": self.url,
            "folder": str(self.folder),
            "before": self.before,
            "after": self.after,
            "removed": self.removed,
            "dry_run": self.dry_run,
        }


def list_caches(caches: Path) -> list[CacheInfo]:
    """Every cache below a folder, the biggest first; nothing is asked of any bucket."""
    found = []
    for home in sorted(caches.iterdir()) if caches.is_dir() else ():
        if is_store(home / FOLDER):
            found.append(_info(home))
    return sorted(found, key=lambda info: (-info.bytes, info.url))


def cache_info(caches: Path, url: str) -> CacheInfo:
    """The cache of the bucket at a URL; raises RefNotFound."""
    url = place_url(url)
    known = list_caches(caches)
    for info in known:
        if info.url == url:
            return info
    hint = near_names(url, [info.url for info in known])
    raise RefNotFound(f"there is no cache of {url}{hint}", fix="cas cache list")


def prune_cache(
    info: CacheInfo,
    most: int,
    *,
    remove: bool = False,
    dry_run: bool = False,
    options: Mapping[str, str] | None = None,
) -> PrunedCache:
    """Let contents go that the bucket has, until they take at most `most` bytes.

    With `remove` the whole cache goes, if the bucket has all that is in it. The bucket is asked.
    Raises Conflict for a cache that is in use, or has what the bucket has not; RemoteError.
    """
    home = info.folder
    if info.problem:
        raise InvalidInput(f"{info.folder}: {info.problem}", fix=f"rm -r {info.folder}")
    use = CacheUse(home)
    try:
        if not use.alone():
            raise Conflict(f"the cache of {info.url} is in use", fix="try again later")
        store = Store(Database.open(home / FOLDER), now=clock, entropy=os.urandom)
        try:
            after = _pruned(store, info, most, options, remove=remove, dry_run=dry_run)
        finally:
            store.close()
        if remove and not dry_run:
            shutil.rmtree(home)
    finally:
        use.close()
    return PrunedCache(info.url, home, info.bytes, after, remove, dry_run)


def _pruned(
    store: Store,
    info: CacheInfo,
    most: int,
    options: Mapping[str, str] | None,
    *,
    remove: bool,
    dry_run: bool,
) -> int:
    """Do it; the bytes that the cache takes then."""
    transport = open_remote(remote(store, _ORIGIN), options=options)
    try:
        known = connect(store, _ORIGIN, transport)

        def prune(root: Root, there: Catalogue) -> None:
            if remove:
                _refuse_unsent(store, info, root, there)
            elif not dry_run:
                trim(store, there, most)

        known.at_rest(prune)
    finally:
        transport.close()
    if remove:
        return 0
    if dry_run:
        return info.bytes - max(0, info.contents - most)
    shrink(info.folder, store.database)
    return _bytes(info.folder)


def _refuse_unsent(store: Store, info: CacheInfo, root: Root, there: Catalogue) -> None:
    """Raise Conflict where something is here only."""
    refs, stages = store.database.read(lambda tables: (_own_refs(tables), tables.stages()))
    need = find_need(store, list(refs.values()), there, root.forgotten, root.purged)
    if need.objects or stages or any(ref.startswith(PARTIALS) for ref in refs):
        raise Conflict(
            f"the cache of {info.url} has what the bucket has not: "
            + (", ".join(sorted(refs)[:3]) or "content of a session"),
            fix=f"cas --store {info.url} push, or cas --store {info.url} branch --lost",
        )


def _own_refs(tables: Reading) -> dict[str, bytes]:
    refs = dict(tables.refs())
    return {ref: id for ref, id in refs.items() if not ref.startswith(REMOTES)}


def _info(home: Path) -> CacheInfo:
    size = _bytes(home)
    try:
        store = Store(Database.open(home / FOLDER), now=clock, entropy=os.urandom)
    except CastoreError as error:
        return CacheInfo("", home, size, problem=error.message)
    use = CacheUse(home)
    try:
        url = store.own_config().remotes[_ORIGIN].url
        contents, unsent = store.database.read(
            lambda tables: (contents_bytes(tables), sum(1 for _ in _unsent(tables)))
        )
        return CacheInfo(url, home, size, contents, use.seen_at, unsent)
    except (CastoreError, KeyError) as error:
        problem = error.message if isinstance(error, CastoreError) else "it is of no bucket"
        return CacheInfo("", home, size, problem=problem)
    finally:
        use.close()
        store.close()


def _unsent(tables: Reading) -> Iterator[str]:
    """The refs of versions that the bucket had not when it was read last."""
    refs = dict(tables.refs())
    for ref, id in refs.items():
        mirror = ref.replace(HEADS, f"{REMOTES}{_ORIGIN}/", 1)
        if ref.startswith((LOST, PARTIALS)) or (ref.startswith(HEADS) and refs.get(mirror) != id):
            yield ref


def _bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
