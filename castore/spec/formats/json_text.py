"""JSON and JSON Lines: syntax with line and column, whatever the size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from castore.model.limits import MIB
from castore.spec.formats.json_stream import NotJson, scan_stream
from castore.spec.formats.source import SKIPPED, WHOLE, Finding, Source, capped

LINE_BYTES: Final = 16 * MIB
_BYTE: Final = re.compile(r" \(byte (\d+)\)$")
_TOO_DEEP: Final = "nested too deeply"
_BOM: Final = b"\xef\xbb\xbf"


def check_json(source: Source) -> list[Finding]:
    """One JSON value in UTF-8; above 32 MiB it is read as a stream."""
    try:
        if source.size <= WHOLE:
            scan(source.whole())
        else:
            scan_stream(source)
    except NotJson as error:
        return [error.finding]
    return []


def check_jsonl(source: Source) -> list[Finding]:
    """One JSON value a line; blank lines are left out."""
    return capped(_line_faults(source))


def scan(data: bytes) -> None:
    """Read over one JSON value without building it; raises NotJson."""
    import msgspec

    _check_utf8(data)
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise _located(data, str(error)) from None
    except RecursionError:
        raise NotJson(_TOO_DEEP, 1, 1) from None


def parse(data: bytes) -> Any:
    """The JSON value in `data` (callers bound its size); raises NotJson."""
    import msgspec

    scan(data)
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise _located(data, str(error)) from None
    except RecursionError:
        raise NotJson(_TOO_DEEP, 1, 1) from None


def json_lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """(number, line) for each line that is not blank; raises NotJson for one above 16 MiB."""
    with source.open() as file:
        number = 0
        while line := file.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                detail = f"a line of more than {LINE_BYTES // MIB} MiB is not read"
                raise NotJson(detail, number, 1, SKIPPED)
            if line.strip():
                yield number, line


def _line_faults(source: Source) -> Iterator[Finding]:
    import msgspec

    decoder = msgspec.json.Decoder(msgspec.Raw)
    try:
        for number, line in json_lines(source):
            try:
                if not line.isascii():
                    _check_utf8(line)
                decoder.decode(line)
            except NotJson as error:
                yield NotJson(error.detail, number, error.column).finding
            except msgspec.DecodeError as error:
                located = _located(line.rstrip(), str(error))
                yield NotJson(located.detail, number, located.column).finding
            except RecursionError:
                yield NotJson(_TOO_DEEP, number, 1).finding
    except NotJson as error:
        yield error.finding


def _check_utf8(data: bytes) -> None:
    if data.startswith(_BOM):
        raise NotJson("begins with a byte order mark, which JSON does not allow", 1, 1)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise NotJson(detail, *_position(data, error.start)) from None


def _located(data: bytes, message: str) -> NotJson:
    match = _BYTE.search(message)
    at = int(match[1]) if match else len(data)
    reason = message[: match.start()] if match else "ends before the value is complete"
    if not data.strip():
        reason = "empty"
    elif not match and "truncated" not in message:
        reason, at = message[:200], 0
    reason = reason.removeprefix("JSON is malformed: ")
    return NotJson(f"not JSON: {reason}", *_position(data, at))


def _position(data: bytes, at: int) -> tuple[int, int]:
    start = data.rfind(b"\n", 0, at) + 1
    return data.count(b"\n", 0, at) + 1, len(data[start:at].decode("utf-8", "replace")) + 1
