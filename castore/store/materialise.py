"""Writing files safely: through descriptors, one component at a time, never through a link.

Everything is written into a fresh folder first (`mkdirat`, `openat` with O_EXCL and O_NOFOLLOW), so
that whoever races with links or files of the same names can at most make the writing fail. What
two names of the set would share on this file system shows as "exists already" there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from castore.errors import CastoreError, InvalidInput, InvalidName, StoreFull, WouldOverwrite

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RESERVED: Final = frozenset({b".git", b".cas"})
# Code points that some file systems drop from names before they compare them.
_IGNORED: Final = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]
)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV})
_REFUSED_NAMES: Final = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def check_component(name: bytes, folder: Sequence[bytes]) -> None:
    """Refuse (InvalidName) a name in `folder` that git or castore would take for their own.

    Compared as case-insensitive file systems, and those that drop invisible characters, would.
    """
    if not name.startswith(b".") and name.isascii():
        return
    plain = name if name.isascii() else name.decode().translate(_IGNORED).encode()
    if plain.lower() in _RESERVED:
        path = b"/".join((*folder, name)).decode()
        raise InvalidName(f"{path!r}: {name.decode()!r} is never written by castore")


def open_folder(name: bytes | str, parent: int | None = None) -> int:
    """A descriptor of a folder; with `parent` a folder in it, which may not be a link."""
    if parent is None:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def write_error(error: OSError, place: str) -> CastoreError:
    """The castore error for a failure of the file system while `place` was written."""
    if error.errno in _FULL:
        return StoreFull(f"no room left to write {place!r}: {error.strerror}")
    if isinstance(error, FileExistsError):
        return InvalidName(
            f"{place!r}: this file system takes it for another name of the same version "
            "(names that differ in case or Unicode form only)",
            fix="check the artifact out alone, or on a file system that tells them apart",
        )
    if error.errno in _REFUSED_NAMES:
        return InvalidName(f"{place!r}: this file system refuses the name: {error.strerror}")
    return InvalidInput(f"{place!r} cannot be written: {error.strerror}")


class FolderWriter:
    """Writes into one fresh folder, given as a descriptor, which stays the caller's.

    Paths must come depth first (sorted by their components): a folder that was left is not entered
    again. Raises OSError; FileExistsError means that the file system takes two names for one.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: list[bytes] = []
        self._descriptors: list[int] = []

    def enter(self, folder: Sequence[bytes]) -> int:
        """The descriptor of the folder with these components, made if it is new."""
        same = 0
        for ours, theirs in zip(self._names, folder, strict=False):
            if ours != theirs:
                break
            same += 1
        self._leave(same)
        parent = self._descriptors[-1] if self._descriptors else self._root
        for name in folder[same:]:
            os.mkdir(name, dir_fd=parent)
            parent = open_folder(name, parent)
            self._names.append(name)
            self._descriptors.append(parent)
        return parent

    def write(
        self,
        folder: int,
        name: bytes,
        pieces: Iterable[bytes | memoryview],
        mode: int,
        tell: Callable[[int], None],
    ) -> None:
        """A new file in an entered folder; `mode` 1 makes it executable.

        `tell` hears of the bytes of each piece. A file whose pieces end in an exception is removed
        with the whole fresh folder.
        """
        file = os.open(name, _CREATE, 0o777 if mode else 0o666, dir_fd=folder)
        try:
            for piece in pieces:
                written = os.write(file, piece)
                while written < len(piece):
                    written += os.write(file, memoryview(piece)[written:])
                tell(written)
        finally:
            os.close(file)

    def close(self) -> None:
        """Close every folder that is open."""
        self._leave(0)

    def _leave(self, keep: int) -> None:
        while len(self._descriptors) > keep:
            self._names.pop()
            os.close(self._descriptors.pop())


class _Moved(NamedTuple):
    """One entry put in its place: where, its (device, inode), and what it replaced, in `old`."""

    folder: tuple[bytes, ...]
    name: bytes
    identity: tuple[int, int]
    old: bytes


@dataclass(slots=True)
class Placement:
    """Moves a fresh folder's entries into an existing folder, and back again if that fails.

    `staged`, `target` and `aside` are descriptors of folders on one file system. Without `replace`
    nothing that exists is touched; with it, regular files and links of the same paths are replaced
    one by one, and everything else stays.
    """

    staged: int
    target: int
    aside: int
    replace: bool
    where: Path
    _moved: list[_Moved] = field(default_factory=list)

    def check(self) -> None:
        """Raise WouldOverwrite if something is in the way, before anything is moved."""
        self._visit(self.staged, self.target, (), move=False)

    def move(self) -> None:
        """Put every entry in its place; raises WouldOverwrite, OSError: call `undo` then."""
        self._visit(self.staged, self.target, (), move=True)

    def undo(self) -> None:
        """Take back every entry that was put in place, and put back what it replaced."""
        for moved in reversed(self._moved):
            with contextlib.suppress(OSError), _opened(self.target, moved.folder) as folder:
                found = _identity(moved.name, folder)
                if moved.old and found in (None, moved.identity):
                    os.rename(moved.old, moved.name, src_dir_fd=self.aside, dst_dir_fd=folder)
                elif found == moved.identity:
                    taken = b"undo-%d" % len(self._moved)
                    os.rename(moved.name, taken, src_dir_fd=folder, dst_dir_fd=self.aside)
            self._moved.pop()

    def _visit(self, staged: int, target: int, path: tuple[bytes, ...], *, move: bool) -> None:
        for name in sorted(os.fsencode(entry) for entry in os.listdir(staged)):
            is_folder = stat.S_ISDIR(os.lstat(name, dir_fd=staged).st_mode)
            if is_folder and self._has_folder(name, target, path):
                with _opened(staged, (name,)) as below, _opened(target, (name,)) as into:
                    self._visit(below, into, (*path, name), move=move)
                continue
            present = self._obstacle(name, target, path, is_folder=is_folder)
            if move:
                self._place(name, staged, target, path, present=present, is_folder=is_folder)

    def _has_folder(self, name: bytes, target: int, path: tuple[bytes, ...]) -> bool:
        """Whether the target has a real folder here; a link or a file in its place is refused."""
        try:
            found = os.lstat(name, dir_fd=target)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(found.st_mode):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
            raise self._refusal((*path, name), f"{kind} is where a folder must be")
        return True

    def _obstacle(
        self, name: bytes, target: int, path: tuple[bytes, ...], *, is_folder: bool
    ) -> bool:
        """Whether a file stands there that may be replaced; raises for what may not."""
        try:
            found = os.lstat(name, dir_fd=target)
        except FileNotFoundError:
            return False
        if not self.replace or is_folder:
            raise self._refusal((*path, name), "exists already")
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise self._refusal((*path, name), "is no file, and is not replaced")
        return True

    def _place(
        self,
        name: bytes,
        staged: int,
        target: int,
        path: tuple[bytes, ...],
        *,
        present: bool,
        is_folder: bool,
    ) -> None:
        found = os.lstat(name, dir_fd=staged)
        old = b"%d" % len(self._moved) if present else b""
        self._moved.append(_Moved(path, name, (found.st_dev, found.st_ino), old))
        if present:
            _keep(name, target, old, self.aside)
            os.rename(name, name, src_dir_fd=staged, dst_dir_fd=target)
        elif is_folder:
            # Renaming a folder replaces an empty folder at most.
            os.rename(name, name, src_dir_fd=staged, dst_dir_fd=target)
        else:
            try:
                _rename_new(name, staged, target)
            except FileExistsError:
                raise self._refusal((*path, name), "exists already") from None

    def _refusal(self, path: tuple[bytes, ...], problem: str) -> WouldOverwrite:
        place = self.where / os.fsdecode(b"/".join(path))
        fix = "" if self.replace else "choose another folder with -o, or replace files with -f"
        return WouldOverwrite(f"{str(place)!r} {problem}", fix=fix, path=str(place))


def remove_tree(name: str, parent: int) -> None:
    """Remove a folder of ours and everything in it, following no link; what is gone is fine."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(name, dir_fd=parent)


@contextlib.contextmanager
def _opened(root: int, folder: Sequence[bytes]) -> Iterator[int]:
    descriptor = os.dup(root)
    try:
        for name in folder:
            below = open_folder(name, descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _identity(name: bytes, folder: int) -> tuple[int, int] | None:
    try:
        found = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _keep(name: bytes, folder: int, old: bytes, aside: int) -> None:
    """Keep what is about to be replaced, in place where links can be made."""
    try:
        os.link(name, old, src_dir_fd=folder, dst_dir_fd=aside, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(name, old, src_dir_fd=folder, dst_dir_fd=aside)


def _rename_new(name: bytes, source: int, target: int) -> None:
    """Rename a file, never over another: FileExistsError instead, where links can be made."""
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        return
    os.unlink(name, dir_fd=source)
