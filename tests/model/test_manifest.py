"""Manifests: immutable versions whose fields agree with one another."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import InvalidInput
from castore.model.limits import MANIFEST_BYTES, PARENTS
from castore.model.manifest import (
    Agent,
    CheckResult,
    Manifest,
    Source,
    SpecPin,
    decode_manifest,
    encode_manifest,
)
from tests.model.samples import MANIFEST, brief, some_id
from tests.model.strategies import manifests

SMALL = Manifest(set=some_id(1), spec=SpecPin("out"), branch="out", at=1)
LISTS = ("sources", "checks", "carried", "missing", "failed", "locations", "attachments")


@given(manifests())
def test_a_manifest_is_read_back(value: Manifest) -> None:
    payload = encode_manifest(value)
    read = decode_manifest(payload)
    assert encode_manifest(read) == payload
    for field in dataclasses.fields(Manifest):
        given, got = getattr(value, field.name), getattr(read, field.name)
        if field.name in LISTS:
            assert set(got) == set(given)
        elif field.name != "spec":
            assert got == given
    assert set(read.spec.files) == set(value.spec.files)
    assert dataclasses.replace(read.spec, files=()) == dataclasses.replace(value.spec, files=())


@given(manifests(), st.randoms())
def test_lists_are_stored_in_one_order(value: Manifest, random: random.Random) -> None:
    shuffled = {key: random.sample(getattr(value, key), len(getattr(value, key))) for key in LISTS}
    changes: dict[str, Any] = {key: (*rows, *rows[:1]) for key, rows in shuffled.items()}
    assert dataclasses.replace(value, **changes).id == value.id


def test_the_order_of_parents_is_kept() -> None:
    turned = dataclasses.replace(MANIFEST, parents=MANIFEST.parents[::-1])
    assert turned.id != MANIFEST.id
    assert decode_manifest(encode_manifest(turned)).parents == turned.parents


@given(manifests())
def test_every_field_is_part_of_the_id(value: Manifest) -> None:
    for change in (
        {"set": some_id(99)},
        {"at": value.at + 1},
        {"message": value.message + "."},
        {"branch": value.branch + "x"},
        {"agent": Agent(value.agent.id + "x")},
        {"ext": {**value.ext, "new": b""}},
        {"meta": {"new key": True}},
    ):
        assert dataclasses.replace(value, **change).id != value.id  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"missing": ("a",)}, "complete, with"),
        ({"failed": ("a",)}, "complete, with"),
        ({"checks": (CheckResult("a", "format", "failed"),)}, "complete, with"),
        ({"checks": (CheckResult("a", "format", "maybe"),)}, "unknown result"),
        ({"state": "done"}, "unknown value 'done'"),
        ({"number": 0}, "number"),
        ({"number": 2}, "first version must have number 1"),
        ({"parents": (some_id(1),)}, "later version must have a number above 1"),
        ({"parents": (some_id(1),) * 2, "number": 2}, "a parent stands twice"),
        ({"parents": (b"short",), "number": 2}, "not an id"),
        ({"at": -1}, "at"),
        ({"set": b""}, "set"),
        ({"branch": ""}, "branch"),
        ({"branch": "../x"}, "branch"),
        ({"branch": "v7"}, "branch"),
        ({"branch": "a" * 101}, "branch"),
        ({"spec": SpecPin("")}, "id"),
        ({"spec": SpecPin("a b")}, "id"),
        ({"spec": SpecPin("out", source=b"x")}, "source"),
        ({"spec": SpecPin("out", files=(("f", some_id(1)), ("f", some_id(2))))}, "stands twice"),
        ({"carried": (("a", some_id(1)), ("a", some_id(2)))}, "stands twice"),
        ({"carried": (("a", b""),)}, "not an id"),
        ({"attachments": (("a", some_id(1), 1), ("a", some_id(1), 2))}, "stands twice"),
        ({"attachments": (("a", some_id(1), -1),)}, "impossible"),
        ({"run": "r" * 101}, "run"),
        ({"message": "m" * 65_537}, "message"),
        ({"titles": {"a": "t" * 65_537}}, "titles"),
        ({"titles": {f"t{i}": "" for i in range(4097)}}, "titles"),
        ({"checks": (CheckResult("a", "b", "passed", "d" * 65_537),)}, "checks"),
        ({"missing": ("m" * 65_537,), "state": "partial"}, "missing"),
        ({"sources": (Source(size=-2),)}, "size"),
        ({"sources": (Source(evidence="sworn"),)}, "evidence"),
        ({"sources": (Source(target=b"x"),)}, "target"),
        ({"meta": {"a": ["list"]}}, "meta"),
        ({"meta": {"a": 1.5}}, "float"),
        ({"meta": {"a": "x" * 16_384}}, "meta"),
        ({"ext": {"!must": b""}}, "must be understood"),
        ({"author": "\ud800"}, "surrogate"),
        ({"missing": ("\ud800",), "state": "partial"}, "surrogate"),
        ({"at": 1 << 63}, "at"),
        ({"at": 1 << 70}, "64 bits"),
    ],
    ids=brief,
)
def test_what_could_not_be_read_is_never_written(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        encode_manifest(dataclasses.replace(SMALL, **change))


def test_parents_are_bounded() -> None:
    parents = tuple(some_id(i) for i in range(PARENTS))
    assert encode_manifest(dataclasses.replace(SMALL, parents=parents, number=2))
    with pytest.raises(InvalidInput, match="at most 16"):
        encode_manifest(dataclasses.replace(SMALL, parents=(*parents, some_id(77)), number=2))


def test_the_bytes_of_a_manifest_are_bounded() -> None:
    rows = tuple(("a", f"https://example.org/{i}", "e" * 300) for i in range(4096))
    with pytest.raises(InvalidInput, match=f"more than the limit of {MANIFEST_BYTES}"):
        encode_manifest(dataclasses.replace(SMALL, locations=rows))


def test_completeness_is_what_the_state_says() -> None:
    assert SMALL.complete
    assert not MANIFEST.complete
