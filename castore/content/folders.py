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
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from castore.content.sources import kind_of, opened, read_whole, refusal
from castore.content.stamps import (
    DEVICE,
    INODE,
    MODE,
    STAMP_BYTES,
    Stamp,
    column,
    iter_stamps,
    pack_stamps,
    stamp_of,
)
from castore.errors import CastoreError, InvalidInput, InvalidName
from castore.model.limits import FOLDER_DEPTH, KIB
from castore.model.names import component_problem

IGNORE_FILE: Final = ".casignore"
IGNORE_BYTES: Final = 256 * KIB
LINKS: Final = ("refuse", "skip", "follow")
# How many links a refusal names.
LISTED: Final = 5
_NAME: Final = attrgetter("name")
_ENTRIES_AT_ONCE: Final = 4096
_NEVER: Final = frozenset((".git", ".cas"))
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Found(NamedTuple):
    """A folder that was found: its name, the path to open, and its stamp."""

    name: str
    path: str
    stamp: Stamp


class Listing(NamedTuple):
    """What is taken from one folder, sorted by name.

    `place` is the folder itself; `stamps` those of `files`, packed; `elsewhere` has the paths of
    the files that a link led to.
    """

    place: os.stat_result
    files: list[str]
    stamps: bytes
    elsewhere: dict[str, str]
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
        place, names, stamps = self._entries(path, follow=depth == 0 or self._links == "follow")
        if IGNORE_FILE in names:
            rules = (*rules, (len(prefix), _ignore_file(os.path.join(path, IGNORE_FILE))))
        joined = "\0".join(names)
        hidden = joined.startswith(".") or "\0." in joined
        if rules or hidden or any(not stat.S_ISREG(mode) for mode in set(column(stamps, MODE))):
            listing = self._sorted_out(path, prefix, rules, (place, names, stamps))
        else:
            listing = Listing(place, names, stamps, {}, [])
        if not joined.isascii():
            _check_names(path, listing)
        return listing, rules

    def _entries(self, path: str, *, follow: bool) -> tuple[os.stat_result, list[str], bytes]:
        """The folder itself, the names in it, sorted, and their stamps."""
        try:
            descriptor = os.open(path, _FOLDER if follow else _FOLDER | os.O_NOFOLLOW)
        except (OSError, ValueError) as error:
            raise refusal(error, path) from None
        try:
            place = os.fstat(descriptor)
            with os.scandir(descriptor) as found:
                entries = sorted(found, key=_NAME, reverse=True)
            names = [entry.name for entry in reversed(entries)]
            stamps: list[bytes] = []
            while entries:
                # An entry keeps what it said, which is ten times its stamp.
                some = entries[: -_ENTRIES_AT_ONCE - 1 : -1]
                del entries[-_ENTRIES_AT_ONCE:]
                stamps.append(
                    pack_stamps([stamp_of(one.stat(follow_symlinks=False)) for one in some])
                )
        except OSError as error:
            raise refusal(error, path) from None
        finally:
            os.close(descriptor)
        return place, names, b"".join(stamps)

    def _sorted_out(
        self,
        folder: str,
        prefix: str,
        rules: Rules,
        entries: tuple[os.stat_result, list[str], bytes],
    ) -> Listing:
        """What is taken of these entries; raises InvalidInput for what is neither nor ignored."""
        listing = Listing(entries[0], [], b"", {}, [])
        taken: list[bytes] = []
        packed = entries[2]
        for at, (name, stamp) in enumerate(zip(entries[1], iter_stamps(packed), strict=True)):
            kept = packed[at * STAMP_BYTES : (at + 1) * STAMP_BYTES]
            path, mode = f"{folder}/{name}", stamp[MODE]
            if name[0] == "." and name.casefold() in _NEVER:
                continue
            if rules and _ignored(rules, prefix + name, stat.S_ISDIR(mode)):
                continue
            if stat.S_ISLNK(mode):
                if self._links == "skip":
                    if len(self.skipped) < LISTED:
                        self.skipped.append(path)
                    continue
                path, stamp = self._linked(path)
                mode, kept = stamp[MODE], pack_stamps((stamp,))
                listing.elsewhere[name] = path
            if stat.S_ISREG(mode):
                listing.files.append(name)
                taken.append(kept)
            elif stat.S_ISDIR(mode):
                listing.folders.append(Found(name, path, stamp))
            else:
                raise InvalidInput(
                    f"{path}: {kind_of(mode)}; only files and folders can be stored",
                    fix=f"name it in {IGNORE_FILE}",
                )
        return listing._replace(stamps=b"".join(taken))

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

    def _linked(self, path: str) -> tuple[str, Stamp]:
        """Where a link leads, which must be inside the root, and what is there."""
        if self._links == "refuse":
            raise self._refused_links(path)
        real = os.path.realpath(path)
        if real != self._real_root and not real.startswith(self._real_root.rstrip("/") + "/"):
            raise InvalidInput(f"{path}: a link to {real}, outside {self.root}")
        if any(part.casefold() in _NEVER for part in real[len(self._real_root) :].split("/")):
            raise InvalidInput(f"{path}: a link into {real}, which is never taken")
        try:
            return real, stamp_of(os.stat(real))
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


def list_folder(
    folder: str | os.PathLike[str], links: str = "refuse"
) -> tuple[list[str], tuple[str, ...]]:
    """The names of what is taken from a folder itself, sorted, and the paths of skipped links.

    Of the links the first LISTED. Raises as FolderScan.take.
    """
    root = os.path.abspath(os.fspath(folder))
    scan = FolderScan(root, links)
    listing, _ = scan.take(root, "", scan.rules, 0)
    return listed_names(listing), tuple(scan.skipped)


def skipped_notices(links: Sequence[str]) -> tuple[str, ...]:
    """What is told of the links that were left out, the first LISTED of them; nothing of none."""
    more = " and perhaps more" if len(links) == LISTED else ""
    return (f"links skipped: {', '.join(links)}{more}",) if links else ()


def listed_names(listing: Listing) -> list[str]:
    """The names of the files and folders taken, sorted."""
    return sorted([*listing.files, *(found.name for found in listing.folders)])


def _check_names(path: str, listing: Listing) -> None:
    for name in listed_names(listing):
        if not name.isascii():
            problem = component_problem(os.fsencode(name))
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


def no_loop(found: Found, above: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Which folder this is, as (device, inode); raises InvalidInput if it lies in itself."""
    place = (found.stamp[DEVICE], found.stamp[INODE])
    if place in above:
        raise InvalidInput(f"{found.path}: a link to a folder it lies in")
    return place
