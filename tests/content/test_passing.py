"""Files are compared while their chunks pass: false ones are refused, some are left to be read."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content.layouts import build_layout
from castore.content.passing import Passing, PassingFiles, Place
from castore.errors import CorruptObject
from castore.model.ids import Id, content_id
from castore.model.pages import Part

_CHUNKS = [bytes([65 + at]) * (at + 1) for at in range(9)]


class _Bucket:
    """Chunks in packs, and files of them."""

    def __init__(self, packs: Sequence[Sequence[int]], files: Sequence[Sequence[int]]) -> None:
        self.places: dict[Id, Place] = {}
        for pack, chunks in enumerate(packs):
            for at, chunk in enumerate(chunks):
                self.places[content_id(_CHUNKS[chunk])] = (0, pack, at // 2, at % 2)
        self.chunks = {content_id(chunk): chunk for chunk in _CHUNKS}
        self.roots: dict[Id, bytes] = {}
        for file in files:
            parts = [Part(content_id(_CHUNKS[at]), len(_CHUNKS[at])) for at in file]
            self.roots[content_id(b"".join(_CHUNKS[at] for at in file))] = build_layout(parts)[0]

    def passing(
        self, coming: set[Id], passed: list[Id] | None = None, *, lenient: bool = False
    ) -> tuple[PassingFiles, list[Passing]]:
        places = {id: place for id, place in self.places.items() if id in coming}
        found = PassingFiles(
            self.roots.__getitem__,
            dict[Id, bytes]().__getitem__,
            self.roots,
            places.get,
            passed=[].append if passed is None else passed.append,
            lenient=lenient,
        )
        chunks = [Passing(place, id, self.chunks[id]) for id, place in places.items()]
        return found, sorted(chunks)


def seen(found: PassingFiles, chunks: Sequence[Passing], many: int) -> set[Id]:
    for at in range(0, len(chunks), many):
        found.see(chunks[at : at + many])
    return set(found.finish())


_packs = st.permutations(range(9)).flatmap(
    lambda order: st.lists(st.integers(0, 9), min_size=2, max_size=2).map(
        lambda cuts: [order[: min(cuts)], order[min(cuts) : max(cuts)], order[max(cuts) :]]
    )
)
_files = st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=6), max_size=5)


@settings(max_examples=60)
@given(_packs, _files, st.sets(st.integers(0, 8)), st.integers(1, 9))
def test_what_passes_in_order_needs_no_reading(
    packs: list[list[int]], files: list[list[int]], here: set[int], many: int
) -> None:
    bucket = _Bucket(packs, files)
    order = [chunk for pack in packs for chunk in pack]
    coming = {content_id(_CHUNKS[at]) for at in order if at not in here}
    found, chunks = bucket.passing(coming)
    left = seen(found, chunks, many)
    for file in files:
        digest = content_id(b"".join(_CHUNKS[at] for at in file))
        places = [order.index(at) for at in file]
        in_order = all(a < b for a, b in pairwise(places))
        assert (digest not in left) == (in_order and not here.intersection(file))


@settings(max_examples=60)
@given(_packs, st.lists(st.integers(0, 8), min_size=1, max_size=6), st.integers(1, 9))
def test_a_false_chunk_list_never_passes(
    packs: list[list[int]], file: list[int], many: int
) -> None:
    bucket = _Bucket(packs, [file])
    (root,) = bucket.roots.values()
    wrong = content_id(b"another file")
    bucket.roots = {wrong: root}
    found, chunks = bucket.passing({content_id(chunk) for chunk in _CHUNKS})
    with contextlib.suppress(CorruptObject):
        assert seen(found, chunks, many) == {wrong}


@settings(max_examples=60)
@given(
    _packs,
    st.lists(st.integers(0, 8), min_size=1, max_size=6),
    st.integers(0, 5),
    st.integers(1, 9),
    st.booleans(),
)
def test_a_chunk_list_with_a_wrong_size_never_passes(
    packs: list[list[int]], file: list[int], wrong: int, many: int, lenient: bool
) -> None:
    """The bytes are right; a reader of a part of the file would be led astray."""
    bucket = _Bucket(packs, [file])
    parts = [Part(content_id(_CHUNKS[at]), len(_CHUNKS[at])) for at in file]
    at = wrong % len(parts)
    parts[at] = Part(parts[at].id, parts[at].size + 1)
    (digest,) = bucket.roots
    bucket.roots[digest] = build_layout(parts)[0]
    passed: list[Id] = []
    found, chunks = bucket.passing(set(bucket.places), passed, lenient=lenient)
    with contextlib.suppress(*() if lenient else (CorruptObject,)):
        assert seen(found, chunks, many) == {digest}
    assert not passed


@given(_packs, _files, st.integers(1, 9))
def test_what_is_wrong_leaves_the_other_files_alone(
    packs: list[list[int]], files: list[list[int]], many: int
) -> None:
    right = _Bucket(packs, files)
    found, chunks = right.passing(set(right.places))
    left = seen(found, chunks, many)
    bucket = _Bucket(packs, files)
    wrong = content_id(b"another file")
    bucket.roots[wrong] = build_layout([Part(content_id(_CHUNKS[0]), 1)])[0]
    passed: list[Id] = []
    found, chunks = bucket.passing(set(bucket.places), passed, lenient=True)
    assert seen(found, chunks, many) == left | {wrong}
    assert set(passed) == bucket.roots.keys() - left - {wrong}
