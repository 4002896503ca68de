"""What deltas rest on which blocks, and what lies in two blocks: what may not be moved deeper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from castore.content.blocks import decode_block
from castore.content.deltas import block_place
from castore.database.reading import Reading, State
from castore.model.ids import Id
from castore.store.collect_blocks import Dependants

_SLICE_ROWS: Final = 20_000
_STORED: Final = int(State.STORED)


class Relations:
    """Who has bases in which block, 16 bytes a pair, and the objects that lie in several blocks.

    A collection, a purge or another repack gives objects other blocks, and what rests on them rests
    there from then on. So all is looked at again under another `gc_epoch`.
    """

    def __init__(self) -> None:
        self._epoch = -1
        self._clear()

    def _clear(self) -> None:
        self._next = 0
        self._dependants = Dependants()
        self.copied: set[Id] = set()

    def holds(self, tables: Reading) -> bool:
        """Whether no others moved anything since it was looked at."""
        return tables.gc_epoch() == self._epoch

    def moved(self, epoch: int) -> None:
        """Take note of the epoch that a repack's own transaction began: all it moved was told."""
        self._epoch = epoch

    def extend(self, tables: Reading) -> bool:
        """Take in a slice of the blocks that were added since; False when there are no more."""
        if not self.holds(tables):
            self._clear()
            self._epoch = tables.gc_epoch()
        rows = list(islice(tables.block_infos(self._next), _SLICE_ROWS))
        for number, info in rows:
            self._next = number + 1
            for base in info.bases:
                self._dependants.add(base, number)
            if info.live == info.raw:
                continue
            block = decode_block(tables.block(number) or b"", block_place(number))
            ids = [member.id for member in block.members]
            for slot, row in enumerate(tables.object_numbers(ids)):
                elsewhere = row is not None and row[3] == _STORED and row[:2] != (number, slot)
                if elsewhere:
                    self.copied.add(ids[slot])
        return len(rows) == _SLICE_ROWS

    def add(self, base: int, dependant: int) -> None:
        """Note that a delta has bases in a block that was added for it since."""
        self._dependants.add(base, dependant)

    def above(self, number: int) -> list[int]:
        """The blocks that have, or had, bases in this one."""
        return self._dependants.of(number)

    def least_above(self, tables: Reading, number: int, id: Id) -> int | None:
        """The depth of the shallowest delta that rests on an object of a block, if one does."""
        least: int | None = None
        for dependant in self.above(number):
            data = tables.block(dependant)
            if data is None:
                continue
            block = decode_block(data, block_place(dependant))
            if id in block.bases:
                least = block.depth if least is None else min(least, block.depth)
        return least


def under(tables: Reading, above: Iterable[int], depths: Mapping[Id, int]) -> bool:
    """Whether objects that are to lie so deep stay below the deltas in these blocks."""
    for number in above:
        data = tables.block(number)
        if data is not None:
            block = decode_block(data, block_place(number))
            if any(depths.get(base, -1) >= block.depth for base in block.bases):
                return False
    return True
