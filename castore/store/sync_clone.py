"""Cloning: a new store of the project that a bucket holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from castore.database.environment import Database
from castore.database.failures import using_files
from castore.errors import InvalidInput, WouldOverwrite
from castore.model.names import quoted
from castore.remote.bucket import look
from castore.remote.transport import Transport
from castore.store.opening import FOLDER, complete
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
        raise InvalidInput(f"{transport.url} is empty: nothing was pushed to it", fix="cas push")
    home = folder if folder.name == FOLDER else folder / FOLDER
    made = not home.parent.exists()
    if not made and (not home.parent.is_dir() or any(home.parent.iterdir())):
        raise WouldOverwrite(
            f"{str(home.parent)!r} exists and is not empty",
            fix=f"cas clone {transport.url} {quoted(str(home.parent) + '-2')}",
        )
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
    except BaseException:
        store.close()
        raise
