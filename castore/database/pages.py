"""Page accounting of an LMDB 0.9 data file: every page belongs to exactly one tree, or is free.

LMDB has no page checksums: a flipped bit in its free list goes unnoticed by every read, until a
later write destroys live data. This walks the file with plain reads and without mapping it, so that
no damage can kill the process; one byte is kept for each page. The rules of the format are those of
LMDB 0.9 `mdb.c`: page header 16 bytes (number u64, pad u16, flags u16, lower u16, upper u16, or for
overflow pages a page count u32), node header 8 bytes (size low, high, flags, key size: u16 each).
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from castore.database.datafile import (
    META_PAGES,
    NO_PAGE,
    PAGE_HEADER,
    MetaPage,
    TreeRecord,
    read_metas,
    read_tree_record,
)
from castore.errors import CastoreError, CorruptObject

_BRANCH: Final = 1
_LEAF: Final = 2
_OVERFLOW: Final = 4
_BIG_DATA: Final = 1
_SUB_TREE: Final = 2
_INTEGER_KEY: Final = 8
_DEPTH_MAX: Final = 32
_TREE_RECORD_BYTES: Final = 48
_NODE: Final = struct.Struct("<HHHH")
_HEADER: Final = struct.Struct("<QHHHH")
_OVERFLOW_HEADER: Final = struct.Struct("<QHHI")
_NUMBER: Final = struct.Struct("<Q")
_PROBLEMS_MAX: Final = 100

# What owns a page, in the one byte kept for it.
_FREE: Final = 1
_META: Final = 2
_TREES: Final = 3

Key: TypeAlias = bytes | int
OnNode: TypeAlias = Callable[[Key, int, bytes], None]
OnSlack: TypeAlias = Callable[[int, bytes], None]


class PageReport:
    """What the accounting found: pages and rows, and problems (none: the file is sound)."""

    __slots__ = ("free", "pages", "problems", "tables", "transaction")

    def __init__(self, pages: int = 0, free: int = 0, transaction: int = 0) -> None:
        self.pages = pages
        self.free = free
        self.transaction = transaction
        self.tables: dict[str, int] = {}
        self.problems: list[str] = []


class _Node(NamedTuple):
    key: Key
    flags: int
    size: int
    data_at: int
    child: int


def check_pages(path: str) -> PageReport:
    """Account for every page of the data file at `path`, which nobody may write meanwhile.

    Damage is reported, never raised; problems stop at 100. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _Accounting(descriptor, path).run()
    finally:
        os.close(descriptor)


def free_pages(
    descriptor: int, meta: MetaPage, where: str, *, before: int | None = None
) -> bytearray:
    """One byte for each page of the file, 1 where it is free; raises CorruptObject if damaged.

    With `before` only pages that transactions of a lower number freed count.
    """
    accounting = _Accounting(descriptor, where)
    accounting.begin(meta)
    accounting.read_free_list(meta, before)
    if accounting.report.problems:
        raise CorruptObject(f"{where}: {accounting.report.problems[0]}", where=where)
    owners = accounting.owners
    return bytearray(owner == _FREE for owner in owners)


def unused_bytes(descriptor: int, meta: MetaPage, where: str) -> tuple[bytearray, array[int]]:
    """Where nothing lives: one byte for each page, 1 where it is free; and parts of other pages.

    The parts are (offset, length) after each other: what lies between the nodes of a page, or
    behind a value that ends within its pages, and is not zero. Nothing that `meta` leads to may
    change meanwhile. Raises CorruptObject for a damaged file.
    """
    parts = array("Q")

    def on_slack(offset: int, data: bytes) -> None:
        if data.count(0) != len(data):
            parts.extend((offset, len(data)))

    accounting = _Accounting(descriptor, where, on_slack)
    accounting.account(meta)
    if accounting.report.problems:
        raise CorruptObject(f"{where}: {accounting.report.problems[0]}", where=where)
    return bytearray(owner == _FREE for owner in accounting.owners), parts


def is_whole(descriptor: int, meta: MetaPage, size: int, where: str) -> bool:
    """Whether a file of `size` bytes holds every page that is in use.

    LMDB does not write pages that were allocated and freed within one transaction: if those are the
    last ones, a sound file ends before its last page. What is missing must then be free.
    """
    present = size // meta.page_size
    if present > meta.last_page:
        return True
    if present < META_PAGES:
        return False
    free = free_pages(descriptor, meta, where)
    return all(free[present : meta.last_page + 1])


class _Accounting:
    def __init__(self, descriptor: int, where: str, on_slack: OnSlack | None = None) -> None:
        self._descriptor = descriptor
        self._where = where
        self._on_slack = on_slack
        self.report = PageReport()
        self.owners = bytearray()
        self._page_size = 0
        self._last = 0
        self._counts = [0, 0, 0, 0]

    def run(self) -> PageReport:
        try:
            metas = read_metas(self._descriptor, self._where)
        except CastoreError as error:
            self._problem(error.message)
            return self.report
        self._check_metas(*metas)
        self.account(max(metas, key=lambda one: one.transaction))
        return self.report

    def account(self, meta: MetaPage) -> None:
        """Walk everything that a meta page leads to."""
        self.begin(meta)
        self.report.transaction = meta.transaction
        self.report.pages = meta.last_page + 1
        subtrees = self._walk_main(meta)
        for owner, (name, record) in enumerate(subtrees, _TREES + 1):
            # More tables than fit a byte never occur: a store has 14.
            self._tree(record, f"table {name}", min(owner, 255), None)
            self.report.tables[name] = record.entries
        self.read_free_list(meta)
        self.report.free = self.owners.count(_FREE)
        lost = self.owners.count(0)
        if lost and not self.report.problems:
            first = self.owners.index(0)
            self._problem(f"{lost} pages belong to nothing, the first is {first}")

    def begin(self, meta: MetaPage) -> None:
        self._page_size = meta.page_size
        size = os.fstat(self._descriptor).st_size
        # A damaged last page number must not cost memory; a sound file is short by little.
        limit = size // meta.page_size + (1 << 20)
        if meta.last_page > limit:
            self._problem(f"last page {meta.last_page}, in a file of {size} bytes")
        self._last = min(meta.last_page, limit)
        self.owners = bytearray(self._last + 1)
        self.owners[:META_PAGES] = bytes((_META, _META))[: self._last + 1]

    def read_free_list(self, meta: MetaPage, before: int | None = None) -> None:
        def on_node(key: Key, flags: int, data: bytes) -> None:
            if before is not None and isinstance(key, int) and key >= before:
                return
            if isinstance(key, int) and not 0 < key <= meta.transaction:
                self._problem(f"free list: transaction {key} is not in the past")
            if flags or len(data) < 8 or len(data) % 8:
                self._problem(f"free list: a record of {len(data)} bytes, flags {flags:#x}")
                return
            numbers = [int(number) for (number,) in _NUMBER.iter_unpack(data)]
            count, pages = numbers[0], numbers[1:]
            if not 0 < count <= len(pages):
                self._problem(f"free list: a count of {count} pages in {len(pages)} places")
                return
            pages = pages[:count]
            if any(a <= b for a, b in pairwise(pages)):
                self._problem("free list: pages out of order")
            for page in pages:
                self._own(page, _FREE, "free list")

        if meta.free.flags != _INTEGER_KEY:
            self._problem(f"free list: flags {meta.free.flags:#x}")
        record = meta.free._replace(pad=0, flags=_INTEGER_KEY)
        self._tree(record, "free list", _TREES, on_node)

    def _walk_main(self, meta: MetaPage) -> list[tuple[str, TreeRecord]]:
        subtrees: list[tuple[str, TreeRecord]] = []

        def on_node(key: Key, flags: int, data: bytes) -> None:
            if not isinstance(key, bytes) or flags != _SUB_TREE or len(data) != _TREE_RECORD_BYTES:
                self._problem(f"main tree: {key!r} is not a table")
                return
            subtrees.append((key.decode("utf-8", "replace"), read_tree_record(data)))

        self._tree(meta.main, "main tree", _TREES, on_node)
        return subtrees

    def _check_metas(self, first: MetaPage, second: MetaPage) -> None:
        for page, meta in enumerate((first, second)):
            if meta.transaction % 2 != page and meta.transaction:
                self._problem(f"meta page {page}: transaction {meta.transaction} is not its own")
            # A store is only ever mapped in powers of two, so no single bit can change unnoticed.
            if meta.map_size.bit_count() != 1 or meta.map_size < meta.bytes_needed:
                self._problem(f"meta page {page}: a map of {meta.map_size} bytes")
        if abs(first.transaction - second.transaction) != 1 and (
            first.transaction or second.transaction
        ):
            self._problem(
                f"meta pages: transactions {first.transaction} and {second.transaction} do not "
                "follow each other: one was damaged, or rolled back"
            )
        older, newer = sorted((first, second), key=lambda meta: meta.transaction)
        if older.last_page > newer.last_page:
            self._problem("meta pages: the last page went backwards")

    def _tree(self, record: TreeRecord, name: str, owner: int, on_node: OnNode | None) -> None:
        self._counts = counts = [0, 0, 0, 0]
        integer = bool(record.flags & _INTEGER_KEY)
        if record.flags & ~_INTEGER_KEY or record.pad:
            self._problem(f"{name}: flags {record.flags:#x}, pad {record.pad}")
        elif record.root != NO_PAGE:
            if not 0 < record.depth <= _DEPTH_MAX:
                self._problem(f"{name}: depth {record.depth}")
                return
            self._walk(record, name, owner, on_node, integer)
        noted = [record.branches, record.leaves, record.overflows, record.entries]
        if counts != noted or (record.root == NO_PAGE and record.depth):
            self._problem(
                f"{name}: branch, leaf and overflow pages and rows are {counts}, not {noted}"
            )

    def _walk(
        self, record: TreeRecord, name: str, owner: int, on_node: OnNode | None, integer: bool
    ) -> None:
        stack: list[tuple[int, int, Key | None, Key | None]] = [(record.root, 1, None, None)]
        while stack and len(self.report.problems) < _PROBLEMS_MAX:
            number, level, low, high = stack.pop()
            if not self._own(number, owner, name):
                continue
            data = self._read(number * self._page_size, self._page_size)
            branch = level < record.depth
            try:
                nodes = list(self._nodes(data, number, branch, integer))
                _check_order([node.key for node in nodes[branch:]], low, high)
            except _DamagedPage as error:
                self._problem(f"{name}: page {number}: {error}")
                continue
            self._counts[0 if branch else 1] += 1
            if branch:
                ends = [node.key for node in nodes[1:]] + [high]
                starts = [low, *ends]
                for node, start, end in zip(
                    reversed(nodes), starts[-2::-1], ends[::-1], strict=True
                ):
                    stack.append((node.child, level + 1, start, end))
                continue
            self._counts[3] += len(nodes)
            for node in nodes:
                self._leaf_node(node, data, number, name, owner, on_node)

    def _nodes(self, data: bytes, number: int, branch: bool, integer: bool) -> Iterator[_Node]:
        size = self._page_size
        if len(data) < size:
            raise _DamagedPage("beyond the end of the file")
        found, pad, flags, lower, upper = _HEADER.unpack_from(data)
        if found != number or pad or flags != (_BRANCH if branch else _LEAF):
            raise _DamagedPage(f"number {found}, flags {flags:#x}")
        if self._on_slack is not None and lower <= upper <= size:
            self._on_slack(number * size + lower, data[lower:upper])
        count = (lower - PAGE_HEADER) // 2
        if not PAGE_HEADER <= lower <= upper <= size or lower % 2 or count < (2 if branch else 1):
            raise _DamagedPage(f"bounds {lower} and {upper}")
        spans: list[tuple[int, int]] = []
        for (at,) in struct.iter_unpack("<H", data[PAGE_HEADER:lower]):
            if not upper <= at <= size - _NODE.size or at % 2:
                raise _DamagedPage(f"a node at {at}")
            low, high, node_flags, key_size = _NODE.unpack_from(data, at)
            data_at = at + _NODE.size + key_size
            if branch:
                node = _Node(b"", 0, 0, data_at, low | high << 16 | node_flags << 32)
                end = data_at
            else:
                node = _Node(b"", node_flags, low | high << 16, data_at, 0)
                end = data_at + (8 if node_flags & _BIG_DATA else node.size)
            if end > size or node.flags & ~(_BIG_DATA | _SUB_TREE):
                raise _DamagedPage(f"node at {at}: flags {node.flags:#x}, ends at {end}")
            spans.append((at, end))
            yield node._replace(key=_key(data[at + _NODE.size : data_at], integer, branch))
        spans.sort()
        if any(end > start for (_, end), (start, _) in pairwise(spans)):
            raise _DamagedPage("nodes overlap")

    def _leaf_node(
        self, node: _Node, data: bytes, number: int, name: str, owner: int, on_node: OnNode | None
    ) -> None:
        if not node.flags & _BIG_DATA:
            if on_node is not None:
                on_node(node.key, node.flags, data[node.data_at : node.data_at + node.size])
            elif node.flags:
                self._problem(f"{name}: page {number}: a tree inside a table")
            return
        (first,) = _NUMBER.unpack_from(data, node.data_at)
        header = self._read(first * self._page_size, PAGE_HEADER) if first <= self._last else b""
        found, pad, flags, pages = (
            _OVERFLOW_HEADER.unpack(header) if len(header) == PAGE_HEADER else (0, 0, 0, 0)
        )
        # A value overwritten by a shorter one within one transaction keeps its pages.
        least = (PAGE_HEADER - 1 + node.size) // self._page_size + 1
        if (found, pad, flags) != (first, 0, _OVERFLOW) or pages < least:
            self._problem(f"{name}: page {number}: its value at page {first} is damaged")
            return
        if first + pages - 1 > self._last:
            self._problem(f"{name}: page {number}: its value at page {first} has {pages} pages")
            return
        end = (first + pages) * self._page_size
        if end > os.fstat(self._descriptor).st_size:
            self._problem(f"{name}: page {number}: its value at page {first} is cut off")
        self._counts[2] += pages
        for page in range(first, first + pages):
            self._own(page, owner, name)
        if self._on_slack is not None:
            behind = first * self._page_size + PAGE_HEADER + node.size
            self._on_slack(behind, self._read(behind, end - behind))
        if on_node is not None:
            value = self._read(first * self._page_size + PAGE_HEADER, node.size)
            on_node(node.key, node.flags & ~_BIG_DATA, value)

    def _own(self, page: int, owner: int, name: str) -> bool:
        if not META_PAGES <= page <= self._last:
            self._problem(f"{name}: page {page} is outside the file")
            return False
        if self.owners[page]:
            other = {_FREE: "the free list", _TREES: "the main tree or the free list"}
            what = other.get(self.owners[page], "a table")
            self._problem(f"{name}: page {page} belongs to {what} already")
            return False
        self.owners[page] = owner
        return True

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def _problem(self, text: str) -> None:
        if len(self.report.problems) < _PROBLEMS_MAX:
            self.report.problems.append(text)


class _DamagedPage(Exception):
    """A page that is not what LMDB writes."""


def _key(data: bytes, integer: bool, branch: bool) -> Key:
    if not integer:
        return data
    if len(data) != 8:
        # The first key of a branch page means "everything below" and is empty.
        if branch and not data:
            return 0
        raise _DamagedPage(f"an integer key of {len(data)} bytes")
    return int(_NUMBER.unpack(data)[0])


def _check_order(keys: list[Key], low: Key | None, high: Key | None) -> None:
    bounded = keys if low is None else [low, *keys]
    for a, b in pairwise(bounded):
        # Within a page keys rise strictly; the first may equal the key that led to the page.
        if _above(a, b) or (a == b and not (a is low and b is keys[0])):
            raise _DamagedPage("keys out of order")
    if high is not None and keys and not _above(high, keys[-1]):
        raise _DamagedPage("a key beyond the page")


def _above(a: Key, b: Key) -> bool:
    return a > b  # type: ignore[operator]
