"""A bucket in a folder: for `file://` URLs, on a local disk or one that several machines mount.

Each object is a plain file whose path is its key. The names that begin with `+` are no keys:

    +lock          held by flock while an object is replaced
    +unfinished/   files being written, each held by flock while its writer lives

A file is written there, made durable and then given its name by one link or rename, so that a
writer killed at any moment leaves no part of an object. What a dead writer left is removed by the
next. Creation depends on link(2) alone, replacement on flock of all writers. Links in the folder
are not followed: whoever else writes there cannot lead castore out of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import Final, NamedTuple

from castore.errors import (
    InvalidInput,
    OutcomeUnknown,
    PermissionDenied,
    RemoteError,
    RemoteMoved,
)
from castore.model.names import quoted
from castore.remote.folders import Folders
from castore.remote.transport import Got, KeyAbsent, Listed, check_key, check_prefix

_LOCK: Final = "+lock"
_UNFINISHED: Final = "+unfinished"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SHARED: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
# A tag tells two writings apart by their times: the least steps that file systems keep, in ns.
_STEPS: Final = (0, 1, 100, 1_000, 1_000_000, 2_000_000_000)
# Somebody may remove a folder that is empty just when it is to get a file.
_TRIES: Final = 20


class _Place(NamedTuple):
    """A name in an open folder."""

    folder: int
    name: str


class FileTransport:
    """A `Transport` over a folder, made with the first write; for several threads and processes.

    The tag of an object is the inode, time and size of its file: cheap, and another one for equal
    bytes written again, since a time is never set that is not later than the one before it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_absolute():
            raise InvalidInput(f"{str(folder)!r}: the folder of a bucket is an absolute path")
        self._folder = folder
        self._folders = Folders(folder)
        self._cleaned = False
        self._guard = Lock()

    @property
    def url(self) -> str:
        """The folder as a `file://` URL."""
        return self._folder.as_uri()

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        """See `Transport.get`."""
        if start < 0 or (length is not None and length < 0):
            raise InvalidInput(f"{start}, {length}: no part of an object")
        *folders, name = check_key(key).split("/")
        with self._translated(f"reading {key!r}"):
            try:
                with self._folders.opened(folders) as folder:
                    descriptor = os.open(name, _READ, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise KeyAbsent(f"{self.url} has no {key!r}") from None
                raise
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise KeyAbsent(f"{self.url} has no {key!r}")
                end = found.st_size if length is None else min(found.st_size, start + length)
                return Got(_read(descriptor, start, end), _tag(found))
            finally:
                os.close(descriptor)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """See `Transport.put`."""
        check_key(key)
        with self._translated(f"writing {key!r}"):
            if if_absent:
                return self._write(key, data, self._create)
            return self._write(key, data, self._put)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See `Transport.replace`."""
        check_key(key)

        def replace(new: _Place, place: _Place) -> str:
            with self._locked():
                there = _status(place)
                if there is None or _tag(there) != etag:
                    raise RemoteMoved(f"{self.url}: {key!r} is another since it was read")
                return _rename(new, place, there)

        with self._translated(f"replacing {key!r}"):
            return self._write(key, data, replace)

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `Transport.list`; a file whose name is no key is not castore's, and is not listed."""
        names = check_prefix(prefix).split("/")[:-1]
        with self._translated(f"listing {prefix!r}"):
            yield from self._folders.files(names)

    def delete(self, keys: Sequence[str]) -> None:
        """See `Transport.delete`; folders that become empty go too."""
        names: dict[tuple[str, ...], list[str]] = {}
        for key in keys:
            *folders, name = check_key(key).split("/")
            names.setdefault(tuple(folders), []).append(name)
        with self._translated("deleting"):
            for path, there in names.items():
                with suppress(FileNotFoundError, NotADirectoryError):
                    with self._folders.opened(path) as folder:
                        for name in there:
                            with suppress(FileNotFoundError, IsADirectoryError):
                                os.unlink(name, dir_fd=folder)
                        os.fsync(folder)
                    self._folders.remove_empty(path)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _write(self, key: str, data: bytes, give_name: Callable[[_Place, _Place], str]) -> str:
        """Write a file apart and have it given its name; the tag that it has then."""
        *folders, name = key.split("/")
        with self._unfinished(data) as new:
            for _ in range(_TRIES):
                with (
                    suppress(FileNotFoundError),
                    self._folders.opened(folders, make=True) as folder,
                ):
                    etag = give_name(new, _Place(folder, name))
                    self._settle(folder, key)
                    return etag
        raise RemoteError(f"{self.url}: the folder of {key!r} is removed again and again")

    def _create(self, new: _Place, place: _Place) -> str:
        try:
            os.link(
                new.name,
                place.name,
                src_dir_fd=new.folder,
                dst_dir_fd=place.folder,
                follow_symlinks=False,
            )
        except FileExistsError:
            raise RemoteMoved(f"{self.url} has {place.name!r} already") from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise RemoteError(
                f"{self.url}: this file system makes no hard links ({error.strerror}), and so "
                "cannot tell which of two writers was first",
                fix="use a folder on another file system, or an object store",
            ) from None
        return _tag(_stat(new))

    def _put(self, new: _Place, place: _Place) -> str:
        with self._locked():
            return _rename(new, place, _status(place))

    def _settle(self, folder: int, key: str) -> None:
        """Make the new name durable; everybody sees it by now."""
        try:
            os.fsync(folder)
        except OSError as error:
            raise OutcomeUnknown(
                f"{self.url}: {key!r} is written, but may not survive a loss of power: "
                f"{error.strerror}"
            ) from None

    @contextmanager
    def _unfinished(self, data: bytes) -> Iterator[_Place]:
        """A durable file with these bytes, gone or renamed at the end."""
        with self._folders.opened([_UNFINISHED], make=True) as folder:
            self._clean(folder)
            descriptor, new = self._open_unfinished(folder)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                now = time_ns()
                os.utime(descriptor, ns=(now, now))
                os.fsync(descriptor)
                yield new
            finally:
                with suppress(OSError):
                    os.unlink(new.name, dir_fd=folder)
                os.close(descriptor)

    def _open_unfinished(self, folder: int) -> tuple[int, _Place]:
        for _ in range(_TRIES):
            name = os.urandom(16).hex()
            descriptor = os.open(name, _NEW, 0o666, dir_fd=folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor, _Place(folder, name)
            # Taken for a dead writer's before it was locked.
            os.close(descriptor)
        raise RemoteError(f"{self.url}: files in {_UNFINISHED} are removed again and again")

    def _clean(self, folder: int) -> None:
        """Remove, once, what dead writers left."""
        with self._guard:
            if self._cleaned:
                return
            self._cleaned = True
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    _remove_if_dead(_Place(folder, entry.name))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the bucket, against threads and processes alike."""
        while True:
            with self._folders.opened() as top:
                with self._translated(f"locking {_LOCK!r}"):
                    descriptor = os.open(_LOCK, _SHARED | os.O_CREAT, 0o666, dir_fd=top)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    there = _status(_Place(top, _LOCK))
                    if there and os.path.samestat(os.fstat(descriptor), there):
                        yield
                        return
                finally:
                    os.close(descriptor)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self.url}: {what}: {error.strerror}"
            folder = quoted(str(self._folder))
            if error.errno in _DENIED:
                raise PermissionDenied(message, fix=f"ls -ld {folder}") from None
            if error.errno in _FULL:
                raise RemoteError(message, fix=f"df -h {folder}") from None
            raise RemoteError(message, fix=f"ls -la {folder}") from None


def _read(descriptor: int, start: int, end: int) -> bytes:
    """The bytes from `start` to `end` of a file that nobody changes."""
    if start >= end:
        return b""
    first = os.pread(descriptor, end - start, start)
    if len(first) == end - start or not first:
        return first
    # Linux reads at most 2 GiB at once.
    parts, at = [first], start + len(first)
    while at < end and (part := os.pread(descriptor, end - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _rename(new: _Place, place: _Place, there: os.stat_result | None) -> str:
    """Put a written file in place of what is there, the lock held; its tag."""
    if there is not None:
        _date_after(new, there.st_mtime_ns)
    etag = _tag(_stat(new))
    os.rename(new.name, place.name, src_dir_fd=new.folder, dst_dir_fd=place.folder)
    return etag


def _stat(place: _Place) -> os.stat_result:
    return os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)


def _status(place: _Place) -> os.stat_result | None:
    try:
        return _stat(place)
    except FileNotFoundError:
        return None


def _tag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}"


def _date_after(new: _Place, before: int) -> None:
    """Give a file a later time than `before`, in steps that its file system keeps."""
    for step in _STEPS:
        time = max(time_ns(), before + step)
        os.utime(new.name, ns=(time, time), dir_fd=new.folder, follow_symlinks=False)
        if _stat(new).st_mtime_ns > before:
            return


def _remove_if_dead(place: _Place) -> None:
    """Remove an unfinished file if its writer, who holds it locked, is gone."""
    descriptor = os.open(place.name, _SHARED | os.O_NONBLOCK, dir_fd=place.folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(place.name, dir_fd=place.folder)
    finally:
        os.close(descriptor)
