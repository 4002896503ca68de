"""Cut points: FastCDC 2020 with normalised chunking 2, chunks of 16, 64, 256 KiB (min, mean, max).

Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage
Systems", IEEE TPDS 2020, as in pyfastcdc with the gear table of its authors. A cut depends on the
bytes since the last one only, so a file cut in segments has the cuts of the whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from castore.model.limits import CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN

_SLOW = "pyfastcdc runs without its compiled part: chunking is about 200 times slower"
_warned = False


class Chunker:
    """Cuts buffers; not for use by two threads at once."""

    def __init__(self) -> None:
        self._cut = _cutter().cut_buf

    def ends(self, data: bytes | memoryview, *, final: bool) -> list[int]:
        """Where the chunks of `data`, which begins at a cut, end, in bytes from its start.

        Unless `final`, bytes may follow: what lies behind the last end is to be given again, in
        front of them. It is less than 256 KiB. No bytes, no ends.
        """
        if not len(data):
            return []
        ends = [chunk.offset + chunk.length for chunk in self._cut(data)]
        if not final:
            last = ends[-1] - (ends[-2] if len(ends) > 1 else 0)
            if last < CHUNK_MAX:
                ends.pop()
        return ends


def cut_points(pieces: Iterable[bytes | memoryview]) -> Iterator[int]:
    """The ends of all chunks of the joined pieces, in bytes from the start."""
    chunker = Chunker()
    base = 0
    rest = b""
    for piece in pieces:
        data = rest + bytes(piece)
        ends = chunker.ends(data, final=False)
        yield from (base + end for end in ends)
        done = ends[-1] if ends else 0
        base += done
        rest = data[done:]
    yield from (base + end for end in chunker.ends(rest, final=True))


def _cutter() -> Any:
    """A pyfastcdc chunker; warns once if only its pure-Python form is there."""
    global _warned
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyfastcdc
    cutter: Any = pyfastcdc.FastCDC
    if not _warned and cutter.__module__.startswith("pyfastcdc.py"):
        _warned = True
        warnings.warn(_SLOW, RuntimeWarning, stacklevel=3)
    return cutter(
        CHUNK_AVERAGE, min_size=CHUNK_MIN, max_size=CHUNK_MAX, normalized_chunking=2, seed=0
    )
