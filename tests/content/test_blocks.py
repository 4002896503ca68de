"""Blocks: a round trip for every block, and a refusal for every way to break one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.content.blocks import (
    ALWAYS_RAW,
    Block,
    Codec,
    Member,
    decode_block,
    decode_head,
    encode_block,
)
from castore.errors import CorruptObject, InvalidInput, UnsupportedFormat
from castore.model.ids import Kind, content_id, object_id
from castore.model.limits import BLOCK_RAW_BYTES
from tests.content.samples import chunk, noise, raw_block

DATA = b"some bytes"
ROW = (content_id(DATA), int(Kind.CHUNK), len(DATA))
ids = st.binary(min_size=32, max_size=32)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    metadata = draw(st.booleans())
    codec = draw(st.sampled_from(list(Codec)))
    kinds = [kind for kind in Kind if (kind is not Kind.CHUNK) is metadata]
    if codec is not Codec.RAW:
        kinds = [kind for kind in kinds if kind not in ALWAYS_RAW]
    member = st.builds(Member, ids, st.sampled_from(kinds), st.integers(0, 200))
    members = draw(st.lists(member, min_size=1, max_size=5))
    raw_size = sum(size for _, _, size in members)
    delta = codec is Codec.DELTA
    frame_size = raw_size if codec is Codec.RAW else draw(st.integers(0, 50))
    return Block(
        codec,
        metadata,
        draw(st.integers(1, 128)) if delta else 0,
        raw_size,
        tuple(draw(st.lists(ids, min_size=1, max_size=4))) if delta else (),
        tuple(members),
        noise(frame_size),
    )


@given(blocks())
def test_a_block_survives_encoding(block: Block) -> None:
    assert decode_block(encode_block(block), "here") == block


@given(blocks(), st.binary(max_size=9), st.data())
def test_a_block_is_read_where_it_lies_as_elsewhere(
    block: Block, before: bytes, data: st.DataObject
) -> None:
    stored = bytearray(encode_block(block))
    for at in data.draw(st.lists(st.integers(0, len(stored) * 8 - 1), max_size=1)):
        stored[at // 8] ^= 1 << at % 8
    lying = memoryview(before + stored)[len(before) :]
    try:
        whole = decode_block(bytes(stored), "here")
    except (CorruptObject, UnsupportedFormat) as error:
        with pytest.raises(type(error), match=re.escape(error.message)):
            decode_head(lying, "here")
    else:
        head, frame = decode_head(lying, "here")
        assert head._replace(frame=bytes(frame)) == whole
        assert frame.obj is lying.obj
        assert {type(id) for id in head.bases} | {type(row.id) for row in head.members} == {bytes}


@given(blocks(), st.data())
def test_a_flipped_bit_outside_a_content_frame_is_found(block: Block, data: st.DataObject) -> None:
    stored = encode_block(block)
    covered = len(stored) if block.metadata else len(stored) - len(block.frame)
    at = data.draw(st.integers(0, covered * 8 - 1))
    broken = bytearray(stored)
    broken[at // 8] ^= 1 << at % 8
    with pytest.raises(CorruptObject):
        decode_block(bytes(broken), "here")


@given(blocks(), st.data())
def test_a_truncated_block_is_found_unless_only_a_compressed_frame_is_short(
    block: Block, data: st.DataObject
) -> None:
    stored = encode_block(block)
    cut = stored[: data.draw(st.integers(0, len(stored) - 1))]
    if block.metadata or block.codec is Codec.RAW or len(stored) - len(cut) > len(block.frame):
        with pytest.raises(CorruptObject):
            decode_block(cut, "here")
    else:
        assert decode_block(cut, "here").frame == block.frame[: len(cut) - len(stored)]


@given(st.binary(max_size=200))
def test_noise_is_no_block(data: bytes) -> None:
    with pytest.raises((CorruptObject, UnsupportedFormat)):
        decode_block(data, "here")


def test_the_bytes_of_a_block_are_those_the_format_draws() -> None:
    block = Block(Codec.RAW, False, 0, len(DATA), (), (chunk(DATA),), DATA)
    assert encode_block(block) == raw_block([ROW], DATA)
    assert encode_block(block)[:12].hex() == "01000000" + "0a000000" + "0000" + "0100"


@pytest.mark.parametrize(
    ("hostile", "error"),
    [
        (raw_block([ROW], DATA, version=2), UnsupportedFormat),
        (raw_block([ROW], DATA, flags=2), UnsupportedFormat),
        (raw_block([ROW], DATA, flags=4), UnsupportedFormat),
        (raw_block([ROW], DATA, codec=3), UnsupportedFormat),
        (raw_block([], b""), CorruptObject),
        (raw_block([ROW], DATA, raw_size=9), CorruptObject),
        (raw_block([ROW], DATA + b"!"), CorruptObject),
        (raw_block([ROW], DATA, flags=1), CorruptObject),
        (raw_block([ROW], DATA, depth=1), CorruptObject),
        (raw_block([ROW], DATA, bases=(bytes(32),)), CorruptObject),
        (raw_block([ROW], b"x", codec=2), CorruptObject),
        (raw_block([ROW], b"x", codec=2, bases=(bytes(32),)), CorruptObject),
        (raw_block([ROW], b"x", codec=2, bases=(bytes(32),), depth=129), CorruptObject),
        (raw_block([ROW], b"x", codec=2, bases=(bytes(32),) * 513, depth=1), CorruptObject),
        (raw_block([(ROW[0], 9, 10)], DATA), CorruptObject),
        (raw_block([ROW] * 4097, DATA * 4097), CorruptObject),
        (raw_block([(ROW[0], 1, 262145)], b"x", codec=1), CorruptObject),
        (raw_block([(ROW[0], 3, BLOCK_RAW_BYTES + 1)], b"x", codec=1, flags=1), CorruptObject),
        (
            raw_block([(ROW[0], 5, 10)], b"x", codec=2, flags=1, bases=(bytes(32),), depth=1),
            CorruptObject,
        ),
    ],
)
def test_a_block_that_breaks_a_rule_is_refused(hostile: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match="here"):
        decode_block(hostile, "here")


def test_content_and_metadata_never_share_a_block() -> None:
    payload = b"payload"
    page = Member(object_id(Kind.TREE, payload), Kind.TREE, len(payload))
    block = Block(Codec.RAW, True, 0, 17, (), (page, chunk(DATA)), payload + DATA)
    with pytest.raises(InvalidInput, match="content and metadata"):
        encode_block(block)


def test_the_error_names_the_place() -> None:
    with pytest.raises(CorruptObject) as caught:
        decode_block(b"\x01", "block 7")
    assert caught.value.where == "block 7"


def test_span_counts_members_end_to_end() -> None:
    members = (chunk(b"aa"), chunk(b""), chunk(b"bbb"))
    block = Block(Codec.RAW, False, 0, 5, (), members, b"aabbb")
    assert [block.span(slot) for slot in range(3)] == [(0, 2), (2, 2), (2, 5)]
