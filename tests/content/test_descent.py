"""Deltas decoded in one go: what comes out is what the careful way gives, whatever the shape."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content import descent
from castore.content import reader as reader_module
from castore.content.blocks import decode_block
from castore.content.codecs import decompress, stored_frame
from castore.content.encoder import encode_chunks, encode_solid
from castore.content.kept import KeptBlocks
from castore.content.reader import ObjectReader
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import KIB
from tests.content.memory_sink import MemorySink
from tests.content.samples import noise, prose
from tests.content.test_deltas import carefully, delta, put_plain


def in_one_go(store: MemorySink, data: bytes, beside: list[Id] | None = None) -> bytes | None:
    """The bytes of the block that a chunk lies in."""
    block = decode_block(store.load(content_id(data)).block, "")
    return descent.decode_chunks(block, lambda fn: fn(store), KeptBlocks(), beside or ())


def edited(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + dice.randbytes(dice.randrange(1, 9)) + data[at + dice.randrange(9) :]


@given(st.randoms(use_true_random=False), st.integers(1, 25), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_any_history_reads_as_it_does_carefully(
    dice: random.Random, versions: int, width: int
) -> None:
    store = MemorySink()
    files = [prose(dice.randrange(20, 9000), seed) for seed in range(width)]
    alone = dice.random() < 0.5
    for block in (encode_chunks if alone else encode_solid)([(content_id(f), f) for f in files]):
        store.put(block.data)
    depths = dict.fromkeys(files, 0)
    for _ in range(versions):
        chosen = sorted(dice.sample(range(width), dice.randint(1, width)))
        bases = [files[at] for at in (chosen if dice.random() < 0.8 else range(width))]
        news = [edited(files[at], dice) for at in chosen]
        if len({*news, *depths}) < len(news) + len(depths):
            continue
        depth = 1 + max(depths[base] for base in bases)
        store.put(delta(bases, news, depth=depth))
        for at, new in zip(chosen, news, strict=True):
            depths[new] = depth
            files[at] = new
    for data, depth in depths.items():
        assert store.reader.payload(content_id(data), Kind.CHUNK) == data
        assert (
            ObjectReader(store.load, view=lambda fn: fn(store)).chunk(
                reader_module.Part(content_id(data), len(data))
            )
            == data
        )
        assert carefully(store, data) == data
        if depth:
            raw = in_one_go(store, data, [content_id(file) for file in files])
            assert raw is not None
            assert data in raw


def chained(store: MemorySink, first: bytes, length: int) -> bytes:
    data = first
    for depth in range(1, length + 1):
        new = data + b"<%d>" % depth
        store.put(delta([data], [new], depth=depth))
        data = new
    return data


def test_what_is_read_beside_is_kept_from_the_way() -> None:
    store = MemorySink()
    first = prose(40_000)
    put_plain(store, first)
    middle = chained(store, first, 4)
    new = middle + b"more"
    store.put(delta([middle], [new], depth=5))
    kept = KeptBlocks()
    block = decode_block(store.load(content_id(new)).block, "")
    raw = descent.decode_chunks(block, lambda fn: fn(store), kept, [content_id(middle)])
    assert raw == new
    number = store.rows[content_id(middle)][1]
    decoded = kept.get(number)
    assert decoded is not None
    assert decoded.member(0, content_id(middle)) == middle


def test_a_base_that_looks_like_a_trained_dictionary_is_read_in_the_end() -> None:
    store = MemorySink()
    first = bytes.fromhex("37a430ec") + noise(30 * KIB)
    put_plain(store, first)
    last = chained(store, first, 3)
    assert store.reader.payload(content_id(last), Kind.CHUNK) == last


@pytest.mark.parametrize("where", [-1, 5, 30])
def test_damage_on_the_way_is_told_as_ever(where: int) -> None:
    store = MemorySink()
    first = noise(30 * KIB)
    put_plain(store, first)
    last = chained(store, first, 3)
    number = store.rows[content_id(first + b"<1>")][1]
    damaged = bytearray(store.blocks[number])
    damaged[where] ^= 1
    store.blocks[number] = bytes(damaged)
    with pytest.raises(CorruptObject) as caught:
        store.reader.payload(content_id(last), Kind.CHUNK)
    assert caught.value.where == f"block {number}"


def test_what_is_too_much_is_left_to_the_careful_way(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySink()
    first = noise(30 * KIB)
    put_plain(store, first)
    last = chained(store, first, 3)
    assert in_one_go(store, last) == last
    monkeypatch.setattr(descent, "_MOST_WORK", 1000)
    assert in_one_go(store, last) is None
    assert store.reader.payload(content_id(last), Kind.CHUNK) == last


@pytest.mark.parametrize("sizes", [[1], [128 * KIB], [128 * KIB, 1], [7, 300 * KIB, 99], [4, 4]])
def test_a_stored_frame_holds_its_pieces(sizes: list[int]) -> None:
    pieces = [noise(size, str(at)) for at, size in enumerate(sizes)]
    whole = b"".join(pieces)
    assert decompress(stored_frame(pieces, len(whole)), len(whole)) == whole
