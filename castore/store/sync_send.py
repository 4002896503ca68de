"""Sending: blocks go into packs, as they are stored where nothing else would go along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, Protocol

from castore.content.blocks import Block, decode_block
from castore.content.delta_encoder import encode_plain
from castore.content.deltas import block_place, raw_bytes
from castore.content.encoder import encode_metadata
from castore.content.kept import KeptBlocks
from castore.content.sink import EncodedBlock
from castore.database.reading import Reading
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import MIB
from castore.remote.index import Catalogue, Index, IndexWriter
from castore.remote.pack import NONCE_BYTES
from castore.remote.sending import PackQueue
from castore.remote.transport import Transport
from castore.store.collect_census import member_starts
from castore.store.store import Store
from castore.store.sync_need import Moved, Need

_READ_BYTES: Final = 8 * MIB


class Shelf(Protocol):
    """Where packs go, and what is noted of those that went: `Remote`, or a bundle."""

    store: Store

    @property
    def transport(self) -> Transport:
        """What packs are put into."""

    def sent(self) -> list[Index]:
        """The indexes of the packs that an interrupted push has sent."""

    def note_sent(self, pack: Id, index: Id, data: bytes) -> None:
        """Note that a pack has arrived, and the index of it alone."""


class Sent(NamedTuple):
    """What a push has sent: an index of every pack, and how much that was."""

    indexes: list[Index]
    packs: int
    bytes: int


class _Stored(NamedTuple):
    """A block of the store."""

    number: int
    data: bytes


class PackSender:
    """Sends what is needed under an upload; each pack is noted when it has arrived.

    `there` is what the bucket has, by which it is decided what may go as it is; with `plain`
    nothing does. `progress` is told the stored bytes sent. What is not `noted` is not gone on with
    after an interruption.
    """

    def __init__(
        self,
        remote: Shelf,
        upload: bytes,
        there: Catalogue,
        progress: Callable[[int], None] | None = None,
        *,
        noted: bool = True,
        plain: bool = False,
    ) -> None:
        self._noted = noted
        self._plain = plain
        self._remote = remote
        self._store = remote.store
        self._upload = upload
        self._there = there
        self._progress = progress
        self._kept = KeptBlocks()
        self.sent = Sent([], 0, 0)

    def send(self, need: Need) -> Sent:
        """Send every object of `need` that was not sent before; raises Moved, CorruptObject."""
        if self._noted:
            self.sent.indexes.extend(self._standing(need))
        before = Catalogue(self.sent.indexes)
        with PackQueue(
            self._remote.transport, self._upload, self._store.entropy, self._arrived
        ) as queue:
            for block in self._blocks(need):
                for encoded, alive in self._chosen(block, need, before):
                    queue.add(encoded.data, alive)
        return self.sent

    def _blocks(self, need: Need) -> Iterator[_Stored]:
        """The blocks with something to send, in order of numbers; raises Moved."""
        numbers = sorted(need.slots)
        while numbers:
            found = self._store.database.read(lambda tables: _some(tables, numbers, need.epoch))
            del numbers[: len(found)]
            yield from found

    def _chosen(
        self, stored: _Stored, need: Need, before: Catalogue
    ) -> Iterator[tuple[EncodedBlock, list[int]]]:
        """The blocks to send in the place of a stored one, with the slots that are indexed."""
        where = block_place(stored.number)
        block = decode_block(stored.data, where)
        slots = [
            slot
            for slot, member in enumerate(block.members)
            if need.needs(stored.number, slot) and not before.has(member.id)
        ]
        if not slots:
            return
        may_go = self._may_go(block, stored.number, need, before)
        chosen = self._compared(
            stored.number, block, range(len(block.members)) if may_go else slots
        )
        if may_go:
            yield EncodedBlock(stored.data, block.members, block.raw_size, block.bases), slots
            return
        blocks = (
            encode_metadata(chosen)
            if block.metadata
            else encode_plain([(id, payload) for _, id, payload in chosen])
        )
        for encoded in blocks:
            yield encoded, list(range(len(encoded.members)))

    def _compared(
        self, number: int, block: Block, slots: Iterable[int]
    ) -> list[tuple[Kind, Id, bytes]]:
        """These members of a block with their bytes, compared with their ids: no damage travels."""
        where = block_place(number)
        raw = raw_bytes(block, self._store.database.load, where, self._kept)
        if block.metadata or block.bases:
            # What comes next may be a delta of it.
            self._kept.keep(number, block, raw)
        starts = member_starts(block)
        chosen = []
        for slot in slots:
            id, kind, _ = block.members[slot]
            payload = raw[starts[slot] : starts[slot + 1]]
            if kind is not Kind.LAYOUT and object_id(kind, payload) != id:
                raise CorruptObject(
                    f"{where}: the bytes of {id.hex()} are wrong: nothing of it is sent",
                    id=id.hex(),
                    where=where,
                    fix="cas fsck --full",
                )
            chosen.append((kind, id, payload))
        return chosen

    def _may_go(self, block: Block, number: int, need: Need, before: Catalogue) -> bool:
        """Whether a block may go as it is: all in it goes or is there, and what it rests on.

        What is there is relied on from then on.
        """
        if self._plain:
            return False
        relied = []
        for slot, member in enumerate(block.members):
            if not need.needs(number, slot):
                if not self._there.has(member.id):
                    return False
                relied.append(member.id)
        rests = self._store.database.read(
            lambda tables: self._bases_go(tables, block, need, before) if block.bases else []
        )
        if rests is None:
            return False
        need.relied.update(relied)
        for base in rests:
            need.rest(base, block.depth)
        return True

    def _bases_go(
        self, tables: Reading, block: Block, need: Need, before: Catalogue
    ) -> list[Id] | None:
        """The bases of a block that are there and not sent; None where it may not rest on one."""
        rests = []
        for base in block.bases:
            row = tables.object_row(base)
            if before.has(base):
                if not before.supports(base, block.depth):
                    return None
            elif row is not None and need.needs(row.block, row.slot):
                if tables.block_depth(row.block) >= block.depth:
                    return None
            elif self._there.supports(base, block.depth):
                rests.append(base)
            else:
                return None
        return rests

    def _standing(self, need: Need) -> list[Index]:
        """What an interrupted push has sent that is needed now, and that has its bases.

        A base that was sent and is needed no more is not there: it will be in no index.
        """
        sent = self._remote.sent()
        wanted = [
            self._store.database.read(partial(need.among, ids=[m.id for m in index.members()]))
            for index in sent
        ]
        rows = [(at, row) for at, index in enumerate(sent) for row in range(index.blocks_count)]
        rows.sort(key=lambda place: sent[place[0]].block(place[1]).depth)
        members: list[dict[int, list[Id]]] = [{} for _ in sent]
        for at, index in enumerate(sent):
            for member, is_wanted in zip(index.members(), wanted[at], strict=True):
                if is_wanted:
                    members[at].setdefault(member.block, []).append(member.id)
        depths: dict[Id, int] = {}
        stands: set[tuple[int, int]] = set()
        for at, row in rows:
            spot = sent[at].block(row)
            own = [base for base in spot.bases if depths.get(base, spot.depth) < spot.depth]
            rests = [base for base in spot.bases if base not in own]
            if all(self._there.supports(base, spot.depth) for base in rests):
                stands.add((at, row))
                for base in rests:
                    need.rest(base, spot.depth)
                for id in members[at].get(row, ()):
                    depths.setdefault(id, spot.depth)
        found = []
        for at, index in enumerate(sent):
            writer = IndexWriter()
            writer.add_index(
                index,
                [
                    is_wanted and (at, member.block) in stands
                    for member, is_wanted in zip(index.members(), wanted[at], strict=True)
                ],
            )
            id, data = writer.finish(self._store.entropy(NONCE_BYTES))
            found.append(Index(data, id))
        return found

    def _arrived(self, pack: Id, writer: IndexWriter, size: int) -> None:
        """Note that a pack is in the bucket."""
        index, data = writer.finish(self._store.entropy(NONCE_BYTES))
        if self._noted:
            self._remote.note_sent(pack, index, data)
        self.sent.indexes.append(Index(data, index))
        self.sent = self.sent._replace(packs=self.sent.packs + 1, bytes=self.sent.bytes + size)
        if self._progress is not None:
            self._progress(size)


def _some(tables: Reading, numbers: Iterable[int], epoch: int) -> list[_Stored]:
    """Some blocks, up to 8 MiB of them and at least one; raises Moved."""
    if tables.gc_epoch() != epoch:
        raise Moved
    found: list[_Stored] = []
    size = 0
    for number in islice(numbers, 1024):
        data = tables.block(number)
        if data is None:
            raise Moved
        found.append(_Stored(number, data))
        size += len(data)
        if size >= _READ_BYTES:
            break
    return found
