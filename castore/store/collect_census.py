"""The census of blocks: which ones are to be looked at, and which ones need each other."""

from __future__ import annotations

from itertools import accumulate, islice, pairwise
from typing import Final

from castore.content.blocks import Block, decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.database.reading import BlockInfo, Reading
from castore.database.tables import State
from castore.model.ids import Id, Kind
from castore.model.pages import decode_layout, encode_layout
from castore.store.collect_blocks import BlockSet, Dependants
from castore.store.collect_map import LiveMap
from castore.store.collect_pace import DECODED

_SLICE_ROWS: Final = 20_000
_STORED: Final = int(State.STORED)
# How the payload of a layout page of level 0 begins.
_LEAF: Final = encode_layout(0, ())[:-7]


class Census:
    """Blocks that are not wholly alive, by number; who has bases in which; objects stored twice.

    `dependants` tells the deltas that have bases in a block; `copies` maps an object to the other
    blocks it lies in, without a row that leads there; `pages_above` a block with pages of a layout
    to those with the pages above, for layouts that are dead.
    """

    def __init__(self, live: LiveMap) -> None:
        self._live = live
        self._next = 0
        self.metadata = BlockSet()
        self.content = BlockSet()
        self.dependants = Dependants()
        self.copies: dict[Id, list[int]] = {}
        self.pages_above: dict[int, set[int]] = {}

    def scan(self, tables: Reading) -> bool:
        """Go on with a slice of `blockinfo`; False when there is no more."""
        rows = list(islice(tables.block_infos(self._next), _SLICE_ROWS))
        for number, info in rows:
            self._next = number + 1
            self._relate(tables, number, info)
            partly = any(not self._live.whole(base) for base in info.bases)
            if partly or not self._live.whole(number):
                (self.metadata if info.metadata else self.content).add(number)
        return len(rows) == _SLICE_ROWS

    def extend(self, tables: Reading, budget: int) -> tuple[list[Id], int]:
        """Take in blocks that were added since, which are not to be looked at; their bases.

        With what is left of `budget`, in objects looked at: at 0 and below there may be more of
        them, but each call takes at least one.
        """
        bases: list[Id] = []
        for number, info in tables.block_infos(self._next):
            self._next = number + 1
            budget -= 1 + self._relate(tables, number, info)
            if info.bases:
                found = decode_block(tables.block(number) or b"", block_place(number)).bases
                bases += found
                budget -= DECODED + len(found)
            if budget <= 0:
                break
        return bases, budget

    def relate_layouts(self, tables: Reading, number: int) -> None:
        """Note which blocks hold pages below the dead layout pages in block `number`."""
        where = block_place(number)
        block = decode_block(tables.block(number) or b"", where)
        if all(member.kind is not Kind.LAYOUT for member in block.members):
            return
        raw = raw_bytes(block, tables.load, where)
        for slot, (member, (start, end)) in enumerate(
            zip(block.members, pairwise(member_starts(block)), strict=True)
        ):
            if member.kind is not Kind.LAYOUT or raw.startswith(_LEAF, start):
                continue
            if self._live.alive(number, slot):
                continue
            for part in decode_layout(raw[start:end]).parts:
                row = tables.object_row(part.id)
                if row is not None and row.state is State.STORED and row.block != number:
                    self.pages_above.setdefault(row.block, set()).add(number)

    def _relate(self, tables: Reading, number: int, info: BlockInfo) -> int:
        """Note what a block needs; how many objects were looked at for it."""
        for base in info.bases:
            self.dependants.add(base, number)
        if info.live == info.raw:
            return 0
        block = decode_block(tables.block(number) or b"", block_place(number))
        ids = [member.id for member in block.members]
        for slot, row in enumerate(tables.object_numbers(ids)):
            if row is None or row[3] != _STORED:
                continue
            if row != (number, slot, block.members[slot].kind, _STORED):
                self.copies.setdefault(ids[slot], []).append(number)
        return DECODED + len(ids)


def slots_here(tables: Reading, number: int, block: Block) -> list[int]:
    """The places of those members whose rows lead to this block, not to another one."""
    rows = tables.object_numbers([member.id for member in block.members])
    return [
        slot
        for slot, (member, row) in enumerate(zip(block.members, rows, strict=True))
        if row == (number, slot, member.kind, _STORED)
    ]


def member_starts(block: Block) -> list[int]:
    """Where each member begins in the raw bytes, and where the last one ends."""
    return list(accumulate((member.size for member in block.members), initial=0))
