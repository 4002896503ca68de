"""The cache of files kept within bounds: the oldest rows go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Final

from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.writing import Writing

CACHE_ROWS: Final = 1_000_000
"""Rows of the cache of files that a collection leaves."""
_SLICE_ROWS: Final = 10_000
_DIGIT: Final = 16


def trim_files(database: Database, limit: int, *, dry_run: bool = False) -> int:
    """Drop the oldest rows of the cache beyond `limit`; how many. Memory is bounded."""
    excess = database.read(lambda tables: tables.counts()["files"]) - limit
    if excess <= 0 or dry_run:
        return max(0, excess)
    bound, spare = _bound(database, excess)
    left = excess
    start: bytes | None = b""
    while start is not None and left > 0:
        rows, start = database.read(partial(_rows, start=start))
        keys = []
        for key, moment in rows:
            if moment > bound or left <= 0:
                continue
            if moment == bound:
                # Of those of one moment only as many as are too many.
                if spare <= 0:
                    continue
                spare -= 1
            keys.append(key)
            left -= 1
        if keys:
            database.write(partial(_drop, keys=keys), urgent=True)
    return excess - left


def _bound(database: Database, excess: int) -> tuple[int, int]:
    """The moment of row number `excess` from the oldest, and how many of that moment go.

    By counting digits of 16 bits, the highest first.
    """
    prefix = 0
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = [0] * (1 << _DIGIT)
        for _, moment in _all_rows(database):
            if moment >> shift + _DIGIT == prefix:
                counts[moment >> shift & (1 << _DIGIT) - 1] += 1
        digit = 0
        while digit < len(counts) - 1 and counts[digit] < excess:
            excess -= counts[digit]
            digit += 1
        prefix = prefix << _DIGIT | digit
    return prefix, excess


def _all_rows(database: Database) -> Iterator[tuple[bytes, int]]:
    start: bytes | None = b""
    while start is not None:
        rows, start = database.read(partial(_rows, start=start))
        yield from rows


def _rows(tables: Reading, start: bytes) -> tuple[list[tuple[bytes, int]], bytes | None]:
    """(key, moment) of a slice of rows, and where the next begins."""
    rows = list(islice(tables.file_rows(start), _SLICE_ROWS + 1))
    after = rows.pop()[0] if len(rows) > _SLICE_ROWS else None
    return [(key, row.moment_ns if row else 0) for key, row in rows], after


def _drop(tables: Writing, keys: list[bytes]) -> None:
    tables.drop_files(keys)
