"""Tables of any columns: their cells on a screen, and as lines of CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from castore.cli.columns import UNKNOWN
from castore.cli.screen import clean


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


def cell_text(value: Any) -> str:
    """A value on a screen, on one line."""
    return UNKNOWN if value is None else clean(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)
