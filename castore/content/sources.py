"""Files to ingest: opened without surprises, read whole, and known again by their stamps."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from castore.content.absent import look_for
from castore.content.stamps import Stamp
from castore.errors import CastoreError, InvalidInput, InvalidName, NotFound

# O_NONBLOCK: opening a fifo that nobody writes to must not wait.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# From so many files on their folder is opened, to open them by name.
_WORTH_OPENING: Final = 8
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def opened(path: str, *, follow: bool = True) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file open for reading: its descriptor and what stat says of it.

    Raises NotFound, InvalidInput (no regular file, or a link and `follow` is false).
    """
    try:
        descriptor = os.open(path, _READ if follow else _READ | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        raise refusal(error, path) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput(f"{path}: {kind_of(found.st_mode)}, not a regular file")
        yield descriptor, found
    except OSError as error:
        raise refusal(error, path) from None
    finally:
        os.close(descriptor)


def read_whole(descriptor: int, path: str, size: int) -> bytes:
    """The bytes of an open file said to have `size`; raises InvalidInput if it has not."""
    data = os.read(descriptor, size + 1)
    while len(data) < size:
        more = os.read(descriptor, size + 1 - len(data))
        if not more:
            break
        data += more
    if len(data) != size:
        raise changed(path)
    return data


def read_small(path: str, stamp: Stamp, folder: int | None = None) -> bytes | None:
    """The bytes of a file found before, or None if it is not as it was, or not to be had.

    The lean form of `opened`, `read_whole` and `same`, for many files; with `folder`, a descriptor,
    `path` is a name in it.
    """
    _, _, inode, size, mtime, _ = stamp
    try:
        descriptor = os.open(path, _READ | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return None
    try:
        data = os.read(descriptor, size + 1)
        now = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(data) != size or now.st_mtime_ns != mtime or now.st_ino != inode or now.st_size != size:
        return None
    return data


@contextmanager
def folder_of(path: str, files: int, *, elsewhere: bool) -> Iterator[int | None]:
    """A descriptor of the folder of these files, None if it is not to be had, or too few pay."""
    descriptor = None
    if files >= _WORTH_OPENING and not elsewhere:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was not written to between two looks at it."""
    return before.st_mtime_ns == after.st_mtime_ns and before.st_size == after.st_size


def kind_of(mode: int) -> str:
    """What a file of this mode is, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def changed(path: str) -> InvalidInput:
    """The error for a file that changed while it was read."""
    return InvalidInput(
        f"{path}: changed while it was read", fix="commit again when nothing writes to it"
    )


def refusal(error: OSError | ValueError, path: str) -> CastoreError:
    """What to raise for an operating system error at `path`."""
    if isinstance(error, ValueError):
        return InvalidName(f"{path!r}: not a name of a file ({error})")
    if error.errno == errno.ENOENT:
        return NotFound(f"{path}: no such file or folder", fix=look_for(Path(path)))
    if error.errno == errno.ENOTDIR:
        detail = "not a folder, or below something that is none"
        return InvalidInput(f"{path}: {detail}", fix=look_for(Path(path)))
    if error.errno == errno.ELOOP:
        return InvalidInput(f"{path}: a symbolic link, or a loop of them")
    if error.errno == errno.ENXIO:
        return InvalidInput(f"{path}: a socket or device, not a regular file")
    why = os.strerror(error.errno or 0)
    return InvalidInput(f"{path}: cannot be read: {why}", fix=look_for(Path(path)))
