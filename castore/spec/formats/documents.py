"""PDF: header, cross-reference table and trailer are where they should be; pages are not read."""

from __future__ import annotations

import re
from typing import Final

from castore.model.limits import KIB
from castore.spec.formats.source import Finding, Source

_HEADER: Final = re.compile(rb"%PDF-[12]\.\d")
_START: Final = re.compile(rb"startxref\s{1,8}(\d{1,12})\s{1,8}%%EOF")
_TABLE: Final = re.compile(rb"\s{0,8}xref\s{1,8}\d{1,10} \d{1,10}\s")
_STREAM: Final = re.compile(rb"\s{0,8}\d{1,10}\s{1,8}\d{1,5}\s{1,8}obj\b")
_ROOT: Final = re.compile(rb"/Root\s{0,8}\d{1,10}\s{1,8}\d{1,5}\s{1,8}R")
_ENDS: Final = 2 * KIB
_READ: Final = 64 * KIB


def check_pdf(source: Source) -> list[Finding]:
    """A PDF header, `startxref` at the end, and at its offset a table or stream that has a root."""
    head, tail = source.head(KIB), source.tail(_ENDS)
    header = _HEADER.search(head)
    if not header:
        return [Finding("not a PDF: no %PDF header in the first 1,024 bytes")]
    starts = list(_START.finditer(tail))
    if not starts:
        return [Finding("not a whole PDF: no startxref and %%EOF at its end")]
    offset = int(starts[-1][1])
    for at in (offset, offset + header.start()):
        if at < source.size and (problem := _xref(source, at)) == "":
            return []
    if offset >= source.size:
        return [Finding(f"not a whole PDF: its table should be at byte {offset}, past the end")]
    return [Finding(problem)]


def _xref(source: Source, offset: int) -> str:
    data = source.piece(offset, _READ)
    if _TABLE.match(data):
        return "" if _trailer(source, offset) else "not a whole PDF: no trailer with a /Root"
    if _STREAM.match(data) and b"/XRef" in data:
        return "" if _ROOT.search(data) else "not a whole PDF: its cross-reference has no /Root"
    return f"not a whole PDF: no cross-reference table at byte {offset}"


def _trailer(source: Source, offset: int) -> bool:
    """Whether a trailer with a root follows the table at `offset`, within its own 16 MiB."""
    overlap = b""
    for start in range(offset, min(source.size, offset + 256 * _READ), _READ):
        data = overlap + source.piece(start, _READ)
        at = data.find(b"trailer")
        if at >= 0:
            more = data[at:] + source.piece(start + _READ, _READ)
            return bool(_ROOT.search(more))
        overlap = data[-8:]
    return False
