"""CSV and TSV: quotes close, and every row has as many fields as the first."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

from castore.model.limits import MIB
from castore.spec.formats.source import SKIPPED, Finding, Source, capped
from castore.spec.formats.text import NotText, lines

LINE_CHARACTERS: Final = 4 * MIB


def check_csv(source: Source) -> list[Finding]:
    """Comma-separated rows of equal length; semicolons if the first line has no comma."""
    return capped(_rows(source, ","))


def check_tsv(source: Source) -> list[Finding]:
    """Tab-separated rows of equal length."""
    return capped(_rows(source, "\t"))


def _rows(source: Source, delimiter: str) -> Iterator[Finding]:
    numbered = lines(source, LINE_CHARACTERS)
    try:
        first = next(numbered, None)
        if first is None:
            return
        head = first[1].removeprefix("\ufeff")
        if delimiter == "," and "," not in head and ";" in head:
            delimiter = ";"
        yield from _agree(head, numbered, delimiter)
    except NotText as error:
        yield error.finding


def _agree(head: str, rest: Iterator[tuple[int, str]], delimiter: str) -> Iterator[Finding]:
    reader = csv.reader(_texts(head, rest), delimiter=delimiter, strict=True)
    width, start = 0, 1
    try:
        for row in reader:
            if row and not width:
                width = len(row)
            elif row and len(row) != width:
                yield Finding(f"{_fields(len(row))}; the first row has {width}", start)
            start = reader.line_num + 1
    except csv.Error as error:
        yield _fault(str(error), start)


def _texts(head: str, rest: Iterator[tuple[int, str]]) -> Iterator[str]:
    yield _without_nul(head)
    for _, text in rest:
        yield _without_nul(text)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise csv.Error("a NUL character: binary, not text")
    return text


def _fields(count: int) -> str:
    return f"{count} field" if count == 1 else f"{count} fields"


def _fault(message: str, line: int) -> Finding:
    if "field limit" in message:
        limit = csv.field_size_limit()
        detail = f"a field of more than {limit} characters (a quote left open?): not read further"
        return Finding(detail, line, SKIPPED)
    if "unexpected end of data" in message:
        return Finding("a quote that is never closed", line)
    return Finding(message, line)
