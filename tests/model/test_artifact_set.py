"""Sets: pure content, sorted by name, at places that do not contain one another."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import CorruptObject, InvalidInput
from castore.model.artifact_set import (
    Artifact,
    ArtifactSet,
    FileContent,
    decode_set,
    encode_set,
    make_set,
)
from castore.model.encoding import decode, encode
from castore.model.limits import SET_ARTIFACTS, SET_BYTES
from tests.model.samples import SET, some_id
from tests.model.strategies import sets


def artifact(name: str, path: str = "") -> Artifact:
    """A small file artifact."""
    return Artifact(name, "document", "text", path or name, FileContent(some_id(1), 3))


@given(sets())
def test_a_set_is_read_back(value: ArtifactSet) -> None:
    assert decode_set(encode_set(value)) == value


@given(sets(), st.randoms())
def test_the_order_given_does_not_change_the_id(value: ArtifactSet, random: random.Random) -> None:
    shuffled = list(value.artifacts)
    random.shuffle(shuffled)
    assert make_set(shuffled).id == ArtifactSet(value.artifacts).id


def test_artifacts_are_found_by_name() -> None:
    assert SET.get("site") is SET.artifacts[-1]
    assert SET.get("nothing") is None


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'a' was given twice"):
        make_set([artifact("a"), artifact("b"), artifact("a", "c")])


@pytest.mark.parametrize(
    ("one", "other"), [("a", "a"), ("a", "a/b"), ("x/y/z", "x/y"), ("a/b", "a/b/c/d")]
)
def test_places_that_contain_one_another_are_refused(one: str, other: str) -> None:
    with pytest.raises(InvalidInput, match="equal or nested"):
        make_set([artifact("p", one), artifact("m", "a-b"), artifact("q", other)])
    rows = decode(encode_set(make_set([artifact("p"), artifact("q")])), limit=SET_BYTES)
    rows["artifacts"][0]["path"], rows["artifacts"][1]["path"] = one, other
    with pytest.raises(CorruptObject, match="equal or nested"):
        decode_set(encode(rows))


def test_places_side_by_side_are_fine() -> None:
    places = ["a", "a-b", "a.b", "ab", "b/a", "b/a-", "b/aa", "b!/a"]
    assert len(make_set(artifact(f"n{i}", p) for i, p in enumerate(places)).artifacts) == 8


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b"])
def test_a_place_that_climbs_or_is_odd_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="path"):
        encode_set(ArtifactSet((Artifact("a", "", "", path, FileContent(some_id(1), 3)),)))


def test_a_deep_place_is_refused() -> None:
    assert encode_set(make_set([artifact("a", "/".join("d" * 256))]))
    with pytest.raises(InvalidInput, match="deeper"):
        encode_set(make_set([artifact("a", "/".join("d" * 257))]))


def test_unsorted_artifacts_are_refused() -> None:
    rows = decode(encode_set(make_set([artifact("a"), artifact("b")])), limit=SET_BYTES)
    rows["artifacts"].reverse()
    with pytest.raises(CorruptObject, match="sorted by name"):
        decode_set(encode(rows))


def test_names_sort_by_their_utf8_bytes() -> None:
    names = ["\U0001f600", "\uffee", "é", "z"]
    made = make_set(artifact(name) for name in names)
    assert [a.name for a in made.artifacts] == sorted(names, key=str.encode)
    assert decode_set(encode_set(made)) == made


def test_names_without_utf8_are_refused() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        encode_set(make_set([artifact("a\ud800"), artifact("b")]))


def test_the_largest_set_is_stored_and_no_larger() -> None:
    many = [artifact(f"name {i} " + "n" * 80, f"place {i} " + "p" * 230) for i in range(4096)]
    made = make_set(many)
    assert decode_set(encode_set(made)) == made
    with pytest.raises(InvalidInput, match=f"at most {SET_ARTIFACTS}"):
        make_set([*many, artifact("one more")])
    with pytest.raises(InvalidInput, match="at most 4096"):
        encode_set(ArtifactSet((*made.artifacts, artifact("zzz"))))


def test_a_set_of_too_many_bytes_is_refused() -> None:
    many = [artifact(f"name {i}", f"{i}/" + "/".join(["p" * 250] * 5)) for i in range(4096)]
    with pytest.raises(InvalidInput, match="more than the limit"):
        encode_set(make_set(many))
