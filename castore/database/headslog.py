"""`heads.log`: the newest operation of a store, noted outside the database.

LMDB 0.9 has no page checksums: a bit flipped in a meta page makes it fall back, silently, to the
transaction before. Each line is `sequence hash`; a database behind the last line was rolled back.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from pathlib import Path
from typing import Final

from castore.database.copying import sync_folder
from castore.database.datafile import HEADS_LOG, open_at_once
from castore.model.ids import Id
from castore.model.limits import KIB, MIB
from castore.model.names import quoted

_LINE: Final = re.compile(rb"([1-9][0-9]{0,18}) ([0-9a-f]{64})\n")
_TAIL_BYTES: Final = 4096
LONGEST: Final = 1 * MIB
_KEPT_BYTES: Final = 64 * KIB
_FEW_BITS: Final = 8
LINE_DAMAGED: Final = "is damaged, not the database"


def append_head(folder: Path, sequence: int, hash: Id) -> None:
    """Note an operation that has been committed, unless a later one is noted; durable on return.

    A line that was torn by a crash stays, closed by a newline, and is skipped by readers. A file of
    more than LONGEST bytes loses all but its newest lines. Raises OSError.
    """
    while not _append_once(folder, sequence, hash):
        pass


def _append_once(folder: Path, sequence: int, hash: Id) -> bool:
    """Append to the file that is there now; False if another one took its place meanwhile."""
    path = folder / HEADS_LOG
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            found = os.fstat(descriptor)
            if not path.exists() or not os.path.samestat(found, path.stat()):
                return False
            _append(descriptor, sequence, hash)
            if found.st_size > LONGEST:
                _shorten(path, descriptor)
            return True
        finally:
            # Closing is not enough: a process forked meanwhile holds the same open file.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _append(descriptor: int, sequence: int, hash: Id) -> None:
    end = os.fstat(descriptor).st_size
    tail = _tail(descriptor, end)
    last = _last(tail)
    if last is not None and last[0] >= sequence:
        return
    line = b"%d %s\n" % (sequence, hash.hex().encode())
    if tail and not tail.endswith(b"\n"):
        line = b"\n" + line
    written = os.pwrite(descriptor, line, end)
    if written < len(line):
        os.pwrite(descriptor, line[written:], end + written)
    os.fdatasync(descriptor)


def _shorten(path: Path, descriptor: int) -> None:
    """Put the newest lines in the place of all, in one step; whoever waits for the lock sees it."""
    found = os.fstat(descriptor)
    tail = os.pread(descriptor, _KEPT_BYTES, found.st_size - _KEPT_BYTES)
    temporary = path.with_name(f"{path.name}.new")
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))
            file.write(tail[tail.find(b"\n") + 1 :])
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_heads(folder: Path) -> list[tuple[int, Id]]:
    """Every (sequence, hash) still noted, oldest first; an absent file has none."""
    try:
        with open_at_once(folder / HEADS_LOG) as file:
            data = file.read()
    except FileNotFoundError:
        return []
    return [(int(match[1]), bytes.fromhex(match[2].decode())) for match in _lines(data)]


def last_head(folder: Path) -> tuple[int, Id] | None:
    """The newest (sequence, hash) noted, or None; reads only the end of the file."""
    try:
        with open_at_once(folder / HEADS_LOG) as file:
            return _last(_tail(file.fileno(), file.seek(0, os.SEEK_END)))
    except FileNotFoundError:
        return None


def is_spoilt(noted: Id, hash: Id) -> bool:
    """Whether a noted hash is this one with a few bits changed; others differ in some 128."""
    return 0 < (int.from_bytes(noted) ^ int.from_bytes(hash)).bit_count() <= _FEW_BITS


def set_aside(folder: Path) -> str:
    """The command that helps where lines are damaged: the log is not needed, and grows again."""
    path = str(folder / HEADS_LOG)
    return f"mv {quoted(path)} {quoted(f'{path}.damaged')}"


def _lines(data: bytes) -> list[re.Match[bytes]]:
    lines = (line for line in data.splitlines(keepends=True))
    return [match for line in lines if (match := _LINE.fullmatch(line))]


def _tail(descriptor: int, end: int) -> bytes:
    """The end of the file, from where a line begins: of one cut off the number would be another."""
    start = max(0, end - _TAIL_BYTES)
    tail = os.pread(descriptor, _TAIL_BYTES, start)
    return tail[tail.find(b"\n") + 1 :] if start else tail


def _last(tail: bytes) -> tuple[int, Id] | None:
    found = _lines(tail)
    if not found:
        return None
    return int(found[-1][1]), bytes.fromhex(found[-1][2].decode())
