"""Marking: everything the roots need, found in slices while others go on reading and writing."""

from __future__ import annotations

from collections import deque
from typing import Final

from castore.content.deltas import StoredObject
from castore.content.reader import ObjectReader
from castore.database.reading import Index, Reading
from castore.database.tables import State
from castore.errors import CorruptObject
from castore.model.edges import Strength, edges
from castore.model.ids import Id, Kind
from castore.store.collect_map import LiveMap
from castore.store.collect_roots import Roots

_NOTED: Final = (Kind.MANIFEST, Kind.NOTE)


class Marker:
    """Walks from roots along hard and uncut history edges, and from versions to their notes.

    The walk is depth first and a version's ancestors come last, so that what waits stays small
    however long the history is. With `cut` it gathers the sets of forgotten versions it passed.
    """

    def __init__(self, live: LiveMap, roots: Roots | None = None) -> None:
        self.live = live
        self.cut: list[Id] | None = None
        self._roots = roots
        self._generation = -1
        self._given: deque[Id | tuple[bytes, int]] = deque()
        self._stack: list[Id] = []
        self._tables: Reading | None = None
        self._reader = ObjectReader(self._load)

    def give(self, id: Id) -> None:
        """Add a root."""
        self._given.append(id)

    def catch_up(self, tables: Reading, budget: int) -> bool:
        """Mark what became a root since the last call, looking at about `budget` objects.

        False if that was not enough. When True is returned inside a write transaction, nothing
        that anybody may still need is unmarked. Raises CorruptObject.
        """
        if self._roots is not None:
            generation = tables.generation()
            if generation != self._generation:
                self._given.extend(self._roots.fresh(tables))
                self._generation = generation
        return self.run(tables, budget)

    def run(self, tables: Reading, budget: int) -> bool:
        """Mark from what was given; False if `budget` objects were looked at and more is left."""
        self._tables = tables
        try:
            while budget > 0:
                if self._stack:
                    budget -= self._visit(tables, self._stack.pop())
                elif self._given:
                    budget -= self._take(tables, self._given.popleft())
                else:
                    return True
            return not (self._stack or self._given)
        finally:
            self._tables = None

    def _take(self, tables: Reading, given: Id | tuple[bytes, int]) -> int:
        ids = [given] if isinstance(given, bytes) else tables.staged_batch(*given)
        for id in ids:
            self._mark(tables, id)
        return 1 + len(ids)

    def _mark(self, tables: Reading, id: Id, holder: Id = b"") -> None:
        """Mark an object; one that is missing under `holder`, without a state, is damage."""
        row = tables.object_row(id)
        if row is None:
            if holder:
                raise CorruptObject(
                    f"{id.hex()} is missing, although {holder.hex()} needs it: nothing is removed "
                    "from a damaged store",
                    id=id.hex(),
                    where="objects",
                    fix="cas fsck --full",
                )
            return
        new = row.state is State.STORED and self.live.mark(row.block, row.slot)
        if new and row.kind is not Kind.CHUNK:
            self._stack.append(id)

    def _visit(self, tables: Reading, id: Id) -> int:
        """Mark what an object needs; how many objects that were."""
        kind, payload = self._reader.object(id)
        found = list(edges(kind, payload))
        # Parents first, so that they wait below all the rest: their turn comes last.
        for target, target_kind, strength in found:
            if strength is Strength.HISTORY and target_kind is Kind.MANIFEST:
                self._mark(tables, target)
        for target, target_kind, strength in found:
            if strength is Strength.HARD:
                self._mark(tables, target, id)
            elif strength is Strength.HISTORY and target_kind is Kind.SET:
                if tables.forgotten(id) is None:
                    self._mark(tables, target, id)
                elif self.cut is not None:
                    self.cut.append(target)
        count = 1 + len(found)
        if kind in _NOTED:
            for _, note in tables.lookup(Index.TARGET, id):
                self._mark(tables, note)
                count += 1
        return count

    def _load(self, id: Id) -> StoredObject:
        assert self._tables is not None
        return self._tables.load(id)
