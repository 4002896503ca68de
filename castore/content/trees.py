"""Folders as trees of pages: building them from entries, and reading them entry by entry.

A folder of up to 1,024 entries is one page of level 0. Above that a page ends after an entry whose
BLAKE3 of the name begins with a zero byte, or at 1,024 entries; rows that point to the pages are
cut alike by their first names, level by level, until one page is left.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias, cast

from blake3 import blake3

from castore.content.paging import cut_rows
from castore.errors import CorruptObject, InvalidInput
from castore.model.ids import Id
from castore.model.limits import FOLDER_DEPTH, TREE_ENTRIES, TREE_LEVELS
from castore.model.pages import (
    TREE,
    Branching,
    Entry,
    TreePage,
    decode_tree,
    encode_tree,
    tree_id,
)

ReadPage: TypeAlias = Callable[[Id], bytes]
"""Gives the verified payload of a page; raises ObjectNotFound or CorruptObject."""


Row: TypeAlias = tuple[bytes, str, Id, int, int]
"""An Entry, which may be a plain tuple: there are as many as there are files."""


class BuiltTree(NamedTuple):
    """A folder ready to store: its root, the bytes of all files below, and its own pages.

    `pages` are (id, payload), each after the pages it points to; the root is last.
    """

    root: Id
    size: int
    pages: list[tuple[Id, bytes]]


def build_tree(entries: Iterable[Row]) -> BuiltTree:
    """The pages of one folder; the same entries give the same root, in whatever order they come.

    Raises InvalidInput for a name given twice.
    """
    ordered = sorted(entries)
    for one, next_one in pairwise(ordered):
        if one[0] == next_one[0]:
            raise InvalidInput(f"{one[0]!r} is in one folder twice")
    pages: list[tuple[Id, bytes]] = []
    rows: list[Branching] = []
    for entries_of_page in cut_rows(ordered, _ends, TREE_ENTRIES, 1):
        row, payload = leaf_page(entries_of_page)
        rows.append(row)
        pages.append((row.id, payload))
    root, above = join_pages(rows)
    return BuiltTree(root, sum([row.size for row in rows]), pages + above)


def leaf_page(entries: Sequence[Row]) -> tuple[Branching, bytes]:
    """The page of these entries, sorted by name, and the row that points to it."""
    payload = encode_tree(0, cast("Sequence[Entry]", entries))
    first = entries[0][0] if entries else b""
    size = sum([entry[3] for entry in entries])
    return Branching(first, tree_id(payload), len(entries), size), payload


def join_pages(rows: list[Branching]) -> tuple[Id, list[tuple[Id, bytes]]]:
    """The root above the pages of level 0 with these rows, and the pages of the levels above."""
    pages: list[tuple[Id, bytes]] = []
    level = 0
    while len(rows) > 1:
        level += 1
        below, rows = rows, []
        for group in cut_rows(below, _ends, TREE_ENTRIES, 2):
            payload = encode_tree(level, group)
            pages.append((tree_id(payload), payload))
            entries_below = sum(row.entries for row in group)
            bytes_below = sum(row.size for row in group)
            rows.append(Branching(group[0].name, pages[-1][0], entries_below, bytes_below))
    return rows[0].id, pages


def cut_names(names: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The sorted names of a folder as they are divided among its pages of level 0."""
    return cut_rows(names, _name_ends, TREE_ENTRIES, 1)


def iter_tree(read_page: ReadPage, root: Id) -> Iterator[Entry]:
    """The entries of one folder, sorted by name, read page by page as they are asked for.

    Raises CorruptObject where names are out of order across pages or a row misstates its page.
    """
    last = b""
    for entry in _entries(read_page, _page(read_page, root), root):
        if entry.name <= last:
            raise CorruptObject(f"tree: {entry.name!r} is out of order", id=root.hex())
        last = entry.name
        yield entry


def find_entry(read_page: ReadPage, root: Id, name: bytes) -> Entry | None:
    """The entry of this name in one folder, or None; reads one page per level."""
    page = _page(read_page, root)
    while page.level:
        names = [row.name for row in page.entries]
        at = bisect_right(names, name) - 1
        if at < 0:
            return None
        page = _page_below(read_page, page.level, _branching(page)[at])
    entries = _leaf(page)
    at = bisect_left([entry.name for entry in entries], name)
    return entries[at] if at < len(entries) and entries[at].name == name else None


WALKED_ENTRIES: Final = 1 << 24
"""Files and folders that are visited at most: a few shared pages can stand for 10^40 of them."""


def walk_tree(read_page: ReadPage, root: Id) -> Iterator[tuple[bytes, Entry]]:
    """Every file and folder below `root` with its path, each folder before what is in it.

    Raises CorruptObject for folders nested deeper than 256 or whose size is not what is below,
    InvalidInput for more entries than WALKED_ENTRIES.
    """
    left = WALKED_ENTRIES
    stack: list[tuple[bytes, Iterator[Entry]]] = [(b"", iter_tree(read_page, root))]
    expected: list[int | None] = [None]
    while stack:
        prefix, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            if expected.pop():
                raise CorruptObject(f"tree: folder {prefix!r} is not of the size it is said to be")
            continue
        left -= 1
        if left < 0:
            raise too_many_entries()
        size = expected[-1]
        if size is not None:
            expected[-1] = size - entry.size
        path = prefix + entry.name
        yield path, entry
        if entry.kind == TREE:
            if len(stack) >= FOLDER_DEPTH:
                raise CorruptObject(f"tree: {path!r} is nested deeper than {FOLDER_DEPTH}")
            stack.append((path + b"/", iter_tree(read_page, entry.id)))
            expected.append(entry.size)


def too_many_entries() -> InvalidInput:
    """The error for a folder with more entries below it than are visited."""
    return InvalidInput(f"more than {WALKED_ENTRIES} files and folders in one folder")


def look_up(read_page: ReadPage, root: Id, path: str) -> Entry | None:
    """The file or folder at `path` (relative, with `/`) below `root`, or None."""
    entry: Entry | None = None
    tree = root
    for component in path.encode("utf-8", "surrogateescape").split(b"/"):
        if entry is not None:
            if entry.kind != TREE:
                return None
            tree = entry.id
        entry = find_entry(read_page, tree, component)
        if entry is None:
            return None
    return entry


def _ends(row: Row | Branching) -> bool:
    return _name_ends(row[0])


def _name_ends(name: bytes) -> bool:
    return blake3(name).digest(1) == b"\0"


def _page(read_page: ReadPage, id: Id) -> TreePage:
    try:
        return decode_tree(read_page(id))
    except CorruptObject as error:
        raise CorruptObject(error.message, id=error.id or id.hex(), where=error.where) from None


def _page_below(read_page: ReadPage, level: int, row: Branching) -> TreePage:
    """The page `row` points to from a page of this level; what the row says of it is compared."""
    page = _page(read_page, row.id)
    if page.level != level - 1 or not page.entries or page.entries[0].name != row.name:
        raise CorruptObject("tree: a page is not what its row says", id=row.id.hex())
    if page.level == 0:
        entries = _leaf(page)
        count, size = len(entries), sum(entry.size for entry in entries)
    else:
        rows = _branching(page)
        count, size = sum(row.entries for row in rows), sum(row.size for row in rows)
    if (count, size) != (row.entries, row.size):
        raise CorruptObject("tree: a page misstates its entries or bytes", id=row.id.hex())
    return page


def _entries(read_page: ReadPage, page: TreePage, root: Id) -> Iterator[Entry]:
    """Depth first over pages; levels fall by one, so the stack is bounded by TREE_LEVELS."""
    if page.level > TREE_LEVELS:
        raise CorruptObject(f"tree: {page.level} levels", id=root.hex())
    if page.level == 0:
        yield from _leaf(page)
        return
    for row in _branching(page):
        yield from _entries(read_page, _page_below(read_page, page.level, row), root)


def _leaf(page: TreePage) -> tuple[Entry, ...]:
    return page.entries  # type: ignore[return-value]  # level 0 holds entries by decode_tree


def _branching(page: TreePage) -> tuple[Branching, ...]:
    return page.entries  # type: ignore[return-value]  # levels above hold rows by decode_tree
