"""LMDB's errors, and those of the files below it, as castore's."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb

from castore.database.datafile import DATA_FILE, HEADS_LOG, LOCK_FILE, RESTORE
from castore.errors import CastoreError, CorruptObject, Locked, StoreFull
from castore.model.limits import MIB
from castore.model.names import quoted

# What is kept free on the disk, so that the collector can still run.
RESERVE_BYTES: Final = 4 * MIB
FULL_CODES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED_CODES: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FILE_CODES: Final = frozenset(
    {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESPIPE}
)
_MADE_AGAIN: Final = frozenset({LOCK_FILE, HEADS_LOG})
_HANDLES_CODES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_LIMIT: Final = "the limit on the size of files is reached"
_RAISE: Final = "raise the limit of `ulimit -f`"
_OR_COLLECT: Final = ", or: cas gc"
_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CursorFullError,
    lmdb.PageFullError,
    lmdb.IncompatibleError,
    lmdb.BadTxnError,  # after an error in it, which a damaged page gives
)


def translate(folder: Path, error: lmdb.Error) -> CastoreError:
    """The exception to raise for an error that nothing here can help."""
    where = str(folder / DATA_FILE)
    text = f"{where}: {error}"
    if isinstance(error, _DAMAGE):
        return CorruptObject(text, where=where)
    if isinstance(error, lmdb.ReadersFullError):
        return Locked(f"{folder}: too many readers at once", fix="end programs that use this store")
    if isinstance(error, lmdb.TxnFullError):
        return StoreFull(text)
    if isinstance(error, lmdb.MemoryError):
        return no_address_space(folder)
    if _is_full(folder, error):
        return disk_full(folder)
    if error.code in _DENIED_CODES:
        return CastoreError(
            f"{folder}: this user may not write to the store, which reading needs too",
            fix=f"chmod -R u+rwX {folder}",
        )
    if "already open" in str(error):
        return Locked(
            f"{folder}: still open in this process, under files that were replaced since",
            fix="close the store everywhere, then open it again",
        )
    return CastoreError(text, fix="cas fsck --full")


def commit_failure(folder: Path, error: lmdb.Error) -> CastoreError:
    """The exception for a commit that failed: nothing was saved, or nobody knows."""
    if _is_full(folder, error):
        return disk_full(folder)
    if error.code > 0:
        return CastoreError(
            f"{folder / DATA_FILE}: the disk failed ({error}); it is not known whether this write "
            "was saved",
            fix="check the disk, then repeat the command with the same --operation-id",
        )
    return translate(folder, error)


@contextlib.contextmanager
def writing_copy(folder: Path, outcome: str = "there is no copy") -> Iterator[None]:
    """What an OSError means in here, where the copy `folder` of a store is written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_CODES:
            raise _copy_full(folder, outcome, limited=error.errno == errno.EFBIG) from None
        fix = "check the disk"
        if error.errno in _DENIED_CODES:
            read = os.fsdecode(error.filename or "")
            if read and read != str(folder.parent) and not read.startswith(str(folder)):
                raise file_failure(Path(read).parent, error) from None
            there = folder.exists()
            fix = f"chmod -R u+rwX {folder}" if there else f"chmod u+rwx {folder.parent}"
        raise CastoreError(f"{folder}: the copy failed: {error}; {outcome}", fix=fix) from None


def full_for_copy(folder: Path, written: Path, error: StoreFull) -> StoreFull:
    """The exception where the copy `folder` does not fit, as a write to the store `written` told.

    Collecting would make no room: what is not there yet has nothing to let go.
    """
    if not error.fix.endswith(_OR_COLLECT):
        return error
    return _copy_full(folder, "there is no copy", limited=_is_limited(written))


def _copy_full(folder: Path, outcome: str, *, limited: bool) -> StoreFull:
    return StoreFull(
        f"{folder}: {_LIMIT if limited else 'the disk is full'}; {outcome}",
        fix=_RAISE if limited else "free space there, then try again",
    )


@contextlib.contextmanager
def using_files(folder: Path) -> Iterator[None]:
    """What an OSError means in here, where files of the store in `folder` are opened and read."""
    try:
        yield
    except OSError as error:
        raise file_failure(folder, error) from None


def no_file(path: str, fix: str = "") -> CorruptObject:
    """The exception where a folder, a pipe or another thing is in the place of a store's file.

    Without `fix` it is to be put away: it is one that is made again.
    """
    return CorruptObject(
        f"{path}: something else is where a file of the store should be",
        where=path,
        fix=fix or f"mv {quoted(path)} {quoted(path + '.damaged')}",
    )


def file_failure(folder: Path, error: OSError) -> CastoreError:
    """The exception for a file of a store that cannot be used, with what helps."""
    path = os.fsdecode(error.filename) if error.filename is not None else str(folder)
    text = f"{path}: {error.strerror or error}"
    if error.errno in FULL_CODES:
        fix = _RAISE if error.errno == errno.EFBIG else "free space on this disk, or: cas gc"
        return StoreFull(text, fix=fix)
    nowhere = error.errno == errno.ENOENT and os.path.islink(path)
    if nowhere or error.errno in _NO_FILE_CODES:
        return no_file(path, "" if os.path.basename(path) in _MADE_AGAIN else RESTORE)
    if error.errno in _DENIED_CODES:
        return CastoreError(
            f"{text}: this user may not use the store", fix=f"chmod -R u+rwX {quoted(str(folder))}"
        )
    if error.errno in _HANDLES_CODES:
        return Locked(text, fix="close some files, or raise the limit of `ulimit -n`")
    return CastoreError(text, fix="check the disk")


def disk_full(folder: Path) -> StoreFull:
    """The exception for a disk, quota or file size limit that is reached."""
    why = _LIMIT if _is_limited(folder) else "the disk is full"
    return StoreFull(
        f"{folder}: {why}; nothing of this write was saved",
        fix=room_fix(folder, "free space on this disk") + _OR_COLLECT,
    )


def room_fix(folder: Path, fix: str) -> str:
    """What makes room in a store: `fix`, unless it is the limit on the size of files that ends."""
    return _RAISE if _is_limited(folder) else fix


def no_address_space(folder: Path) -> StoreFull:
    """The exception for a map that does not fit the address space."""
    return StoreFull(
        f"{folder}: no address space left to map the store", fix="raise the limit of `ulimit -v`"
    )


def disk_room(folder: Path) -> int:
    """Bytes that this process may still add to the data file in `folder`: by disk, or file size."""
    below = _below_limit(folder)
    free = _free_bytes(folder)
    return free if below is None else min(free, below)


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def _below_limit(folder: Path) -> int | None:
    """Bytes by which the data file may grow under this process' limit; None: there is none."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - os.stat(folder / DATA_FILE).st_size)


def _is_limited(folder: Path) -> bool:
    """Whether the limit on the size of files leaves less room than the disk."""
    try:
        below = _below_limit(folder)
        return below is not None and below < _free_bytes(folder)
    except OSError:
        return False


def _is_full(folder: Path, error: lmdb.Error) -> bool:
    """Whether an error means no room: LMDB reports a short write as an I/O error."""
    if error.code in FULL_CODES:
        return True
    if error.code != errno.EIO:
        return False
    try:
        return disk_room(folder) < RESERVE_BYTES
    except OSError:
        return False
