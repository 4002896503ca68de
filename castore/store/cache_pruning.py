"""Letting go of caches on demand: of files that their bucket has, or of a cache as a whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castore.database.environment import Database
from castore.errors import Conflict, CorruptObject
from castore.remote.index import Catalogue
from castore.remote.root import Root
from castore.store.cache_listing import CacheInfo, folder_bytes, known_remote
from castore.store.cache_remains import EMPTY, bucket_now, readable_here_only, unsent_here
from castore.store.caches import CacheUse, shrink, trim
from castore.store.opening import FOLDER, clock
from castore.store.remotes import naming_repair, open_remote
from castore.store.store import Store
from castore.store.sync_clone import ORIGIN
from castore.store.sync_remote import connect, emptied


@dataclass(frozen=True, slots=True)
class PrunedCache:
    """What pruning did to a cache, or with `dry_run` would: its bytes before and after.

    `damaged` tells that it was removed although not all of it could be read.
    """

    url: str
    folder: Path
    before: int
    after: int
    removed: bool
    dry_run: bool = False
    damaged: bool = False

    def as_json(self) -> dict[str, Any]:
        """The cache as `--json` prints it."""
        return {
            "url": self.url or None,
            "folder": str(self.folder),
            "before": self.before,
            "after": self.after,
            "removed": self.removed,
            "dry_run": self.dry_run,
            "damaged": self.damaged,
        }


def prune_cache(
    info: CacheInfo,
    most: int,
    *,
    dry_run: bool = False,
    options: Mapping[str, str] | None = None,
) -> PrunedCache:
    """Let contents go that the bucket has, until they take at most `most` bytes.

    The bucket is asked. Raises Conflict for a cache that is in use, CorruptObject for one that is
    damaged; RemoteError.
    """
    if info.problem:
        raise CorruptObject(
            f"the cache is damaged: {info.problem}",
            where=str(info.folder),
            fix=f"cas cache prune --remove {info.url or info.folder}",
        )
    with _alone(info), _opened(info) as store, _reached(info, options) as transport:

        def prune(_: Root, there: Catalogue) -> None:
            trim(store, there, most)

        known = connect(store, ORIGIN, transport)
        if dry_run:
            after = info.bytes - max(0, info.contents - most)
        else:
            known.at_rest(prune)
            shrink(info.folder, store.database)
            after = folder_bytes(info.folder)
    return PrunedCache(info.url, info.folder, info.bytes, after, removed=False, dry_run=dry_run)


def remove_cache(
    info: CacheInfo,
    *,
    force: bool = False,
    dry_run: bool = False,
    options: Mapping[str, str] | None = None,
) -> PrunedCache:
    """Remove a cache, damaged or not, if the bucket has all that is in it, or with `force`.

    Of a damaged one that is all that can still be read. The bucket is asked, but with `force`.
    Raises Conflict for a cache that is in use, or has what the bucket has not; RemoteError.
    """
    with _alone(info):
        damaged, only = bool(info.problem), list[str]()
        if not force:
            damaged, only = _here_only(info, options)
        if only:
            raise Conflict(_refusal(info, only, damaged=damaged), fix=_by_force(info))
        if not dry_run:
            shutil.rmtree(info.folder)
    return PrunedCache(
        info.url, info.folder, info.bytes, 0, removed=True, dry_run=dry_run, damaged=damaged
    )


def _here_only(info: CacheInfo, options: Mapping[str, str] | None) -> tuple[bool, list[str]]:
    """Whether a cache is damaged, and what of it the bucket has not."""
    if not info.url:
        return True, readable_here_only(info.folder, *EMPTY)
    with _reached(info, options) as transport:
        if not info.problem:
            try:
                with _opened(info) as store:
                    return False, connect(store, ORIGIN, transport).at_rest(
                        lambda root, there: unsent_here(store, root, there)
                    )
            except CorruptObject as error:
                if not Path(error.where).is_absolute():
                    raise
        root, there = bucket_now(transport)
        only = readable_here_only(info.folder, root, there)
        if only and root is EMPTY[0]:
            raise emptied(info.url)
        return True, only


def _refusal(info: CacheInfo, only: list[str], *, damaged: bool) -> str:
    kept = f"cas --store {info.url} branch NAME ID puts a version into the bucket"
    if any("incomplete" in line for line in only):
        kept += f"; cas --store {info.url} partial list goes on with sets"
    if damaged:
        kept = f"cas salvage FOLDER --store {info.folder} makes a store of what can be read"
    lines = [
        f"the cache of {info.url or 'some bucket'} has what the bucket has not:",
        *only,
        f"({kept})",
    ]
    return "\n".join(lines)


def _by_force(info: CacheInfo) -> str:
    return f"cas cache prune --remove --force {info.url or info.folder}"


@contextmanager
def _alone(info: CacheInfo) -> Iterator[None]:
    use = CacheUse(info.folder)
    try:
        if not use.alone():
            raise Conflict(f"the cache of {info.url} is in use", fix="try again later")
        yield
    finally:
        use.close()


@contextmanager
def _opened(info: CacheInfo) -> Iterator[Store]:
    store = Store(Database.open(info.folder / FOLDER), now=clock, entropy=os.urandom)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _reached(info: CacheInfo, options: Mapping[str, str] | None) -> Iterator[Any]:
    with naming_repair(ORIGIN, info.url):
        transport = open_remote(known_remote(info), options=options)
        try:
            yield transport
        finally:
            transport.close()
