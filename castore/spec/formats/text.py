"""Text: every byte belongs to the declared encoding, and nothing in it is NUL."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Final

from castore.spec.formats.source import FAILED, SKIPPED, Finding, Source

CODECS: Final = {
    "utf-8": "utf-8",
    "ascii": "ascii",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
}


class NotText(Exception):
    """Bytes outside the encoding (failed) or too long a line (skipped); says on which line."""

    def __init__(self, detail: str, line: int, result: str = FAILED) -> None:
        super().__init__(detail)
        self.finding = Finding(detail, line, result)


def check_text(source: Source) -> list[Finding]:
    """Text in the declared encoding (UTF-8 unless the spec says otherwise) without NUL."""
    line = 1
    try:
        for text in decoded(source):
            at = text.find("\0")
            if at >= 0:
                line += text.count("\n", 0, at)
                return [Finding("a NUL character: binary, not text", line)]
            line += text.count("\n")
    except NotText as error:
        return [error.finding]
    return []


def check_encoding(source: Source) -> list[Finding]:
    """All bytes decode."""
    try:
        for _ in decoded(source):
            pass
    except NotText as error:
        return [error.finding]
    return []


def decoded(source: Source) -> Iterator[str]:
    """The text, piece by piece; raises NotText with the line of the first bad byte."""
    decoder = codecs.getincrementaldecoder(CODECS[source.encoding])()
    line = 1
    try:
        for block in source.blocks():
            text = decoder.decode(block)
            line += text.count("\n")
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += _newlines(error)
        bad = error.object[error.start : error.start + 1].hex()
        detail = f"not {source.encoding}: byte 0x{bad}, {error.reason}"
        raise NotText(detail, line) from None
    except UnicodeError as error:
        raise NotText(f"not {source.encoding}: {error}", line) from None


def lines(source: Source, limit: int) -> Iterator[tuple[int, str]]:
    """(number, line with its end) for each line; raises NotText, also for one above `limit`."""
    number, rest = 1, ""
    for text in decoded(source):
        rest += text
        if "\n" not in text:
            if len(rest) > limit:
                detail = f"a line of more than {limit} characters is not read"
                raise NotText(detail, number, SKIPPED)
            continue
        *complete, rest = rest.split("\n")
        for line in complete:
            yield number, line + "\n"
            number += 1
    if rest:
        yield number, rest


def _newlines(error: UnicodeDecodeError) -> int:
    good = error.object[: error.start]
    return good.count(b"\n")
