"""Meeting: the versions that rows of several indexes lead to alike, newest first.

All rows of an index for one value are in order of (time, id), so several of them are one sorted
list each. A round reads some rows of every list below the point reached. Where one list's rows
are all newer than another's newest, it leaps there; else the list that reaches furthest back, so
the one with the fewest rows, is asked for in the others, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from castore.database.indexes import Index, Value, time_bytes
from castore.database.reading import Reading
from castore.model.ids import Id

_FIRST: Final = 128
_MOST: Final = 4_096
ENOUGH: Final = 128
"""Versions after which a call returns."""
LOOKED_AT: Final = 100_000
"""Rows of all lists together after which it does, whatever it found: a view is kept short."""
_AT: Final = slice(0, 8)
_ID: Final = slice(8, None)


def meet(
    tables: Reading, rows: Sequence[tuple[Index, Value]], below: bytes = b"", since: int = 0
) -> tuple[list[Id], bytes | None]:
    """Some versions with a row of each index for its value, newest first, and where to go on.

    They come after `below`, which is b"" or what the call before returned; None is the end. No
    version older than `since` (microseconds UTC) is among them. `rows` must not be empty.
    """
    oldest = time_bytes(since)
    found: list[bytes] = []
    size, looked_at = _FIRST, 0
    point: bytes | None = below
    while point is not None and len(found) < ENOUGH and looked_at < LOOKED_AT:
        lists = [tables.tails(index, value, point, size) for index, value in rows]
        looked_at += sum(map(len, lists))
        if not all(lists):
            point = None
            break
        newest = min(tails[0] for tails in lists)
        if any(tails[-1] > newest for tails in lists):
            # That list has nothing to offer so far: on to where all may have something.
            point = newest + b"\0"
        else:
            taken = _sparsest(lists, size)
            point = lists[taken][-1] if len(lists[taken]) == size else None
            others = [row for number, row in enumerate(rows) if number != taken]
            found += in_all(tables, others, lists[taken])
        if newest[_AT] < oldest or (point is not None and point[_AT] < oldest):
            point = None
        size = min(2 * size, _MOST)
    return [tail[_ID] for tail in found if tail[_AT] >= oldest], point


def _sparsest(lists: Sequence[list[bytes]], size: int) -> int:
    """Which list to take: one that ends here, else the one that reaches furthest back."""
    return min(range(len(lists)), key=lambda n: (len(lists[n]) == size, lists[n][-1]))


def in_all(tables: Reading, rows: Sequence[tuple[Index, Value]], tails: list[bytes]) -> list[bytes]:
    """Those of `tails` (time and id), in their order, that have a row of each index."""
    for index, value in rows:
        if tails:
            tails = tables.with_row(index, value, tails)
    return tails
