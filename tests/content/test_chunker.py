"""The chunker: golden cut points, and cuts that do not depend on how the input was handed over."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pyfastcdc.py
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content import chunker
from castore.content.chunker import Chunker, cut_points
from castore.content.segments import Buffers, cut_segments, cut_whole, hash_segments, reader_of
from castore.content.sink import Turn
from castore.model.ids import content_id
from castore.model.limits import CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN, MIB
from tests.content.samples import noise, prose

# Cut points of BLAKE3("castore golden") extended to 3 MiB. They are part of what makes stores
# share chunks: a change here is a change of the format in all but name.
GOLDEN_NOISE = [
    75792, 157756, 224004, 295802, 384872, 503032, 595773, 678455, 751882, 825323, 864527, 930853,
    1005856, 1072947, 1150553, 1221400, 1315123, 1333755, 1402408, 1486418, 1577791, 1668682,
    1754808, 1858493, 1883529, 1957934, 2030897, 2098815, 2185018, 2254654, 2324449, 2408797,
    2458803, 2482860, 2559148, 2633441, 2655173, 2674590, 2744875, 2790895, 2866413, 2938571,
    2965779, 3054056, 3145728,
]  # fmt: skip
GOLDEN_PROSE = [
    48747, 81412, 163641, 245745, 326136, 395853, 470185, 548609, 616139, 692771, 736430, 811166,
    887888, 972118, 1043523, 1106826, 1160427, 1262967, 1301953, 1369573, 1455175, 1462641,
]  # fmt: skip
NOISE = noise(3 * MIB)
PROSE = b"".join(b"%d: the quick brown fox %d\n" % (i, i * i) for i in range(40_000))


def test_golden_cuts() -> None:
    assert list(cut_points([NOISE])) == GOLDEN_NOISE
    assert list(cut_points([PROSE])) == GOLDEN_PROSE
    assert list(cut_points([bytes(MIB)])) == [CHUNK_MAX * n for n in (1, 2, 3, 4)]


def test_golden_cuts_of_more() -> None:
    cuts = list(cut_points([noise(32 * MIB, "castore golden, long")]))
    digest = blake3(b"".join(cut.to_bytes(8, "little") for cut in cuts)).hexdigest()
    assert (len(cuts), digest[:16]) == (454, "18fc3917cee6bd94")


@pytest.mark.parametrize("data", [NOISE[:MIB], PROSE[:MIB], bytes(600_000)])
def test_the_other_implementation_cuts_alike(data: bytes) -> None:
    other = pyfastcdc.py.FastCDC(
        CHUNK_AVERAGE, min_size=CHUNK_MIN, max_size=CHUNK_MAX, normalized_chunking=2, seed=0
    )
    assert list(cut_points([data])) == [c.offset + c.length for c in other.cut_buf(data)]


def test_sizes_are_in_bounds() -> None:
    for data in (NOISE, PROSE):
        cuts = [0, *cut_points([data])]
        sizes = [b - a for a, b in pairwise(cuts)]
        assert all(CHUNK_MIN <= size <= CHUNK_MAX for size in sizes[:-1])
        assert 0 < sizes[-1] <= CHUNK_MAX


@settings(max_examples=60)
@given(
    st.sampled_from([NOISE, PROSE, bytes(MIB), prose(90_000) * 8]),
    st.integers(0, 500_000),
    st.integers(0, 1_500_000),
    st.lists(st.integers(0, 400_000), max_size=8),
)
def test_cutting_in_segments_equals_cutting_whole(
    source: bytes, start: int, size: int, sizes: list[int]
) -> None:
    data = source[start : start + size]
    pieces, at = [], 0
    for length in sizes:
        pieces.append(data[at : at + length])
        at += length
    pieces.append(data[at:])
    assert list(cut_points(pieces)) == list(cut_points([data]))


@pytest.mark.parametrize("odd", range(-3, 4))
def test_a_segment_may_end_anywhere_around_a_cut(odd: int) -> None:
    for cut in GOLDEN_NOISE[:12]:
        pieces = [NOISE[: cut + odd], NOISE[cut + odd : 950_000]]
        assert list(cut_points(pieces)) == list(cut_points([NOISE[:950_000]]))


def test_a_chunk_cut_again_is_one_chunk() -> None:
    start = 0
    for end in GOLDEN_NOISE:
        piece = NOISE[start:end]
        assert list(cut_points([piece])) == [len(piece)]
        start = end


@settings(max_examples=25)
@given(st.integers(0, 6 * MIB), st.integers(1, 3 * MIB))
def test_segments_read_in_buffers_are_the_chunks_of_the_whole(size: int, step: int) -> None:
    data = (NOISE + PROSE + NOISE)[:size]
    hasher, buffers, found = blake3(), Buffers(), []
    pieces = [memoryview(data)[at : at + step] for at in range(0, size, step)]
    cuts = cut_segments(reader_of(pieces), Chunker(), buffers.take)
    for chunks, joined, buffer, _, lying in hash_segments(cuts, hasher, Turn()):
        assert b"".join(piece for _, piece in chunks) == joined
        found.extend((id, bytes(piece)) for id, piece in chunks)
        for id, piece in chunks:
            around = lying.around(id, len(piece), 4096)
            assert around is not None
            assert around[4096:] == piece
        buffers.give(buffer)
    assert b"".join(piece for _, piece in found) == data
    assert hasher.digest() == content_id(data)
    whole = cut_whole(content_id(data), data, Chunker()) if data else []
    assert found == [(id, bytes(piece)) for id, piece in whole]


def test_the_slow_fallback_is_warned_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfastcdc.FastCDC", pyfastcdc.py.FastCDC)
    monkeypatch.setattr(chunker, "_warned", False)
    with pytest.warns(RuntimeWarning, match="slower"):
        Chunker()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Chunker().ends(bytes(20_000), final=True) == [20_000]
