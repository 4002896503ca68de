"""Trees: one root for one folder, however it was put together, and no page that can lie."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content import trees
from castore.content.paging import cut_rows
from castore.content.trees import build_tree, find_entry, iter_tree, look_up, walk_tree
from castore.errors import CorruptObject, InvalidInput
from castore.model.ids import Id
from castore.model.limits import TREE_ENTRIES
from castore.model.pages import FILE, TREE, Branching, Entry, decode_tree, encode_tree, tree_id

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)
stored_names = names.map(str.encode).filter(lambda name: name not in (b".", b".."))


def entry(name: bytes, size: int = 1) -> Entry:
    return Entry(name, FILE, blake3(name).digest(), size, 0)


def many(count: int) -> list[Entry]:
    return [entry(b"file-%06d.txt" % index, index) for index in range(count)]


def reader(*built: object) -> Callable[[Id], bytes]:
    pages: dict[Id, bytes] = {}
    for tree in built:
        pages.update(tree.pages)  # type: ignore[attr-defined]
    return pages.__getitem__


@given(st.lists(stored_names, unique=True, max_size=60), st.randoms())
def test_the_root_does_not_depend_on_the_order(names: list[bytes], shuffle: random.Random) -> None:
    entries = [entry(name, len(name)) for name in names]
    built = build_tree(entries)
    shuffle.shuffle(entries)
    assert build_tree(entries) == built
    assert list(iter_tree(reader(built), built.root)) == sorted(entries)
    assert built.size == sum(len(name) for name in names)


@settings(max_examples=20)
@given(st.integers(0, 6000), st.randoms(use_true_random=True))
def test_paging_does_not_depend_on_the_order(count: int, shuffle: random.Random) -> None:
    entries = many(count)
    built = build_tree(entries)
    mixed = list(entries)
    shuffle.shuffle(mixed)
    assert build_tree(mixed) == built
    read = reader(built)
    assert list(iter_tree(read, built.root)) == entries
    for probe in entries[:: max(1, count // 20)]:
        assert find_entry(read, built.root, probe.name) == probe
        assert find_entry(read, built.root, probe.name + b"!") is None
    assert find_entry(read, built.root, b"") is None
    assert find_entry(read, built.root, b"zzz") is None


@given(st.lists(st.booleans(), max_size=200), st.integers(3, 12), st.integers(1, 2))
def test_rows_are_cut_into_pages_within_bounds(
    ends: list[bool], maximum: int, minimum: int
) -> None:
    rows = list(enumerate(ends))
    pages = cut_rows(rows, lambda row: row[1], maximum, minimum)
    assert [row for page in pages for row in page] == rows
    assert all(len(page) <= maximum for page in pages)
    if len(rows) > maximum:
        assert len(pages) > 1
        assert all(len(page) >= minimum for page in pages)


def test_up_to_1024_entries_are_one_page() -> None:
    assert [len(build_tree(many(count)).pages) for count in (0, 1, TREE_ENTRIES)] == [1, 1, 1]
    assert len(build_tree(many(TREE_ENTRIES + 1)).pages) > 2


def test_pages_end_where_the_format_says() -> None:
    built = build_tree(many(5000))
    leaves = [decode_tree(payload).entries for _, payload in built.pages[:-1]]
    for page in leaves[:-1]:
        last = blake3(page[-1].name).digest()[0] == 0
        assert last or len(page) == TREE_ENTRIES
        assert not any(blake3(row.name).digest()[0] == 0 for row in page[:-1])


def test_a_change_in_a_big_folder_rewrites_few_pages() -> None:
    entries = many(100_000)
    before = build_tree(entries)
    entries[50_000] = entries[50_000]._replace(size=7)
    entries.insert(20_000, entry(b"file-019999.txt.new"))
    after = build_tree(entries)
    fresh = {id for id, _ in after.pages} - {id for id, _ in before.pages}
    assert len(fresh) <= 4
    assert len(after.pages) > 200


def test_pages_come_before_the_pages_that_point_to_them() -> None:
    built = build_tree(many(20_000))
    seen: set[Id] = set()
    for id, payload in built.pages:
        page = decode_tree(payload)
        assert page.level == 0 or all(row.id in seen for row in page.entries)
        seen.add(id)
    assert built.pages[-1][0] == built.root


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        build_tree([entry(b"a"), entry(b"a", 2)])


def nested() -> tuple[Callable[[Id], bytes], Id]:
    inner = build_tree([entry(b"x", 3), entry(b"y", 4)])
    empty = build_tree([])
    outer = build_tree(
        [
            entry(b"a", 1),
            Entry(b"b", TREE, inner.root, 7, 0),
            Entry(b"c", TREE, empty.root, 0, 0),
        ]
    )
    return reader(inner, empty, outer), outer.root


def test_walking_gives_full_paths_folders_first() -> None:
    read, root = nested()
    walked = [(path, entry.kind, entry.size) for path, entry in walk_tree(read, root)]
    assert walked == [
        (b"a", FILE, 1),
        (b"b", TREE, 7),
        (b"b/x", FILE, 3),
        (b"b/y", FILE, 4),
        (b"c", TREE, 0),
    ]


def test_looking_up_a_path() -> None:
    read, root = nested()
    assert look_up(read, root, "b/y") == entry(b"y", 4)
    assert look_up(read, root, "b").kind == TREE  # type: ignore[union-attr]
    for absent in ("", "z", "a/x", "b/", "b/x/y", "/a", "c/x"):
        assert look_up(read, root, absent) is None


def test_a_folder_that_misstates_its_size_is_found() -> None:
    inner = build_tree([entry(b"x", 3)])
    for wrong in (2, 4):
        outer = build_tree([Entry(b"b", TREE, inner.root, wrong, 0)])
        with pytest.raises(CorruptObject, match="size"):
            list(walk_tree(reader(inner, outer), outer.root))


def test_folders_nested_too_deep_are_refused() -> None:
    pages: dict[Id, bytes] = {}
    built = build_tree([])
    for _ in range(257):
        pages.update(built.pages)
        built = build_tree([Entry(b"d", TREE, built.root, 0, 0)])
    pages.update(built.pages)
    with pytest.raises(CorruptObject, match="deeper"):
        list(walk_tree(pages.__getitem__, built.root))


def two_pages(
    *, level: int = 0, counts: tuple[int, int] = (2, 2), sizes: tuple[int, int] = (2, 2)
) -> tuple[Callable[[Id], bytes], Id]:
    """A root over two pages whose rows may misstate them."""
    left = encode_tree(0, [entry(b"a"), entry(b"b")])
    right = encode_tree(0, [entry(b"c"), entry(b"d")])
    rows = [
        Branching(b"a", tree_id(left), counts[0], sizes[0]),
        Branching(b"c", tree_id(right), counts[1], sizes[1]),
    ]
    root = encode_tree(1 + level, rows)
    return {tree_id(page): page for page in (left, right, root)}.__getitem__, tree_id(root)


@pytest.mark.parametrize(
    "lie", [{"level": 1}, {"counts": (2, 3)}, {"counts": (1, 2)}, {"sizes": (2, 1)}]
)
def test_a_row_that_misstates_its_page_is_found(lie: dict[str, tuple[int, int]]) -> None:
    assert len(list(iter_tree(*two_pages()))) == 4
    read, root = two_pages(**lie)  # type: ignore[arg-type]
    with pytest.raises(CorruptObject):
        list(iter_tree(read, root))
    with pytest.raises(CorruptObject):
        assert [find_entry(read, root, name) for name in (b"a", b"c")]


def test_names_out_of_order_across_pages_are_found() -> None:
    left = encode_tree(0, [entry(b"a"), entry(b"z")])
    right = encode_tree(0, [entry(b"c"), entry(b"d")])
    root = encode_tree(
        1, [Branching(b"a", tree_id(left), 2, 2), Branching(b"c", tree_id(right), 2, 2)]
    )
    pages = {tree_id(page): page for page in (left, right, root)}
    with pytest.raises(CorruptObject, match="order"):
        list(iter_tree(pages.__getitem__, tree_id(root)))


def test_a_page_is_read_only_when_it_is_needed() -> None:
    built = build_tree(many(20_000))
    asked: list[Id] = []
    pages = dict(built.pages)

    def read(id: Id) -> bytes:
        asked.append(id)
        return pages[id]

    assert find_entry(read, built.root, b"file-010000.txt") is not None
    assert len(asked) == 2
    asked.clear()
    next(iter_tree(read, built.root))
    assert len(asked) == 2


def test_a_few_pages_that_stand_for_very_many_entries_are_not_walked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trees, "WALKED_ENTRIES", 1000)
    pages = {}
    id = tree_id(encode_tree(0, []))
    pages[id] = encode_tree(0, [])
    for _ in range(40):
        page = encode_tree(0, [Entry(b"%d" % at, TREE, id, 0, 0) for at in range(10)])
        id = tree_id(page)
        pages[id] = page
    with pytest.raises(InvalidInput, match="more than 1000 files and folders"):
        list(walk_tree(pages.__getitem__, id))
