"""The canonical encoding: one value, one form; hostile payloads are refused cheaply."""

from __future__ import annotations

import enum
import random
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import CorruptObject, InvalidInput
from castore.model.encoding import decode, encode, encode_item
from castore.model.limits import CONTAINERS, ELEMENTS, MIB, NESTING, SET_BYTES
from tests.model.strategies import maps, text, values

LIMIT = SET_BYTES
MANY = 4 * MIB - 16


def depth(value: Any) -> int:
    """How many lists and maps stand inside one another."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def refused(payload: bytes) -> str:
    """The message with which `payload` is refused."""
    with pytest.raises(CorruptObject) as caught:
        decode(payload, limit=LIMIT, what="thing")
    assert caught.value.message.startswith("thing: ")
    return caught.value.message


@given(maps)
def test_decoding_gives_back_what_was_encoded(value: dict[str, Any]) -> None:
    assert decode(encode(value), limit=LIMIT) == value


@given(maps, st.randoms())
def test_the_order_of_insertion_does_not_matter(
    value: dict[str, Any], random: random.Random
) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert encode({key: value[key] for key in keys}) == encode(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_are_their_own_encoding(payload: bytes) -> None:
    try:
        value = decode(payload, limit=LIMIT)
    except CorruptObject:
        return
    assert encode(value) == payload


@given(maps, st.data())
def test_a_changed_payload_is_refused_or_another_value(
    value: dict[str, Any], data: st.DataObject
) -> None:
    payload = bytearray(encode(value))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = decode(bytes(payload), limit=LIMIT)
    except CorruptObject:
        return
    # True == 1 in Python: compare what tells them apart.
    assert encode(other) == bytes(payload) != encode(value)


@given(st.dictionaries(text, st.one_of(st.none(), values), max_size=4))
def test_canonical_if_and_only_if_re_encoding_gives_the_same_bytes(value: dict[str, Any]) -> None:
    payload = msgpack.packb(value, use_bin_type=True)
    try:
        same = encode(msgpack.unpackb(payload)) == payload
    except InvalidInput:
        same = False
    try:
        decode(payload, limit=LIMIT)
        accepted = True
    except CorruptObject:
        accepted = False
    assert accepted == same


def test_keys_sort_by_their_utf8_bytes() -> None:
    keys = ["\U0001f600", "\uffee", "é", "z", "", "a", "aa"]
    assert list(decode(encode(dict.fromkeys(keys, 1)), limit=LIMIT)) == sorted(
        keys, key=lambda key: key.encode()
    )


class Colour(enum.IntEnum):
    """An int that is not exactly an int."""

    RED = 3


def test_integers_of_a_subclass_are_stored_as_integers() -> None:
    assert encode({"c": Colour.RED}) == encode({"c": 3})


@pytest.mark.parametrize(
    "value",
    [
        {"a": None},
        {"a": 1.0},
        {"a": {1, 2}},
        {1: "a"},
        {"a": {b"k": 1}},
        {"a": 1 << 64},
        {"a": -(1 << 63) - 1},
        {"a": "\ud800"},
        {"\udfff": 1},
        {"a": bytearray(b"x")},
    ],
    ids=repr,
)
def test_what_the_encoding_does_not_know_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        encode(value)
    with pytest.raises(InvalidInput):
        encode_item([value])


def test_nesting_is_bounded_both_ways() -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(levels - 1):
            value = [value]
        return {"a": value}

    assert decode(encode(nested(NESTING)), limit=LIMIT) == nested(NESTING)
    with pytest.raises(InvalidInput, match="nested deeper"):
        encode(nested(NESTING + 1))
    assert "nested deeper" in refused(msgpack.packb(nested(NESTING + 1)))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x81\xa1a\xcc\x05", id="5 as uint8"),
        pytest.param(b"\x81\xa1a\xcd\x00\xff", id="255 as uint16"),
        pytest.param(b"\x81\xa1a\xce\x00\x00\xff\xff", id="65535 as uint32"),
        pytest.param(b"\x81\xa1a\xcf" + bytes(4) + b"\xff" * 4, id="2**32-1 as uint64"),
        pytest.param(b"\x81\xa1a\xd0\x05", id="5 as int8"),
        pytest.param(b"\x81\xa1a\xd0\xff", id="-1 as int8"),
        pytest.param(b"\x81\xa1a\xd1\xff\x80", id="-128 as int16"),
        pytest.param(b"\x81\xa1a\xd9\x01b", id="short text as str8"),
        pytest.param(b"\x81\xa1a\xda\x00\x01b", id="short text as str16"),
        pytest.param(b"\x81\xa1a\xc5\x00\x01b", id="short bytes as bin16"),
        pytest.param(b"\x81\xa1a\xdc\x00\x00", id="empty list as array16"),
        pytest.param(b"\xde\x00\x01\xa1a\x01", id="small map as map16"),
        pytest.param(b"\x81\xd9\x01a\x01", id="short key as str8"),
        pytest.param(b"\x82\xa1b\x01\xa1a\x01", id="unsorted keys"),
        pytest.param(b"\x81\xa1a\x82\xa1b\x01\xa1a\x01", id="unsorted keys below"),
        pytest.param(b"\x82\xa1a\x01\xa1a\x01", id="duplicate keys"),
        pytest.param(b"\x81\xa1a\xc0", id="nil"),
        pytest.param(b"\x81\xc0\x01", id="nil key"),
        pytest.param(b"\x81\x01\x01", id="integer key"),
        pytest.param(b"\x81\xc4\x01a\x01", id="bytes key"),
        pytest.param(b"\x81\xa1a\xca" + bytes(4), id="float32"),
        pytest.param(b"\x81\xa1a\xcb" + bytes(8), id="float64"),
        pytest.param(b"\x81\xa1a\x91\xcb" + bytes(8), id="float in a list"),
        pytest.param(b"\x81\xa1a\xd4\x05\x00", id="fixext1"),
        pytest.param(b"\x81\xa1a\xd6\xff" + bytes(4), id="timestamp32"),
        pytest.param(b"\x81\xa1a\xc7\x0c\xff" + b"\xff" * 12, id="impossible timestamp96"),
        pytest.param(b"\x81\xa1a\xc7\x01\x05\x00", id="ext8"),
        pytest.param(b"\x81\xa1a\xc1", id="the unused byte"),
        pytest.param(b"\x81\xa1a\xa1\xff", id="text that is not UTF-8"),
        pytest.param(b"\x81\xa1\xff\x01", id="key that is not UTF-8"),
        pytest.param(b"\x81\xa1a\xa3\xed\xa0\x80", id="surrogate in text"),
        pytest.param(b"\x81\xa1a\xa2\xc0\x80", id="overlong NUL"),
        pytest.param(b"\x80\x80", id="bytes after the end"),
        pytest.param(b"\x81\xa1a", id="cut off"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x90", id="a list"),
        pytest.param(b"\x05", id="an integer"),
        pytest.param(b"\xa1a", id="text"),
    ],
)
def test_other_forms_are_refused(payload: bytes) -> None:
    refused(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x81\xa1a" + b"\x91" * 900 + b"\x01", id="deep lists"),
        pytest.param(b"\x81\xa1a" * 900 + b"\x01", id="deep maps"),
        pytest.param(b"\x91" * MIB, id="a megabyte of open lists"),
        pytest.param(b"\xdd\x00\x30\x00\x00" * (3 * MIB // 5), id="each list claims 3 million"),
        pytest.param(b"\xdf\x00\x20\x00\x00" * (3 * MIB // 5), id="each map claims 2 million"),
        pytest.param(b"\x81\xa1a\xdd\xff\xff\xff\xff", id="a list of 4 thousand million"),
        pytest.param(b"\x81\xa1a\xc6\xff\xff\xff\xff", id="bytes of 4 thousand million"),
        pytest.param(b"\x81\xa1a\xdd" + MANY.to_bytes(4, "big") + b"\xe0" * MANY,
                     id="4 million small integers"),
        pytest.param(b"\x81\xa1a\xdd" + MANY.to_bytes(4, "big") + b"\x80" * MANY,
                     id="4 million empty maps"),
        # To a count that takes an ext for nothing, the bytes after it open a long text.
        pytest.param(b"\x81\xa1a\x92\xc7\x05\x05\xdb\xff\xff\xff\xff\xdd"
                     + (2 * MIB).to_bytes(4, "big") + b"\x80" * (2 * MIB),
                     id="maps hidden behind an ext"),
    ],
)  # fmt: skip
def test_hostile_payloads_take_little_memory(payload: bytes) -> None:
    tracemalloc.start()
    try:
        refused(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


def test_a_payload_over_its_limit_is_not_looked_at() -> None:
    payload = encode({"a": b"x" * 100})
    with pytest.raises(CorruptObject, match="more than the limit"):
        decode(payload, limit=len(payload) - 1)
    assert decode(payload, limit=len(payload))


def test_as_many_containers_as_allowed_are_read() -> None:
    # The map and the list around the empty lists count as well.
    inner: list[Any] = [[] for _ in range(CONTAINERS - 2)]
    assert decode(encode({"a": inner}), limit=LIMIT) == {"a": inner}
    assert "maps and lists" in refused(encode({"a": [*inner, []]}))


def test_bytes_that_look_like_maps_do_not_count() -> None:
    value = {"a": b"\x80" * (2 * CONTAINERS), "b": "é" * 10, "c": [1 << 40, -5, -(1 << 40), True]}
    assert decode(encode(value), limit=LIMIT) == value


def test_as_many_values_as_allowed_are_read() -> None:
    padding = b"x" * MIB  # only payloads above the size of a page can hold so many
    least: dict[str, Any] = {"a": [-1] * (ELEMENTS - 5), "b": padding}
    assert decode(encode(least), limit=LIMIT) == least
    assert "values" in refused(encode({**least, "a": [*least["a"], -1]}))
