"""What a push has to send: the closure of some objects, without what the bucket has.

What an index of a bucket names has all that it needs there too, so the walk ends at it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final

from castore.content.reader import ObjectReader
from castore.database.indexes import Index
from castore.database.reading import Reading, State
from castore.errors import Conflict, CorruptObject, ObjectNotFound
from castore.model.edges import needs
from castore.model.ids import Id, Kind
from castore.model.pages import layout_ids, tree_ids
from castore.remote.index import Catalogue
from castore.store.store import Store

_SLICE: Final = 2000
_PAGES: Final = {Kind.TREE: tree_ids, Kind.LAYOUT: layout_ids}
_STORED: Final = int(State.STORED)
_PURGED: Final = int(State.PURGED)
_PROMISED: Final = int(State.PROMISED)


class Moved(Exception):
    """The collector moved objects while they were being looked for: look again."""


class Need:
    """The objects to send: for each block the slots, as bits; `relied` is what the bucket has.

    `rests` are bases that are in the bucket and not sent, each less deep there than the number.
    `versions` are the ids of the manifests among them, `notes` those of the notes; `purged` were
    needed and are purged here. What is in `given` is not sent.
    """

    def __init__(self, epoch: int, given: Need | None = None) -> None:
        self.epoch = epoch
        self.given = given
        self.slots: dict[int, int] = {}
        self.relied: set[Id] = set()
        self.rests: dict[Id, int] = {}
        self.versions: set[Id] = set()
        self.notes: set[Id] = set()
        self.purged: set[Id] = set()
        self.objects = 0

    def mark(self, block: int, slot: int) -> bool:
        """Note that an object is to be sent; whether that is news."""
        seen = self.slots.get(block, 0)
        if seen >> slot & 1 or (self.given is not None and self.given.needs(block, slot)):
            return False
        self.slots[block] = seen | 1 << slot
        self.objects += 1
        return True

    def needs(self, block: int, slot: int) -> bool:
        """Whether an object is to be sent."""
        return bool(self.slots.get(block, 0) >> slot & 1)

    def among(self, tables: Reading, ids: Sequence[Id]) -> list[bool]:
        """Which of these objects are to be sent; raises Moved."""
        if tables.gc_epoch() != self.epoch:
            raise Moved
        rows = tables.object_numbers(ids)
        return [row is not None and self.needs(row[0], row[1]) for row in rows]

    def rest(self, base: Id, depth: int) -> None:
        """Note that a block of this depth rests on an object of the bucket."""
        self.rests[base] = min(depth, self.rests.get(base, depth))

    def stands(self, there: Catalogue) -> bool:
        """Whether the bucket still has all that what is sent relies on."""
        return all(there.has(id) for id in self.relied) and all(
            there.supports(base, depth) for base, depth in self.rests.items()
        )


class _Walk:
    """A walk from `starts` along hard and uncut history edges, some objects in a view."""

    def __init__(
        self,
        need: Need,
        starts: Iterable[Id],
        there: Catalogue,
        cut: Container[Id],
        purged: Container[Id],
        *,
        shallow: bool = False,
    ) -> None:
        self._need = need
        self._shallow = shallow
        self._there = there
        self._cut = cut
        self._purged = purged
        self._stack = list(starts)

    def run(self, tables: Reading) -> bool:
        """Look at some objects; False if there are more. Raises Moved, CorruptObject."""
        if tables.gc_epoch() != self._need.epoch:
            raise Moved
        reader = ObjectReader(tables.load)
        budget = _SLICE
        while self._stack and budget > 0:
            ids, self._stack = self._stack[-_SLICE:], self._stack[:-_SLICE]
            budget -= len(ids)
            for id, kind in self._news(tables, ids):
                budget -= 1
                self._stack.extend(self._below(tables, reader, id, kind))
        return not self._stack

    def _news(self, tables: Reading, ids: Sequence[Id]) -> Iterator[tuple[Id, Kind]]:
        """Those of these objects that are to be sent, not met before, and name others."""
        missing = []
        for id in ids:
            if self._there.has(id):
                self._need.relied.add(id)
            elif id not in self._purged:
                missing.append(id)
        for id, row in zip(missing, tables.object_numbers(missing), strict=True):
            if row is None:
                raise CorruptObject(
                    f"object {id.hex()} is missing from the store",
                    id=id.hex(),
                    where="objects",
                    fix="cas fsck",
                )
            block, slot, kind, state = row
            if state == _PURGED:
                self._need.purged.add(id)
                continue
            if state == _PROMISED and kind == Kind.MANIFEST:
                if self._shallow:
                    continue
                raise Conflict(
                    f"history here was cut after version {id.hex()}, and the remote has not what "
                    "was before: nothing was sent",
                    fix="cas fetch --unshallow, from the remote that has it",
                    id=id.hex(),
                )
            if state != _STORED:
                tables.load(id)
            if self._need.mark(block, slot) and kind != Kind.CHUNK:
                yield id, Kind(kind)

    def _below(self, tables: Reading, reader: ObjectReader, id: Id, kind: Kind) -> Iterable[Id]:
        _, payload = reader.object(id)
        if kind in _PAGES:
            return _PAGES[kind](payload)
        if kind is Kind.MANIFEST:
            self._need.versions.add(id)
        elif kind is Kind.NOTE:
            self._need.notes.add(id)
        cut = kind is Kind.MANIFEST and (id in self._cut or tables.forgotten(id) is not None)
        return [edge.target for edge in needs(kind, payload, forgotten=cut)]


def stored_bytes(tables: Reading, need: Need) -> int:
    """What the blocks that are needed take here."""
    infos = (tables.block_info(number) for number in need.slots)
    return sum(info.stored for info in infos if info is not None)


def find_content(store: Store, start: Id, there: Catalogue, purged: Container[Id] = ()) -> Need:
    """What of one content a bucket lacks; raises Moved, CorruptObject for what is missing here."""
    need = Need(store.database.read(lambda tables: tables.gc_epoch()))
    walk = _Walk(need, [start], there, (), purged)
    while not store.database.read(walk.run):
        pass
    return need


def find_need(
    store: Store,
    starts: Sequence[Id],
    there: Catalogue,
    cut: Container[Id] = (),
    purged: Container[Id] = (),
    *,
    given: Need | None = None,
    notes: bool = True,
) -> Need:
    """What of the closure of `starts`, and of the notes about it, a bucket lacks.

    `cut` are versions whose set the bucket gave up, `purged` what may not be in it. With `notes`
    those go along about every version that the bucket has or will have, those that are `given`
    among them; without them it is what is to be `given`, as far back as history goes here. Raises
    Moved, Conflict where that was cut, CorruptObject for what is missing here.
    """
    need = Need(store.database.read(lambda tables: tables.gc_epoch()), given)
    if given is not None and given.epoch != need.epoch:
        raise Moved
    walk = _Walk(need, starts, there, cut, purged, shallow=not notes)
    while not store.database.read(walk.run):
        pass
    if notes:
        found = store.database.read(lambda tables: _notes(tables, need, there))
        walk = _Walk(need, found, there, cut, purged)
        while not store.database.read(walk.run):
            pass
    return need


def _notes(tables: Reading, need: Need, there: Catalogue) -> list[Id]:
    """The notes that the bucket lacks, about what it has or will have; in no order."""
    found: list[Id] = []
    taken: set[Id] = set()
    waiting: dict[Id, list[Id]] = {}
    reader = ObjectReader(tables.load)
    for id in tables.ids_under(Index.TARGET):
        if there.has(id) or id in taken:
            continue
        taken.add(id)
        try:
            target = reader.note(id).target
        except ObjectNotFound:
            continue
        waiting.setdefault(target, []).append(id)
    versions = need.versions if need.given is None else need.versions | need.given.versions
    ready = [target for target in waiting if target in versions or there.has(target)]
    while ready:
        ids = waiting.pop(ready.pop(), [])
        found += ids
        ready += [id for id in ids if id in waiting]
    return found
