"""Edges: what each object needs, and how strongly."""

from __future__ import annotations

import pytest

from castore.errors import CorruptObject
from castore.model.edges import Edge, Strength, edges, needs
from castore.model.ids import Kind
from tests.model.samples import SAMPLES, some_id

HARD, HISTORY, WEAK = Strength.HARD, Strength.HISTORY, Strength.WEAK


def of(name: str) -> list[Edge]:
    """The edges of a sample, by target."""
    return sorted(edges(SAMPLES[name].kind, SAMPLES[name].payload), key=lambda edge: edge.target)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("set", [(1, None, HARD), (2, Kind.TREE, HARD)]),
        ("tree", [(18, None, HARD), (19, None, HARD), (20, Kind.TREE, HARD)]),
        ("tree-above", [(21, Kind.TREE, HARD), (22, Kind.TREE, HARD)]),
        ("layout", [(23, Kind.CHUNK, HARD), (24, Kind.CHUNK, HARD)]),
        ("layout-above", [(25, Kind.LAYOUT, HARD), (26, Kind.LAYOUT, HARD)]),
        (
            "manifest",
            [
                (4, Kind.SET, HISTORY),
                (5, None, HARD),
                (7, None, HARD),
                (8, Kind.MANIFEST, HISTORY),
                (9, Kind.MANIFEST, HISTORY),
                (10, Kind.MANIFEST, WEAK),
                (12, Kind.MANIFEST, WEAK),
                (13, None, HARD),
            ],
        ),
        (
            "note",
            [
                (14, Kind.MANIFEST, WEAK),
                (15, Kind.NOTE, WEAK),
                (16, Kind.NOTE, WEAK),
                (17, Kind.NOTE, WEAK),
            ],
        ),
    ],
)
def test_edges_of(name: str, expected: list[tuple[int, Kind | None, Strength]]) -> None:
    assert of(name) == [Edge(some_id(number), kind, how) for number, kind, how in expected]


@pytest.mark.parametrize(("forgotten", "without"), [(False, set()), (True, {4})])
def test_what_a_version_needs(forgotten: bool, without: set[int]) -> None:
    """All but what is only mentioned; a forgotten one keeps its history, and not its files."""
    sample = SAMPLES["manifest"]
    found = needs(sample.kind, sample.payload, forgotten=forgotten)
    assert {edge.target for edge in found} == {
        some_id(number) for number in {4, 5, 7, 8, 9, 13} - without
    }
    assert needs(SAMPLES["note"].kind, SAMPLES["note"].payload) == []


def test_a_chunk_has_none() -> None:
    assert list(edges(Kind.CHUNK, SAMPLES["manifest"].payload)) == []


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.CHUNK}))
def test_malformed_payloads_are_refused(kind: Kind) -> None:
    with pytest.raises(CorruptObject):
        list(edges(kind, b"\x80"))
