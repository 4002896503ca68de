"""What was removed from a store, as a push tells a bucket of it."""

from __future__ import annotations

from typing import NamedTuple

from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.model.ids import Id
from castore.model.refs import TAGS
from castore.remote.root import Removed, Root


class Removals(NamedTuple):
    """What was forgotten and purged, and the names of deleted tags."""

    forgotten: dict[Id, Removed]
    purged: dict[Id, Removed]
    tombs: frozenset[str]


def removals_of(tables: Reading) -> Removals:
    """What was removed from a store."""
    return Removals(
        {id: _removed(removal) for id, removal in tables.removals("forgotten")},
        {id: _removed(removal) for id, removal in tables.removals("purged")},
        frozenset(tables.tombstones(TAGS)),
    )


def lacks(root: Root, removals: Removals) -> bool:
    """Whether a root does not know yet of all that was removed here."""
    return not (
        removals.forgotten.keys() <= root.forgotten.keys()
        and removals.purged.keys() <= root.purged.keys()
        and removals.tombs <= root.tombs
    )


def _removed(removal: Removal) -> Removed:
    return Removed(removal.at, removal.by, "", removal.why)
