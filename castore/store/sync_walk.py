"""What a fetch lacks: a walk over a bucket from its refs, down to what the store has already."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence
from typing import Final, NamedTuple

from castore.content.reader import ObjectReader
from castore.database.reading import Reading, State
from castore.errors import CorruptObject
from castore.model.edges import needs
from castore.model.ids import Id, Kind, content_id
from castore.model.note import decode_note
from castore.remote.index import Catalogue, PackName, Spot
from castore.remote.root import Root, seal_notes
from castore.store.store import Store

_HERE: Final = frozenset((State.STORED, State.PURGED))


class Wanted(NamedTuple):
    """An object that is neither content nor here, and the block it lies in."""

    id: Id
    kind: Kind
    spot: Spot
    slot: int


class Lack:
    """What a store lacks of a bucket.

    `objects` are in such an order that what one needs comes before it; `files` are those of them
    that are the layout of a file, each with the id that its root page would have. `content` are
    blocks by pack and offset, those that others rest on among them; `chunks` the chunks wanted.
    `promised` are files that are left there, and what they are there. `purged` is needed, too, and
    does not come: it was purged here.
    """

    def __init__(self) -> None:
        self.objects: list[Wanted] = []
        self.files: dict[Id, Id] = {}
        self.content: dict[tuple[bytes, Id, int], Spot] = {}
        self.chunks: set[Id] = set()
        self.notes: set[Id] = set()
        self.promised: dict[Id, Kind] = {}
        self.purged: set[Id] = set()

    def packs(self) -> dict[PackName, int]:
        """The packs of `content`, numbered in the order in which files need them."""
        packs: dict[PackName, int] = {}
        for spot in self.content.values():
            packs.setdefault(spot.pack, len(packs))
        return packs


class LackWalk:
    """Finds what a store lacks; `reader` reads from the bucket.

    Without `contents` the files of sets are left where they are; what else a version needs comes.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        reader: ObjectReader,
        root: Root,
        *,
        contents: bool = True,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._reader = reader
        self._root = root
        self._contents = contents
        self._present = _HERE if contents else _HERE | {State.PROMISED}
        self._seen: set[Id] = set()
        self._cut: set[Id] = set()
        self.lack = Lack()

    def versions(self, ids: Iterable[Id]) -> None:
        """Look at versions and all they need; raises CorruptObject for what the bucket lacks."""
        for id in ids:
            self._walk(id, Kind.MANIFEST)

    def cut(self, ids: Collection[Id]) -> None:
        """Let these versions, and all before them, stay there: they are promised."""
        self._cut.update(ids)
        for id in ids:
            if self._catalogue.kind(id) is not Kind.MANIFEST:
                raise _absent(id)
            self.lack.promised[id] = Kind.MANIFEST

    def files(self, ids: Iterable[Id]) -> None:
        """Look at files that were left there; raises CorruptObject for what the bucket lacks."""
        for id in ids:
            self._walk(id, None)

    def folders(self, ids: Iterable[Id]) -> None:
        """Look at folders; raises CorruptObject for what the bucket lacks."""
        for id in ids:
            self._walk(id, Kind.TREE)

    def leave(self, ids: Iterable[Id]) -> None:
        """Leave files where they are; raises CorruptObject for what the bucket lacks."""
        self._left([(id, None) for id in ids])

    def notes(self) -> None:
        """Look at the notes of the bucket about what is here or will be.

        Raises CorruptObject where there are others than its root tells of.
        """
        ids = self._catalogue.ids_of(Kind.NOTE)
        if seal_notes(ids) != self._root.notes:
            raise CorruptObject(
                f"the bucket's indexes lead to {len(ids)} notes, and its root tells of "
                f"{self._root.notes.notes}, or of others: some are withheld or were put in",
                where="root",
            )
        new = ids - self._here(ids)
        waiting: dict[Id, list[Id]] = {}
        for id in new:
            kind, payload = self._reader.object(id)
            if kind is not Kind.NOTE:
                raise _other(id, kind, Kind.NOTE)
            waiting.setdefault(decode_note(payload).target, []).append(id)
        ready = [target for target in waiting if target in self._seen]
        others = [target for target in waiting if target not in self._seen]
        ready += self._here(others, asked=True)
        while ready:
            for id in waiting.pop(ready.pop(), []):
                self._walk(id, Kind.NOTE)
                self.lack.notes.add(id)
                if id in waiting:
                    ready.append(id)

    def bases(self) -> None:
        """Add the blocks that content to be fetched rests on and that are not here."""
        look = list(self.lack.content.values())
        while look:
            bases = {base for spot in look for base in spot.bases}
            look = []
            for base in bases - self._here(bases):
                found = self._catalogue.find(base)
                if found is None or found[2] is not Kind.CHUNK:
                    raise _absent(base)
                if self._add_content(found[0]):
                    look.append(found[0])

    def _walk(self, start: Id, kind: Kind | None) -> None:
        """Depth first, without recursion; an object is taken when all below it was."""
        stack: list[tuple[Id, Kind | None] | Wanted] = [(start, kind)]
        while stack:
            item = stack.pop()
            if isinstance(item, Wanted):
                self.lack.objects.append(item)
                continue
            id, expected = item
            if id in self._seen or id in self._root.purged:
                continue
            self._seen.add(id)
            # Whether the others are here was looked up with what needs them.
            if id == start and self._here((id,), asked=True):
                continue
            found = self._catalogue.find(id)
            if found is None:
                raise _absent(id)
            self._take(stack, id, expected, *found)

    def _take(
        self,
        stack: list[tuple[Id, Kind | None] | Wanted],
        id: Id,
        expected: Kind | None,
        spot: Spot,
        slot: int,
        kind: Kind,
    ) -> None:
        if kind is not expected and (expected or kind not in (Kind.CHUNK, Kind.LAYOUT)):
            raise _other(id, kind, expected or Kind.CHUNK)
        if kind is Kind.CHUNK:
            self.lack.chunks.add(id)
            self._add_content(spot)
            return
        found, payload = self._reader.object(id)
        if found is not kind:
            raise _other(id, found, kind)
        stack.append(Wanted(id, kind, spot, slot))
        if kind is Kind.LAYOUT and expected is None:
            self.lack.files[id] = content_id(payload)
        below = _needs(id, kind, payload, self._root.forgotten)
        if not self._contents and kind in (Kind.SET, Kind.TREE):
            below = self._left(below)
        known = self._here([target for target, _ in below]) | self._cut
        items = [item for item in below if item[0] not in known]
        # Files and their chunks in order, as they lie in packs.
        stack.extend(reversed(items) if kind in (Kind.LAYOUT, Kind.TREE) else items)

    def _left(self, below: Sequence[tuple[Id, Kind | None]]) -> Sequence[tuple[Id, Kind | None]]:
        """What of these is no file; files are promised by the bucket if it has them."""
        files = {id for id, kind in below if kind is None} - self._root.purged.keys()
        for id in files - self._here(files) - self.lack.promised.keys():
            found = self._catalogue.kind(id)
            if found not in (Kind.CHUNK, Kind.LAYOUT):
                raise _absent(id)
            self.lack.promised[id] = found
        return [item for item in below if item[1] is not None]

    def _add_content(self, spot: Spot) -> bool:
        place = (*spot.pack, spot.offset)
        if place in self.lack.content:
            return False
        self.lack.content[place] = spot
        return True

    def _here(self, ids: Collection[Id], *, asked: bool = False) -> set[Id]:
        """Those of these objects that the store has, or that were purged from it.

        Also versions at which history was cut here, unless one is `asked` for.
        """

        def look(tables: Reading) -> set[Id]:
            rows = list(zip(ids, tables.object_numbers(ids), strict=True))
            gone = {id for id, row in rows if row is not None and row[3] == State.PURGED}
            self.lack.purged |= gone
            return {id for id, row in rows if row is not None and self._is_here(row, asked=asked)}

        return self._store.database.read(look)

    def _is_here(self, row: tuple[int, int, int, int], *, asked: bool) -> bool:
        if row[2] == Kind.MANIFEST and row[3] == State.PROMISED:
            return not asked
        return row[3] in self._present


def _needs(
    id: Id, kind: Kind, payload: bytes, forgotten: Container[Id]
) -> Sequence[tuple[Id, Kind | None]]:
    """What an object needs; parents come last, so that they are taken first."""
    found = needs(kind, payload, forgotten=id in forgotten)
    # Else in stored order: sorting is stable.
    found.sort(key=lambda edge: edge.kind is Kind.MANIFEST)
    return [(edge.target, edge.kind) for edge in found]


def _absent(id: Id) -> CorruptObject:
    return CorruptObject(
        f"the bucket lacks {id.hex()}, which what its refs name needs", id=id.hex(), where="index"
    )


def _other(id: Id, kind: Kind, expected: Kind) -> CorruptObject:
    return CorruptObject(
        f"the bucket has {id.hex()} as a {kind.name.lower()}, not a {expected.name.lower()}",
        id=id.hex(),
        where="index",
    )
