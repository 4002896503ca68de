"""SQLite, Parquet and Arrow: structure first, then the library's own check where that is safe."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sqlite3
from contextlib import closing
from typing import Final

from castore.model.limits import MIB
from castore.spec.formats.source import PASSED, Finding, Source

SQLITE_BYTES: Final = 32 * MIB
FOOTER_BYTES: Final = 16 * MIB
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_PROBLEMS: Final = 20
_STEPS: Final = 2_000


def check_sqlite(source: Source) -> list[Finding]:
    """The header agrees with the size; up to 32 MiB `quick_check` runs on a copy in memory.

    Views, triggers, CHECK constraints and virtual tables of the file are never evaluated.
    """
    head = source.head(100)
    if not head.startswith(_SQLITE_MAGIC) or len(head) < 100:
        return [Finding("not an SQLite file: no SQLite header")]
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    if page < 512 or page & (page - 1):
        return [Finding(f"not an SQLite file: pages of {page} bytes")]
    if source.size % page or source.size < page:
        return [Finding(f"not a whole SQLite file: {source.size} bytes in pages of {page}")]
    stated = int.from_bytes(head[28:32], "big")
    current = head[24:28] == head[92:96]
    if current and stated and stated * page > source.size:
        return [Finding(f"not a whole SQLite file: {source.size // page} of {stated} pages")]
    if source.size > SQLITE_BYTES:
        return [Finding("above 32 MiB only the header is read", result=PASSED)]
    return _quick_check(source.whole())


def _quick_check(data: bytes) -> list[Finding]:
    # A copy in write-ahead mode cannot be opened in memory: bytes 18 and 19 set it to rollback.
    data = data[:18] + b"\x01\x01" + data[20:]
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            _disarm(database)
            database.deserialize(data)
            rows = database.execute(f"PRAGMA quick_check({_PROBLEMS})").fetchall()
    except (sqlite3.Error, OverflowError, ValueError, MemoryError) as error:
        return [Finding(f"not a whole SQLite file: {error}")]
    problems = [str(row[0]) for row in rows]
    return [] if problems == ["ok"] else [Finding(f"SQLite: {problem}") for problem in problems]


def _disarm(database: sqlite3.Connection) -> None:
    """Nothing that the file defines may run, reach a file, grow without bound or go on for ever."""
    database.text_factory = lambda raw: raw.decode("utf-8", "replace")
    steps = iter(range(_STEPS))
    database.set_progress_handler(lambda: 0 if next(steps, None) is not None else 1, 10_000)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SQLITE_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in (
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "ignore_check_constraints=ON",
        "temp_store=MEMORY",
        "mmap_size=0",
    ):
        database.execute(f"PRAGMA {pragma}")


def check_parquet(source: Source) -> list[Finding]:
    """The magic at both ends and a footer that fits; its metadata if pyarrow is installed."""
    tail = source.tail(8)
    if source.head(4) != b"PAR1" or source.size < 12:
        return [Finding("not a Parquet file: it does not begin with PAR1")]
    if tail[4:] == b"PARE":
        return [Finding("its footer is encrypted: only its place was checked", result=PASSED)]
    if tail[4:] != b"PAR1":
        return [Finding("not a whole Parquet file: it does not end with PAR1")]
    length = int.from_bytes(tail[:4], "little")
    if not 0 < length <= source.size - 12:
        return [Finding(f"not a whole Parquet file: a footer of {length} bytes")]
    if length > FOOTER_BYTES:
        return [Finding(f"a footer of {length} bytes is not read", result=PASSED)]
    return _read_parquet(b"PAR1" + source.tail(length + 8))


def check_arrow(source: Source) -> list[Finding]:
    """An Arrow file (magic at both ends, a footer that fits) or stream (its first message)."""
    head, tail = source.head(8), source.tail(10)
    if head[:6] != b"ARROW1":
        return _arrow_stream(source, head)
    if tail[4:] != b"ARROW1" or source.size < 24:
        return [Finding("not a whole Arrow file: it does not end with ARROW1")]
    length = int.from_bytes(tail[:4], "little", signed=True)
    if not 0 < length <= source.size - 18:
        return [Finding(f"not a whole Arrow file: a footer of {length} bytes")]
    if length > FOOTER_BYTES:
        return [Finding(f"a footer of {length} bytes is not read", result=PASSED)]
    return _read_arrow(b"ARROW1\0\0" + source.tail(length + 10))


def _arrow_stream(source: Source, head: bytes) -> list[Finding]:
    length = int.from_bytes(head[4:8], "little", signed=True)
    if head[:4] != b"\xff\xff\xff\xff" or not 0 < length <= source.size - 8:
        return [Finding("not an Arrow file or stream: no ARROW1 and no first message")]
    return []


def _read_parquet(ends: bytes) -> list[Finding]:
    if not _installed("pyarrow"):
        return []
    parquet = importlib.import_module("pyarrow.parquet")
    # pyarrow raises its own tree and OSError; whatever it is, the footer cannot be read.
    try:
        parquet.ParquetFile(
            io.BytesIO(ends),
            thrift_string_size_limit=FOOTER_BYTES,
            thrift_container_size_limit=1_000_000,
        )
    except Exception as error:
        return [Finding(f"not a whole Parquet file: {error}")]
    return []


def _read_arrow(ends: bytes) -> list[Finding]:
    if not _installed("pyarrow"):
        return []
    ipc = importlib.import_module("pyarrow.ipc")
    try:
        ipc.open_file(io.BytesIO(ends))
    except Exception as error:
        return [Finding(f"not a whole Arrow file: {error}")]
    return []


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
