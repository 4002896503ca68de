"""The head of an LMDB 0.9 data file, read with plain reads: nothing here maps the file.

A mapped file that is shorter than its meta page says kills the process with SIGBUS, so its length
is proved before it is mapped. Layout of a meta page (LMDB 0.9, little endian, 64 bit):

    0  8 page number      8  2 unused    10  2 flags (8 = meta)    12  4 unused
    16 4 magic            20 4 version   24  8 address             32  8 map size
    40 48 record of the free list (its first field is the page size)
    88 48 record of the main tree       136  8 last page          144  8 transaction
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from castore.errors import CorruptObject, UnsupportedFormat
from castore.model.limits import MIB

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"
HEADS_LOG: Final = "heads.log"
PAGE_HEADER: Final = 16
NO_PAGE: Final = (1 << 64) - 1
META_PAGES: Final = 2
# What helps where a store does not open, told alike by all who notice.
RESTORE: Final = "restore the store from a backup"
RESTORE_OR_SALVAGE: Final = f"{RESTORE}, or: cas salvage DEST"
UPGRADE_OR_SALVAGE: Final = "upgrade castore; if no newer one wrote it: cas salvage DEST"

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_META_FLAG: Final = 8
_HEAD: Final = struct.Struct("<QHHIIIQQ")
_TREE: Final = struct.Struct("<IHHQQQQQ")
_TAIL: Final = struct.Struct("<QQ")
_FREE_AT: Final = 40
_MAIN_AT: Final = 88
_TAIL_AT: Final = 136
_META_BYTES: Final = 152
_PAGE_SIZES: Final = tuple(1 << bits for bits in range(9, 17))
_COPIED_AT_ONCE: Final = 64 * MIB


class TreeRecord(NamedTuple):
    """What LMDB notes about one B+tree; `root` is NO_PAGE for an empty one."""

    pad: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class MetaPage(NamedTuple):
    """One of the two meta pages."""

    page_size: int
    map_size: int
    last_page: int
    transaction: int
    free: TreeRecord
    main: TreeRecord

    @property
    def bytes_needed(self) -> int:
        """The file length at which no page can be missing."""
        return (self.last_page + 1) * self.page_size


def read_tree_record(data: bytes, offset: int = 0) -> TreeRecord:
    """The tree record at `offset`."""
    return TreeRecord(*_TREE.unpack_from(data, offset))


def read_metas(descriptor: int, where: str) -> tuple[MetaPage, MetaPage]:
    """Both meta pages, in file order; raises CorruptObject or UnsupportedFormat."""
    first = _read_meta(descriptor, 0, 0, where)
    return first, _read_meta(descriptor, 1, first.page_size, where)


def newest_meta(descriptor: int, where: str) -> MetaPage:
    """The meta page that LMDB will use: the one of the later transaction."""
    first, second = read_metas(descriptor, where)
    return second if second.transaction > first.transaction else first


def file_identity(path: str) -> tuple[int, int] | None:
    """The (device, inode) of a file, or None if it is not there."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def open_at_once(path: Path) -> BinaryIO:
    """A small file, open for reading; raises OSError, at once for a pipe in its place, too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISDIR(mode):
        os.close(descriptor)
        number = errno.ESPIPE if stat.S_ISFIFO(mode) else errno.EISDIR
        raise OSError(number, os.strerror(number), str(path))
    return os.fdopen(descriptor, "rb")


class DataStart:
    """The meta pages and the length of a data file, taken at a moment when nobody writes.

    While a read transaction begun at that moment lasts, no page that they lead to changes.
    """

    def __init__(self, path: str, page_size: int) -> None:
        self._path = path
        with open(path, "rb") as file:
            self._metas = file.read(META_PAGES * page_size)
            self._end = os.fstat(file.fileno()).st_size

    def copy(self, folder: Path) -> None:
        """Write the file as it was then into a folder; raises OSError."""
        with open(self._path, "rb") as source, (folder / DATA_FILE).open("xb") as target:
            target.write(self._metas)
            target.flush()
            at = len(self._metas)
            while at < self._end:
                size = min(_COPIED_AT_ONCE, self._end - at)
                sent = os.sendfile(target.fileno(), source.fileno(), at, size)
                if not sent:
                    raise OSError(errno.EIO, f"{self._path} is shorter than it was")
                at += sent


def _unopenable(message: str, where: str) -> CorruptObject:
    return CorruptObject(message, where=where, fix=RESTORE_OR_SALVAGE)


def _read_meta(descriptor: int, page: int, page_size: int, where: str) -> MetaPage:
    data = os.pread(descriptor, _META_BYTES, page * page_size)
    if len(data) < _META_BYTES:
        raise _unopenable(f"{where} is cut off: it ends before meta page {page}", where)
    number, pad, flags, unused, magic, version, address, map_size = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise _unopenable(f"{where}: meta page {page} is not that of a store", where)
    if version != _VERSION:
        raise UnsupportedFormat(
            f"{where} has LMDB data version {version}, this castore reads 1",
            fix=UPGRADE_OR_SALVAGE,
        )
    free = read_tree_record(data, _FREE_AT)
    last_page, transaction = _TAIL.unpack_from(data, _TAIL_AT)
    head = (number, pad, flags, unused, address)
    if head != (page, 0, _META_FLAG, 0, 0) or free.pad not in _PAGE_SIZES:
        raise _unopenable(f"{where}: meta page {page} is damaged", where)
    if page and free.pad != page_size:
        raise _unopenable(f"{where}: the meta pages differ in page size", where)
    return MetaPage(
        free.pad, map_size, last_page, transaction, free, read_tree_record(data, _MAIN_AT)
    )
