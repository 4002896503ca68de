"""Marks: which of the objects that indexes name are alive, and what that means for packs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from castore.errors import CorruptObject
from castore.model.ids import Id, Kind
from castore.remote.bucket import CHECK
from castore.remote.index import Catalogue, Indexed, PackName, Spot


class Held(NamedTuple):
    """A block of a pack, and the members of it that are alive."""

    spot: Spot
    members: list[Indexed]


class Marks:
    """Which rows of which index are alive; of an object in several the least deep."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.rows = [bytearray(index.members_count) for index in catalogue.indexes]

    def mark(self, id: Id) -> Kind | None:
        """Mark an object; its kind if that is news. Raises CorruptObject for one that lacks."""
        found = self.catalogue.locate(id)
        if found is None:
            raise CorruptObject(
                f"the bucket lacks {id.hex()}, which what its refs name needs: nothing is removed "
                "from a damaged bucket",
                id=id.hex(),
                where="index",
                fix=CHECK,
            )
        number, row = found
        if self.rows[number][row]:
            return None
        self.rows[number][row] = 1
        return self.catalogue.indexes[number].member(row).kind

    @property
    def live(self) -> int:
        """How many objects are alive."""
        return sum(rows.count(1) for rows in self.rows)

    def stays(self, spot: Spot) -> bool:
        """Whether all that a block rests on is alive, and less deep than it."""
        for base in spot.bases:
            found = self.catalogue.locate(base)
            if found is None or not self.rows[found[0]][found[1]]:
                return False
            index = self.catalogue.indexes[found[0]]
            if index.block(index.member(found[1]).block).depth >= spot.depth:
                return False
        return True

    def packs(self) -> dict[PackName, list[Held]]:
        """The blocks of each pack, with what of them is alive."""
        packs: dict[PackName, list[Held]] = {}
        for number, index in enumerate(self.catalogue.indexes):
            alive = self.rows[number]
            members: dict[int, list[Indexed]] = {}
            for row, member in enumerate(index.members()):
                if alive[row]:
                    members.setdefault(member.block, []).append(member)
            for block in range(index.blocks_count):
                spot = index.block(block)
                packs.setdefault(spot.pack, []).append(Held(spot, members.get(block, [])))
        return packs


def pack_size(pack: Iterable[Held]) -> int:
    """The stored bytes of the blocks of a pack that indexes name."""
    return sum(held.spot.stored for held in pack)
