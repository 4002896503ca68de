"""Marking: everything the roots need, found in slices while others go on reading and writing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Set
from typing import Final, TypeAlias

from castore.content.deltas import StoredObject
from castore.content.reader import ObjectReader
from castore.database.reading import Index, Reading
from castore.errors import CorruptObject
from castore.model.edges import Strength, edges, held_digests
from castore.model.ids import Id, Kind
from castore.model.pages import layout_ids, tree_ids
from castore.store.collect_map import LiveMap
from castore.store.collect_pace import DECODED
from castore.store.collect_roots import Roots, Walk

_PAGES: Final = {Kind.TREE: tree_ids, Kind.LAYOUT: layout_ids}
_CHUNK: Final = int(Kind.CHUNK)
_NOTED: Final = (Kind.MANIFEST, Kind.NOTE)
_FILES: Final = frozenset((int(Kind.CHUNK), int(Kind.LAYOUT)))

Left: TypeAlias = Callable[[Id, int], bool]
"""Whether a file, by its id and the number of its block, may go although sets hold it."""


class Marker:
    """Walks from roots along hard and uncut history edges, and from versions to their notes.

    The walk is depth first and a version's ancestors come last, so that what waits stays small
    however long the history is.
    """

    def __init__(
        self, live: LiveMap, roots: Roots | None = None, forgotten: Set[Id] = frozenset()
    ) -> None:
        """`forgotten` are versions that count as forgotten besides those that are.

        `left` tells of a file, by its id and block, that sets and folders do not hold.
        """
        self.live = live
        self.left: Left | None = None
        self._roots = roots
        self._forgotten = forgotten
        self._generation = -1
        self._given: deque[Id | Walk] = deque()
        self._stack: list[Id] = []
        self._tables: Reading | None = None
        self._reader = ObjectReader(self._load)

    def give(self, given: Id | Walk) -> None:
        """Add a root, or a walk to many."""
        self._given.append(given)

    def catch_up(self, tables: Reading, budget: int) -> bool:
        """Mark what became a root since the last call, looking at about `budget` objects.

        One that is read counts for several. False if that was not enough. When True is returned
        inside a write transaction, nothing that anybody may still need is unmarked. Raises
        CorruptObject.
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

    def _take(self, tables: Reading, given: Id | Walk) -> int:
        if isinstance(given, bytes):
            self._mark(tables, [given])
            return 1
        ids, rest = given(tables)
        if rest is not None:
            self._given.appendleft(rest)
        self._mark(tables, ids)
        return 1 + len(ids)

    def _held(self, tables: Reading, ids: Sequence[Id]) -> Sequence[Id]:
        """What a set or a folder holds, without the files that are left to a remote."""
        left = self.left
        if left is None:
            return ids
        rows = zip(ids, tables.object_numbers(ids), strict=True)
        return [
            id for id, row in rows if row is None or row[2] not in _FILES or not left(id, row[0])
        ]

    def _mark(self, tables: Reading, ids: Sequence[Id], holder: Id = b"") -> None:
        """Mark objects; one that is missing under `holder`, without a state, is damage."""
        rows = tables.object_numbers(ids)
        if holder and None in rows:
            raise _missing(ids[rows.index(None)], holder)
        for at in self.live.mark_all(rows):
            row = rows[at]
            if row is not None and row[2] != _CHUNK:
                self._stack.append(ids[at])

    def _visit(self, tables: Reading, id: Id) -> int:
        """Mark what an object needs; how many objects that were."""
        kind, payload = self._reader.object(id)
        if kind in _PAGES:
            # All that a page names is needed; more than ids was checked when the page was made.
            try:
                ids = _PAGES[kind](payload)
            except CorruptObject as error:
                # The root of a layout is not known by its id.
                raise CorruptObject(f"{id.hex()}: {error.message}", id=id.hex()) from None
            self._mark(tables, self._held(tables, ids) if kind is Kind.TREE else ids, id)
            return DECODED + len(ids)
        found = list(edges(kind, payload))
        history = {e.target: e.kind for e in found if e.strength is Strength.HISTORY}
        # Parents first, so that they wait below all the rest: their turn comes last.
        self._mark(tables, [t for t, below in history.items() if below is Kind.MANIFEST], id)
        hard = [edge.target for edge in found if edge.strength is Strength.HARD]
        if id not in self._forgotten and tables.forgotten(id) is None:
            hard += (t for t, below in history.items() if below is Kind.SET)
        self._mark(tables, self._held(tables, hard) if kind is Kind.SET else hard, id)
        if kind is Kind.SET:
            # Bytes of external artifacts are kept where they are here, and need not be.
            self._mark(tables, held_digests(payload))
        notes: list[Id] = []
        if kind in _NOTED:
            notes += (note for _, note in tables.lookup(Index.TARGET, id))
            self._mark(tables, notes)
        return DECODED + len(found) + len(notes)

    def _load(self, id: Id) -> StoredObject:
        assert self._tables is not None
        return self._tables.load(id)


def _missing(id: Id, holder: Id) -> CorruptObject:
    return CorruptObject(
        f"{id.hex()} is missing, although {holder.hex()} needs it: nothing is removed from a "
        "damaged store",
        id=id.hex(),
        where="objects",
        fix="cas fsck --full",
    )
