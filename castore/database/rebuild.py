"""Derived tables made again from what is stored: `blockinfo`, `lookup`, the places in `objects`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeAlias

from castore.content.blocks import Block, decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.kept import KeptBlocks
from castore.database.derive import INDEXED
from castore.database.folded import refold_all
from castore.database.indexes import INDEXES_VERSION
from castore.database.reading import Reading
from castore.database.tables import INDEXES, BlockInfo, ObjectRow, State
from castore.database.writing import Payload, Writing
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import MIB

_STEP: Final = 512
_ROWS: Final = 20_000
_INDEXED_BYTES: Final = 4 * MIB

ObjectNumbers: TypeAlias = tuple[int, int, int, int]
"""The row of an object as `Reading.object_numbers` gives it: block, slot, kind, state."""


def block_info(
    reading: Reading,
    number: int,
    block: Block,
    stored: int,
    rows: Sequence[ObjectNumbers | None] | None = None,
) -> BlockInfo:
    """What `blockinfo` must hold about a block of `stored` bytes, given the rows of objects.

    `rows` are those of its members, if they were read already.
    """
    found = live_slots(reading, number, block) if rows is None else lying_here(number, block, rows)
    live = sum(block.members[slot].size for slot in found)
    bases = base_blocks(reading, block)
    return BlockInfo(stored, block.raw_size, live, block.metadata, bases)


def live_slots(reading: Reading, number: int, block: Block) -> list[int]:
    """The slots of a block that rows of objects lead to."""
    rows = reading.object_numbers([member.id for member in block.members])
    return lying_here(number, block, rows)


def lying_here(number: int, block: Block, rows: Sequence[ObjectNumbers | None]) -> list[int]:
    """The slots of a block to which these rows of its members lead, and not to another place."""
    return [
        slot
        for slot, (member, row) in enumerate(zip(block.members, rows, strict=True))
        if row == (number, slot, member.kind, State.STORED)
    ]


def base_blocks(reading: Reading, block: Block) -> tuple[int, ...]:
    """The blocks that the bases of a block lie in now, in order."""
    bases = {row.block for base in block.bases if (row := reading.object_row(base)) is not None}
    return tuple(sorted(bases))


def live_payloads(
    reading: Reading, number: int, block: Block, kept: KeptBlocks | None = None
) -> Iterator[Payload]:
    """The payloads of the indexed objects that lie in a block, not compared with their ids.

    With `kept` the block is kept there, for deltas of it.
    """
    if not any(member.kind in INDEXED for member in block.members):
        return
    slots = [
        slot for slot in live_slots(reading, number, block) if block.members[slot].kind in INDEXED
    ]
    if not slots:
        return
    raw = raw_bytes(block, reading.load, block_place(number), kept)
    if kept is not None:
        kept.keep(number, block, raw)
    starts = [0]
    for member in block.members:
        starts.append(starts[-1] + member.size)
    for slot in slots:
        member = block.members[slot]
        yield member.kind, member.id, raw[starts[slot] : starts[slot + 1]]


def rebuild(tables: Writing, progress: Callable[[int], None] | None = None) -> None:
    """Make every derived row again, in one transaction; raises CorruptObject for a bad block.

    An object that lies in several blocks is found in the oldest. Rows that say promised, purged or
    lost are kept, since no block tells. Its own memory is bounded; `progress` is told the bytes of
    blocks done, each of which is read twice.
    """
    _rebuild_objects(tables, progress)
    tables.clear("blockinfo")
    tables.clear("lookup")
    tables.set_integer(INDEXES, INDEXES_VERSION)
    kept = KeptBlocks()
    waiting: list[Payload] = []
    size = 0
    for number, data in _blocks(tables, progress):
        block = decode_block(data, block_place(number))
        tables.put_block_info(number, block_info(tables, number, block, len(data)))
        for payload in live_payloads(tables, number, block, kept):
            _check_payload(number, *payload)
            waiting.append(payload)
            size += len(payload[2])
        if size >= _INDEXED_BYTES:
            # Many at once, so that their rows are put in order.
            tables.index(waiting, fold=False)
            waiting, size = [], 0
    tables.index(waiting, fold=False)
    refold_all(tables)
    sequence = 0
    while batch := list(islice(tables.operations_from(sequence + 1), _STEP)):
        for operation in batch:
            tables.index_operation(operation)
        sequence = batch[-1].sequence


def _check_payload(number: int, kind: Kind, id: Id, payload: bytes) -> None:
    if object_id(kind, payload) != id:
        where = block_place(number)
        raise CorruptObject(
            f"{where}: the bytes of {kind.name.lower()} {id.hex()} do not match it",
            id=id.hex(),
            where=where,
        )


def _rebuild_objects(tables: Writing, progress: Callable[[int], None] | None) -> None:
    here = _block_bits(tables)
    gone: list[Id] = []
    start = b""
    while rows := list(islice(tables.object_rows(start), _ROWS)):
        for id, row in rows:
            if row.state is State.STORED:
                tables.drop_object_row(id)
                at = row.block >> 3
                if at >= len(here) or not here[at] >> (row.block & 7) & 1:
                    gone.append(id)
        start = rows[-1][0] + b"\0"
    places: dict[Id, ObjectRow] = {}
    for number, data in _blocks(tables, progress):
        block = decode_block(data, block_place(number))
        for slot, member in enumerate(block.members):
            places.setdefault(member.id, ObjectRow(number, slot, member.kind, State.STORED))
        if len(places) >= _ROWS:
            _put_places(tables, places)
            places = {}
    _put_places(tables, places)
    for id in gone:
        if tables.object_row(id) is None:
            raise CorruptObject(
                f"object {id.hex()} lies in a block that is missing, and nowhere else: without its "
                "row nothing would tell that it is lost",
                id=id.hex(),
                where="objects",
            )


def _block_bits(tables: Writing) -> bytearray:
    """A bit for each number, 1 where a block has it."""
    bits = bytearray()
    for number in tables.block_numbers():
        at = number >> 3
        if at >= len(bits):
            bits.extend(bytes(at + 1 - len(bits)))
        bits[at] |= 1 << (number & 7)
    return bits


def _put_places(tables: Writing, places: dict[Id, ObjectRow]) -> None:
    for id in sorted(places):
        row = tables.object_row(id)
        if row is None or row.state in (State.PROMISED, State.LOST):
            tables.put_object_row(id, places[id])


def _blocks(tables: Writing, progress: Callable[[int], None] | None) -> Iterator[tuple[int, bytes]]:
    """Every block in order of numbers, some numbers at a time: rows are written meanwhile."""
    start = 0
    while numbers := list(islice(tables.block_numbers(start), _STEP)):
        done = 0
        for number in numbers:
            data = tables.block(number) or b""
            done += len(data)
            yield number, data
        start = numbers[-1] + 1
        if progress is not None:
            progress(done)
