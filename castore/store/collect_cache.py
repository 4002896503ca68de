"""The cache of files kept within bounds: the oldest rows go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Final

from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.tables import FileRow
from castore.database.writing import Writing
from castore.store.collect_pace import ROW_BYTES, Pace

CACHE_FILES: Final = 1_000_000
"""Files that the cache of files knows after a collection."""
_SLICE_ROWS: Final = 10_000
_DIGIT: Final = 16


def trim_files(
    database: Database, limit: int, *, dry_run: bool = False, pace: Pace | None = None
) -> int:
    """Drop the oldest rows until at most `limit` files are known; how many files were dropped.

    Memory is bounded. `dry_run` tells how many are too many; a row that holds more goes as a whole.
    `pace` bounds the transactions.
    """
    excess = sum(row.files for _, row in _all_rows(database)) - limit
    if excess <= 0 or dry_run:
        return max(0, excess)
    bound, spare = _bound(database, excess)
    pace = pace or Pace()
    dropped = 0
    start: bytes | None = b""
    while start is not None:
        rows, start = database.read(partial(_rows, start=start))
        keys = []
        for key, row in rows:
            if row.moment_ns > bound:
                continue
            if row.moment_ns == bound:
                # Of those of one moment only as many as are too many.
                if spare <= 0:
                    continue
                spare -= row.files
            keys.append(key)
            dropped += row.files
        while keys:
            # Keys are digests: each lies in a page of its own.
            many = max(1, pace.bytes // ROW_BYTES)
            database.write(partial(_drop, keys=keys[:many], pace=pace), urgent=True)
            pace.end(ROW_BYTES * len(keys[:many]))
            keys = keys[many:]
    return dropped


def _bound(database: Database, excess: int) -> tuple[int, int]:
    """The moment of file number `excess` from the oldest, and how many of that moment go.

    By counting digits of 16 bits, the highest first.
    """
    prefix = 0
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = [0] * (1 << _DIGIT)
        for _, (moment, files) in _all_rows(database):
            if moment >> shift + _DIGIT == prefix:
                counts[moment >> shift & (1 << _DIGIT) - 1] += files
        digit = 0
        while digit < len(counts) - 1 and counts[digit] < excess:
            excess -= counts[digit]
            digit += 1
        prefix = prefix << _DIGIT | digit
    return prefix, excess


def _all_rows(database: Database) -> Iterator[tuple[bytes, FileRow]]:
    start: bytes | None = b""
    while start is not None:
        rows, start = database.read(partial(_rows, start=start))
        yield from rows


def _rows(tables: Reading, start: bytes) -> tuple[list[tuple[bytes, FileRow]], bytes | None]:
    """A slice of rows by key, and where the next begins."""
    rows = list(islice(tables.file_rows(start), _SLICE_ROWS + 1))
    after = rows.pop()[0] if len(rows) > _SLICE_ROWS else None
    return rows, after


def _drop(tables: Writing, keys: list[bytes], pace: Pace) -> None:
    pace.begin()
    tables.drop_files(keys)
