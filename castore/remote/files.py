"""A bucket in a folder: for `file://` URLs, on a local disk or one that several machines mount.

Each object is a plain file whose path is its key. The names that begin with `+` are no keys:

    +lock          held by flock while an object is replaced
    +unfinished/   files being written, each held by flock while its writer lives

A file is written there, made durable and then given its name by one link or rename, so that a
writer killed at any moment leaves no part of an object. What a dead writer left is removed by the
next. Creation depends on link(2) alone, replacement on flock of all writers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import Final

from castore.errors import (
    InvalidInput,
    OutcomeUnknown,
    PermissionDenied,
    RemoteError,
    RemoteMoved,
)
from castore.model.names import quoted
from castore.remote.transport import Got, KeyAbsent, Listed, check_key, check_prefix, is_key

_LOCK: Final = "+lock"
_UNFINISHED: Final = "+unfinished"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
# A tag tells two writings apart by their times: the least steps that file systems keep, in ns.
_STEPS: Final = (0, 1, 100, 1_000, 1_000_000, 2_000_000_000)
# Somebody may remove a folder that is empty just when it is to get a file.
_TRIES: Final = 20


class FileTransport:
    """A `Transport` over a folder, made with the first write; for several threads and processes.

    The tag of an object is the inode, time and size of its file: cheap, and another one for equal
    bytes written again, since a time is never set that is not later than the one before it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_absolute():
            raise InvalidInput(f"{str(folder)!r}: the folder of a bucket is an absolute path")
        self._folder = folder
        self._durable: set[Path] = set()
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
        path = self._path(key)
        with self._translated(f"reading {key!r}"):
            try:
                descriptor = os.open(path, _READ)
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
        path = self._path(key)
        with self._translated(f"writing {key!r}"), self._unfinished(data) as new:
            if if_absent:
                etag = self._create(new, path, key)
            else:
                with self._locked():
                    etag = self._rename(new, path)
            self._settle(path, key)
        return etag

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See `Transport.replace`."""
        path = self._path(key)
        with self._translated(f"replacing {key!r}"), self._unfinished(data) as new:
            with self._locked():
                there = _status(path)
                if there is None or _tag(there) != etag:
                    raise RemoteMoved(f"{self.url}: {key!r} is another since it was read")
                found = self._rename(new, path)
            self._settle(path, key)
        return found

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `Transport.list`; a file whose name is no key is not castore's, and is not listed."""
        check_prefix(prefix)
        with self._translated(f"listing {prefix!r}"):
            yield from _walk(self._folder / prefix if prefix else self._folder, prefix)

    def delete(self, keys: Sequence[str]) -> None:
        """See `Transport.delete`; folders that become empty go too."""
        paths = [self._path(key) for key in keys]
        with self._translated("deleting"):
            for path in paths:
                with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    path.unlink()
            for folder in {path.parent for path in paths}:
                with suppress(FileNotFoundError, NotADirectoryError):
                    _sync(folder)
                self._remove_empty(folder)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)

    def _create(self, new: Path, path: Path, key: str) -> str:
        """Give a written file its name if nothing has it; its tag."""
        for _ in range(_TRIES):
            try:
                self._make_folder(path.parent)
                os.link(new, path)
            except FileExistsError:
                raise RemoteMoved(f"{self.url} has {key!r} already") from None
            except FileNotFoundError:
                self._forget(path.parent)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise RemoteError(
                    f"{self.url}: this file system makes no hard links ({error.strerror}), and so "
                    "cannot tell which of two writers was first",
                    fix="use a folder on another file system, or an object store",
                ) from None
            else:
                return _tag(os.stat(new))
        raise RemoteError(f"{self.url}: {str(path.parent)!r} is removed again and again")

    def _rename(self, new: Path, path: Path) -> str:
        """Put a written file in place of what is there, the lock held; its tag."""
        for _ in range(_TRIES):
            there = _status(path)
            if there is not None:
                _date_after(new, there.st_mtime_ns)
            etag = _tag(os.stat(new))
            try:
                self._make_folder(path.parent)
                os.rename(new, path)
            except FileNotFoundError:
                self._forget(path.parent)
            else:
                return etag
        raise RemoteError(f"{self.url}: {str(path.parent)!r} is removed again and again")

    def _settle(self, path: Path, key: str) -> None:
        """Make the new name durable; everybody sees it by now."""
        try:
            _sync(path.parent)
        except OSError as error:
            raise OutcomeUnknown(
                f"{self.url}: {key!r} is written, but may not survive a loss of power: "
                f"{error.strerror}"
            ) from None

    @contextmanager
    def _unfinished(self, data: bytes) -> Iterator[Path]:
        """A durable file with these bytes, and gone or renamed at the end."""
        folder = self._folder / _UNFINISHED
        self._clean(folder)
        descriptor, path = self._open_unfinished(folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            now = time_ns()
            os.utime(descriptor, ns=(now, now))
            os.fsync(descriptor)
            yield path
        finally:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def _open_unfinished(self, folder: Path) -> tuple[int, Path]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        for _ in range(_TRIES):
            path = folder / os.urandom(16).hex()
            try:
                self._make_folder(folder)
                descriptor = os.open(path, flags, 0o666)
            except FileNotFoundError:
                self._forget(folder)
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor, path
            # Taken for a dead writer's before it was locked.
            os.close(descriptor)
        raise RemoteError(f"{self.url}: files in {_UNFINISHED} are removed again and again")

    def _clean(self, folder: Path) -> None:
        """Remove, once, what dead writers left."""
        with self._guard:
            if self._cleaned:
                return
            self._cleaned = True
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    _remove_if_dead(entry.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the bucket, against threads and processes alike."""
        path = self._folder / _LOCK
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                there = _status(path)
                if there and os.path.samestat(os.fstat(descriptor), there):
                    yield
                    return
            finally:
                os.close(descriptor)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, down from the bucket's own, so that all survive.

        Those that are there are made durable too: whoever made them may not have come so far.
        """
        with self._guard:
            if folder in self._durable:
                return
        if folder != self._folder:
            self._make_folder(folder.parent)
        elif not folder.parent.is_dir():
            above = quoted(str(folder.parent))
            raise RemoteError(
                f"{self.url}: there is no folder {above} to make it in",
                fix=f"mkdir -p {above}, or mount what belongs there",
            )
        try:
            folder.mkdir()
        except FileExistsError:
            pass
        except FileNotFoundError:
            self._forget(folder)
            raise
        with suppress(PermissionError):
            _sync(folder.parent)
        with self._guard:
            self._durable.add(folder)

    def _forget(self, folder: Path) -> None:
        with self._guard:
            self._durable -= {folder, *folder.parents}

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._folder:
            try:
                folder.rmdir()
            except OSError:
                return
            self._forget(folder)
            folder = folder.parent

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
            raise RemoteError(message) from None


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


def _walk(folder: Path, prefix: str) -> Iterator[Listed]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            key = prefix + entry.name
            if not is_key(key):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{key}/")
            elif entry.is_file(follow_symlinks=False):
                # It may be deleted meanwhile.
                with suppress(FileNotFoundError):
                    yield Listed(key, entry.stat(follow_symlinks=False).st_size)


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _tag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}"


def _date_after(path: Path, before: int) -> None:
    """Give a file a later time than `before`, in steps that its file system keeps."""
    for step in _STEPS:
        time = max(time_ns(), before + step)
        os.utime(path, ns=(time, time))
        if os.stat(path).st_mtime_ns > before:
            return


def _remove_if_dead(path: str) -> None:
    """Remove an unfinished file if its writer, who holds it locked, is gone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
