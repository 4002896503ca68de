"""Tables of any columns: their cells on a screen, and as lines of CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from castore.cli.columns import UNKNOWN
from castore.cli.output import Output
from castore.cli.screen import clean, fold, short_ids, width
from castore.cli.screen import columns as aligned

_AT_ONCE: Final = 200
_BETWEEN: Final = " · "
_NARROWEST: Final = 20
"""Columns of a terminal below which nothing is made to fit."""


def csv_lines(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A header and rows as CSV, without their line ends, of which a value may have some.

    What is not known is empty, lists and maps are JSON, control characters are escaped.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="")
    for row in _written(names, rows):
        text.seek(0)
        text.truncate()
        writer.writerow(row)
        yield text.getvalue()


def _written(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[list[str]]:
    yield [clean(name) for name in names]
    for row in rows:
        yield ["\n".join(map(clean, _text(value).split("\n"))) for value in row]


def cell_text(value: Any, *, short: bool) -> str:
    """A value in a table, on one line; with `short` its ids are cut."""
    if value is None:
        return UNKNOWN
    text = clean(_text(value))
    return short_ids(text) if short else text


def write_table(
    output: Output, names: Sequence[str], rows: Iterator[Sequence[str]], *, mark_first: bool = False
) -> int:
    """Print rows below a header, aligned some at a time; how many they were.

    Where they are wider than the terminal each is a paragraph of names and cells, so nothing is cut
    off, and what would make a table is said. `mark_first` marks each row, or its first cell.
    """
    limit, count, narrow = output.columns(), 0, False
    while batch := list(islice(rows, _AT_ONCE)):
        head = [] if count else [[name.upper() if mark_first else name for name in names]]
        lines = aligned([*head, *batch])
        narrow = narrow or (limit is not None and max(map(width, lines)) > limit)
        if narrow and limit is not None:
            for row in batch:
                _write_paragraph(output, names, row, limit, mark_first=mark_first)
        else:
            for number, line in enumerate(lines):
                output.row(line, line if mark_first and number < len(head) else "")
        count += len(batch)
    if narrow:
        output.say(
            f"{len(names)} columns are too wide for this terminal: choose some, or use --csv"
        )
    return count


def _write_paragraph(
    output: Output, names: Sequence[str], row: Sequence[str], limit: int, *, mark_first: bool
) -> None:
    """Print a row as its cells, each after its name, in lines that fit."""
    pairs = [f"{name} {cell}" for name, cell in zip(names, row, strict=True)]
    first = row[0] if mark_first else pairs[0]
    lines = [first]
    for pair in pairs[1:]:
        if width(lines[-1]) + width(_BETWEEN) + width(pair) <= limit:
            lines[-1] += _BETWEEN + pair
        else:
            lines.append("  " + pair)
    folded = [piece for line in lines for piece in fold(line, max(limit, _NARROWEST), "    ")]
    for number, line in enumerate(folded):
        output.row(line, first if mark_first and number == 0 else "")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)
