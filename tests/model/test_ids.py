"""Ids: plain for content, keyed by kind for objects."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import InvalidInput
from castore.model.ids import (
    Kind,
    content_id,
    content_id_of,
    contract_id,
    derive_key,
    object_id,
    operation_hash,
    parse_id,
    short,
)
from tests.model.strategies import ids


def test_content_is_named_as_b3sum_names_it() -> None:
    # From the BLAKE3 paper and `b3sum` of an empty file.
    assert content_id(b"").hex() == (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )


@given(st.binary(max_size=300))
def test_no_two_uses_of_the_same_bytes_share_an_id(data: bytes) -> None:
    made = [object_id(kind, data) for kind in Kind] + [contract_id(data), operation_hash(data)]
    assert len(set(made)) == len(made)
    assert object_id(Kind.CHUNK, data) == content_id(data) == content_id(memoryview(data))


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_content_in_pieces_has_the_id_of_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert content_id_of(pieces) == (content_id(whole), len(whole))


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.CHUNK}))
def test_keys_are_derived_from_the_name_of_the_kind(kind: Kind) -> None:
    key = blake3(derive_key_context=f"castore format 1 object: {kind.name.lower()}").digest()
    assert derive_key(kind.name.lower()) == key
    assert object_id(kind, b"payload") == blake3(b"payload", key=key).digest()


@given(ids)
def test_ids_are_read_as_they_are_written(id: bytes) -> None:
    assert parse_id(id.hex()) == parse_id(id.hex().upper()) == id
    assert short(id) == id.hex()[:12]


@pytest.mark.parametrize(
    "text", ["", "ab", "g" * 64, "a" * 63, "a" * 65, "ab " * 21 + "a", "é" * 64, " " + "a" * 63]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="64 hex digits"):
        parse_id(text)
