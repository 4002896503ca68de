"""CSV diffs: rows added, removed and changed, and the cells that changed in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from castore.store.diff_text import Budget, gaps, match

ROWS: Final = 1_000
"""Changed rows kept in one diff; the rest is counted."""
COLUMNS: Final = 4_096
_CELL: Final = 60


class Unreadable(Exception):
    """The text is not a table that can be compared by rows; the message says why."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One changed cell: its column, the old and the new text."""

    column: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row added, removed or changed; `key` as CsvDiff.key says, `row` the cells of the row.

    `row` is the new row, for one that was removed the old; `cells` only for a changed one.
    """

    key: str
    change: str
    row: tuple[str, ...]
    cells: tuple[Cell, ...] = ()

    def line(self) -> str:
        """The change on one line, long cells cut."""
        if self.change == "changed":
            cells = ", ".join(f"{c.column}: {_cut(c.old)} → {_cut(c.new)}" for c in self.cells)
            return f"~ {self.key}: {cells}"
        sign = "+" if self.change == "added" else "-"
        return f"{sign} {self.key}: {', '.join(_cut(cell) for cell in self.row)}"

    def as_json(self) -> dict[str, Any]:
        """The change as data."""
        return {
            "key": self.key,
            "change": self.change,
            "row": list(self.row),
            "cells": [{"column": c.column, "old": c.old, "new": c.new} for c in self.cells],
        }


@dataclass(frozen=True, slots=True)
class CsvDiff:
    """The changed rows between two tables; `key` is what tells rows apart, and it says so.

    `key` is "first column NAME" or "row position"; positions count from 1 after the header, in
    the new table, for removed rows in the old one.
    """

    key: str
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    rows: tuple[RowChange, ...]
    note: str = ""

    def lines(self) -> Iterator[str]:
        """The key, the columns, and one line for each changed row."""
        yield f"rows by {self.key}"
        yield from (f"+ column {name}" for name in self.columns_added)
        yield from (f"- column {name}" for name in self.columns_removed)
        yield from (row.line() for row in self.rows)
        if self.note:
            yield f"({self.note})"

    def as_json(self) -> dict[str, Any]:
        """The diff as data: key, columns, rows, note."""
        return {
            "key": self.key,
            "columns_added": list(self.columns_added),
            "columns_removed": list(self.columns_removed),
            "rows": [row.as_json() for row in self.rows],
            "note": self.note or None,
        }


def diff_csv(old: str, new: str, *, delimiter: str = ",") -> CsvDiff:
    """The differences of two tables whose first row is the header.

    Rows are told apart by the first column where both tables name it alike and hold each of its
    values once, else by position, aligned by equal rows. At most ROWS changed rows. Raises
    Unreadable for what is no table: compare the text instead.
    """
    before, after = _parse(old, delimiter), _parse(new, delimiter)
    head_old, head_new = before[0], after[0]
    shared = [name for name in head_new if name in set(head_old)]
    budget = Budget()
    if _keyed(before, after):
        key = f"first column {head_new[0]}"
        pairs = _by_key(before[1:], after[1:])
    else:
        key = "row position"
        pairs = _by_position(before[1:], after[1:], budget)
    rows: list[RowChange] = []
    more = 0
    for name, left, right in pairs:
        change = _row_change(name, left, right, (head_old, head_new, shared))
        if change is not None and len(rows) < ROWS:
            rows.append(change)
        elif change is not None:
            more += 1
    notes = [f"{more} further rows left out"] if more else []
    if budget.exhausted:
        notes.append("too different to align: rows are compared by position")
    return CsvDiff(
        key=key,
        columns_added=tuple(name for name in head_new if name not in set(head_old)),
        columns_removed=tuple(name for name in head_old if name not in set(head_new)),
        rows=tuple(rows),
        note="; ".join(notes),
    )


def _parse(text: str, delimiter: str) -> list[list[str]]:
    source = io.StringIO(text.removeprefix("\ufeff"), newline="")
    try:
        rows = [row for row in csv.reader(source, delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise Unreadable(f"not a table: {error}") from None
    if not rows:
        raise Unreadable("an empty table")
    if len(rows[0]) > COLUMNS or len(set(rows[0])) != len(rows[0]):
        raise Unreadable("a header with a column named twice, or of too many columns")
    return rows


def _keyed(old: Sequence[list[str]], new: Sequence[list[str]]) -> bool:
    if not old[0] or not new[0] or old[0][0] != new[0][0]:
        return False
    for table in (old, new):
        keys = [row[0] for row in table[1:]]
        if len(set(keys)) != len(keys) or "" in keys:
            return False
    return True


_Pair = tuple[str, list[str] | None, list[str] | None]


def _by_key(old: Sequence[list[str]], new: Sequence[list[str]]) -> Iterator[_Pair]:
    before = {row[0]: row for row in old}
    kept = {row[0] for row in new}
    yield from ((row[0], row, None) for row in old if row[0] not in kept)
    yield from ((row[0], before.get(row[0]), row) for row in new)


def _by_position(
    old: Sequence[list[str]], new: Sequence[list[str]], budget: Budget
) -> Iterator[_Pair]:
    runs = match([tuple(row) for row in old], [tuple(row) for row in new], budget)
    for i, i_end, j, j_end in gaps(runs, len(old), len(new)):
        paired = min(i_end - i, j_end - j)
        for step in range(paired):
            yield str(j + step + 1), old[i + step], new[j + step]
        yield from ((str(at + 1), old[at], None) for at in range(i + paired, i_end))
        yield from ((str(at + 1), None, new[at]) for at in range(j + paired, j_end))


def _row_change(
    name: str,
    old: list[str] | None,
    new: list[str] | None,
    heads: tuple[list[str], list[str], list[str]],
) -> RowChange | None:
    if old is None:
        return RowChange(name, "added", tuple(new or ()))
    if new is None:
        return RowChange(name, "removed", tuple(old))
    head_old, head_new, shared = heads
    before, after = dict(zip(head_old, old, strict=False)), dict(zip(head_new, new, strict=False))
    cells = [
        Cell(column, before.get(column, ""), after.get(column, ""))
        for column in shared
        if before.get(column, "") != after.get(column, "")
    ]
    extra_old, extra_new = old[len(head_old) :], new[len(head_new) :]
    if extra_old != extra_new:
        cells.append(Cell("(beyond the header)", ",".join(extra_old), ",".join(extra_new)))
    return RowChange(name, "changed", tuple(new), tuple(cells)) if cells else None


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"
