"""Small files of every format, and short ways to check and parse."""

from __future__ import annotations

import io
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from typing import Any

from PIL import Image

from castore.errors import InvalidSpec
from castore.spec.checks import check_artifact
from castore.spec.declaration import Checks, Declared
from castore.spec.parse import parse_spec
from castore.spec.results import CheckResult

HEAD = "spec: report\nversion: 1\n"
ONE = "artifacts:\n  - {name: a, type: document, format: text}\n"

PDF = (
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"
    b"xref\n0 2\n0000000000 65535 f \n0000000009 00000 n \n"
    b"trailer\n<< /Size 2 /Root 1 0 R >>\nstartxref\n45\n%%EOF\n"
)


def check(
    format: str,
    data: bytes,
    *,
    schema: bytes | str | None = None,
    is_folder: bool = False,
    path: str = "a",
    **checks: Any,
) -> list[CheckResult]:
    """All results for `data` declared as `format`."""
    if schema is not None:
        checks["schema"] = "a.schema.json"
        schema = schema.encode() if isinstance(schema, str) else schema
    declared = Declared("a", "document", format, path, checks=Checks(**checks))
    return check_artifact(
        declared,
        size=len(data),
        open=lambda: io.BytesIO(data),
        schema=schema,
        is_folder=is_folder,
    )


def format_of(format: str, data: bytes) -> CheckResult:
    """The first result of the format check."""
    return check(format, data)[0]


def passes(format: str, data: bytes) -> bool:
    """Whether the format check passed without a remark."""
    return check(format, data) == [CheckResult("format", "passed")]


def faults(text: str | bytes) -> list[dict[str, Any]]:
    """The faults of a spec; [] if it has none."""
    try:
        parse_spec(text.encode() if isinstance(text, str) else text)
    except InvalidSpec as error:
        return error.faults or [{"message": "InvalidSpec without faults"}]
    return []


def places(text: str) -> list[tuple[int, int]]:
    """Line and column of each fault."""
    return [(fault["line"], fault["column"]) for fault in faults(text)]


def picture(format: str, size: tuple[int, int] = (20, 10)) -> bytes:
    """An image of many colours."""
    image = Image.new("RGB", size)
    image.putdata([(x * 7 % 256, x * 3 % 256, x % 256) for x in range(size[0] * size[1])])
    out = io.BytesIO()
    image.save(out, format)
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims to be so big and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes], mode: Any = "w") -> bytes:
    """A tar file; `mode` "w:gz" and so on compresses it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def database(sql: str) -> bytes:
    """An SQLite file made by these statements."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(sql)
        return connection.serialize()
    finally:
        connection.close()


def sound() -> dict[str, bytes]:
    """One good file for every format that is checked."""
    return {
        "markdown": "# Überschrift\n".encode(),
        "html": b"<p>one",
        "text": b"words\n",
        "json": b'{"a": [1, 2.5e3, null, "\\u00e9"]}',
        "jsonl": b'{"a": 1}\n\n[2]\n',
        "csv": b'a,b\n1,"x\ny"\n',
        "tsv": b"a\tb\n1\t2\n",
        "yaml": b"a: &x [1, 2]\nb: *x\n---\nc: !t d\n",
        "toml": b'a = 1\n[b]\nc = "d"\n',
        "xml": b'<?xml version="1.0"?><a b="c">&amp;</a>',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>',
        "python": b"def f(x):\n    return x\n",
        "pdf": PDF,
        "png": picture("png"),
        "jpeg": picture("jpeg"),
        "gif": picture("gif"),
        "webp": picture("webp"),
        "zip": zipped({"a.txt": b"one", "b/c.txt": b"two" * 1000}),
        "tar": tarred({"a.txt": b"one", "b/c.txt": b"two" * 1000}),
        "sqlite": database("create table t(a); insert into t values (1);"),
        "parquet": b"PAR1" + bytes(20) + (16).to_bytes(4, "little") + b"PAR1",
        "arrow": b"ARROW1\0\0" + bytes(20) + (16).to_bytes(4, "little") + b"ARROW1",
        "binary": b"\0\xff",
    }
