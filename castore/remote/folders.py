"""Folders by descriptor: below the topmost no link is followed, so that no name leads elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

from castore.errors import RemoteError
from castore.model.names import quoted
from castore.remote.transport import Listed, is_key

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_BELOW: Final = _OPEN | os.O_NOFOLLOW


class Folders:
    """The folders of a bucket, each opened by its name from the one above it.

    Everything raises OSError as the system does: FileNotFoundError for one that is not there,
    NotADirectoryError for a link or a file in its place.
    """

    def __init__(self, top: Path) -> None:
        self._top = top
        # Those of which it is known that their names survive a loss of power, as device and inode.
        self._durable: set[tuple[int, int]] = set()
        self._guard = Lock()

    @contextmanager
    def opened(self, names: Sequence[str] = (), *, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder; with `make` it is there afterwards, and stays there.

        Others may remove it while it is open. Raises RemoteError where the topmost folder cannot be
        made for want of one above it.
        """
        descriptor = self._open_top(make)
        try:
            for name in names:
                below = self._open_below(descriptor, name, make)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def remove_empty(self, names: Sequence[str]) -> None:
        """Remove a folder and those above it as far as they are empty, but not the topmost."""
        for depth in range(len(names), 0, -1):
            try:
                with self.opened(names[: depth - 1]) as above:
                    os.rmdir(names[depth - 1], dir_fd=above)
            except OSError:
                return

    def files(self, names: Sequence[str]) -> Iterator[Listed]:
        """Every file below a folder whose path is a key, as that key, and its size."""
        with suppress(FileNotFoundError, NotADirectoryError), self.opened(names) as folder:
            yield from _files(folder, "".join(f"{name}/" for name in names))

    def _open_top(self, make: bool) -> int:
        try:
            return os.open(self._top, _OPEN)
        except FileNotFoundError:
            if not make:
                raise
        above = quoted(str(self._top.parent))
        if not self._top.parent.is_dir():
            raise RemoteError(
                f"{self._top.as_uri()}: there is no folder {above} to make it in",
                fix=f"mkdir -p {above}, or mount what belongs there",
            )
        with suppress(FileExistsError):
            self._top.mkdir()
        descriptor = os.open(self._top.parent, _OPEN)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return os.open(self._top, _OPEN)

    def _open_below(self, above: int, name: str, make: bool) -> int:
        try:
            descriptor = os.open(name, _BELOW, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=above)
            descriptor = os.open(name, _BELOW, dir_fd=above)
        if make:
            # Also where it was there: whoever made it may not have come so far.
            try:
                self._make_durable(above, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def _make_durable(self, above: int, descriptor: int) -> None:
        found = os.fstat(descriptor)
        identity = found.st_dev, found.st_ino
        with self._guard:
            if identity in self._durable:
                return
        os.fsync(above)
        with self._guard:
            self._durable.add(identity)


def _files(folder: int, prefix: str) -> Iterator[Listed]:
    with os.scandir(folder) as entries:
        for entry in entries:
            key = prefix + entry.name
            if not is_key(key):
                continue
            # What is listed may go meanwhile.
            with suppress(FileNotFoundError, NotADirectoryError):
                if entry.is_file(follow_symlinks=False):
                    yield Listed(key, entry.stat(follow_symlinks=False).st_size)
                elif entry.is_dir(follow_symlinks=False):
                    below = os.open(entry.name, _BELOW, dir_fd=folder)
                    try:
                        yield from _files(below, f"{key}/")
                    finally:
                        os.close(below)
