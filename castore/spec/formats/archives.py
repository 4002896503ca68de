"""Zip and tar: the list of members is sound; what is decompressed for that is bounded."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, Final

from castore.model.limits import KIB, MIB
from castore.spec.formats.source import PASSED, SKIPPED, Finding, Source, capped

LIST_BYTES: Final = 16 * MIB
MEMBERS: Final = 100_000
UNPACKED: Final = 256 * MIB
"""The most that is decompressed of one archive."""
UNPACKED_TAR: Final = 1024 * MIB
"""The most of a tar that is walked through, decompressed."""
_TESTED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_END: Final = b"PK\x05\x06"
_PIECE: Final = 64 * KIB
_TAR_BLOCK: Final = 512


def check_zip(source: Source) -> list[Finding]:
    """A central directory that can be read, and members whose CRC is right, up to 256 MiB."""
    problem = _directory_problem(source)
    if problem:
        return [problem]
    with source.open() as file:
        # zipfile is fed bytes nobody vouched for; it raises more than its own BadZipFile.
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, IndexError, KeyError) as error:
            return [Finding(f"not a zip file: {error}")]
        with archive:
            return capped(_test_members(archive))


def _directory_problem(source: Source) -> Finding | None:
    """Bound the directory before zipfile reads all of it into memory."""
    tail = source.tail(66 * KIB)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        return Finding("not a zip file: no end of central directory")
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    zip64 = tail.rfind(b"PK\x06\x06", 0, at)
    if zip64 >= 0 and at - zip64 >= 56:
        count = max(count if count != 0xFFFF else 0, _number(tail, zip64 + 32))
        size = max(size if size != 0xFFFFFFFF else 0, _number(tail, zip64 + 40))
    if size > source.size:
        return Finding("not a zip file: its directory is longer than the file")
    if size > LIST_BYTES or count > MEMBERS:
        detail = f"{count} members; up to {MEMBERS} are listed"
        return Finding(detail, result=SKIPPED)
    return None


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _test_members(archive: zipfile.ZipFile) -> Iterator[Finding]:
    budget = UNPACKED
    untested = 0
    members = archive.infolist()
    for info in members:
        if info.flag_bits & 1 or info.compress_type not in _TESTED or budget <= 0:
            untested += 1
            continue
        taken, problem = _test_member(archive, info, budget)
        budget -= taken
        if problem:
            yield Finding(f"member {info.filename[:80]!r}: {problem}")
        elif budget <= 0:
            untested += 1
    if untested:
        detail = f"{untested} of {len(members)} members listed but not unpacked"
        yield Finding(detail, result=PASSED)


def _test_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int) -> tuple[int, str]:
    """Bytes unpacked, and what is wrong; zipfile compares the CRC at the member's end."""
    taken = 0
    try:
        with archive.open(info) as member:
            while taken < budget and (piece := member.read(_PIECE)):
                taken += len(piece)
    except OSError as error:
        _raise_if_real(error)
        return taken, str(error)
    except (
        zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError,
        IndexError, KeyError,
    ) as error:  # fmt: skip
        return taken, str(error)[:200] or type(error).__name__
    return taken, ""


def _raise_if_real(error: OSError) -> None:
    """Let the reader's own errors through: bz2 raises OSError for damaged data, without errno."""
    if error.errno is not None:
        raise error


def check_tar(source: Source) -> list[Finding]:
    """A tar, plain or in gzip, bzip2 or xz: every header sums up, every member is there."""
    try:
        problem = _walk(_unpacked(source))
    except OSError as error:
        _raise_if_real(error)
        return [Finding(f"not a tar file: {error}")]
    except (zlib.error, EOFError, lzma.LZMAError, ValueError) as error:
        return [Finding(f"not a tar file: {error or 'cut short'}")]
    return [problem] if problem else []


def _walk(pieces: Iterator[bytes]) -> Finding | None:
    """Go from header to header; what lies between is counted, never kept."""
    buffer, skip, members, total = b"", 0, 0, 0
    for piece in pieces:
        total += len(piece)
        buffer += piece
        while True:
            step = min(skip, len(buffer))
            buffer, skip = buffer[step:], skip - step
            if skip or len(buffer) < _TAR_BLOCK:
                break
            header, buffer = buffer[:_TAR_BLOCK], buffer[_TAR_BLOCK:]
            if not header.strip(b"\0"):
                return None if members or total else Finding("not a tar file: empty")
            size = _member_size(header)
            if size is None:
                where = (
                    "it has no tar header" if not members else f"bad header after {members} members"
                )
                return Finding(f"not a tar file: {where}")
            members, skip = members + 1, -(-size // _TAR_BLOCK) * _TAR_BLOCK
        if total >= UNPACKED_TAR:
            return Finding(f"{members} members; the rest was not listed", result=SKIPPED)
    if skip or buffer or not members:
        return Finding("not a whole tar file: cut short")
    return None


def _member_size(header: bytes) -> int | None:
    """The size in a header whose check sum is right, else None."""
    stated = _octal(header[148:156])
    blank = header[:148] + b" " * 8 + header[156:]
    if stated is None or stated != sum(blank):
        return None
    if header[124] & 0x80:
        return int.from_bytes(bytes((header[124] & 0x7F,)) + header[125:136], "big")
    size = _octal(header[124:136])
    return 0 if size is not None and header[156:157] in b"123456" else size


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if all(0x30 <= digit <= 0x37 for digit in digits) else None


def _unpacked(source: Source) -> Iterator[bytes]:
    """The archive's bytes in pieces of at most 64 KiB (256 KiB where it is not compressed)."""
    head = source.head(6)
    if head.startswith(b"\x1f\x8b"):
        return _inflate(source)
    if head.startswith(b"BZh"):
        return _expand(source, bz2.BZ2Decompressor)
    if head == b"\xfd7zXZ\0":
        return _expand(source, lambda: lzma.LZMADecompressor(memlimit=64 * MIB))
    return source.blocks()


def _inflate(source: Source) -> Iterator[bytes]:
    engine = zlib.decompressobj(31)
    for block in source.blocks():
        data = block
        while data:
            yield engine.decompress(data, _PIECE)
            data = engine.unconsumed_tail
            if engine.eof:
                data = engine.unused_data.lstrip(b"\0")
                engine = zlib.decompressobj(31)
    yield engine.flush()


def _expand(source: Source, make: Any) -> Iterator[bytes]:
    engine = make()
    for block in source.blocks():
        yield engine.decompress(block, _PIECE)
        while not engine.eof and not engine.needs_input:
            yield engine.decompress(b"", _PIECE)
        if engine.eof:
            rest = engine.unused_data
            engine = make()
            if rest.strip(b"\0"):
                yield engine.decompress(rest, _PIECE)
