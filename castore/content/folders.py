"""Folders as they lie on disk: what is taken, what is left out, and what is refused.

Never taken: `.git`, `.cas`, and what a `.casignore` (gitignore syntax, in any folder, for what is
below it) names. Refused: fifos, sockets, devices, names that are not UTF-8, and links unless
asked for. Names that differ in letter case or Unicode form only are kept: checkout refuses them
where the file system does not tell them apart.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from castore.content.sources import kind_of, opened, read_whole, refusal
from castore.errors import CastoreError, InvalidInput, InvalidName
from castore.model.limits import FOLDER_DEPTH, KIB
from castore.model.names import component_problem

IGNORE_FILE: Final = ".casignore"
IGNORE_BYTES: Final = 256 * KIB
LINKS: Final = ("refuse", "skip", "follow")
# How many links a refusal names.
LISTED: Final = 5
_NEVER: Final = frozenset((".git", ".cas"))
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Found(NamedTuple):
    """One file or folder: its name, the path to open, and what stat says of it."""

    name: str
    path: str
    stat: os.stat_result


class Listing(NamedTuple):
    """What is taken from one folder, each sorted by name."""

    files: list[Found]
    folders: list[Found]


class Ignore:
    """Patterns in gitignore syntax; the last one that matches decides."""

    def __init__(self, text: str, where: str = IGNORE_FILE) -> None:
        import pathspec

        try:
            self._spec: Any = pathspec.GitIgnoreSpec.from_lines(text.splitlines())
        except ValueError as error:
            raise InvalidInput(f"{where}: {error}") from None

    def decides(self, path: str, is_folder: bool) -> bool | None:
        """Whether `path`, relative to where the patterns stand, is left out; None: not said."""
        verdict: bool | None = self._spec.check_file(path + "/" if is_folder else path).include
        return verdict


Rules: TypeAlias = tuple[tuple[int, Ignore], ...]
"""Patterns with the length of the prefix of paths they are not to see, the outermost first."""


class FolderScan:
    """Lists the folders below one root under one policy for links and things to ignore."""

    def __init__(self, root: str, links: str = "refuse", ignore: Ignore | None = None) -> None:
        if links not in LINKS:
            raise InvalidInput(f"links {links!r}: must be one of {', '.join(LINKS)}")
        self.root = root
        self._links = links
        self._real_root = os.path.realpath(root)
        self._ignore = ignore
        self.rules: Rules = ((0, ignore),) if ignore is not None else ()
        self.skipped: list[str] = []

    def take(self, path: str, prefix: str, rules: Rules, depth: int) -> tuple[Listing, Rules]:
        """What is taken from the folder at `path`, and the rules for what is below it.

        `prefix` is its path below the root with a `/`, or "". Raises InvalidInput, InvalidName,
        NotFound; each names the path.
        """
        if depth > FOLDER_DEPTH:
            raise InvalidInput(f"{path}: folders nested deeper than {FOLDER_DEPTH}")
        entries = self._entries(path, follow=depth == 0 or self._links == "follow")
        if any(name == IGNORE_FILE for name, _ in entries):
            rules = (*rules, (len(prefix), _ignore_file(os.path.join(path, IGNORE_FILE))))
        listing = Listing([], [])
        files = listing.files
        for name, found in entries:
            # The lean form of `_sort_in`, for many files.
            if stat.S_ISREG(found.st_mode) and not rules and name[0] != ".":
                files.append(Found(name, f"{path}/{name}", found))
            else:
                self._sort_in(listing, path, prefix, name, found, rules)
        _check_names(path, listing)
        return listing, rules

    def _entries(self, path: str, *, follow: bool) -> list[tuple[str, os.stat_result]]:
        try:
            descriptor = os.open(path, _FOLDER if follow else _FOLDER | os.O_NOFOLLOW)
        except (OSError, ValueError) as error:
            raise refusal(error, path) from None
        try:
            with os.scandir(descriptor) as entries:
                rows = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            raise refusal(error, path) from None
        finally:
            os.close(descriptor)
        rows.sort(key=lambda row: row[0])
        return rows

    def _sort_in(
        self,
        listing: Listing,
        folder: str,
        prefix: str,
        name: str,
        found: os.stat_result,
        rules: Rules,
    ) -> None:
        path = f"{folder}/{name}"
        kind = stat.S_IFMT(found.st_mode)
        if name[0] == "." and name.casefold() in _NEVER:
            return
        if rules and _ignored(rules, prefix + name, kind == stat.S_IFDIR):
            return
        if kind == stat.S_IFLNK:
            if self._links == "skip":
                if len(self.skipped) < LISTED:
                    self.skipped.append(path)
                return
            path, found = self._linked(path)
            kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFREG:
            listing.files.append(Found(name, path, found))
        elif kind == stat.S_IFDIR:
            listing.folders.append(Found(name, path, found))
        else:
            raise InvalidInput(
                f"{path}: {kind_of(found.st_mode)}; only files and folders can be stored",
                fix=f"name it in {IGNORE_FILE}",
            )

    def _refused_links(self, path: str) -> InvalidInput:
        scan = FolderScan(self.root, "skip", self._ignore)
        with contextlib.suppress(CastoreError):
            _below(scan)
        links = scan.skipped or [path]
        more = ", and perhaps more" if len(links) == LISTED else ""
        return InvalidInput(
            f"symbolic links are refused: {', '.join(links)}{more}",
            fix=f"--links skip, --links follow, or name them in {IGNORE_FILE}",
        )

    def _linked(self, path: str) -> tuple[str, os.stat_result]:
        """Where a link leads, which must be inside the root, and what is there."""
        if self._links == "refuse":
            raise self._refused_links(path)
        real = os.path.realpath(path)
        if real != self._real_root and not real.startswith(self._real_root.rstrip("/") + "/"):
            raise InvalidInput(f"{path}: a link to {real}, outside {self.root}")
        if any(part.casefold() in _NEVER for part in real[len(self._real_root) :].split("/")):
            raise InvalidInput(f"{path}: a link into {real}, which is never taken")
        try:
            return real, os.stat(real)
        except OSError as error:
            raise refusal(error, path) from None


def _below(scan: FolderScan) -> None:
    """List all folders of a scan that skips links, until it has seen enough of them."""
    todo: list[tuple[str, str, Rules, int]] = [(scan.root, "", scan.rules, 0)]
    while todo and len(scan.skipped) < LISTED:
        path, prefix, rules, depth = todo.pop()
        listing, rules = scan.take(path, prefix, rules, depth)
        todo += [
            (found.path, f"{prefix}{found.name}/", rules, depth + 1)
            for found in reversed(listing.folders)
        ]


def list_folder(folder: str | os.PathLike[str], links: str = "refuse") -> list[str]:
    """The names of what is taken from a folder itself, sorted; raises as FolderScan.take."""
    root = os.path.abspath(os.fspath(folder))
    scan = FolderScan(root, links)
    listing, _ = scan.take(root, "", scan.rules, 0)
    return sorted(found.name for found in (*listing.files, *listing.folders))


def _check_names(path: str, listing: Listing) -> None:
    for found in (*listing.files, *listing.folders):
        if not found.name.isascii():
            problem = component_problem(os.fsencode(found.name))
            if problem:
                raise InvalidName(f"{path}: {problem}")


def _ignored(rules: Rules, path: str, is_folder: bool) -> bool:
    """Whether the innermost patterns that say anything about `path` leave it out."""
    for start, ignore in reversed(rules):
        verdict = ignore.decides(path[start:], is_folder)
        if verdict is not None:
            return verdict
    return False


def _ignore_file(path: str) -> Ignore:
    with opened(path, follow=False) as (descriptor, found):
        if found.st_size > IGNORE_BYTES:
            raise InvalidInput(f"{path}: more than {IGNORE_BYTES} bytes")
        data = read_whole(descriptor, path, found.st_size)
    try:
        return Ignore(data.decode("utf-8"), path)
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not UTF-8") from None


def no_loop(path: str, found: os.stat_result, above: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Which folder this is, as (device, inode); raises InvalidInput if it lies in itself."""
    place = (found.st_dev, found.st_ino)
    if place in above:
        raise InvalidInput(f"{path}: a link to a folder it lies in")
    return place
