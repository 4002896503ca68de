"""The library's doors: opening a store, making one, cloning a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from castore.database.environment import Database
from castore.errors import InvalidInput
from castore.store import bundle_take, sync
from castore.store.config import ON_DEMAND, KnownRemote
from castore.store.library import Store
from castore.store.opening import clock, find_store, init_store
from castore.store.remotes import place_url
from castore.store.shared import open_shared


def open(
    where: str | os.PathLike[str] = ".",
    *,
    caches: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
    offline: bool = False,
    options: Mapping[str, str] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Store:
    """Open the store at `where`: a `.cas` folder, a folder to walk up from, or a bucket's URL.

    A bucket is used by way of a cache below the folder `caches`, and `options` are obstore's own:
    see `castore.store.shared`, also for `cache_bytes` and `offline`. Raises StoreNotFound,
    CorruptObject, UnsupportedFormat, InvalidInput for a URL without `caches`, RemoteError.
    """
    if "://" in os.fspath(where):
        if caches is None:
            raise InvalidInput(
                f"{os.fspath(where)!r} needs a folder for its cache", fix="open(url, caches=FOLDER)"
            )
        opened = open_shared(
            os.fspath(where),
            Path(caches),
            cache_bytes=cache_bytes,
            offline=offline,
            options=options,
            now=now,
            entropy=entropy,
            make=lambda database: Store(database, now=now, entropy=entropy, root=Path.cwd()),
        )
        assert isinstance(opened, Store)
        return opened
    store = Store(Database.open(find_store(where)), now=now, entropy=entropy)
    store.bring = sync.bring
    return store


def init(
    folder: str | os.PathLike[str] = ".",
    *,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Store:
    """Make the store `folder/.cas` if it is not there yet, and open it."""
    made, _ = init_store(Path(folder), now=now, entropy=entropy)
    store = Store(made.database, now=now, entropy=entropy)
    store.bring = sync.bring
    return store


def clone(
    place: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    endpoint: str = "",
    region: str = "",
    metadata_only: bool = False,
    depth: int | None = None,
    by: str = "",
    options: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Store:
    """Make the store `folder/.cas` with all that the bucket at a URL, or in a folder, has.

    The bucket is its remote `origin`. With `metadata_only` files come when they are read, with
    `depth` so many versions of each line. `options` are obstore's own and may hold credentials;
    they are not kept. Raises WouldOverwrite, InvalidInput where there is no bucket, RemoteError.
    """
    contents = ON_DEMAND if metadata_only else ""
    found = KnownRemote(place_url(os.fspath(place)), endpoint.rstrip("/"), region, contents)
    made, _ = sync.clone(
        found,
        Path(folder),
        by=by,
        depth=depth,
        options=options,
        progress=progress,
        now=now,
        entropy=entropy,
    )
    store = Store(made.database, now=now, entropy=entropy)
    store.bring = sync.bring
    return store


def from_bundle(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str] = ".",
    *,
    by: str = "",
    progress: Callable[[int], None] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Store:
    """Make the store `folder/.cas`, of the project of a bundle, with all that the bundle has.

    What fails leaves no store. Raises WouldOverwrite, ObjectNotFound for a bundle that begins
    after other versions, InvalidInput, CorruptObject.
    """
    made, _ = bundle_take.store_from_bundle(
        Path(path), Path(folder).absolute(), by=by, progress=progress, now=now, entropy=entropy
    )
    store = Store(made.database, now=now, entropy=entropy)
    store.bring = sync.bring
    return store
