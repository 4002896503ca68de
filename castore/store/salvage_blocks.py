"""Salvaging blocks: whatever can be decoded and matches its id goes into the new store."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from castore.content.blocks import ALWAYS_RAW, Block, Codec, Member, decode_block, encode_block
from castore.content.codecs import compress
from castore.content.deltas import StoredObject, block_place, raw_bytes
from castore.content.kept import KeptBlocks
from castore.content.reader import ObjectReader
from castore.content.sink import EncodedBlock
from castore.database.derive import INDEXED
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.relics import Relics
from castore.database.tables import State
from castore.database.writing import Payload, Writing
from castore.errors import CastoreError, CorruptObject, ObjectNotFound
from castore.model.edges import edges
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import MIB

_BATCH_BYTES: Final = 16 * MIB
# Blocks of a batch are not in the new store yet: they have numbers of their own until they are.
_LOCAL: Final = 1 << 62
_RECENT: Final = 100


class _Ready(NamedTuple):
    """A block to write, with the payloads of it that are indexed."""

    block: EncodedBlock
    payloads: list[Payload]


class _NotYet(Exception):
    """What a block rests on is not in the new store, or not yet."""


@dataclass(slots=True)
class Rescued:
    """What crossed over, and the blocks that could not be read or not as a whole, with reasons."""

    blocks: int = 0
    objects: int = 0
    bytes: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)


class BlockRescue:
    """One pass after another over the blocks of `relics`, until none leads to anything more."""

    def __init__(
        self, relics: Relics, database: Database, progress: Callable[[int], None] | None
    ) -> None:
        self._relics = relics
        self._database = database
        self._progress = progress
        self._kept = KeptBlocks()
        self._local: dict[Id, StoredObject] = {}
        self._batch: list[_Ready] = []
        self._bytes = 0
        self._numbered = 0
        self._reader = ObjectReader(self._load)
        self.done = Rescued()

    def run(self) -> None:
        """Put every readable object into the new store that is not there; nothing twice."""
        left, looked = array("Q"), 0
        while looked < self._relics.blocks:
            left.extend(range(looked, self._relics.blocks))
            looked = self._relics.blocks
            before = -1
            while len(left) != before:
                before = len(left)
                left = self._pass(left, partly=False)
            if left or self.done.damaged:
                # Another copy of what is damaged may lie in pages that nothing leads to.
                self._relics.look_closer()
        before = -1
        while self.done.objects != before:
            before = self.done.objects
            left = self._pass(left, partly=True)
        for at in left:
            self._damage(at, "what its bytes rest on is lost")

    def _pass(self, numbers: Sequence[int], *, partly: bool) -> array[int]:
        """Take these blocks; those that must wait for others.

        With `partly`, what can be had of a block whose other parts will never be whole.
        """
        waiting = array("Q")
        for at in numbers:
            try:
                self._take(at, partly=partly)
            except _NotYet:
                waiting.append(at)
            except CastoreError as error:
                self._damage(at, error.message)
        self._flush()
        return waiting

    def _take(self, at: int, *, partly: bool) -> None:
        data = self._relics.block(at)
        where = self._place(at)
        try:
            block = decode_block(data, where)
        except CorruptObject as error:
            # One wrong bit may be in one member, or in none.
            block, data = decode_block(data, where, checked=False), b""
            self._damage(at, error.message)
        absent = self._absent([member.id for member in block.members])
        if absent:
            ready = self._read(block, data, where, absent, partly=partly)
            if ready is not None:
                self._put(ready)
        if self._progress is not None:
            self._progress(len(data))

    def _read(
        self, block: Block, data: bytes, where: str, absent: set[Id], *, partly: bool
    ) -> _Ready | None:
        """The absent members that are right, as the block they are in, or anew without `data`."""
        try:
            raw = raw_bytes(block, self._load, where, self._kept)
        except ObjectNotFound:
            raise _NotYet from None
        good: list[tuple[Member, bytes]] = []
        bad: list[Id] = []
        ends = [0]
        for member in block.members:
            ends.append(ends[-1] + member.size)
        for member, (start, end) in zip(block.members, pairwise(ends), strict=True):
            if member.id not in absent:
                continue
            payload = raw[start:end]
            if self._proved(member, payload, partly=partly):
                good.append((member, payload))
            else:
                bad.append(member.id)
        if bad:
            names = ", ".join(id.hex() for id in bad[:3]) + (", …" if len(bad) > 3 else "")
            self.done.damaged.append((where, f"the bytes of {names} are wrong, or not all there"))
        if not good:
            return None
        payloads = [(m.kind, m.id, payload) for m, payload in good if m.kind in INDEXED]
        if bad or not data or not absent.issuperset(member.id for member in block.members):
            return _Ready(_anew(good), payloads)
        return _Ready(EncodedBlock(data, block.members, block.raw_size, block.bases), payloads)

    def _proved(self, member: Member, payload: bytes, *, partly: bool) -> bool:
        """Whether a payload is what its id says; raises _NotYet for a layout without its chunks."""
        if object_id(member.kind, payload) == member.id:
            try:
                for _ in edges(member.kind, payload):
                    pass
            except CastoreError:
                return False
            return True
        if member.kind is not Kind.LAYOUT:
            return False
        # The root of a layout is stored under the digest of its file: read it.
        try:
            return self._reader.digest(payload) == member.id
        except ObjectNotFound:
            if partly:
                return False
            raise _NotYet from None
        except CastoreError:
            return False

    def _load(self, id: Id) -> StoredObject:
        return self._local.get(id) or self._database.load(id)

    def _absent(self, ids: Sequence[Id]) -> set[Id]:
        """Those of these objects that may be stored and are not yet."""

        def look(tables: Reading) -> set[Id]:
            rows = {id: tables.object_row(id) for id in ids if id not in self._local}
            taken = (State.STORED, State.PURGED)
            return {id for id, row in rows.items() if row is None or row.state not in taken}

        return self._database.read(look)

    def _put(self, ready: _Ready) -> None:
        block = ready.block
        self._numbered += 1
        number = _LOCAL + self._numbered
        for slot, member in enumerate(block.members):
            place = StoredObject(member.kind, number, slot, block.data)
            self._local.setdefault(member.id, place)
        self._batch.append(ready)
        self._bytes += block.size
        if self._bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch, size = self._batch, self._bytes
        self._batch, self._bytes, self._local = [], 0, {}
        if not batch:
            return
        payloads = [payload for ready in batch for payload in ready.payloads]
        blocks = [ready.block for ready in batch]

        def write(tables: Writing) -> int:
            return tables.put_blocks(blocks, payloads)

        self.done.blocks += self._database.write(write, room=size)
        self.done.objects += sum(len(block.members) for block in blocks)
        self.done.bytes += size

    def _place(self, at: int) -> str:
        number = self._relics.block_number(at)
        return "a block" if number is None else block_place(number)

    def _damage(self, at: int, detail: str) -> None:
        found = (self._place(at), detail)
        if found not in self.done.damaged[-_RECENT:]:
            self.done.damaged.append(found)


def _anew(good: Sequence[tuple[Member, bytes]]) -> EncodedBlock:
    """A block of these objects, which depends on no other."""
    members = tuple(member for member, _ in good)
    raw = b"".join(payload for _, payload in good)
    metadata = members[0].kind is not Kind.CHUNK
    codec, frame = Codec.RAW, raw
    if not any(member.kind in ALWAYS_RAW for member in members):
        packed = compress(raw)
        if len(packed) < len(raw):
            codec, frame = Codec.ZSTD, packed
    data = encode_block(Block(codec, metadata, 0, len(raw), (), members, frame))
    return EncodedBlock(data, members, len(raw), ())
