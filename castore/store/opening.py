"""Opening: making a store, finding the one that is meant, and opening it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from castore.database.datafile import DATA_FILE
from castore.database.environment import Database
from castore.database.failures import using_files
from castore.database.identity import STORE_FILE, was_store
from castore.errors import InvalidInput, StoreNotFound, WouldOverwrite
from castore.model.names import quoted
from castore.store.config import CONFIG_FILE
from castore.store.store import Store

FOLDER: Final = ".cas"
_CONFIG: Final = """\
# castore's configuration of this store; what it does not say, ~/.config/castore/config.toml does.
#
# [cache]
# size = "5GB"
#
# [gc]
# grace = "30d"
#
# [identity."reviewer@example.org"]
# kind = "person"
# keys = ["ssh-ed25519 ..."]
#
# [signing]
# key = "~/.ssh/id_ed25519"
#
# [secrets]
# allow = ["jwt"]
#
# [remote.origin]
# url = "s3://bucket/prefix"
"""


def clock() -> int:
    """Now, in microseconds UTC."""
    return time.time_ns() // 1000


def init_store(
    folder: Path,
    *,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> tuple[Store, bool]:
    """The store `folder/.cas`, made if it is not there yet, and whether it was made now.

    A `folder` that is itself called `.cas` is the store's own folder. Raises InvalidInput when
    the folder does not exist, WouldOverwrite when something else stands in the way.
    """
    home = folder if folder.name == FOLDER else folder / FOLDER
    if not home.parent.is_dir():
        raise InvalidInput(
            f"{str(home.parent)!r} is not a folder", fix=f"mkdir -p {quoted(str(home.parent))}"
        )
    created = not home.exists()
    if created:
        with using_files(home):
            database = Database.create(home, now=now, entropy=entropy)
    elif home.is_dir() and not is_store(home):
        raise WouldOverwrite(
            f"{str(home)!r} is there, and no store is in it",
            fix="restore the store from a backup, or move that folder away, then: cas init",
        )
    else:
        database = Database.open(home)
    try:
        complete(home)
    except BaseException:
        database.close()
        raise
    return Store(database, now=now, entropy=entropy), created


def complete(home: Path) -> None:
    """Write what lies beside the data of a store, where it is not there."""
    with using_files(home):
        _write_if_absent(home / ".gitignore", "*\n")
        _write_if_absent(home / CONFIG_FILE, _CONFIG)


def open_store(
    where: str | Path = ".",
    *,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
    user_config: Callable[[], Path] | None = None,
) -> Store:
    """The store at `where`: a `.cas` folder, or a folder to walk up from; raises StoreNotFound."""
    database = Database.open(find_store(where))
    return Store(database, now=now, entropy=entropy, user_config=user_config)


def find_store(where: str | os.PathLike[str]) -> Path:
    """The `.cas` folder at `where`, which must be there, or in the nearest folder above.

    Raises StoreNotFound, InvalidInput for a URL.
    """
    text = os.fspath(where)
    if "://" in text:
        raise InvalidInput(f"{text!r}: this takes a store in a folder, not a bucket")
    start = Path(text).absolute()
    if not start.exists() and start.name != FOLDER:
        raise StoreNotFound(f"no store in {str(start)!r}: there is no such folder", fix="cas init")
    for folder in (start, *(above / FOLDER for above in (start, *start.parents))):
        if is_store(folder):
            return folder
    raise StoreNotFound(f"no store in {str(start)!r} or any folder above", fix="cas init")


def is_store(folder: Path) -> bool:
    """Whether `folder` is a store's own folder, damaged or not; raises CastoreError if closed."""
    with using_files(folder):
        data = (folder / name for name in (STORE_FILE, DATA_FILE))
        return any(path.is_file() for path in data) or was_store(folder)


def _write_if_absent(path: Path, text: str) -> None:
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        return
    try:
        with file:
            file.write(text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
