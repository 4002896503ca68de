"""What holds of every kind: round trip, exactly its keys, one error for anything else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import CorruptObject
from castore.model.encoding import decode, encode
from castore.model.ids import Kind, object_id
from castore.model.limits import SET_BYTES
from tests.model.samples import SAMPLES, Sample

each_kind = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
# One value of every type the encoding knows, and of some it does not like here.
STRANGERS = [-2, 0, 1, 1 << 63, True, "", "x", b"", b"x", bytes(32), [], [[]], {}, {"a": 1}]
Path = tuple[Any, ...]


def plain(sample: Sample) -> dict[str, Any]:
    """The sample as decoded maps and lists."""
    return decode(sample.payload, limit=SET_BYTES)


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Where every value inside stands."""
    if here:
        yield here
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*here, key))


def changed(value: Any, path: Path, new: Any) -> Any:
    """A copy with one value replaced."""
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


@each_kind
def test_what_was_encoded_is_read_back(sample: Sample) -> None:
    assert sample.encode(sample.decode(sample.payload)) == sample.payload


@each_kind
def test_every_key_is_needed_and_no_other_is_allowed(sample: Sample) -> None:
    value = plain(sample)
    for path in [(), *paths(value)]:
        inner = value
        for key in path:
            inner = inner[key]
        if not isinstance(inner, dict) or path[:1] in (("meta",), ("ext",), ("titles",)):
            continue
        for key in inner:
            less = copy.deepcopy(value)
            _delete(less, path, key)
            with pytest.raises(CorruptObject, match=r"keys|kind|not sorted"):
                sample.decode(encode(less))
        with pytest.raises(CorruptObject, match=r"unknown or absent keys zzz|not sorted"):
            sample.decode(encode(changed(value, (*path, "zzz"), 1)))


def _delete(value: Any, path: Path, key: str) -> None:
    for step in path:
        value = value[step]
    del value[key]


def lists_by_bytes(value: dict[str, Any]) -> list[Path]:
    """Where lists stand that are sorted by the canonical bytes of their items."""
    in_order = {"parents", "parts", "entries", "artifacts"}
    return [path for path in paths(value) if isinstance(path[-1], str) and path[-1] not in in_order]


@pytest.mark.parametrize("name", ["manifest", "note"])
def test_lists_are_sorted_and_hold_nothing_twice(name: str) -> None:
    value = plain(SAMPLES[name])
    tried = 0
    for path in lists_by_bytes(value):
        rows = value
        for key in path:
            rows = rows[key]
        if not isinstance(rows, list):
            continue
        tried += 1
        twisted = [[rows[0], *rows]] + ([rows[::-1]] if len(rows) > 1 else [])
        for other in twisted:
            with pytest.raises(CorruptObject, match="not sorted, or with duplicates"):
                SAMPLES[name].decode(encode(changed(value, path, other)))
    assert tried == {"manifest": 8, "note": 2}[name]


@each_kind
def test_a_value_of_another_type_is_refused_or_reads_back_the_same(sample: Sample) -> None:
    value = plain(sample)
    refusals = 0
    for path in paths(value):
        for stranger in STRANGERS:
            payload = encode(changed(value, path, stranger))
            try:
                read = sample.decode(payload)
            except CorruptObject:
                refusals += 1
            else:
                assert sample.encode(read) == payload
    assert refusals > len(STRANGERS)


@each_kind
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_gives_another_id(sample: Sample, data: st.DataObject) -> None:
    payload = bytearray(sample.payload)
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = sample.decode(bytes(payload))
    except CorruptObject:
        return
    assert sample.encode(read) == bytes(payload)
    assert object_id(sample.kind, bytes(payload)) != object_id(sample.kind, sample.payload)


@each_kind
def test_a_payload_of_one_kind_is_none_of_another(sample: Sample) -> None:
    for kind in set(Kind) - {sample.kind}:
        assert object_id(kind, sample.payload) != object_id(sample.kind, sample.payload)
    for other in SAMPLES.values():
        if other.kind is not sample.kind:
            with pytest.raises(CorruptObject):
                other.decode(sample.payload)


@pytest.mark.parametrize("name", ["set", "manifest", "note"])
def test_extensions_that_must_be_understood_are_refused(name: str) -> None:
    sample = SAMPLES[name]
    value = plain(sample)
    sample.decode(encode(changed(value, ("ext", "optional"), b"kept")))
    with pytest.raises(CorruptObject, match="must be understood"):
        sample.decode(encode(changed(value, ("ext", "!sealed"), b"")))
    with pytest.raises(CorruptObject, match="not a map of bytes"):
        sample.decode(encode(changed(value, ("ext", "optional"), "text")))


@pytest.mark.parametrize("name", ["manifest", "note"])
def test_meta_holds_plain_values_up_to_its_limit(name: str) -> None:
    sample = SAMPLES[name]
    value = plain(sample)
    full = 16 * 1024 - len(encode({"k": b"x" * 300})) + 300
    sample.decode(encode(changed(value, ("meta",), {"k": b"x" * full})))
    with pytest.raises(CorruptObject, match="meta: more than 16384 bytes"):
        sample.decode(encode(changed(value, ("meta",), {"k": b"x" * (full + 1)})))
    with pytest.raises(CorruptObject, match="meta: not a map"):
        sample.decode(encode(changed(value, ("meta", "k"), ["list"])))
