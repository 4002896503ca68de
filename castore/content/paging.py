"""Cutting rows into pages by their content, so that an edit changes few pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def cut_rows(
    rows: Sequence[Row], ends: Callable[[Row], bool], maximum: int, minimum: int
) -> list[Sequence[Row]]:
    """Rows in pages of `minimum` to `maximum`: all in one if they fit, else cut after `ends` rows.

    A last page of fewer than `minimum` rows joins the page before it, or takes from it what it
    lacks if both do not fit in one. `maximum` is at least 2 × `minimum` - 1. The result depends on
    the rows alone.
    """
    if len(rows) <= maximum:
        return [rows]
    starts = [0]
    for index, row in enumerate(rows, 1):
        count = index - starts[-1]
        if count >= maximum or (count >= minimum and ends(row)):
            starts.append(index)
    if starts[-1] == len(rows):
        starts.pop()
    lacking = minimum - (len(rows) - starts[-1])
    if lacking > 0:
        if len(rows) - starts[-2] <= maximum:
            starts.pop()
        else:
            starts[-1] -= lacking
    return [rows[a:b] for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)]
