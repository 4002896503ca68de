"""Files that are at a new place: found again by their names and sizes, no byte of them read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from castore.content.reader import ObjectReader
from castore.model.artifact_set import FileContent
from castore.model.ids import Id
from castore.model.limits import MIB
from castore.model.pages import FILE, tree_rows

MOST_NAMES: Final = 16_384
"""Of more files and folders than this none is looked through: 6 microseconds each."""
_PAGES_AT_ONCE: Final = 64
# What is too small to gain by it.
_LEAST_BYTES: Final = 512
_NUMBERS: Final = re.compile(rb"[0-9a-f]{8,}|[0-9]+(?:\.[0-9]+)*")
# Big files may have other names: a library, the next release of another build.
_BIG_BYTES: Final = MIB
_ALIKE: Final = 0.4
_TRIGRAM: Final = 3

FindMoved: TypeAlias = Callable[[str, int], FileContent | None]
"""Finds what the file at a path, relative to its folder, of a size may have been before."""


class MovedFiles:
    """Stored files by their names, digits and hashes in them aside."""

    def __init__(self) -> None:
        self._files: dict[bytes, list[tuple[bytes, FileContent]]] = {}
        self._count = 0

    def add(self, path: bytes, file: FileContent) -> None:
        """Know a file that was at this path."""
        if file.size >= _LEAST_BYTES:
            name = plain_name(path.rpartition(b"/")[2])
            self._files.setdefault(name, []).append((path, file))
            self._count += 1

    def add_folder(self, reader: ObjectReader, root: Id) -> None:
        """Know the files of a folder; of none if there are then very many, and once it is too much.

        Raises as ObjectReader.payload.
        """
        found: list[tuple[bytes, FileContent]] = []
        seen = self._count
        waiting = [(b"", root)]
        while waiting:
            some, waiting = waiting[-_PAGES_AT_ONCE:], waiting[:-_PAGES_AT_ONCE]
            pages = reader.tree_pages([id for _, id in some])
            for (above, _), page in zip(some, pages, strict=True):
                level, rows = tree_rows(page)
                seen += len(rows)
                if seen > MOST_NAMES:
                    return
                if level:
                    waiting += [(above, row[1]) for row in rows]
                    continue
                for name, kind, content, size, _ in rows:
                    if kind == FILE:
                        found.append((above + name, FileContent(content, size)))
                    else:
                        waiting.append((above + name + b"/", content))
        for path, file in found:
            self.add(path, file)

    def nearest(self, path: bytes, size: int | None) -> FileContent | None:
        """The file of this name that was at the same path, else the nearest in size.

        Within a factor of two; without a size the only one of the name. A big file may be the one
        whose name has most in common with it.
        """
        if not self._files:
            return None
        name = path.rpartition(b"/")[2]
        found = self._files.get(plain_name(name), [])
        if size is None:
            return found[0][1] if len(found) == 1 else None
        near = [(at != path, abs(file.size - size), file) for at, file in found]
        near = [row for row in near if row[2].size <= 2 * size and size <= 2 * row[2].size]
        if near:
            return min(near, key=lambda row: row[:2])[2]
        return self._called_alike(name, size) if not found and size >= _BIG_BYTES else None

    def _called_alike(self, name: bytes, size: int) -> FileContent | None:
        """The big file whose name has most in common with this one, if that is much of it."""
        wanted = _trigrams(name)
        best, alike = 0.0, None
        for other, files in self._files.items():
            file = min((file for _, file in files), key=lambda one: abs(one.size - size))
            if 2 * file.size < size or file.size > 2 * size:
                continue
            had = _trigrams(other)
            shared = len(wanted & had) / max(min(len(wanted), len(had)), 1)
            if shared > best:
                best, alike = shared, file
        return alike if best >= _ALIKE else None


def plain_name(name: bytes) -> bytes:
    """The name with all numbers and long hexadecimal ones alike."""
    return _NUMBERS.sub(b"0", name)


def _trigrams(name: bytes) -> set[bytes]:
    plain = plain_name(name)
    return {plain[at : at + _TRIGRAM] for at in range(len(plain) - _TRIGRAM + 1)}
