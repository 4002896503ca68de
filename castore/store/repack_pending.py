"""What a repack has encoded and not written yet: found in the place of what is stored plainly.

So what comes next can rest on it, and a dry run goes the ways of a real one. A dry run writes
nothing, and forgets the oldest of it beyond some MiB.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from castore.content.blocks import block_depth
from castore.content.deltas import Load, StoredObject
from castore.content.sink import EncodedBlock
from castore.model.ids import Id, Kind
from castore.model.limits import MIB
from castore.store.collect_pace import ROW_BYTES

# Of blocks that a dry run has in mind.
KEPT_BYTES: Final = 32 * MIB
# What a place, a depth and a row of the tables here take beside the bytes of blocks.
_OBJECT_BYTES: Final = 500
# Numbers that no stored block has.
_FAR: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Unit:
    """Blocks without bases, `old`, and what takes their place as a whole: `blocks`, on `bases`.

    `stored` are the bytes of the old ones.
    """

    old: tuple[int, ...]
    blocks: tuple[EncodedBlock, ...]
    stored: int

    @property
    def freed(self) -> int:
        """The bytes of blocks that this gains."""
        return self.stored - self.written

    @property
    def written(self) -> int:
        """The bytes of the blocks that take the place of the old ones."""
        return sum(block.size for block in self.blocks)

    @property
    def cost(self) -> int:
        """About how many bytes of pages the change frees and dirties, at most."""
        rows = 2 * len(self.old) + sum(len(block.members) + 2 for block in self.blocks)
        return self.stored + self.written + rows * ROW_BYTES

    def depths(self) -> dict[Id, int]:
        """How deep each of the objects will lie."""
        return {
            member.id: block_depth(block.data) for block in self.blocks for member in block.members
        }


class Pending:
    """Units in the order they were made, over what `load` finds; for one thread.

    With `limit` bytes the oldest are forgotten, and `exact` tells whether any was.
    """

    def __init__(self, load: Load, limit: int | None = None) -> None:
        self._load = load
        self._limit = limit
        self._units: OrderedDict[int, Unit] = OrderedDict()
        self._places: dict[Id, StoredObject] = {}
        self._above: dict[Id, int] = {}
        self._next = _FAR
        self._serial = 0
        self._held = 0
        self.exact = True
        self.cost = 0

    @property
    def units(self) -> list[Unit]:
        """What is to be written."""
        return list(self._units.values())

    def load(self, id: Id) -> StoredObject:
        """Where an object is found, or will be; raises ObjectNotFound."""
        return self._places.get(id) or self._load(id)

    def holds(self, id: Id) -> bool:
        """Whether an object moves with one of these."""
        return id in self._places

    def least_above(self, id: Id) -> int | None:
        """The depth of the shallowest delta among these that rests on an object, if one does."""
        return self._above.get(id)

    def add(self, unit: Unit) -> None:
        """Take in what is encoded, in which nothing moves that did already."""
        self._units[self._serial] = unit
        self._serial += 1
        for block in unit.blocks:
            data = block.data
            for slot, member in enumerate(block.members):
                self._places[member.id] = StoredObject(Kind.CHUNK, self._next, slot, data)
            for base in block.bases:
                depth = block_depth(data)
                self._above[base] = min(self._above.get(base, depth), depth)
            self._next += 1
        self.cost += unit.cost
        self._held += _held(unit)
        while self._limit is not None and self._held > self._limit and len(self._units) > 1:
            self._forget()

    def clear(self) -> None:
        """Take note that all of it was written."""
        self._units.clear()
        self._places.clear()
        self._above.clear()
        self.cost = self._held = 0

    def _forget(self) -> None:
        self.exact = False
        _, unit = self._units.popitem(last=False)
        self._held -= _held(unit)
        for block in unit.blocks:
            for member in block.members:
                self._places.pop(member.id, None)
            for base in block.bases:
                self._above.pop(base, None)


def _held(unit: Unit) -> int:
    objects = sum(len(block.members) + len(block.bases) for block in unit.blocks)
    return unit.written + _OBJECT_BYTES * objects
