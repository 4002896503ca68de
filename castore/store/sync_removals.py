"""What was removed from a store, as a push tells a bucket of it."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from castore.content.reader import ObjectReader
from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.errors import Conflict
from castore.model.ids import Id
from castore.model.refs import TAGS
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue
from castore.remote.root import Removed, Root
from castore.store.sync_remote import Remote
from castore.store.sync_walk import LackWalk


class Removals(NamedTuple):
    """What was forgotten and purged, and the names of deleted tags."""

    forgotten: dict[Id, Removed]
    purged: dict[Id, Removed]
    tombs: frozenset[str]


def removals_of(tables: Reading, root: Root) -> Removals:
    """What was removed from a store; of a tag only where the bucket's is the one deleted here."""
    tombs = frozenset(tables.tombstones(TAGS))
    return Removals(
        {id: _removed(removal) for id, removal in tables.removals("forgotten")},
        {id: _removed(removal) for id, removal in tables.removals("purged")},
        tombs - _of_others(tables, root, tombs),
    )


def _of_others(tables: Reading, root: Root, tombs: Set[str]) -> set[str]:
    """Tags of these names that were made elsewhere, and never named here what they do there."""
    left = {ref: root.refs[ref] for ref in tombs & root.refs.keys()}
    others: set[str] = set()
    log = tables.operations() if left else iter(())
    for operation in log:
        for ref, old, new in operation.refs:
            if not new and ref in left and old != left.pop(ref):
                others.add(ref)
        if not left:
            break
    return others | left.keys()


def lacks(root: Root, removals: Removals) -> bool:
    """Whether a root does not know yet of all that was removed here."""
    return not (
        removals.forgotten.keys() <= root.forgotten.keys()
        and removals.purged.keys() <= root.purged.keys()
        and removals.tombs <= root.tombs
    )


def refuse_unfetched(remote: Remote, root: Root, there: Catalogue, removals: Removals) -> None:
    """See that no version of the bucket that was not fetched has bytes that were purged here.

    Who purged them was not asked about it. Raises Conflict, naming the branches and tags.
    """
    new = removals.purged.keys() - root.purged.keys()
    if not new:
        return
    far = FarObjects(there, BlockFetcher(remote.transport))
    walk = LackWalk(remote.store, there, ObjectReader(far.load), root)
    hit = []
    for ref, id in sorted(root.refs.items()):
        before = walk.lack.purged & new
        walk.versions([id])
        if walk.lack.purged & new != before:
            hit.append(ref.partition("/")[2])
    if hit:
        raise Conflict(
            f"{', '.join(hit)} of {remote.bucket.url} was not fetched, and has some of the bytes "
            "that were purged here: everybody would lose them; a fetch names the files",
            fix=f"cas fetch {remote.name}",
            refs=hit,
        )


def _removed(removal: Removal) -> Removed:
    return Removed(removal.at, removal.by, "", removal.why)
