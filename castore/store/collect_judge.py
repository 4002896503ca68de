"""Judging a block: what in it is dead, whether it stays, and what is put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from castore.content.blocks import Block, Member, decode_block
from castore.content.codecs import marked
from castore.content.delta_encoder import Base, encode_delta, encode_plain
from castore.content.deltas import block_place, raw_bytes
from castore.content.encoder import encode_metadata
from castore.content.sink import EncodedBlock
from castore.database.derive import INDEXED
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.database.tables import ObjectRow, State
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, object_id
from castore.store.collect_census import Census, member_starts, slots_here
from castore.store.collect_map import LiveMap
from castore.store.collect_pace import ROW_BYTES
from castore.store.collect_rebase import NOTHING, Rest

# A row of `lookup` for about so many bytes of an indexed object.
_LOOKUP_EVERY: Final = 48


Choose: TypeAlias = Callable[[Reading, Block, Sequence[int]], Rest]
"""Tells what these members of a delta may rest on when it is written anew."""


class _Copy(NamedTuple):
    """Another copy of the object in a slot: its row, and the depth it lies at."""

    slot: int
    row: ObjectRow
    depth: int


class Dead(NamedTuple):
    """A dead object: its place in the block and its raw size."""

    slot: int
    kind: Kind
    size: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a block.

    Unless `changed` it stays, its dead objects with it. Else `blocks` take its place, `dropped` are
    the objects that go, `pointed` those of which another copy is found from now on. `copied` is
    the raw bytes of second copies in it. `members` are the ids of all its members. `rest` is what
    they were to rest on, and do if one of `blocks` has bases. `decoded` bytes were looked into.
    """

    number: int
    stored: int
    members: tuple[Id, ...]
    dead: tuple[Dead, ...]
    copied: int
    changed: bool
    blocks: tuple[EncodedBlock, ...] = ()
    dropped: tuple[tuple[Kind, Id, bytes], ...] = ()
    pointed: tuple[tuple[Id, ObjectRow, int], ...] = ()
    rest: Rest = NOTHING
    decoded: int = 0

    @property
    def based(self) -> bool:
        """Whether what takes its place has bases."""
        return any(block.bases for block in self.blocks)

    @property
    def freed(self) -> int:
        """The bytes of blocks that this gains; below 0 when a delta has to be written in full."""
        return self.stored - self.written if self.changed else 0

    @property
    def written(self) -> int:
        """The bytes of the blocks that take its place."""
        return sum(block.size for block in self.blocks)

    @property
    def cost(self) -> int:
        """About how many bytes of pages the change frees and dirties, at most.

        Without the rows of blocks with bases in it: those are as many as there are by then.
        """
        rows = 2 + len(self.dropped) + len(self.pointed)
        rows += sum(len(block.members) for block in self.blocks)
        rows += sum(len(payload) // _LOOKUP_EVERY for _, _, payload in self.dropped)
        return self.stored + self.written + rows * ROW_BYTES


def judge(
    tables: Reading,
    number: int,
    live: LiveMap,
    census: Census,
    *,
    gone: Set[int] = frozenset(),
    spared: Set[Id] = frozenset(),
    choose: Choose,
) -> Judgement | None:
    """What becomes of block `number`; None if it is not there any more.

    `gone` are blocks that count as removed already, `spared` objects that are alive although the
    map does not say so yet; what `choose` tells is alive and stored. Content stays while at least
    half of it is alive and no base of it is dead. Metadata never stays beside something dead: what
    is stored has all it needs.
    """
    data = tables.block(number)
    if data is None:
        return None
    where = block_place(number)
    block = decode_block(data, where)
    here = set(slots_here(tables, number, block))
    alive = live.alive_of(number, here)
    if spared:
        alive |= {slot for slot in here if block.members[slot].id in spared}
    dead = tuple(
        Dead(slot, block.members[slot].kind, block.members[slot].size)
        for slot in sorted(here - alive)
    )
    copied = block.raw_size - sum(block.members[slot].size for slot in here)
    found = Judgement(
        number, len(data), tuple(member.id for member in block.members), dead, copied, False
    )
    dead_base = _has_dead_base(tables, block, live)
    if not _changes(block, alive, dead, copied, dead_base):
        return found
    if copied:
        _check_elsewhere(tables, block, here)
    copies = list(_copies(tables, number, block, here, census, gone))
    # What rests on a living one would not lie above a deeper copy, and a rebuild finds the oldest.
    deeper = {copy.slot for copy in copies if copy.depth > block.depth} & alive
    if deeper and not (block.metadata or dead_base):
        return found
    pointed = {
        copy.slot: (block.members[copy.slot].id, copy.row, block.members[copy.slot].size)
        for copy in copies
        if copy.slot not in deeper
    }
    moved = sorted(alive - pointed.keys())
    return _change(tables, found, block, tuple(pointed.values()), moved, choose)


def needed_by(tables: Reading, number: int, live: LiveMap, census: Census) -> Iterator[int]:
    """The blocks that must go before block `number` does, or with it.

    They hold what refers to something dead in it, or deltas with a dead base in it, or copies.
    """
    info = tables.block_info(number)
    if info is None:
        return
    dependants = census.dependants.of(number)
    if not (info.metadata or census.copies or dependants):
        return
    data = tables.block(number)
    if data is None:
        return
    block = decode_block(data, block_place(number))
    dead = {
        block.members[slot].id: block.members[slot].kind
        for slot in slots_here(tables, number, block)
        if not live.alive(number, slot)
    }
    found = set(census.pages_above.get(number, ()))
    for id, kind in dead.items():
        found.update(census.copies.get(id, ()))
        for holder in _holders(tables, id, kind) if block.metadata else ():
            row = tables.object_row(holder)
            stored = row is not None and row.state is State.STORED
            if row is not None and stored and not live.alive(row.block, row.slot):
                found.add(row.block)
    for dependant in dependants:
        above = tables.block(dependant)
        if above is not None:
            bases = decode_block(above, block_place(dependant)).bases
            if any(base in dead for base in bases):
                found.add(dependant)
    found.discard(number)
    yield from sorted(found)


def _holders(tables: Reading, id: Id, kind: Kind) -> Iterator[Id]:
    yield from (holder for holder, _ in tables.containers(id))
    if kind in (Kind.MANIFEST, Kind.NOTE):
        yield from (note for _, note in tables.lookup(Index.TARGET, id))
    if kind is Kind.MANIFEST:
        yield from (child for _, child in tables.lookup(Index.CHILD, id))


def _check_elsewhere(tables: Reading, block: Block, here: Set[int]) -> None:
    """What is said to lie in another block does: else its only bytes would go."""
    for slot, member in enumerate(block.members):
        row = None if slot in here else tables.object_row(member.id)
        if row is None or row.state is not State.STORED:
            continue
        where = block_place(row.block)
        data = tables.block(row.block)
        there = decode_block(data, where).members if data is not None else ()
        if row.slot >= len(there) or there[row.slot].id != member.id:
            raise CorruptObject(
                f"{member.id.hex()} should lie in {where} and does not: nothing is removed from a "
                "damaged store",
                id=member.id.hex(),
                where=where,
                fix="cas fsck --full",
            )


def _has_dead_base(tables: Reading, block: Block, live: LiveMap) -> bool:
    for base in block.bases:
        row = tables.object_row(base)
        if row is None or row.state is not State.STORED:
            raise CorruptObject(
                f"{base.hex()}, a base of a delta, is not stored: nothing is removed from a "
                "damaged store",
                id=base.hex(),
                where="blocks",
                fix="cas fsck --full",
            )
        if not live.alive(row.block, row.slot):
            return True
    return False


def _changes(
    block: Block, alive: Set[int], dead: Sequence[Dead], copied: int, dead_base: bool
) -> bool:
    if block.metadata:
        return bool(dead or copied or dead_base)
    kept = sum(block.members[slot].size for slot in alive)
    return dead_base or not alive or 2 * kept < block.raw_size


def _copies(
    tables: Reading, number: int, block: Block, here: Set[int], census: Census, gone: Set[int]
) -> Iterator[_Copy]:
    """The objects that lie in another block too, and their rows there: in the oldest."""
    for slot in sorted(here):
        id, kind, _ = block.members[slot]
        for other in sorted(census.copies.get(id, ())):
            data = None if other == number or other in gone else tables.block(other)
            if data is not None:
                copy = decode_block(data, block_place(other))
                at = [member.id for member in copy.members].index(id)
                yield _Copy(slot, ObjectRow(other, at, kind, State.STORED), copy.depth)
                break


def _change(
    tables: Reading,
    found: Judgement,
    block: Block,
    pointed: tuple[tuple[Id, ObjectRow, int], ...],
    moved: list[int],
    choose: Choose,
) -> Judgement:
    where = block_place(found.number)
    elsewhere = {id for id, _, _ in pointed}
    gone = [dead for dead in found.dead if block.members[dead.slot].id not in elsewhere]
    raw = b""
    if moved or any(dead.kind in INDEXED for dead in gone):
        raw = raw_bytes(block, tables.load, where)
    starts = member_starts(block)

    def payload(slot: int) -> bytes:
        return checked_member(block.members[slot], raw[starts[slot] : starts[slot + 1]], where)

    dropped = tuple(
        (kind, block.members[slot].id, payload(slot) if kind in INDEXED else b"")
        for slot, kind, _ in gone
    )
    kept = [(block.members[slot].kind, block.members[slot].id, payload(slot)) for slot in moved]
    rest = choose(tables, block, moved) if moved else NOTHING
    bases = _read_bases(tables, rest)
    delta = encode_delta(kept, bases, step=marked(block.frame)) if bases else None
    blocks = tuple(encoded_again(kept, metadata=block.metadata)) if delta is None else (delta,)
    return replace(
        found,
        changed=True,
        blocks=tuple([block._replace(again=b"") for block in blocks]),
        dropped=dropped,
        pointed=pointed,
        rest=rest,
        decoded=len(raw) + sum(len(base.payload) for base in bases),
    )


def _read_bases(tables: Reading, rest: Rest) -> list[Base]:
    """The bytes of what was chosen, each block decoded once."""
    places: dict[int, list[tuple[Id, int]]] = {}
    for id in rest.bases:
        stored = tables.load(id)
        places.setdefault(stored.block_number, []).append((id, stored.slot))
    payloads: dict[Id, bytes] = {}
    for number, members in places.items():
        where = block_place(number)
        block = decode_block(tables.block(number) or b"", where)
        raw = raw_bytes(block, tables.load, where)
        for id, slot in members:
            start, end = block.span(slot)
            payloads[id] = checked_member(block.members[slot], raw[start:end], where)
    return [Base(id, payloads[id], rest.depth - 1) for id in rest.bases]


def checked_member(member: Member, payload: bytes, where: str) -> bytes:
    """The bytes of a member; what does not match its id is not carried on as if it did."""
    id, kind, _ = member
    if kind is not Kind.LAYOUT and object_id(kind, payload) != id:
        raise CorruptObject(
            f"{where}: the bytes of {id.hex()} do not match it: nothing is removed from a damaged "
            "store",
            id=id.hex(),
            where=where,
            fix="cas fsck --full",
        )
    return payload


def encoded_again(kept: Sequence[tuple[Kind, Id, bytes]], *, metadata: bool) -> list[EncodedBlock]:
    """Plain blocks that hold these objects, of which all are metadata or none is."""
    if not metadata:
        return encode_plain([(id, data) for _, id, data in kept])
    return encode_metadata(kept) if kept else []
