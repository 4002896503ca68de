"""Text for a screen: escaped names, human sizes, aligned columns. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB", "EB")
_SURROGATE_ESCAPE: Final = range(0xDC80, 0xDD00)


def clean(text: str) -> str:
    """`text` on one line, with every unprintable character written as an escape.

    Names and messages come from files, agents and other people's stores: an escape sequence in one
    must not reach a terminal, where it could hide or forge output. Bidirectional controls go too.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def clean_lines(text: str) -> list[str]:
    """The lines of a message, each cleaned; tabs become spaces; blank lines at the end go."""
    return [clean(line.expandtabs(4)) for line in text.rstrip().split("\n")]


def first_line(text: str) -> str:
    """The first line of a message, cleaned; "" if it has none."""
    return clean_lines(text.lstrip())[0]


def size(count: int) -> str:
    """Bytes as people read them, in powers of 1000: `812 B`, `1.2 MB`; `unknown` below zero."""
    if count < 0:
        return "unknown"
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        if round(value, 1) < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.1f} {unit}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """`1 file`, `3 files`, `12,000 files`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def clip(text: str, columns: int) -> str:
    """`text` in at most `columns` columns, with `…` where something was cut off."""
    if columns < 1 or width(text) <= columns:
        return text
    kept = text[:columns]
    while width(kept) > columns - 1:
        kept = kept[:-1]
    return kept + "…"


def fold(text: str, columns: int, indent: str = "") -> list[str]:
    """`text` as lines of at most `columns` columns, broken at spaces where there are some.

    All but the first begin with `indent`, which is narrower by two columns or more.
    """
    lines = []
    while width(text) > columns:
        end = columns
        while width(text[:end]) > columns:
            end -= 1
        space = text.rfind(" ", len(indent) + 1, end + 1)
        at = space if space > 0 else end
        lines.append(text[:at].rstrip())
        text = indent + text[at:].lstrip()
    return [*lines, text]


def short_ids(text: str) -> str:
    """`text` with every full id in it cut to the digits that a screen shows."""
    import re

    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


def columns(
    rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), gap: str = "  "
) -> list[str]:
    """Rows as aligned lines; the columns numbered in `right` are flushed right."""
    if not rows:
        return []
    widths = [max(map(width, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, cell in enumerate(row):
            fill = " " * (widths[number] - width(cell))
            cells.append(fill + cell if number in right else cell + fill)
        lines.append(gap.join(cells).rstrip())
    return lines


def _escape(char: str) -> str:
    code = ord(char)
    if code in _SURROGATE_ESCAPE:
        return f"\\x{code - 0xDC00:02x}"
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
