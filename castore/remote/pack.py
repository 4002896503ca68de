"""The pack: many blocks in one object of a bucket, never changed, never under the same name twice.

Little endian:

     0  8  magic 89 43 41 53 50 4b 0d 0a
     8  1  format = 1        9  1  type: 1 meta, 2 data
    10  2  flags: bit 0 encrypted (reserved: refused); others 0
    12  4  zero
    16 16  random
    32     for each block: u32 stored size > 0, the block; then u32 zero; then u32 number of blocks

Its name is BLAKE3, keyed for "pack", of all its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from castore.errors import CorruptObject, UnsupportedFormat
from castore.model.ids import Id, named_id
from castore.model.limits import BLOCK_RAW_BYTES, FORMAT, PACK_BYTES

MAGIC: Final = bytes.fromhex("894341 53504b 0d0a")
NONCE_BYTES: Final = 16
HEADER: Final = Struct("<8sBBHI16s")
_SIZE: Final = Struct("<I")
_ENCRYPTED: Final = 1
# A block that does not compress is its raw bytes and its tables.
_STORED_MAX: Final = 2 * BLOCK_RAW_BYTES


class PackType(IntEnum):
    """What the blocks of a pack hold: manifests, sets, notes, trees and layouts, or content."""

    META = 1
    DATA = 2


class Placed(NamedTuple):
    """A block of a pack: where it begins and its bytes."""

    offset: int
    block: bytes


class PackWriter:
    """A pack being put together in memory; `nonce` are 16 random bytes that no other pack has."""

    def __init__(self, type: PackType, nonce: bytes) -> None:
        self.type = type
        self._data = bytearray(HEADER.pack(MAGIC, FORMAT, type, 0, 0, nonce))
        self._blocks = 0

    @property
    def size(self) -> int:
        """The bytes so far."""
        return len(self._data)

    def add(self, block: bytes) -> int:
        """Add a block; where in the pack it begins."""
        self._data += _SIZE.pack(len(block))
        offset = len(self._data)
        self._data += block
        self._blocks += 1
        return offset

    def finish(self) -> tuple[Id, bytes]:
        """The name of the pack and its bytes; nothing is added after."""
        self._data += _SIZE.pack(0) + _SIZE.pack(self._blocks)
        data = bytes(self._data)
        self._data = bytearray()
        return pack_id(data), data


def pack_id(data: bytes) -> Id:
    """The name of the pack with these bytes."""
    return named_id("pack", data)


def read_pack(data: bytes, id: Id) -> tuple[PackType, Iterator[Placed]]:
    """What a whole pack holds, and its blocks in order, not decoded.

    Raises CorruptObject for bytes that are not the pack of this name, at once; UnsupportedFormat
    for one that is encrypted or written by a newer castore.
    """
    where = f"pack {id.hex()}"
    if len(data) > PACK_BYTES or len(data) < HEADER.size + 2 * _SIZE.size:
        raise CorruptObject(f"{where}: {len(data)} bytes cannot be a pack", where=where)
    if pack_id(data) != id:
        raise CorruptObject(f"{where}: its bytes are not those of its name", where=where)
    magic, version, type, flags, zero, _ = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptObject(f"{where}: not a pack", where=where)
    if flags & _ENCRYPTED:
        raise UnsupportedFormat(f"{where} is encrypted; this castore cannot read it")
    if version != FORMAT or flags or type not in (PackType.META, PackType.DATA):
        raise UnsupportedFormat(f"{where}: format {version}, type {type}, flags {flags}")
    if zero:
        raise CorruptObject(f"{where}: its header is not as it should be", where=where)
    return PackType(type), iter(_blocks(data, where))


def _blocks(data: bytes, where: str) -> list[Placed]:
    found: list[Placed] = []
    at, end = HEADER.size, len(data) - 2 * _SIZE.size
    while at < end:
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        if not 0 < size <= min(_STORED_MAX, end - at):
            raise CorruptObject(f"{where}: a block of {size} bytes at {at}", where=where)
        found.append(Placed(at, data[at : at + size]))
        at += size
    zero, count = _SIZE.unpack_from(data, end)[0], _SIZE.unpack_from(data, end + _SIZE.size)[0]
    if at != end or zero or count != len(found):
        raise CorruptObject(f"{where}: its blocks do not fill it", where=where)
    return found
