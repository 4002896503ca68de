"""Pages: the nodes of big folders (trees) and of the chunk lists of big files (layouts)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgpack

from castore.errors import CorruptObject, InvalidInput
from castore.model.encoding import decode
from castore.model.fields import Fields
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import (
    CHUNK_MAX,
    ID_BYTES,
    LAYOUT_LEVELS,
    LAYOUT_PARTS,
    PAGE_BYTES,
    TREE_ENTRIES,
    TREE_LEVELS,
)
from castore.model.names import component_problem
from castore.model.values import frozen

FILE: Final = "file"
TREE: Final = "tree"
_TOTAL_MAX: Final = (1 << 63) - 1
# More than what stands before the second field of the first row of a tree page.
_HEAD_BYTES: Final = 512


class Entry(NamedTuple):
    """One name in a folder; `size` of a tree is the bytes of all files below it."""

    name: bytes
    kind: str
    id: Id
    size: int
    mode: int


class Branching(NamedTuple):
    """One row of a tree page of level 1 and above: a page below, its first name, entries, bytes."""

    name: bytes
    id: Id
    entries: int
    size: int


class Part(NamedTuple):
    """One row of a layout page: a chunk (level 0) or a page below, and the bytes it stands for."""

    id: Id
    size: int


@frozen
class TreePage:
    """One page of a folder: entries at level 0, rows that point to pages below at levels above."""

    level: int
    entries: tuple[Entry, ...] | tuple[Branching, ...]


@frozen
class LayoutPage:
    """One page of the chunk list of a file, in file order."""

    level: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """The bytes this page stands for."""
        return sum(part.size for part in self.parts)


def encode_tree(level: int, entries: Sequence[Entry] | Sequence[Branching]) -> bytes:
    """The canonical bytes of a tree page; raises InvalidInput beyond the bounds of a page.

    Entries must be sorted by name: not checked again here, where every commit passes.
    """
    if len(entries) > TREE_ENTRIES or level > TREE_LEVELS:
        raise InvalidInput(f"a folder page of {len(entries)} entries at level {level}")
    payload: bytes = msgpack.packb({"entries": entries, "level": level}, use_bin_type=True)
    if len(payload) > PAGE_BYTES:
        raise InvalidInput(f"a folder page of {len(payload)} bytes, more than {PAGE_BYTES}")
    return payload


def decode_tree(payload: bytes) -> TreePage:
    """The tree page encoded by `payload`; raises CorruptObject."""
    fields = Fields(decode(payload, limit=PAGE_BYTES, what="tree"), "tree", ("entries", "level"))
    level = fields.integer("level", 0, TREE_LEVELS)
    rows: tuple[Entry, ...] | tuple[Branching, ...]
    if level:
        rows = fields.items("entries", _read_branching, TREE_ENTRIES, sort=False)
    else:
        rows = fields.items("entries", _read_entry, TREE_ENTRIES, sort=False)
    if any(a >= b for a, b in pairwise([row[0] for row in rows])):
        raise CorruptObject("tree: entries not sorted by name, or with duplicates")
    if level and not rows:
        raise CorruptObject("tree: a page above without pages below")
    return TreePage(level, rows)


def tree_level(payload: bytes) -> int:
    """The level of a tree page that was checked before: its last byte."""
    return payload[-1]


def tree_head(payload: bytes) -> tuple[int, bytes]:
    """The level and the first name, b"" if it is empty, of a tree page that was checked before."""
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(payload[:_HEAD_BYTES])
    unpacker.read_map_header()
    unpacker.skip()
    first = b""
    if unpacker.read_array_header():
        unpacker.read_array_header()
        first = unpacker.unpack()
    return tree_level(payload), first


def tree_ids(payload: bytes) -> list[Id]:
    """The ids a tree page names, in order: all an index needs of a page that was checked before.

    Raises CorruptObject where they cannot be told.
    """
    fields = Fields(decode(payload, limit=PAGE_BYTES, what="tree"), "tree", ("entries", "level"))
    width, at = (4, 1) if fields.integer("level", 0, TREE_LEVELS) else (5, 2)
    return _column(fields.raw("entries"), width, at, "tree")


def tree_rows(payload: bytes) -> tuple[int, list[list[Any]]]:
    """The level of a tree page that was checked before, and its rows as they are encoded.

    Entry or Branching by their fields, at a third of what those cost. Raises CorruptObject where a
    row has not so many.
    """
    try:
        page = msgpack.unpackb(payload, raw=False)
        level, rows = page["level"], page["entries"]
        width = len(Branching._fields if level else Entry._fields)
        if any(len(row) != width for row in rows):
            raise ValueError("a row of a wrong shape")
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise CorruptObject(f"tree: {error}") from None
    return level, rows


def encode_layout(level: int, parts: Sequence[Part]) -> bytes:
    """The canonical bytes of a layout page; raises InvalidInput beyond the bounds of a page."""
    if len(parts) > LAYOUT_PARTS or level > LAYOUT_LEVELS:
        raise InvalidInput(f"a layout page of {len(parts)} parts at level {level}")
    payload: bytes = msgpack.packb({"level": level, "parts": parts}, use_bin_type=True)
    return payload


def decode_layout(payload: bytes) -> LayoutPage:
    """The layout page encoded by `payload`; raises CorruptObject."""
    fields = Fields(decode(payload, limit=PAGE_BYTES, what="layout"), "layout", ("level", "parts"))
    level = fields.integer("level", 0, LAYOUT_LEVELS)
    bound = _TOTAL_MAX if level else CHUNK_MAX
    parts = fields.items(
        "parts", lambda value, what: _read_part(value, what, bound), LAYOUT_PARTS, sort=False
    )
    if not parts:
        raise CorruptObject("layout: without parts")
    return LayoutPage(level, parts)


def layout_ids(payload: bytes) -> list[Id]:
    """The ids a layout page names, in order, as `tree_ids`; raises CorruptObject."""
    fields = Fields(decode(payload, limit=PAGE_BYTES, what="layout"), "layout", ("level", "parts"))
    return _column(fields.raw("parts"), 2, 0, "layout")


def tree_id(payload: bytes) -> Id:
    """The id of an encoded tree page."""
    return object_id(Kind.TREE, payload)


EMPTY_FOLDER: Final = tree_id(encode_tree(0, ()))
"""The id of a folder without entries."""


def _read_entry(value: object, what: str) -> Entry:
    if type(value) is not list or len(value) != 5:
        raise CorruptObject(f"{what}: a row of a wrong shape")
    name, kind, id, size, mode = value
    _check_name_and_id(name, id, what)
    if kind not in (FILE, TREE) or type(size) is not int or not 0 <= size <= _TOTAL_MAX:
        raise CorruptObject(f"{what}: {name!r}: unknown kind or size")
    if type(mode) is not int or mode not in (0, 1) or (kind == TREE and mode):
        raise CorruptObject(f"{what}: {name!r}: unknown mode")
    return Entry(name, kind, id, size, mode)


def _read_branching(value: object, what: str) -> Branching:
    if type(value) is not list or len(value) != 4:
        raise CorruptObject(f"{what}: a row of a wrong shape")
    name, id, count, size = value
    _check_name_and_id(name, id, what)
    if type(count) is not int or count < 1 or type(size) is not int or not 0 <= size <= _TOTAL_MAX:
        raise CorruptObject(f"{what}: {name!r}: impossible count or size")
    return Branching(name, id, count, size)


def _read_part(value: object, what: str, bound: int) -> Part:
    if type(value) is not list or len(value) != 2:
        raise CorruptObject(f"{what}: a row of a wrong shape")
    id, size = value
    if type(id) is not bytes or len(id) != ID_BYTES:
        raise CorruptObject(f"{what}: not an id")
    if type(size) is not int or not 1 <= size <= bound:
        raise CorruptObject(f"{what}: a part of impossible size")
    return Part(id, size)


def _column(rows: object, width: int, at: int, what: str) -> list[Id]:
    """The ids at place `at` of rows of `width` items."""
    if type(rows) is not list or any(type(row) is not list or len(row) != width for row in rows):
        raise CorruptObject(f"{what}: a row of a wrong shape")
    ids = [row[at] for row in rows]
    if any(type(id) is not bytes or len(id) != ID_BYTES for id in ids):
        raise CorruptObject(f"{what}: not an id")
    return ids


def _check_name_and_id(name: object, id: object, what: str) -> None:
    if type(name) is not bytes or type(id) is not bytes or len(id) != ID_BYTES:
        raise CorruptObject(f"{what}: a row of a wrong shape")
    problem = component_problem(name)
    if problem:
        raise CorruptObject(f"{what}: {problem}")
