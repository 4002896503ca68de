"""An overlay: a batch that is not written yet, readable as if it were."""

from __future__ import annotations

from castore.content.deltas import Load, StoredObject
from castore.content.sink import Batch
from castore.model.ids import Id


def overlay(batch: Batch, load: Load) -> Load:
    """A load that finds the objects of `batch` first, then asks `load`.

    Blocks of the batch have negative numbers, so a reader keeps them apart from stored ones.
    """
    places: dict[Id, tuple[int, int]] = {
        member.id: (at, slot)
        for at, block in enumerate(batch.blocks)
        for slot, member in enumerate(block.members)
    }

    def find(id: Id) -> StoredObject:
        place = places.get(id)
        if place is None:
            return load(id)
        at, slot = place
        block = batch.blocks[at]
        return StoredObject(block.members[slot].kind, -1 - at, slot, block.data)

    return find
