"""Packs, indexes and roots: what is written is read again, and what is malformed is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.content.blocks import Block, Codec, Member, decode_block, encode_block
from castore.errors import CorruptObject, InvalidInput, UnsupportedFormat
from castore.model.encoding import decode, encode
from castore.model.ids import Kind, named_id, object_id
from castore.model.limits import PACK_BYTES, ROOT_BYTES, ROOT_ROWS
from castore.remote import root as roots
from castore.remote.index import MEMBER, Catalogue, Index, IndexWriter, PackName, index_id
from castore.remote.pack import PackType, PackWriter, pack_id, read_pack
from castore.remote.root import IndexName, Removed, Root, decode_root, encode_root, seal_notes

IDS = st.binary(min_size=32, max_size=32)
SHORT = st.binary(min_size=16, max_size=16)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(/[a-z]{1,5})?", fullmatch=True).filter(
    lambda name: not (name[0] == "v" and name[1:].isdigit())
)
REFS = st.builds(lambda kind, name: kind + name, st.sampled_from(["heads/", "tags/"]), NAMES)
REMOVED = st.builds(Removed, st.integers(0, 1 << 50), st.text(max_size=9), st.text(), st.text())
ROOTS = st.builds(
    Root,
    project=SHORT,
    uuid=SHORT,
    serial=st.integers(1, 1 << 60),
    refs=st.dictionaries(REFS, IDS),
    tombs=st.frozensets(REFS),
    indexes=st.lists(st.builds(IndexName, SHORT, IDS, *[st.integers(0, 1 << 40)] * 3)).map(tuple),
    notes=st.sets(IDS).map(seal_notes),
    forgotten=st.dictionaries(IDS, REMOVED),
    purged=st.dictionaries(IDS, REMOVED),
    uploads=st.dictionaries(SHORT, st.integers(0, 99)),
    writes=st.dictionaries(SHORT, st.lists(SHORT, max_size=16).map(tuple)),
    gc_round=st.integers(0, 99),
    optional=st.lists(st.text(max_size=5)).map(tuple),
    features=st.lists(st.text(max_size=5)).map(tuple),
)
ROOT = Root(b"p" * 16, b"u" * 16, refs={"heads/out": b"1" * 32}, tombs=frozenset({"tags/t"}))


def stored(*payloads: bytes, bases: tuple[bytes, ...] = (), depth: int = 0) -> bytes:
    """A block of chunks; with bases its frame is not one that can be read."""
    members = tuple([Member(object_id(Kind.CHUNK, p), Kind.CHUNK, len(p)) for p in payloads])
    codec = Codec.DELTA if bases else Codec.RAW
    frame = b"".join(payloads)
    made = Block(codec, False, depth, len(frame), bases, members, frame)
    return encode_block(made)


def pages_of(root: Root) -> tuple[bytes, dict[bytes, bytes]]:
    pages: dict[bytes, bytes] = {}

    def write(id: bytes, data: bytes) -> bytes:
        pages[id] = data
        return b"n" * 16

    return encode_root(root, write), pages


# Packs


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=9), SHORT, st.sampled_from(PackType))
def test_a_pack_gives_back_its_blocks(blocks: list[bytes], nonce: bytes, type: PackType) -> None:
    writer = PackWriter(type, nonce)
    offsets = [writer.add(block) for block in blocks]
    id, data = writer.finish()
    found, placed = read_pack(data, id)
    assert found is type
    assert [(p.offset, p.block) for p in placed] == list(zip(offsets, blocks, strict=True))


def sealed_pack(change: Callable[[bytearray], object]) -> tuple[bytes, bytes]:
    """A pack that was changed, and the name of what it is then."""
    writer = PackWriter(PackType.DATA, b"n" * 16)
    for block in (b"first", b"second one"):
        writer.add(block)
    data = bytearray(writer.finish()[1])
    change(data)
    return bytes(data), pack_id(bytes(data))


PACKS: dict[str, tuple[Callable[[bytearray], object], type[Exception]]] = {
    "magic": (lambda d: d.__setitem__(0, 0), CorruptObject),
    "format": (lambda d: d.__setitem__(8, 2), UnsupportedFormat),
    "type": (lambda d: d.__setitem__(9, 3), UnsupportedFormat),
    "encrypted": (lambda d: d.__setitem__(10, 1), UnsupportedFormat),
    "flags": (lambda d: d.__setitem__(11, 1), UnsupportedFormat),
    "zero": (lambda d: d.__setitem__(12, 1), CorruptObject),
    "empty": (lambda d: d.clear(), CorruptObject),
    "header only": (lambda d: d.__delitem__(slice(32, None)), CorruptObject),
    "cut": (lambda d: d.__delitem__(slice(-1, None)), CorruptObject),
    "cut in a block": (lambda d: d.__delitem__(slice(38, None)), CorruptObject),
    "longer": (lambda d: d.extend(b"x"), CorruptObject),
    "block of no bytes": (lambda d: d.__setitem__(slice(32, 36), bytes(4)), CorruptObject),
    "block too long": (lambda d: d.__setitem__(slice(32, 36), b"\xff" * 4), CorruptObject),
    "block over the end": (lambda d: d.__setitem__(32, 24), CorruptObject),
    "no end": (lambda d: d.__setitem__(-8, 1), CorruptObject),
    "wrong count": (lambda d: d.__setitem__(-4, 3), CorruptObject),
    "too long": (lambda d: d.extend(bytes(PACK_BYTES)), CorruptObject),
}


@pytest.mark.parametrize("what", PACKS)
def test_a_malformed_pack_is_refused(what: str) -> None:
    change, error = PACKS[what]
    data, id = sealed_pack(change)
    with pytest.raises(error):
        list(read_pack(data, id)[1])


def test_a_pack_with_any_byte_changed_is_not_that_of_its_name() -> None:
    data, id = sealed_pack(lambda _: None)
    list(read_pack(data, id)[1])
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]
        with pytest.raises(CorruptObject):
            read_pack(flipped, id)


# Indexes


@given(st.sets(st.binary(min_size=1, max_size=9), min_size=1, max_size=20), SHORT, st.randoms())
def test_an_index_finds_all_that_was_added(payloads: set[bytes], nonce: bytes, dice: Any) -> None:
    writer = IndexWriter()
    place: dict[bytes, tuple[bytes, int]] = {}
    rest = sorted(payloads)
    dice.shuffle(rest)
    at = 32
    while rest:
        count = dice.randint(1, 4)
        part, rest = rest[:count], rest[count:]
        data = stored(*part)
        pack = dice.choice([b"a" * 32, b"b" * 32])
        block = decode_block(data, "")
        writer.add_block(PackName(b"u" * 16, pack), at, len(data), block, range(len(part)))
        place.update({member.id: (pack, at) for member in block.members})
        at += len(data) + 4
    id, data = writer.finish(nonce)
    index = Index(data, id)
    assert {member.id for member in index.members()} == set(place)
    catalogue = Catalogue([index])
    for member, (pack, offset) in place.items():
        found = catalogue.find(member)
        assert found is not None
        assert (found[0].pack.id, found[0].offset) == (pack, offset)
    assert catalogue.find(b"\0" * 32) is None
    again = IndexWriter()
    again.add_index(index)
    assert again.finish(nonce) == (id, data)


@given(st.lists(st.integers(0, 2), max_size=30))
def test_blocks_of_an_index_are_the_same_in_any_order(rows: list[int]) -> None:
    writer = IndexWriter()
    for at in range(3):
        block = decode_block(stored(b"%d" % at), "")
        writer.add_block(PackName(b"u" * 16, b"p" * 32), 32 + 200 * at, 150, block, [0])
    id, data = writer.finish(b"n" * 16)
    index = Index(data, id)
    assert [index.block(row).offset for row in rows] == [32 + 200 * row for row in rows]


def some_index() -> bytes:
    writer = IndexWriter()
    base = object_id(Kind.CHUNK, b"one")
    for at, data in ((36, stored(b"one", b"two")), (500, stored(b"new", bases=(base,), depth=1))):
        block = decode_block(data, "")
        slots = range(len(block.members))
        writer.add_block(PackName(b"u" * 16, b"p" * 32), at, len(data), block, slots)
    return writer.finish(b"n" * 16)[1]


# The tables of `some_index` begin at 48, 96 (2 rows of 32), 160 (one base), 192 (3 rows of 44).
INDEXES: dict[str, tuple[Callable[[bytearray], object], type[Exception]]] = {
    "magic": (lambda d: d.__setitem__(0, 0), CorruptObject),
    "format": (lambda d: d.__setitem__(8, 2), UnsupportedFormat),
    "zero": (lambda d: d.__setitem__(9, 1), CorruptObject),
    "flags": (lambda d: d.__setitem__(10, 1), UnsupportedFormat),
    "zeros": (lambda d: d.__setitem__(12, 1), CorruptObject),
    "cut": (lambda d: d.__delitem__(slice(-1, None)), CorruptObject),
    "longer": (lambda d: d.extend(bytes(44)), CorruptObject),
    "header only": (lambda d: d.__delitem__(slice(48, None)), CorruptObject),
    "in the header": (lambda d: d.__delitem__(slice(40, None)), CorruptObject),
    "packs": (lambda d: d.__setitem__(32, 2), CorruptObject),
    "a bomb of members": (lambda d: d.__setitem__(slice(44, 48), b"\xff" * 4), CorruptObject),
    "unsorted": (
        lambda d: d.__setitem__(slice(192, None), d[236:] + d[192:236]), CorruptObject
    ),
    "twice": (lambda d: d.__setitem__(slice(236, 280), d[192:236]), CorruptObject),
    "unsorted in the last byte": (
        lambda d: d.__setitem__(slice(192, 268), b"a" * 31 + b"b" + d[224:236] + b"a" * 32),
        CorruptObject,
    ),
    "a row of no pack": (lambda d: d.__setitem__(96, 1), CorruptObject),
    "zero of a block": (lambda d: d.__setitem__(96 + 23, 1), CorruptObject),
    "bases beyond": (lambda d: d.__setitem__(96 + 32 + 28, 2), CorruptObject),
    "bases from beyond": (lambda d: d.__setitem__(96 + 32 + 24, 1), CorruptObject),
    "a member of no block": (lambda d: d.__setitem__(192 + 32, 2), CorruptObject),
    "a member of no kind": (lambda d: d.__setitem__(192 + 38, 7), CorruptObject),
    "zero of a member": (lambda d: d.__setitem__(192 + 39, 1), CorruptObject),
}  # fmt: skip


@pytest.mark.parametrize("what", INDEXES)
def test_a_malformed_index_is_refused(what: str) -> None:
    change, error = INDEXES[what]
    data = bytearray(some_index())
    assert len(data) == 192 + 3 * MEMBER.size
    change(data)
    with pytest.raises(error):
        read_through(bytes(data))


def read_through(data: bytes) -> None:
    index = Index(data, index_id(data))
    list(index.members())
    for row in range(index.blocks_count):
        index.block(row)


def test_an_index_with_any_byte_changed_is_not_that_of_its_name() -> None:
    data = some_index()
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]
        with pytest.raises(CorruptObject):
            Index(flipped, index_id(data))


@pytest.mark.parametrize("first", [True, False])
def test_of_two_places_the_least_deep_is_kept(first: bool) -> None:
    base = object_id(Kind.CHUNK, b"base")
    deep, flat = stored(b"x", bases=(base,), depth=3), stored(b"x", b"base")
    writer = IndexWriter()
    for pack, data in ((b"a" if first else b"b", deep), (b"b" if first else b"a", flat)):
        block = decode_block(data, "")
        slots = range(len(block.members))
        writer.add_block(PackName(b"u" * 16, pack * 32), 36, len(data), block, slots)
    id, data = writer.finish(b"n" * 16)
    catalogue = Catalogue([Index(data, id)])
    found = catalogue.find(object_id(Kind.CHUNK, b"x"))
    assert found is not None
    assert found[0].depth == 0
    assert catalogue.supports(base, 1)
    assert not catalogue.supports(base, 0)
    assert not catalogue.supports(b"\1" * 32, 1)


# Roots


@given(ROOTS)
def test_a_root_is_read_as_it_was_written(root: Root) -> None:
    data, pages = pages_of(root)
    assert not pages
    assert decode_root(data, lambda _, id: pages[id]) == root


def test_long_lists_stand_in_pages_that_are_kept_where_they_are() -> None:
    refs = {f"heads/b{n:05d}": b"1" * 32 for n in range(3 * ROOT_ROWS)}
    data, pages = pages_of(replace(ROOT, refs=refs))
    assert len(pages) == 3
    read = decode_root(data, lambda _, id: pages[id])
    assert read.refs == refs
    assert {page.upload for page in read.pages} == {b"n" * 16}
    again, written = pages_of(replace(read, refs={**refs, "heads/z": b"2" * 32}))
    assert len(written) == 1
    assert decode_root(again, lambda _, id: {**pages, **written}[id]).refs["heads/z"] == b"2" * 32


def test_long_reasons_make_pages_that_can_be_read() -> None:
    why = "because " * 8_000
    forgotten = {n.to_bytes(32, "big"): Removed(1, "ana", "", why) for n in range(300)}
    data, pages = pages_of(replace(ROOT, forgotten=forgotten))
    assert len(data) < 10_000
    assert max(map(len, pages.values())) < 1 << 20
    assert decode_root(data, lambda _, id: pages[id]).forgotten == forgotten


def test_a_page_with_other_bytes_or_another_number_of_rows_is_refused() -> None:
    refs = {f"heads/b{n:05d}": b"1" * 32 for n in range(ROOT_ROWS + 1)}
    data, pages = pages_of(replace(ROOT, refs=refs))
    first, last = decode_root(data, lambda _, id: pages[id]).pages
    for wrong in (pages[first.id], b"", pages[last.id][:-1], pages[last.id] + b"x"):
        with pytest.raises(CorruptObject):
            decode_root(data, lambda _, id, wrong=wrong: {**pages, last.id: wrong}[id])  # type: ignore[misc]
    value = decode(data, limit=ROOT_BYTES)
    value["refs"]["lists"][1][2] = 2
    with pytest.raises(CorruptObject):
        decode_root(encode(value), lambda _, id: pages[id])
    value["refs"]["lists"] = value["refs"]["lists"][::-1]
    value["refs"]["lists"][0][2] = 1
    with pytest.raises(CorruptObject):
        decode_root(encode(value), lambda _, id: pages[id])


def test_lists_that_are_too_long_are_neither_written_nor_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refs = {f"heads/b{n:05d}": b"1" * 32 for n in range(3 * ROOT_ROWS)}
    data, pages = pages_of(replace(ROOT, refs=refs))
    size = sum(map(len, pages.values()))
    monkeypatch.setattr(roots, "ROOT_PAGES_BYTES", size)
    assert pages_of(replace(ROOT, refs=refs))[0] == data
    assert decode_root(data, lambda _, id: pages[id]).refs == refs
    monkeypatch.setattr(roots, "ROOT_PAGES_BYTES", size - 1)
    with pytest.raises(InvalidInput):
        pages_of(replace(ROOT, refs=refs))
    with pytest.raises(CorruptObject, match="more than"):
        decode_root(data, lambda _, id: pages[id])


def rows(*found: Any) -> dict[str, Any]:
    return {"lists": [], "rows": list(found)}


ID = b"1" * 32
MALFORMED: dict[str, tuple[str, Any]] = {
    "no number": ("serial", 0),
    "a flag": ("serial", True),
    "an older format": ("format", 0),
    "negative": ("gc_round", -1),
    "project": ("project", b"short"),
    "uuid": ("uuid", "u" * 16),
    "no list": ("refs", []),
    "refs not sorted": ("refs", rows(["heads/b", ID], ["heads/a", ID])),
    "refs twice": ("refs", rows(["heads/b", ID], ["heads/b", ID])),
    "no id": ("refs", rows(["heads/b", b""])),
    "a partial": ("refs", rows(["partial/run/out", ID])),
    "a remote's": ("refs", rows(["remotes/origin/out", ID])),
    "no name": ("refs", rows(["heads/", ID])),
    "a path": ("refs", rows(["heads/../../x", ID])),
    "a hidden name": ("refs", rows(["heads/.x", ID])),
    "control characters": ("refs", rows(["heads/a\x1b[2J", ID])),
    "a long name": ("refs", rows(["heads/" + "a" * 256, ID])),
    "a number": ("refs", rows(["tags/v3", ID])),
    "no text": ("tombs", rows(b"tags/t")),
    "tombs not sorted": ("tombs", rows("tags/u", "tags/t")),
    "a tomb twice": ("tombs", rows("tags/t", "tags/t")),
    "a tomb of nothing": ("tombs", rows("t")),
    "rows and pages": ("tombs", {"lists": [[ID, b"short", 1]], "rows": []}),
    "too many rows": ("tombs", rows(*["tags/t"] * 2001)),
    "removed twice": ("purged", rows([ID, 1, "", "", ""], [ID, 1, "", "", ""])),
    "removed before time": ("forgotten", rows([ID, -1, "", "", ""])),
    "removed by nobody": ("forgotten", rows([ID, 1, b"", "", ""])),
    "no upload": ("indexes", [[b"", ID, 1, 1, 1]]),
    "no index": ("indexes", [[b"u" * 16, b"", 1, 1, 1]]),
    "fewer than none": ("indexes", [[b"u" * 16, ID, -1, 1, 1]]),
    "too many": ("indexes", [[b"u" * 16, ID, 1, 1, 1]] * 1025),
    "not hex": ("uploads", {"x" * 32: 1}),
    "capitals": ("uploads", {"AB" * 16: 1}),
    "short hex": ("uploads", {"ab": 1}),
    "hex with spaces": ("uploads", {"ab " * 10 + "ab": 1}),
    "no round": ("uploads", {"ab" * 16: True}),
    "no writes": ("writes", []),
    "many writes": ("writes", {"ab" * 16: [b"w" * 16] * 17}),
    "a short write": ("writes", {"ab" * 16: [b"w"]}),
    "notes": ("notes", {"count": -1, "hash": ID}),
    "seal": ("notes", {"count": 1, "hash": b""}),
    "features": ("features", {"optional": [], "read": []}),
    "a feature": ("features", {"optional": [1], "read": [], "write": []}),
    "another key": ("encryption", "yes"),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_root_is_refused(what: str) -> None:
    key, wrong = MALFORMED[what]
    value = decode(pages_of(ROOT)[0], limit=ROOT_BYTES)
    value[key] = wrong
    with pytest.raises(CorruptObject):
        decode_root(encode(value), lambda _, __: b"")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("format", 2), ("features", {"optional": [], "read": ["encryption"], "write": []})],
)
def test_a_root_of_a_newer_castore_is_told_apart(key: str, wrong: Any) -> None:
    value = decode(pages_of(ROOT)[0], limit=ROOT_BYTES)
    value[key] = wrong
    with pytest.raises(UnsupportedFormat):
        decode_root(encode(value), lambda _, __: b"")


def test_a_root_with_any_byte_changed_is_refused_or_is_another() -> None:
    data = pages_of(ROOT)[0]
    for at in range(len(data)):
        for bit in (0, 3, 7):
            flipped = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            try:
                assert decode_root(flipped, lambda _, __: b"") != ROOT
            except (CorruptObject, UnsupportedFormat):
                continue


def test_a_root_that_is_too_long_is_refused() -> None:
    with pytest.raises(CorruptObject):
        decode_root(bytes(ROOT_BYTES + 1), lambda _, __: b"")


def test_the_seal_of_notes_tells_sets_apart() -> None:
    assert seal_notes([b"b" * 32, b"a" * 32]) == seal_notes({b"a" * 32, b"b" * 32})
    assert seal_notes([b"a" * 32]) != seal_notes([b"b" * 32])
    assert seal_notes([]).hash == named_id("notes", b"")
    assert struct.calcsize("<32sIHBBI") == MEMBER.size
