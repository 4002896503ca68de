"""Cloning: a new store of the project that a bucket holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from castore.content.absent import look_for, near_files
from castore.database.environment import Database
from castore.database.failures import using_files
from castore.errors import FULL_CHECK, CastoreError, CorruptObject, InvalidInput, WouldOverwrite
from castore.model.names import quoted
from castore.remote.address import parse_url
from castore.remote.bucket import CHECK, look
from castore.remote.transport import Transport
from castore.store.config import CONFIG_FILE, read_config
from castore.store.opening import FOLDER, complete, is_store
from castore.store.remotes import blame
from castore.store.store import Store
from castore.store.sync_pull import PullReport, pull

ORIGIN: Final = "origin"


def clone(
    transport: Transport,
    folder: Path,
    *,
    now: Callable[[], int],
    entropy: Callable[[int], bytes],
    configure: Callable[[Store], None],
    by: str = "",
    name: str = ORIGIN,
    contents: bool = True,
    depth: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Store, PullReport]:
    """A new store in `folder/.cas` with all that a bucket has; its branches are the bucket's.

    `folder` is made if it is not there, and must be empty. `configure` writes the remote down.
    With `depth` only so many versions of each line come.
    What fails on the way leaves a store that `cas pull` goes on with. Raises InvalidInput where
    there is no bucket, WouldOverwrite, and as `pull`.
    """
    identity = look(transport)
    if identity is None:
        raise _nothing_at(transport.url)
    home = folder if folder.name == FOLDER else folder / FOLDER
    made = not home.parent.exists()
    if not made and (not home.parent.is_dir() or any(home.parent.iterdir())):
        raise _not_empty(home, transport.url)
    with using_files(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        database = Database.create(home, now=now, entropy=entropy, project=identity.project)
    store = Store(database, now=now, entropy=entropy)
    try:
        complete(home)
        configure(store)
    except BaseException:
        store.close()
        shutil.rmtree(home.parent if made else home, ignore_errors=True)
        raise
    try:
        report = pull(
            store, name, transport, by=by, contents=contents, depth=depth, progress=progress
        )
        return store, report
    except BaseException as error:
        store.close()
        if isinstance(error, CastoreError) and error.fix == FULL_CHECK:
            blame(error, transport.url, home)
        _tell_left(error, home, name, depth)
        raise


def _tell_left(error: BaseException, home: Path, name: str, depth: int | None) -> None:
    """Say what goes on with a clone that ended early; what came of it lies in the store."""
    place = _typed(home)
    goes_on = f"cas -C {place} pull" + (f" --depth {depth}" if depth else "")
    if isinstance(error, KeyboardInterrupt):
        error.add_note(goes_on)
    elif isinstance(error, CastoreError) and error.fix in (FULL_CHECK, CHECK):
        error.fix = f"cas -C {place} {error.fix.replace('NAME', name).removeprefix('cas ')}"
    elif isinstance(error, CastoreError) and not isinstance(error, CorruptObject):
        error.message += f"; what came is in {place}: {goes_on} goes on"
        error.args = (error.message,)
        error.fix = error.fix or goes_on


def _typed(home: Path) -> str:
    """The folder of a store for a command to type."""
    near = os.path.relpath(home.parent)
    return quoted(str(home.parent) if near.startswith("..") else near)


def _nothing_at(url: str) -> InvalidInput:
    """The error for a place to clone where there is no bucket."""
    address = parse_url(url)
    folder = address.folder
    if address.scheme != "file":
        return InvalidInput(f"{url} is empty: nothing was pushed to it, or it is called otherwise")
    if is_store(folder) or is_store(folder / FOLDER):
        return InvalidInput(
            f"{str(folder)!r} is a store; what is cloned is a bucket that it pushes to",
            fix=f"cas -C {quoted(str(folder))} remote list",
        )
    if not folder.exists():
        return InvalidInput(
            f"there is no folder {str(folder)!r}{near_files(folder)}", fix=look_for(folder)
        )
    return InvalidInput(
        f"{str(folder)!r} is no bucket: nothing was pushed to it", fix=look_for(folder)
    )


def _not_empty(home: Path, url: str) -> WouldOverwrite:
    """The error for a folder that is there, which may be the same clone that ended early."""
    place = str(home.parent)
    if is_store(home):
        with suppress(InvalidInput):
            known = read_config(home / CONFIG_FILE).remotes
            if any(found.url == url for found in known.values()):
                return WouldOverwrite(
                    f"{place!r} is a clone of {url} already", fix=f"cas -C {_typed(home)} pull"
                )
    return WouldOverwrite(
        f"{place!r} exists and is not empty", fix=f"cas clone {url} {quoted(place + '-2')}"
    )
