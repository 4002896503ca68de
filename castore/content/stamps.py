"""Stamps: what stat says about files, and rows that remember their digests by it.

A row stands for files of one folder, or for one file given by itself, so that a folder in which
nothing changed is known again by one look-up and one comparison of bytes. Git's rule for racy
files: a file that changes right after it was read may keep its times, so a row holds only files
that were older than the moment before they were read, by more than a tick of the clock.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from blake3 import blake3

from castore.model.ids import Id
from castore.model.limits import ID_BYTES

Stamp: TypeAlias = tuple[int, int, int, int, int, int]
"""Mode, device, inode, size, and the times of change of content and inode in nanoseconds."""

STAMP_BYTES: Final = 48
MODE, DEVICE, INODE, SIZE, MTIME, CTIME = range(6)
_COLUMNS: Final = 6
_KEY_BYTES: Final = 16
# The moment before the files were read (ns), how many, the bytes of their names, and the page.
_HEAD: Final = struct.Struct("<QII64s")
_NO_PAGE: Final = bytes(64)
_ONE: Final = struct.Struct("=6q")
_EVERY: Final = struct.Struct("=6Q")
_UNSIGNED: Final = (1 << 64) - 1
# How old the last change of a file must be for its stamp to tell it from a later change: more
# than a tick of the kernel's clock, or the two seconds of FAT where times are that coarse.
_SETTLED_NS: Final = 50_000_000
_COARSE_NS: Final = 2_100_000_000
_SECOND_NS: Final = 1_000_000_000

stamp_of: Final[Callable[[os.stat_result], Stamp]] = attrgetter(
    "st_mode", "st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)
"""The stamp of a file from its stat result."""


def pack_stamps(stamps: Iterable[Stamp]) -> bytes:
    """Stamps end to end, STAMP_BYTES each, in the byte order of the machine."""
    held = list(stamps)
    pack = _ONE.pack
    try:
        return b"".join([pack(*stamp) for stamp in held])
    except struct.error:
        # An inode or device above the signed range; times may be below zero.
        return b"".join([_EVERY.pack(*[value & _UNSIGNED for value in one]) for one in held])


def iter_stamps(stamps: bytes) -> Iterator[Stamp]:
    """The stamps in such bytes; an inode above the signed range comes back negative."""
    return _ONE.iter_unpack(stamps)


def read_stamps(stamps: bytes) -> list[Stamp]:
    """As `iter_stamps`, all at once."""
    return list(_ONE.iter_unpack(stamps))


def column(stamps: bytes, field: int) -> Sequence[int]:
    """One field (MODE … CTIME) of all these stamps."""
    values = array("q")
    values.frombytes(stamps)
    return values[field::_COLUMNS]


def cache_key(place: os.stat_result, path: str, first: str = "") -> bytes:
    """The key of a row: for a file, or for a folder's files from the name `first` on.

    Not by inode: what is unpacked or written anew in the same place takes the place of the row, and
    the stamps of files tell what did not change.
    """
    name = f"{place.st_dev} {path}\0{first}".encode("utf-8", "surrogateescape")
    return blake3(name).digest(_KEY_BYTES)


def settled(stamp: Stamp, moment_ns: int) -> bool:
    """Whether a change after `moment_ns` would show in the stamp of a file seen with it then.

    Each time must tell by itself: programs put back the time of content, and that of the inode is
    the time of creation on some file systems. A time of whole seconds may be as coarse as FAT's.
    """
    for time in (stamp[MTIME], stamp[CTIME]):
        if time + _COARSE_NS >= moment_ns and (
            time % _SECOND_NS == 0 or time + _SETTLED_NS >= moment_ns
        ):
            return False
    return True


class Remembered(NamedTuple):
    """Digests of settled files by their stamps.

    `names` are joined by NUL and sorted, `stamps` and `digests` stand end to end in their order; a
    file given by itself has no name. `page` is empty, or the id of the tree page that these files
    make together with folders, and the digest of the rows of those.
    """

    moment_ns: int
    names: bytes
    stamps: bytes
    digests: bytes
    page: bytes = b""

    def pack(self) -> bytes:
        """The bytes of the row."""
        count = len(self.digests) // ID_BYTES
        head = _HEAD.pack(self.moment_ns, count, len(self.names), self.page or _NO_PAGE)
        return b"".join((head, self.stamps, self.digests, self.names))

    def by_name(self) -> dict[bytes, tuple[bytes, Id]]:
        """The stamp and the digest of each file."""
        names = self.names.split(b"\0") if self.digests else []
        rows = zip(each_stamp(self.stamps), each_id(self.digests), strict=True)
        return dict(zip(names, rows, strict=True))


def read_remembered(value: bytes) -> Remembered | None:
    """The row with these bytes, None if it is malformed: it is only a cache."""
    if len(value) < _HEAD.size:
        return None
    moment, count, length, page = _HEAD.unpack_from(value)
    digests_at = _HEAD.size + count * STAMP_BYTES
    names_at = digests_at + count * ID_BYTES
    names = value[names_at:]
    if len(value) != names_at + length or names.count(b"\0") != max(count - 1, 0):
        return None
    page = b"" if page == _NO_PAGE else page
    return Remembered(
        moment, names, value[_HEAD.size : digests_at], value[digests_at:names_at], page
    )


def keep_settled(row: Remembered) -> Remembered:
    """The row without the files that had changed too shortly before its moment."""
    times = column(row.stamps, MTIME), column(row.stamps, CTIME)
    newest = max(max(times[0], default=0), max(times[1], default=0))
    if newest + _COARSE_NS < row.moment_ns:
        return row
    stamps = read_stamps(row.stamps)
    kept = [settled(stamp, row.moment_ns) for stamp in stamps]
    return row if all(kept) else choose(row, kept)


def choose(row: Remembered, kept: Sequence[bool]) -> Remembered:
    """The row with those files only for which `kept` is true, and so without a page."""
    names = [name for name, keep in zip(row.names.split(b"\0"), kept, strict=True) if keep]
    stamps = [stamp for stamp, keep in zip(each_stamp(row.stamps), kept, strict=True) if keep]
    digests = [id for id, keep in zip(each_id(row.digests), kept, strict=True) if keep]
    return Remembered(row.moment_ns, b"\0".join(names), b"".join(stamps), b"".join(digests))


def remember_all(moment_ns: int, files: Mapping[bytes, tuple[bytes, Id]]) -> Remembered:
    """The row of these stamps and digests by name."""
    rows = sorted(files.items())
    stamps = b"".join([stamp for _, (stamp, _) in rows])
    digests = b"".join([digest for _, (_, digest) in rows])
    return Remembered(moment_ns, b"\0".join([name for name, _ in rows]), stamps, digests)


def each_stamp(stamps: bytes) -> list[bytes]:
    """Packed stamps one by one."""
    return [stamps[at : at + STAMP_BYTES] for at in range(0, len(stamps), STAMP_BYTES)]


def each_id(digests: bytes) -> list[Id]:
    """Ids that stand end to end one by one."""
    return [digests[at : at + ID_BYTES] for at in range(0, len(digests), ID_BYTES)]
