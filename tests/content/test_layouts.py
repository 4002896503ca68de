"""Layouts: the chunks of a file come back in order, whole or in part, from pages that agree."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from castore.content.layouts import build_layout, iter_parts, layout_size, parts_in_range
from castore.errors import CorruptObject, InvalidInput
from castore.model.ids import Kind, object_id
from castore.model.limits import LAYOUT_PARTS
from castore.model.pages import Part, decode_layout, encode_layout


def parts_of(count: int, seed: int = 0) -> list[Part]:
    return [
        Part(blake3(b"%d %d" % (seed, index)).digest(), index % 1000 + 1) for index in range(count)
    ]


@given(st.integers(1, 5000), st.integers(0, 3))
def test_a_layout_gives_back_its_parts(count: int, seed: int) -> None:
    parts = parts_of(count, seed)
    root, inner = build_layout(parts)
    read = dict(inner).__getitem__
    assert list(iter_parts(read, root)) == parts
    assert layout_size(root) == sum(part.size for part in parts)
    assert all(object_id(Kind.LAYOUT, payload) == id for id, payload in inner)


@given(st.integers(1, 2500), st.data())
def test_a_range_gives_the_parts_that_overlap_it(count: int, data: st.DataObject) -> None:
    parts = parts_of(count)
    total = sum(part.size for part in parts)
    start = data.draw(st.integers(0, total + 10))
    length = data.draw(st.integers(0, total + 10))
    expected, offset = [], 0
    for part in parts:
        if offset < start + length and offset + part.size > start and length > 0:
            expected.append((offset, part))
        offset += part.size
    root, inner = build_layout(parts)
    assert list(parts_in_range(dict(inner).__getitem__, root, start, length)) == expected


def test_up_to_512_parts_are_one_page() -> None:
    assert build_layout(parts_of(LAYOUT_PARTS))[1] == []
    assert len(build_layout(parts_of(LAYOUT_PARTS + 1))[1]) > 1


def test_pages_end_where_the_format_says() -> None:
    _, inner = build_layout(parts_of(20_000))
    pages = [decode_layout(payload).parts for _, payload in inner]
    for page in pages[:-1]:
        assert page[-1].id[0] < 2 or len(page) == LAYOUT_PARTS
        assert not any(part.id[0] < 2 for part in page[:-1])


def test_an_edit_rewrites_few_pages() -> None:
    parts = parts_of(20_000)
    before = dict(build_layout(parts)[1])
    parts[9_000:9_001] = parts_of(2, seed=9)
    after = dict(build_layout(parts)[1])
    assert len(after.keys() - before.keys()) <= 2


def test_a_big_file_has_pages_of_pages() -> None:
    parts = parts_of(120_000)
    root, inner = build_layout(parts)
    assert decode_layout(root).level == 2
    assert list(iter_parts(dict(inner).__getitem__, root)) == parts


def test_only_the_pages_of_a_range_are_read() -> None:
    parts = parts_of(20_000)
    root, inner = build_layout(parts)
    pages, asked = dict(inner), []

    def read(id: bytes) -> bytes:
        asked.append(id)
        return pages[id]

    found = list(parts_in_range(read, root, layout_size(root) // 2, 1))
    assert (len(found), len(asked)) == (1, 1)


def test_no_parts_no_layout() -> None:
    with pytest.raises(InvalidInput):
        build_layout([])


@pytest.mark.parametrize("lie", ["size", "level"])
def test_a_row_that_misstates_its_page_is_found(lie: str) -> None:
    parts = parts_of(4)
    leaf = encode_layout(0, parts)
    id, size = object_id(Kind.LAYOUT, leaf), sum(part.size for part in parts)
    other = size + 1 if lie == "size" else size
    root = encode_layout(2 if lie == "level" else 1, [Part(id, other), Part(id, other)])
    with pytest.raises(CorruptObject, match="row"):
        list(iter_parts({id: leaf}.__getitem__, root))
