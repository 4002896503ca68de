"""A new file that appears under its name when it is whole, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from castore.errors import CastoreError, InvalidInput, StoreFull, WouldOverwrite

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BUFFER_BYTES: Final = 1 << 20


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write, durable under its name at the end; what is there already stays.

    With `force` it takes the place of a file that is there. Raises WouldOverwrite, InvalidInput for
    a place that cannot be written, StoreFull.
    """
    check_new(path, force=force)
    unfinished = path.with_name(f".{path.name}.{os.urandom(4).hex()}.unfinished")
    try:
        with open(unfinished, "xb", buffering=_BUFFER_BYTES) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _place(unfinished, path, force=force)
        _settle(path.parent)
    except OSError as error:
        raise _translated(path, error) from None
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()


def check_new(path: Path, *, force: bool = False) -> None:
    """Raise WouldOverwrite or InvalidInput where no file can be made."""
    if os.path.lexists(path) and (not force or not path.is_file()):
        fix = "--force to write over it" if path.is_file() else "name another file"
        raise WouldOverwrite(f"{str(path)!r} is there already", fix=fix)
    if not path.parent.is_dir():
        raise InvalidInput(f"{str(path.parent)!r} is not a folder", fix=f"mkdir -p {path.parent}")


def _place(unfinished: Path, path: Path, *, force: bool) -> None:
    if force:
        os.replace(unfinished, path)
        return
    try:
        os.link(unfinished, path, follow_symlinks=False)
    except FileExistsError:
        raise WouldOverwrite(f"{str(path)!r} was made meanwhile", fix="name another file") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # No hard links here, as on most USB sticks: nothing is written over but in a race.
        check_new(path)
        os.replace(unfinished, path)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _translated(path: Path, error: OSError) -> CastoreError:
    message = f"{str(path)!r} cannot be written: {error.strerror}"
    if error.errno in _FULL:
        return StoreFull(message, fix="make room, or name a file on another disk")
    return InvalidInput(message, fix="name another file")
