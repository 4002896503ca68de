"""A folder that appears whole or not at all, beside others that were given up half made."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb

from castore.database.datafile import DATA_FILE, LOCK_FILE
from castore.database.failures import full_for_copy, writing_copy
from castore.errors import StoreFull, WouldOverwrite

# Process and thread that make it.
_UNDER_WAY: Final = r"\.new-(\d+)-\d+"


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to fill, which takes its place at the end, flushed, in one step.

    `folder` must be absent or empty. Left by an exception it goes again; what a killed process
    left of an earlier attempt is taken away. Raises WouldOverwrite, StoreFull.
    """
    _refuse_taken(folder)
    _sweep(folder)
    temporary = folder.parent / f"{folder.name}.new-{os.getpid()}-{threading.get_ident()}"
    with writing_copy(folder):
        temporary.mkdir()
        descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield temporary
        except StoreFull as error:
            raise full_for_copy(folder, temporary, error) from None
        with writing_copy(folder):
            (temporary / LOCK_FILE).unlink(missing_ok=True)
            sync_tree(temporary)
            _refuse_taken(folder)
            _take_place(temporary, folder)
    except BaseException:
        import shutil

        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _take_place(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        # Another one appeared at this very moment.
        raise _taken(folder) from None
    sync_folder(folder.parent)


def copy_by_lmdb(environment: lmdb.Environment, folder: Path, *, compact: bool) -> None:
    """Let LMDB copy its data file into a folder without one; raises OSError, lmdb.Error.

    A file that ends within a page is refused by some file systems, past whose cache LMDB writes:
    page by page it can be copied.
    """
    try:
        environment.copy(str(folder), compact=compact)
    except lmdb.Error as error:
        if error.code == errno.EINVAL and not compact:
            (folder / DATA_FILE).unlink(missing_ok=True)
            copy_by_lmdb(environment, folder, compact=True)
            return
        if error.code > 0:
            # The store is read through the map: what the system refuses is writing the copy.
            raise OSError(error.code, os.strerror(error.code), str(folder)) from None
        # It may be tried again, and LMDB copies to no file that exists.
        (folder / DATA_FILE).unlink(missing_ok=True)
        raise


def replace_file(source: Path, target: Path) -> None:
    """Make `target` a copy of the small file `source`, in one step; nothing if they are equal.

    Nothing either if `source` is no file. Raises OSError; `target` is then what it was.
    """
    if not source.is_file():
        return
    data = source.read_bytes()
    if target.exists() and target.read_bytes() == data:
        return
    temporary = target.with_name(f"{target.name}.new-{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_bytes(data)
        sync(temporary, os.O_RDONLY)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_tree(folder: Path) -> None:
    """Flush the files of a folder, and the folder; the lock file is nobody's data."""
    for path in folder.iterdir():
        if path.name != LOCK_FILE:
            sync(path, os.O_RDONLY)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder."""
    sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync(path: Path, flags: int) -> None:
    """Flush what is at `path`."""
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_taken(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
        raise _taken(folder)


def _taken(folder: Path) -> WouldOverwrite:
    return WouldOverwrite(f"{folder} exists already", fix="name a folder that does not exist")


def _sweep(folder: Path) -> None:
    """Take away the folders of attempts whose process is gone."""
    for path in folder.parent.iterdir():
        match = path.name.startswith(folder.name) and re.fullmatch(
            _UNDER_WAY, path.name[len(folder.name) :]
        )
        if not match or _runs(int(match[1])):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # Held by its maker, who may live where our process numbers do not reach.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                import shutil

                shutil.rmtree(path)
            finally:
                os.close(descriptor)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
