"""JSON of any size, read as a stream in bounded memory, with the place of what is wrong."""

from __future__ import annotations

import codecs
import re
from typing import Any, Final

from castore.model.limits import MIB
from castore.spec.formats.source import BLOCK, FAILED, SKIPPED, Finding, Source

TOKEN_BYTES: Final = 8 * MIB
_REASON: Final = re.compile(r"(?:lexical|parse) error: (.*?)(?:\\n|\n|$)")


class NotJson(Exception):
    """Not JSON (failed), or beyond what is read (skipped): what, on which line, at which column."""

    def __init__(self, detail: str, line: int, column: int, result: str = FAILED) -> None:
        super().__init__(detail)
        self.detail, self.line, self.column, self.result = detail, line, column, result

    @property
    def finding(self) -> Finding:
        """As a finding."""
        place = f"(line {self.line}, column {self.column})"
        return Finding(f"{self.detail} {place}", self.line, self.result)


class _TooLong(Exception):
    """A token beyond TOKEN_BYTES."""


def scan_stream(source: Source, block_bytes: int = BLOCK) -> None:
    """Read over one JSON value, no string or number in it above 8 MiB; raises NotJson.

    The parser does not say where it stopped: on a fault the file is read once more, and the block
    that holds it is fed byte by byte.
    """
    _check_utf8(source)
    bad = _Feed(source, block_bytes).block_with_fault()
    if bad >= 0:
        _Feed(source, block_bytes).fail_inside(bad)


class _Feed:
    """One pass of an incremental parser whose events are dropped."""

    def __init__(self, source: Source, block_bytes: int) -> None:
        import ijson

        self._errors = (ijson.JSONError, ValueError, ArithmeticError, SystemError, _TooLong)
        self._events: Any = ijson.sendable_list()
        self._parser = ijson.basic_parse_coro(self._events)
        self._source = source
        self._block_bytes = block_bytes
        self._silent = 0
        self._line, self._column = 1, 1

    def block_with_fault(self) -> int:
        """The number of the first block that is wrong, one past the last if it ends too early.

        -1 if nothing is wrong.
        """
        done = 0
        try:
            for block in self._source.blocks(self._block_bytes):
                self._send(block)
                done += 1
            self._end()
        except self._errors:
            return done
        return -1

    def fail_inside(self, bad: int) -> None:
        """Raise the fault in block `bad`, with its line and column."""
        for number, block in enumerate(self._source.blocks(self._block_bytes)):
            pieces = [block] if number != bad else [bytes((byte,)) for byte in block]
            for piece in pieces:
                try:
                    self._send(piece)
                except self._errors as error:
                    raise _fault(error, self._line, self._column) from None
                self._pass(piece)
        try:
            self._end()
        except self._errors as error:
            raise _fault(error, self._line, self._column) from None

    def _send(self, data: bytes) -> None:
        """The parser keeps what is unfinished, and reads it again with every block: bound that."""
        self._parser.send(data)
        self._silent = 0 if self._events else self._silent + len(data)
        del self._events[:]
        if self._silent > TOKEN_BYTES:
            raise _TooLong(
                f"one string, number or gap of more than {TOKEN_BYTES // MIB} MiB is not read"
            )

    def _end(self) -> None:
        """Close the parser; a line end first, or it overlooks half a token behind the value."""
        self._parser.send(b"\n")
        self._parser.close()

    def _pass(self, data: bytes) -> None:
        newline = data.rfind(b"\n")
        if newline >= 0:
            self._line += data.count(b"\n")
            self._column = 1
        self._column += sum(byte & 0xC0 != 0x80 for byte in data[newline + 1 :])


def _fault(error: BaseException, line: int, column: int) -> NotJson:
    match = _REASON.search(str(error))
    if match:
        reason = match[1].strip(" .").replace("premature EOF", "ends before the value is complete")
        return NotJson(f"not JSON: {reason}", line, column)
    if isinstance(error, ArithmeticError | SystemError):
        return NotJson("a number too long to be read", line, column, SKIPPED)
    result = SKIPPED if isinstance(error, _TooLong) else FAILED
    return NotJson(str(error)[:200], line, column, result)


def _check_utf8(source: Source) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    try:
        for block in source.blocks():
            line += decoder.decode(block).count("\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        good = error.object[: error.start]
        line += good.count(b"\n")
        column = len(good[good.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        raise NotJson(f"not UTF-8: byte 0x{error.object[error.start]:02x}", line, column) from None
