"""The index: where the objects in some packs lie; hints, since what is fetched by it is checked.

Little endian:

     0  8  magic 89 43 41 53 49 58 0d 0a
     8  1  format = 1        9  1  zero       10  2  flags: none       12  4  zero
    16 16  random
    32  4  packs   36  4  blocks   40  4  bases   44  4  members
    48     packs:   upload 16, pack id 32                                                 48 bytes
           blocks:  u32 pack, u64 offset of the block, u32 stored, u32 raw, u8 codec, u8 flags,
                    u8 depth, u8 zero, u32 first base, u16 bases, u16 members;
                    by (pack, offset)                                                     32 bytes
           bases:   id                                                                    32 bytes
           members: id 32, u32 block, u16 slot, u8 kind, u8 zero, u32 raw size; by id     44 bytes

Its name is BLAKE3, keyed for "index", of all its bytes. A member that is named by an index that a
root lists has all that it needs in listed indexes too; so members of a block that are not alive
have no row.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from castore.content.blocks import Block
from castore.errors import CorruptObject, UnsupportedFormat
from castore.model.ids import Id, Kind, named_id
from castore.model.limits import FORMAT, ID_BYTES, INDEX_BYTES
from castore.remote.keys import UPLOAD_BYTES

MAGIC: Final = bytes.fromhex("894341 534958 0d0a")
HEADER: Final = Struct("<8sBBHI16sIIII")
PACK: Final = Struct("<16s32s")
BLOCK: Final = Struct("<IQIIBBBBIHH")
MEMBER: Final = Struct("<32sIHBBI")
_KEYS: Final = Struct(">Q36x")
_KIND_AT: Final = 38
_KINDS: Final = {int(kind): kind for kind in Kind}


class PackName(NamedTuple):
    """Which pack: the upload that sent it and its id."""

    upload: bytes
    id: Id


class Spot(NamedTuple):
    """A block in a pack: its place and size there, its raw size and depth, and what it rests on."""

    pack: PackName
    offset: int
    stored: int
    raw: int
    codec: int
    flags: int
    depth: int
    bases: tuple[Id, ...]
    members: int


class Indexed(NamedTuple):
    """An object of an index: the row of its block, its slot there, its kind and raw size."""

    id: Id
    block: int
    slot: int
    kind: Kind
    size: int


class Index:
    """An index taken apart; lookups take memory of 8 bytes a member.

    Raises CorruptObject for bytes that are not the index of this name or break its rules.
    """

    def __init__(self, data: bytes, id: Id) -> None:
        where = f"index {id.hex()}"
        self.id = id
        self.where = where
        if not HEADER.size <= len(data) <= INDEX_BYTES or index_id(data) != id:
            raise CorruptObject(f"{where}: its bytes are not those of its name", where=where)
        magic, version, zero, flags, zeros, _, *counts = HEADER.unpack_from(data)
        if magic != MAGIC or zero or zeros:
            raise CorruptObject(f"{where}: not an index", where=where)
        if version != FORMAT or flags:
            raise UnsupportedFormat(f"{where}: format {version}, flags {flags}")
        self.packs_count, self.blocks_count, self.bases_count, self.members_count = counts
        self._packs_at = HEADER.size
        self._blocks_at = self._packs_at + self.packs_count * PACK.size
        self._bases_at = self._blocks_at + self.blocks_count * BLOCK.size
        self._members_at = self._bases_at + self.bases_count * ID_BYTES
        if self._members_at + self.members_count * MEMBER.size != len(data):
            raise CorruptObject(f"{where}: its tables do not fill it", where=where)
        self._data = data
        self._heads = array(
            "Q", [key for (key,) in _KEYS.iter_unpack(memoryview(data)[self._members_at :])]
        )
        self._last: tuple[int, Spot] | None = None
        if not self._sorted():
            raise CorruptObject(f"{where}: its members are not sorted", where=where)

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self._data

    def _sorted(self) -> bool:
        """Whether the members are in order and each is there once."""
        for row, (a, b) in enumerate(pairwise(self._heads)):
            if a > b or (a == b and self._id(row) >= self._id(row + 1)):
                return False
        return True

    def _id(self, row: int) -> Id:
        at = self._members_at + row * MEMBER.size
        return self._data[at : at + ID_BYTES]

    def row_of(self, id: Id) -> int:
        """The row of an object among the members, -1 if it has none."""
        head = int.from_bytes(id[:8])
        row = bisect_left(self._heads, head)
        while row < self.members_count and self._heads[row] == head:
            if self._id(row) == id:
                return row
            row += 1
        return -1

    def member(self, row: int) -> Indexed:
        """The member in a row; raises CorruptObject."""
        id, block, slot, kind, zero, size = MEMBER.unpack_from(
            self._data, self._members_at + row * MEMBER.size
        )
        if kind not in _KINDS or zero or block >= self.blocks_count:
            raise CorruptObject(f"{self.where}: a malformed row", where=self.where)
        return Indexed(id, block, slot, _KINDS[kind], size)

    def members(self) -> Iterator[Indexed]:
        """Every member, by id."""
        return map(self.member, range(self.members_count))

    def ids_of(self, kind: Kind) -> list[Id]:
        """The ids of all members of a kind, in order."""
        kinds = self._data[self._members_at + _KIND_AT :: MEMBER.size]
        at, found = kinds.find(kind), []
        while at >= 0:
            start = self._members_at + at * MEMBER.size
            found.append(self._data[start : start + ID_BYTES])
            at = kinds.find(kind, at + 1)
        return found

    def packs(self) -> list[PackName]:
        """The packs its blocks lie in."""
        table = self._data[self._packs_at : self._blocks_at]
        return [PackName(*row) for row in PACK.iter_unpack(table)]

    def block(self, row: int) -> Spot:
        """The block in a row; raises CorruptObject."""
        # What lies together is mostly asked for together.
        last = self._last
        if last is None or last[0] != row:
            last = self._last = row, self._read_block(row)
        return last[1]

    def _read_block(self, row: int) -> Spot:
        at = self._blocks_at + row * BLOCK.size
        pack, offset, stored, raw, codec, flags, depth, zero, first, bases, members = (
            BLOCK.unpack_from(self._data, at)
        )
        if pack >= self.packs_count or zero or first + bases > self.bases_count:
            raise CorruptObject(f"{self.where}: a malformed row", where=self.where)
        start = self._bases_at + first * ID_BYTES
        table = self._data[start : start + bases * ID_BYTES]
        ids = tuple([table[at : at + ID_BYTES] for at in range(0, len(table), ID_BYTES)])
        name = PackName(*PACK.unpack_from(self._data, self._packs_at + pack * PACK.size))
        return Spot(name, offset, stored, raw, codec, flags, depth, ids, members)


class IndexWriter:
    """An index being put together; blocks may be added in any order."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Spot, list[tuple[Id, int, Kind, int]]]] = []

    @property
    def blocks(self) -> int:
        """How many blocks were added."""
        return len(self._blocks)

    def add_block(
        self, pack: PackName, offset: int, stored: int, block: Block, alive: Iterable[int]
    ) -> None:
        """Add a block of so many stored bytes that lies there; these of its slots are alive."""
        members = []
        for slot in sorted(alive):
            id, kind, size = block.members[slot]
            members.append((id, slot, kind, size))
        spot = Spot(
            pack, offset, stored, block.raw_size, block.codec, int(block.metadata), block.depth,
            block.bases, len(block.members),
        )  # fmt: skip
        self._blocks.append((spot, members))

    def add_spot(self, spot: Spot, members: Iterable[Indexed]) -> None:
        """Add a block of another index with these members of it."""
        rows = [(found.id, found.slot, found.kind, found.size) for found in members]
        self._blocks.append((spot, rows))

    def add_writer(self, other: IndexWriter) -> None:
        """Add all that was added to another."""
        self._blocks += other._blocks

    def add_index(self, index: Index, alive: Sequence[bool] | None = None) -> None:
        """Add the blocks of another index that have a member, or only the `alive` of those."""
        members: dict[int, list[tuple[Id, int, Kind, int]]] = {}
        for row, found in enumerate(index.members()):
            if alive is None or alive[row]:
                member = (found.id, found.slot, found.kind, found.size)
                members.setdefault(found.block, []).append(member)
        for row, rows in members.items():
            self._blocks.append((index.block(row), rows))

    def finish(self, nonce: bytes) -> tuple[Id, bytes]:
        """The name of the index and its bytes.

        Of an object that was added twice the least deep is kept: others may rest on that, and it
        cannot rest on them.
        """
        packs = sorted({spot.pack for spot, _ in self._blocks})
        number = {pack: at for at, pack in enumerate(packs)}
        ordered = sorted(self._blocks, key=lambda item: (number[item[0].pack], item[0].offset))
        blocks, bases = bytearray(), bytearray()
        members: dict[Id, bytes] = {}
        depths: dict[Id, int] = {}
        for at, (spot, rows) in enumerate(ordered):
            blocks += BLOCK.pack(
                number[spot.pack], spot.offset, spot.stored, spot.raw, spot.codec, spot.flags,
                spot.depth, 0, len(bases) // ID_BYTES, len(spot.bases), spot.members,
            )  # fmt: skip
            bases += b"".join(spot.bases)
            for id, slot, kind, size in rows:
                if depths.get(id, spot.depth + 1) > spot.depth:
                    members[id] = MEMBER.pack(id, at, slot, kind, 0, size)
                    depths[id] = spot.depth
        counts = (len(packs), len(ordered), len(bases) // ID_BYTES, len(members))
        data = b"".join(
            (
                HEADER.pack(MAGIC, FORMAT, 0, 0, 0, nonce, *counts),
                *[PACK.pack(*pack) for pack in packs],
                blocks,
                bases,
                *[members[id] for id in sorted(members)],
            )
        )
        return index_id(data), data


class Catalogue:
    """All indexes of a root: where anything lies."""

    def __init__(self, indexes: Iterable[Index]) -> None:
        self.indexes = tuple(indexes)

    def has(self, id: Id) -> bool:
        """Whether an object is in the bucket."""
        return any(index.row_of(id) >= 0 for index in self.indexes)

    def kind(self, id: Id) -> Kind | None:
        """What an object is said to be, None where it is not in the bucket."""
        for index in self.indexes:
            row = index.row_of(id)
            if row >= 0:
                return index.member(row).kind
        return None

    def locate(self, id: Id) -> tuple[int, int] | None:
        """The number of an index and the row in it of an object, of several the least deep."""
        best: tuple[int, int] | None = None
        depth = 0
        for number, index in enumerate(self.indexes):
            row = index.row_of(id)
            if row < 0:
                continue
            found = index.block(index.member(row).block).depth
            if best is None or found < depth:
                best, depth = (number, row), found
        return best

    def find(self, id: Id) -> tuple[Spot, int, Kind] | None:
        """The block, the slot and the kind of an object; of several blocks the least deep."""
        place = self.locate(id)
        if place is None:
            return None
        index = self.indexes[place[0]]
        found = index.member(place[1])
        return index.block(found.block), found.slot, found.kind

    def supports(self, base: Id, depth: int) -> bool:
        """Whether a delta of this depth may rest on an object: it is here, and less deep."""
        found = self.find(base)
        return found is not None and found[0].depth < depth

    def ids_of(self, kind: Kind) -> set[Id]:
        """The ids of all objects of a kind."""
        return {id for index in self.indexes for id in index.ids_of(kind)}


def index_id(data: bytes) -> Id:
    """The name of the index with these bytes."""
    return named_id("index", data)


assert PACK.size == UPLOAD_BYTES + ID_BYTES
