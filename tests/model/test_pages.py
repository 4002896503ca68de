"""Pages of folders and of chunk lists."""

from __future__ import annotations

import pytest
from hypothesis import given

from castore.errors import CorruptObject, InvalidInput
from castore.model.encoding import encode
from castore.model.limits import CHUNK_MAX, LAYOUT_PARTS, PAGE_BYTES, TREE_ENTRIES, TREE_LEVELS
from castore.model.pages import (
    Branching,
    Entry,
    Part,
    decode_layout,
    decode_tree,
    encode_layout,
    encode_tree,
    layout_ids,
    tree_id,
    tree_ids,
)
from tests.model.samples import LAYOUT, TREE, brief, some_id
from tests.model.strategies import branchings, chunks, entries


@given(entries)
def test_folders_are_read_back(rows: list[Entry]) -> None:
    page = decode_tree(encode_tree(0, rows))
    assert page.level == 0
    assert page.entries == tuple(rows)
    assert all(type(row) is Entry for row in page.entries)


@given(entries, branchings)
def test_the_ids_of_a_page_are_those_of_its_rows(rows: list[Entry], above: list[Branching]) -> None:
    assert tree_ids(encode_tree(0, rows)) == [row.id for row in rows]
    assert tree_ids(encode_tree(1, above)) == [row.id for row in above]
    parts = [Part(some_id(n), n + 1) for n in range(7)]
    for level in (0, 1):
        assert layout_ids(encode_layout(level, parts)) == [part.id for part in parts]


@pytest.mark.parametrize(
    "rows", [[[b"a", "file", b"short", 1, 0]], [[b"a", some_id(1), 1]], ["a"], {}, [[]]]
)
def test_ids_are_not_taken_from_malformed_rows(rows: object) -> None:
    with pytest.raises(CorruptObject):
        tree_ids(encode({"entries": rows, "level": 0}))
    with pytest.raises(CorruptObject):
        layout_ids(encode({"level": 0, "parts": rows}))


@given(branchings)
def test_pages_above_are_read_back(rows: list[Branching]) -> None:
    page = decode_tree(encode_tree(3, rows))
    assert page.level == 3
    assert page.entries == tuple(rows)
    assert all(type(row) is Branching for row in page.entries)


@given(chunks)
def test_chunk_lists_are_read_back(parts: list[Part]) -> None:
    page = decode_layout(encode_layout(0, parts))
    assert (page.level, page.parts) == (0, tuple(parts))
    assert page.size == sum(part.size for part in parts)


def test_the_fast_encoding_of_pages_is_the_canonical_one() -> None:
    rows = [list(row) for row in TREE]
    assert encode_tree(0, TREE) == encode({"level": 0, "entries": rows})
    parts = [list(part) for part in LAYOUT]
    assert encode_layout(0, LAYOUT) == encode({"level": 0, "parts": parts})
    assert len(tree_id(encode_tree(0, TREE))) == 32


def test_an_empty_folder_is_a_page_and_an_empty_page_above_is_not() -> None:
    assert decode_tree(encode_tree(0, [])).entries == ()
    with pytest.raises(CorruptObject, match="without pages below"):
        decode_tree(encode_tree(1, []))
    with pytest.raises(CorruptObject, match="without parts"):
        decode_layout(encode_layout(0, []))


def test_a_page_above_may_hold_one_row() -> None:
    # The last page of a level is what the cuts leave.
    row = Branching(b"a", some_id(1), 1, 0)
    assert decode_tree(encode_tree(1, [row])).entries == (row,)
    assert decode_layout(encode_layout(1, [Part(some_id(1), 5)])).size == 5


@pytest.mark.parametrize(
    "rows",
    [
        [TREE[1], TREE[0]],
        [TREE[0], TREE[0]],
        [Entry(b"", "file", some_id(1), 0, 0)],
        [Entry(b".", "file", some_id(1), 0, 0)],
        [Entry(b"..", "tree", some_id(1), 0, 0)],
        [Entry(b"a/b", "file", some_id(1), 0, 0)],
        [Entry(b"a\0b", "file", some_id(1), 0, 0)],
        [Entry(b"\xff", "file", some_id(1), 0, 0)],
        [Entry(b"n" * 256, "file", some_id(1), 0, 0)],
        [Entry(b"a", "link", some_id(1), 0, 0)],
        [Entry(b"a", "file", some_id(1)[:31], 0, 0)],
        [Entry(b"a", "file", some_id(1), -1, 0)],
        [Entry(b"a", "file", some_id(1), 1 << 63, 0)],
        [Entry(b"a", "file", some_id(1), 0, 2)],
        [Entry(b"a", "tree", some_id(1), 0, 1)],
        [Entry(b"a", "file", some_id(1), True, 0)],
        [Entry(b"a", "file", some_id(1), 0, False)],
    ],
    ids=brief,
)
def test_impossible_entries_are_refused(rows: list[Entry]) -> None:
    with pytest.raises(CorruptObject):
        decode_tree(encode_tree(0, rows))


@pytest.mark.parametrize(
    "row",
    [
        Branching(b"a", some_id(1), 0, 5),
        Branching(b"a", some_id(1), 1, -1),
        Branching(b"a", b"", 1, 5),
        Branching(b"..", some_id(1), 1, 5),
    ],
    ids=brief,
)
def test_impossible_rows_are_refused(row: Branching) -> None:
    with pytest.raises(CorruptObject):
        decode_tree(encode_tree(1, [row]))


@pytest.mark.parametrize(
    ("level", "part"),
    [
        (0, Part(some_id(1), 0)),
        (0, Part(some_id(1), CHUNK_MAX + 1)),
        (1, Part(some_id(1), 0)),
        (0, Part(b"x", 1)),
        (9, Part(some_id(1), 1)),
        (-1, Part(some_id(1), 1)),
    ],
    ids=brief,
)
def test_impossible_parts_are_refused(level: int, part: Part) -> None:
    with pytest.raises(CorruptObject):
        decode_layout(encode({"level": level, "parts": [list(part)]}))


def test_pages_are_bounded() -> None:
    widest = [Entry(b"%0255d" % i, "file", some_id(1), 1 << 62, 1) for i in range(TREE_ENTRIES)]
    payload = encode_tree(0, widest)
    assert len(payload) < PAGE_BYTES
    assert len(decode_tree(payload).entries) == TREE_ENTRIES
    more = [*widest, Entry(b"z", "file", some_id(1), 0, 0)]
    with pytest.raises(InvalidInput, match="1025 entries"):
        encode_tree(0, more)
    with pytest.raises(CorruptObject, match="at most 1024"):
        decode_tree(encode({"entries": [list(row) for row in more], "level": 0}))
    with pytest.raises(InvalidInput, match="at level"):
        encode_tree(TREE_LEVELS + 1, [Branching(b"a", some_id(1), 1, 1)])
    parts = [Part(some_id(1), 1)] * (LAYOUT_PARTS + 1)
    with pytest.raises(InvalidInput, match="513 parts"):
        encode_layout(0, parts)
    with pytest.raises(CorruptObject, match="at most 512"):
        decode_layout(encode({"level": 0, "parts": [list(part) for part in parts]}))
