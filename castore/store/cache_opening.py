"""The cache of a bucket that is used as a store, opened or made; what helps where it is damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from castore.database.environment import Database
from castore.database.failures import using_files
from castore.errors import CorruptObject, InvalidInput, WouldOverwrite
from castore.model.ids import content_id
from castore.model.refs import HEADS, LOST
from castore.remote.bucket import REPAIR, BucketIdentity
from castore.store.apart import Hanging, Killed
from castore.store.caches import making
from castore.store.config import KnownRemote
from castore.store.opening import FOLDER, complete, is_store
from castore.store.remotes import write_remote
from castore.store.store import Store
from castore.store.sync_clone import ORIGIN

PRUNE: Final = "cas cache prune --remove"


def open_database(folder: Path, url: str) -> Database:
    """The database of the cache of a bucket; an error of a damaged one names what helps."""
    try:
        return Database.open(folder)
    except CorruptObject as error:
        raise damaged(error, url) from None


def damaged(error: CorruptObject, url: str) -> CorruptObject:
    """An error of a cache that is damaged: what had arrived is in the bucket, so it may go.

    That of a bucket stays as it is.
    """
    of_cache = Path(error.where).is_absolute() or isinstance(error, Hanging | Killed)
    if of_cache and not error.fix.startswith(PRUNE):
        error.message = f"the cache of {url} is damaged: {error.message}"
        error.fix = f"{PRUNE} {url}"
    return error


def open_cache(
    home: Path,
    found: KnownRemote,
    identity: BucketIdentity | None,
    now: Callable[[], int],
    entropy: Callable[[int], bytes],
) -> Database:
    """The database of a cache, made if it is not there; of another project it is made anew."""
    folder = home / FOLDER
    with using_files(home), making(home):
        if is_store(folder):
            database = open_database(folder, found.url)
            if identity is None or identity.project == database.project:
                try:
                    _name_bucket(database, found, now, entropy)
                except BaseException:
                    database.close()
                    raise
                return database
            _refuse_unsent(database, found)
            database.close()
            shutil.rmtree(folder)
        # Two machines that begin at once must begin the same.
        project = identity.project if identity else content_id(found.url.encode())[:16]
        try:
            database = Database.create(folder, now=now, entropy=entropy, project=project)
        except WouldOverwrite as error:
            error.fix = f"{PRUNE} {found.url}"
            raise
        try:
            complete(folder)
            _name_bucket(database, found, now, entropy)
        except BaseException:
            database.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return database


def _name_bucket(
    database: Database,
    found: KnownRemote,
    now: Callable[[], int],
    entropy: Callable[[int], bytes],
) -> None:
    """Write down whose cache it is, where that is not there."""
    store = Store(database, now=now, entropy=entropy)
    if ORIGIN not in store.own_config().remotes:
        write_remote(store, ORIGIN, found)


def _refuse_unsent(database: Database, found: KnownRemote) -> None:
    """A cache of another bucket goes only if nothing is in it that is nowhere else."""
    if database.read(lambda tables: tables.refs(LOST) or tables.refs(HEADS)):
        folder = database.folder
        database.close()
        raise InvalidInput(
            f"{found.url} holds another project than before; {str(folder)!r} still has the old one",
            fix=REPAIR,
        )
