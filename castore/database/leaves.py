"""The rows of a data file that LMDB may be unable to read, found by plain reads: nothing maps it.

For salvaging: what a damaged page says is believed as far as it makes sense, since whoever takes
rows from here compares them with ids, checks and chained hashes. First the rows of each table as
its tree leads to them; then those of leaf pages that no tree leads to, and values on pages of
their own that no row leads to. Those may be of earlier transactions, or of free pages.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from castore.database.datafile import (
    META_PAGES,
    PAGE_HEADER,
    TreeRecord,
    read_tree_record,
)

PAGE_SIZES: Final = (4096, *(1 << bits for bits in (14, 16, 13, 15, 12, 11, 10, 9)))
_MAGIC: Final = 0xBEEFC0DE
_MAGIC_AT: Final = 16
_SIZE_AT: Final = 40
_MAIN_AT: Final = 88
_TRANSACTION_AT: Final = 144
_META_BYTES: Final = 152
_BRANCH: Final = 1
_LEAF: Final = 2
_OVERFLOW: Final = 4
_BIG_DATA: Final = 1
_SUB_TREE: Final = 2
_TREE_BYTES: Final = 48
_HEADER: Final = struct.Struct("<QHHHH")
_OVERFLOW_HEADER: Final = struct.Struct("<QHHI")
_NODE: Final = struct.Struct("<HHHH")
_NUMBER: Final = struct.Struct("<Q")
_WORD: Final = struct.Struct("<I")


Trees: TypeAlias = dict[str, TreeRecord]
"""Tables by name, as one meta page leads to them."""


class Place(NamedTuple):
    """A row: its key, and where in the file its value lies.

    Without a key it is the value of a row that is lost, and `size` the most it can have.
    """

    key: bytes
    at: int
    size: int


class _Node(NamedTuple):
    key: bytes
    flags: int
    at: int
    size: int


class Leaves:
    """The rows of one data file, open as `descriptor`; nobody may write to it meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._bytes = os.fstat(descriptor).st_size
        self.page_size = self._find_page_size()
        self._pages = self._bytes // self.page_size
        self._seen = bytearray(self._pages)
        self._trees: Trees = {}

    def roots(self) -> list[Trees]:
        """The tables as each of the meta pages leads to them, that of the newer first."""
        found: list[tuple[int, Trees]] = []
        for page in range(META_PAGES):
            data = self._read(page * self.page_size, _META_BYTES)
            if len(data) == _META_BYTES:
                (transaction,) = _NUMBER.unpack_from(data, _TRANSACTION_AT)
                found.append((transaction, self._tables(read_tree_record(data, _MAIN_AT).root)))
        return [trees for _, trees in sorted(found, key=lambda item: item[0], reverse=True)]

    def choose(self, trees: Trees) -> None:
        """Take these tables, out of `roots`, as the right ones."""
        self._trees = trees
        self._seen = bytearray(self._pages)
        self._seen[:META_PAGES] = bytes((1, 1))[: self._pages]

    def rows(self, table: str) -> Iterator[Place]:
        """The rows that the tree of a table leads to, in its order; each page once."""
        record = self._trees.get(table)
        if record is not None:
            for node in self._nodes(record.root, self._seen):
                yield from self._place(node)

    def last_key(self, trees: Trees, table: str) -> bytes:
        """The last key of a table as these trees have it, b"" for none."""
        record, last = trees.get(table), b""
        if record is not None:
            for node in self._nodes(record.root, bytearray(self._pages)):
                last = node.key
        return last

    def strays(self) -> Iterator[Place]:
        """The rows of leaf pages that no chosen tree led to, when all of its rows were taken."""
        for number in range(self._pages):
            if self._seen[number]:
                continue
            data = self._read(number * self.page_size, self.page_size)
            if _flags(data) != _LEAF or _HEADER.unpack_from(data)[0] != number:
                continue
            self._seen[number] = 1
            for node in _leaf(data, number * self.page_size):
                yield from self._place(node)

    def values(self) -> Iterator[Place]:
        """The values on pages of their own to which no row led, when all rows were taken."""
        for number in range(self._pages):
            if self._seen[number]:
                continue
            pages = self._overflow(number)
            if pages:
                self._mark(number, pages)
                yield Place(b"", *self._span(number, pages * self.page_size - PAGE_HEADER))

    def read(self, place: Place) -> bytes:
        """The value of a row; shorter than it should be where the file ends."""
        return self._read(place.at, place.size)

    def _find_page_size(self) -> int:
        data = self._read(0, _META_BYTES)
        if len(data) == _META_BYTES:
            (size,) = _WORD.unpack_from(data, _SIZE_AT)
            if size in PAGE_SIZES and _WORD.unpack_from(data, _MAGIC_AT)[0] == _MAGIC:
                return int(size)
        for size in PAGE_SIZES:
            if self._read(size + _MAGIC_AT, 4) == _WORD.pack(_MAGIC):
                return size
        return PAGE_SIZES[0]

    def _tables(self, root: int) -> Trees:
        trees: Trees = {}
        for node in self._nodes(root, bytearray(self._pages)):
            if node.flags & _SUB_TREE and node.size == _TREE_BYTES:
                name = node.key.decode("ascii", "replace")
                trees[name] = read_tree_record(self._read(node.at, node.size))
        return trees

    def _nodes(self, root: int, seen: bytearray) -> Iterator[_Node]:
        """The nodes of all leaves below a page; what makes no sense is passed over."""
        stack = [root]
        while stack:
            number = stack.pop()
            if not META_PAGES <= number < self._pages or seen[number]:
                continue
            data = self._read(number * self.page_size, self.page_size)
            flags = _flags(data)
            if flags == _BRANCH:
                seen[number] = 1
                stack.extend(reversed(_children(data)))
            elif flags == _LEAF:
                seen[number] = 1
                yield from _leaf(data, number * self.page_size)

    def _place(self, node: _Node) -> Iterator[Place]:
        if not node.flags & _BIG_DATA:
            yield Place(node.key, node.at, node.size)
            return
        (first,) = _NUMBER.unpack(self._read(node.at, _NUMBER.size))
        if not META_PAGES <= first < self._pages:
            return
        self._mark(first, (PAGE_HEADER - 1 + node.size) // self.page_size + 1)
        # What was written by a longer value before it keeps its pages.
        self._mark(first, self._overflow(first))
        yield Place(node.key, *self._span(first, node.size))

    def _span(self, first: int, size: int) -> tuple[int, int]:
        at = first * self.page_size + PAGE_HEADER
        return at, min(size, self._bytes - at)

    def _overflow(self, number: int) -> int:
        """How many pages the value that begins at this page takes; 0 if none does."""
        data = self._read(number * self.page_size, PAGE_HEADER)
        if len(data) < PAGE_HEADER:
            return 0
        found, pad, flags, pages = _OVERFLOW_HEADER.unpack(data)
        sound = (found, pad, flags) == (number, 0, _OVERFLOW)
        return pages if sound and 0 < pages <= self._pages - number else 0

    def _mark(self, first: int, pages: int) -> None:
        pages = max(0, min(pages, self._pages - first))
        self._seen[first : first + pages] = b"\1" * pages

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)


def _flags(data: bytes) -> int:
    """Which kind of page this seems to be, 0 for none with rows."""
    if len(data) < PAGE_HEADER:
        return 0
    _, _, flags, lower, upper = _HEADER.unpack_from(data)
    sound = PAGE_HEADER <= lower <= upper <= len(data)
    return flags if sound and flags in (_BRANCH, _LEAF) else 0


def _pointers(data: bytes) -> Iterator[int]:
    lower = _HEADER.unpack_from(data)[3] & ~1
    for (at,) in struct.iter_unpack("<H", data[PAGE_HEADER:lower]):
        if lower <= at <= len(data) - _NODE.size:
            yield at


def _children(data: bytes) -> list[int]:
    nodes = [_NODE.unpack_from(data, at) for at in _pointers(data)]
    return [low | high << 16 | top << 32 for low, high, top, _ in nodes]


def _leaf(data: bytes, offset: int) -> Iterator[_Node]:
    for at in _pointers(data):
        low, high, flags, key_size = _NODE.unpack_from(data, at)
        start = at + _NODE.size
        end, size = start + key_size, low | high << 16
        if end + (_NUMBER.size if flags & _BIG_DATA else size) <= len(data):
            yield _Node(data[start:end], flags, offset + end, size)
