"""Derived tables made again from what is stored: `blockinfo`, `lookup`, the places in `objects`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from castore.content.blocks import Block, decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.kept import KeptBlocks
from castore.database.derive import INDEXED
from castore.database.folded import refold_all
from castore.database.indexes import INDEXES_VERSION
from castore.database.reading import Reading
from castore.database.tables import INDEXES, BlockInfo, ObjectRow, State
from castore.database.writing import Payload, Writing
from castore.model.ids import Kind

_STEP: Final = 512


def block_info(reading: Reading, number: int, block: Block, stored: int) -> BlockInfo:
    """What `blockinfo` must hold about a block of `stored` bytes, given the rows of objects."""
    live = sum(
        member.size
        for slot, member in enumerate(block.members)
        if _lies(reading, number, slot, block)
    )
    bases = {row.block for base in block.bases if (row := reading.object_row(base)) is not None}
    return BlockInfo(stored, block.raw_size, live, block.metadata, tuple(sorted(bases)))


def live_payloads(
    reading: Reading, number: int, block: Block, kept: KeptBlocks | None = None
) -> Iterator[Payload]:
    """The payloads of the indexed objects that lie in a block, not compared with their ids.

    With `kept` the block is kept there, for deltas of it.
    """
    slots = [
        slot
        for slot, member in enumerate(block.members)
        if member.kind in INDEXED and _lies(reading, number, slot, block)
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


def rebuild(tables: Writing) -> None:
    """Make every derived row again, in one transaction; raises CorruptObject for a bad block.

    An object that lies in several blocks is found in the oldest. Rows that say promised, purged or
    lost are kept, since no block tells.
    """
    _rebuild_objects(tables)
    tables.clear("blockinfo")
    tables.clear("lookup")
    tables.set_integer(INDEXES, INDEXES_VERSION)
    kept = KeptBlocks()
    start, more = 0, True
    while more:
        numbers = _numbers(tables, start)
        more = len(numbers) == _STEP
        for number in numbers:
            start = number + 1
            data = tables.block(number) or b""
            block = decode_block(data, block_place(number))
            tables.put_block_info(number, block_info(tables, number, block, len(data)))
            tables.index(list(live_payloads(tables, number, block, kept)), fold=False)
    refold_all(tables)
    for operation in list(tables.operations(newest_first=False)):
        tables.index_operation(operation)


def _rebuild_objects(tables: Writing) -> None:
    stale = [id for id, row in tables.object_rows() if row.state is State.STORED]
    for id in stale:
        tables.drop_object_row(id)
    start, more = 0, True
    while more:
        numbers = _numbers(tables, start)
        more = len(numbers) == _STEP
        for number in numbers:
            start = number + 1
            block = decode_block(tables.block(number) or b"", block_place(number))
            for slot, member in enumerate(block.members):
                row = tables.object_row(member.id)
                if row is None or row.state in (State.PROMISED, State.LOST):
                    place = ObjectRow(number, slot, member.kind, State.STORED)
                    tables.put_object_row(member.id, place)


def _numbers(tables: Writing, start: int) -> list[int]:
    numbers: list[int] = []
    for number in tables.block_numbers(start):
        numbers.append(number)
        if len(numbers) == _STEP:
            break
    return numbers


def _lies(reading: Reading, number: int, slot: int, block: Block) -> bool:
    """Whether the row of a member leads to this very place."""
    member = block.members[slot]
    row = reading.object_row(member.id)
    kind: Kind = member.kind
    return row is not None and row == ObjectRow(number, slot, kind, State.STORED)
