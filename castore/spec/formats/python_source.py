"""Python: it compiles; it is never run."""

from __future__ import annotations

import re
from typing import Final

from castore.model.limits import KIB
from castore.spec.formats.quiet import ARTIFACT_FILE, quiet
from castore.spec.formats.source import SKIPPED, Finding, Source

SOURCE_BYTES: Final = 256 * KIB
_COOKIE: Final = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_ENCODINGS: Final = {
    "utf-8": "utf-8-sig", "utf8": "utf-8-sig", "ascii": "ascii", "us-ascii": "ascii",
    "latin-1": "latin-1", "latin1": "latin-1", "iso-8859-1": "latin-1", "cp1252": "cp1252",
}  # fmt: skip


def check_python(source: Source) -> list[Finding]:
    """Source that this interpreter parses, up to 256 KiB: a tree can take 900 times the text.

    `compile` would find a little more, but takes quadratic time: 74 s for 40,000 small classes.
    """
    if source.size > SOURCE_BYTES:
        detail = f"{source.size} bytes; Python is parsed up to {SOURCE_BYTES // KIB} KiB"
        return [Finding(detail, result=SKIPPED)]
    data = source.whole()
    cookie = _encoding(data)
    encoding = _ENCODINGS.get(cookie)
    if encoding is None:
        return [Finding(f"declares the encoding {cookie[:40]!r}, which is not read", 1, SKIPPED)]
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [Finding(f"not {cookie}: byte 0x{data[error.start]:02x}", line)]
    return _parse(text)


def _parse(text: str) -> list[Finding]:
    import ast

    with quiet():
        try:
            ast.parse(text, ARTIFACT_FILE)
        except SyntaxError as error:
            return [Finding(f"does not compile: {error.msg}", error.lineno)]
        except (RecursionError, MemoryError):
            return [Finding("does not compile: nested too deeply")]
        except ValueError as error:
            return [Finding(f"does not compile: {error}")]
    return []


def _encoding(data: bytes) -> str:
    for line in data.split(b"\n", 2)[:2]:
        match = _COOKIE.match(line)
        if match:
            return match[1].decode("ascii", "replace").lower().replace("_", "-")
        if line.strip() and not line.lstrip().startswith(b"#"):
            break
    return "utf-8"
