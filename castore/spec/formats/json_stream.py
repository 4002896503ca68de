"""JSON of any size, read as a stream: the memory needed does not grow with the file.

Regular expressions take whole runs of members at once, if they are at most two containers deep;
what lies deeper goes through a stack of one byte a level. ijson, measured beside it, keeps the longest string in memory.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from castore.model.limits import KIB
from castore.spec.formats.source import Finding, Source

DEPTH: Final = 900
"""The deepest nesting accepted; the decoder for small files ends near there too."""
_TOKEN_BYTES: Final = 64 * KIB

_WS: Final = rb"[ \t\n\r]*+"
_STRING: Final = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_SCALAR: Final = rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|true|false|null)"


def _with_containers(value: bytes) -> bytes:
    """A pattern for a value, or for an array or object of such values."""
    array = rb"\[(?:" + _WS + value + _WS + rb"(?:,(?!" + _WS + rb"\])|(?=\])))*+" + _WS + rb"\]"
    member = _WS + _STRING + _WS + rb":" + _WS + value + _WS
    map = rb"\{(?:" + member + rb"(?:,(?!" + _WS + rb"\})|(?=\})))*+" + _WS + rb"\}"
    return rb"(?:" + _SCALAR + rb"|" + array + rb"|" + map + rb")"


_SMALL: Final = _with_containers(_with_containers(_SCALAR))

_BLANK: Final = re.compile(_WS)
_ITEMS: Final = rb"(?:" + _WS + _SMALL + _WS + rb",)*+"
_MEMBERS: Final = rb"(?:" + _WS + _STRING + _WS + rb":" + _WS + _SMALL + _WS + rb",)*+"
_TEXT: Final = re.compile(_STRING)
# A number or word is whole only if something that cannot belong to it follows.
_WORD: Final = re.compile(rb"(?:" + _NUMBER + rb"|true|false|null)(?=[ \t\n\r,:\]}])")
_INSIDE: Final = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_ESCAPE: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_ARRAY: Final = ord("[")
_OBJECT: Final = ord("{")

_VALUE, _FIRST_VALUE, _KEY, _FIRST_KEY, _COLON, _AFTER, _IN_KEY, _IN_TEXT = range(8)
_EXPECTED: Final = {
    _VALUE: "a value",
    _FIRST_VALUE: "a value or ]",
    _KEY: "a name in quotes",
    _FIRST_KEY: "a name in quotes or }",
    _COLON: "a colon",
    _AFTER: "a comma or the closing bracket",
    _IN_KEY: "the end of a string",
    _IN_TEXT: "the end of a string",
}


class NotJson(Exception):
    """Not JSON; says what, on which line (from 1) and at which column."""

    def __init__(self, detail: str, line: int, column: int) -> None:
        super().__init__(detail)
        self.detail, self.line, self.column = detail, line, column

    @property
    def finding(self) -> Finding:
        """As a finding."""
        return Finding(f"{self.detail} (line {self.line}, column {self.column})", self.line)


def scan_stream(source: Source) -> None:
    """Read over one JSON value; raises NotJson."""
    scanner = _Scanner()
    decoder = codecs.getincrementaldecoder("utf-8")()
    for block in source.blocks():
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            scanner.take(error.object[: error.start].removeprefix(scanner.undecoded))
            raise scanner.fault(f"not UTF-8: byte 0x{error.object[error.start]:02x}") from None
        scanner.undecoded = decoder.getstate()[0]
        scanner.take(block)
    if scanner.undecoded:
        raise scanner.fault("not UTF-8: ends inside a character")
    scanner.finish()


class _Scanner:
    """Where in the grammar, and in the file, the bytes taken so far end."""

    def __init__(self) -> None:
        self.undecoded = b""
        self._buffer = b""
        self._at = 0
        self._state = _VALUE
        self._stack = bytearray()
        self._line, self._column = 1, 1
        # 7 ms to compile: not at import.
        self._items, self._members = re.compile(_ITEMS), re.compile(_MEMBERS)

    def take(self, block: bytes) -> None:
        """Go on as far as whole tokens reach; the rest waits for the next block."""
        self._pass(self._at)
        self._buffer, self._at = self._buffer[self._at :] + block, 0
        while self._at < len(self._buffer) and self._step():
            pass
        if self._state not in (_IN_KEY, _IN_TEXT) and len(self._buffer) - self._at > _TOKEN_BYTES:
            raise self.fault(f"a number of more than {_TOKEN_BYTES} digits")

    def finish(self) -> None:
        """Nothing follows."""
        self.take(b" ")
        if self._stack or self._state != _AFTER:
            raise self.fault(f"not JSON: expected {self._expected()}")

    def fault(self, detail: str) -> NotJson:
        """A fault at the place reached."""
        self._pass(self._at)
        self._buffer, self._at = self._buffer[self._at :], 0
        return NotJson(detail, self._line, self._column)

    def _pass(self, end: int) -> None:
        """Count the lines of what is left behind."""
        newline = self._buffer.rfind(b"\n", 0, end)
        if newline >= 0:
            self._line += self._buffer.count(b"\n", 0, end)
            self._column = 1
        self._column += len(self._buffer[newline + 1 : end].decode("utf-8", "replace"))

    def _step(self) -> bool:
        """One token, or one run of them; False if more bytes are needed."""
        if self._state in (_IN_KEY, _IN_TEXT):
            return self._inside()
        self._skip(_BLANK)
        if self._at == len(self._buffer):
            return False
        byte = self._buffer[self._at]
        if self._state in (_VALUE, _FIRST_VALUE):
            return self._value(byte)
        if self._state in (_KEY, _FIRST_KEY):
            return self._key(byte)
        if self._state == _COLON:
            self._need(byte == 0x3A)
            self._at, self._state = self._at + 1, _VALUE
            return True
        self._after(byte)
        return True

    def _value(self, byte: int) -> bool:
        if self._stack and self._stack[-1] == _ARRAY:
            before = self._at
            self._skip(self._items)
            if self._at > before:
                self._state = _VALUE
                return True
        if byte in (_ARRAY, _OBJECT):
            self._stack.append(byte)
            if len(self._stack) > DEPTH:
                raise self.fault("nested too deeply")
            self._at += 1
            self._state = _FIRST_VALUE if byte == _ARRAY else _FIRST_KEY
            return True
        if byte == 0x5D and self._state == _FIRST_VALUE:
            return self._close()
        return self._string(_AFTER, _IN_TEXT) if byte == 0x22 else self._word()

    def _key(self, byte: int) -> bool:
        before = self._at
        self._skip(self._members)
        if self._at > before:
            self._state = _KEY
            return True
        if byte == 0x7D and self._state == _FIRST_KEY:
            return self._close()
        self._need(byte == 0x22)
        return self._string(_COLON, _IN_KEY)

    def _after(self, byte: int) -> None:
        if not self._stack:
            raise self.fault("not JSON: something follows the value")
        is_array = self._stack[-1] == _ARRAY
        if byte == 0x2C:
            self._at += 1
            self._state = _VALUE if is_array else _KEY
            return
        self._need(byte == (0x5D if is_array else 0x7D))
        self._close()

    def _close(self) -> bool:
        self._stack.pop()
        self._at, self._state = self._at + 1, _AFTER
        return True

    def _string(self, after: int, inside: int) -> bool:
        match = _TEXT.match(self._buffer, self._at)
        if match:
            self._at, self._state = match.end(), after
        else:
            self._at, self._state = self._at + 1, inside
        return True

    def _inside(self) -> bool:
        """In a string whose end was not in the buffer when it began."""
        self._skip(_INSIDE)
        if self._at == len(self._buffer) or _ESCAPE.match(self._buffer, self._at):
            return False
        self._need(self._buffer[self._at] == 0x22)
        self._state = _COLON if self._state == _IN_KEY else _AFTER
        self._at += 1
        return True

    def _word(self) -> bool:
        match = _WORD.match(self._buffer, self._at)
        if match:
            self._at, self._state = match.end(), _AFTER
            return True
        rest = self._buffer[self._at : self._at + _TOKEN_BYTES + 1]
        self._need(
            re.fullmatch(
                rb"[-+.0-9eE]+|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?", rest
            )
        )
        return False

    def _skip(self, pattern: re.Pattern[bytes]) -> None:
        match = pattern.match(self._buffer, self._at)
        self._at = match.end() if match else self._at

    def _need(self, condition: object) -> None:
        if not condition:
            raise self.fault(f"not JSON: expected {self._expected()}")

    def _expected(self) -> str:
        if self._state == _AFTER and self._stack:
            return f"a comma or {']' if self._stack[-1] == _ARRAY else '}'}"
        return _EXPECTED[self._state]
