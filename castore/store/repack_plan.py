"""What a repack makes of one version: of what it changed and lies in plain blocks, deltas.

The version before tells the bases, as for a commit. Nothing is moved deeper than a delta that
rests on it allows: so the last plain version below deltas stays as it is. Big chunks lie alone and
those of some files may share a delta; a block of small ones goes as a whole, and what gains nothing
by a delta is compressed together again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from castore.content.blocks import block_depth, decode_block
from castore.content.chains import UNFIT, Chains
from castore.content.changes import Change, Changes, Job
from castore.content.delta_encoder import encode_plain
from castore.content.deltas import block_place, raw_bytes
from castore.content.encoder import unlike
from castore.content.matching import Matcher
from castore.content.reader import ObjectReader
from castore.content.sink import EncodedBlock
from castore.database.reading import Index, Reading
from castore.database.tables import State
from castore.errors import CastoreError
from castore.model.artifact_set import Content, FileContent, TreeContent
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import DELTA_DEPTH
from castore.model.manifest import Manifest
from castore.model.pages import FILE, Part
from castore.store.diff_trees import diff_folders
from castore.store.predecessor import Predecessor
from castore.store.repack_pending import Pending, Unit
from castore.store.repack_relations import Relations, under
from castore.store.store import Store

# Of one file, as matching knows them: 4 GiB.
_MOST_PARTS: Final = 1 << 16
_LOOKED_UP: Final = 1024
# Small files waiting for the others of their blocks.
_WAITING: Final = 16_384
_NEWEST: Final = 4
_STORED: Final = int(State.STORED)
_NOTHING: Final[frozenset[Id]] = frozenset()


class _Place(NamedTuple):
    """A plain block a chunk lies in, alone or not, and how deep the first delta on it lies."""

    number: int
    alone: bool
    least_above: int | None


class _Before(Predecessor):
    """The version that a stored one was made after: its parent, else the one of its spec."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        super().__init__(store, manifest.branch, manifest.spec.id)
        self._manifest = manifest

    def content(self, name: str) -> Content | None:
        """What an artifact was."""
        return self._content(name)

    def _ids_at_tip(self) -> list[Id]:
        return list(self._manifest.parents)

    def _ids_of_spec(self) -> list[Id]:
        spec, at = self._manifest.spec.id, self._manifest.at

        def newest(tables: Reading) -> list[Id]:
            return [id for _, id in islice(tables.lookup(Index.SPEC, spec, until=at), _NEWEST)]

        return self._store.database.read(newest)


class Planner:
    """Makes units of one version after another, and gives each to `add`; for one thread.

    `pending` has what was made and not written yet. `progress` is told the bytes of files that
    were compared. What cannot be read is left as it is.
    """

    def __init__(
        self,
        store: Store,
        relations: Relations,
        pending: Pending,
        add: Callable[[Unit], None],
        progress: Callable[[int], None],
    ) -> None:
        self._store = store
        self._database = store.database
        self._relations = relations
        self._pending = pending
        self._add = add
        self._progress = progress
        self._reader = ObjectReader(pending.load)
        self._begin()

    def _begin(self) -> None:
        """Forget what was looked up: what was plain may be a delta by now."""
        self._chains = Chains(self._reader, self._pending.load)
        self._matcher = Matcher(self._chains)
        self._changes = Changes(self._chains)
        self._alone: dict[Id, _Place] = {}
        self._solids: OrderedDict[int, dict[Id, Sequence[Part]]] = OrderedDict()
        self._waiting = 0

    def version(self, id: Id) -> None:
        """Make what there is to make of a version; nothing where its set is gone.

        Raises CorruptObject if what was encoded cannot be read back.
        """
        self._begin()
        reader = self._store.near_reader
        try:
            manifest = reader.manifest(id)
            artifacts = reader.set(manifest.set).artifacts
        except UNFIT:
            return
        before = _Before(self._store, manifest)
        for artifact in artifacts:
            was = before.content(artifact.name)
            if was is None or was == artifact.content:
                continue
            if isinstance(artifact.content, FileContent) and isinstance(was, FileContent):
                self._file(artifact.content, was)
            elif isinstance(artifact.content, TreeContent) and isinstance(was, TreeContent):
                for file, old in self._changed(before, artifact.name, was, artifact.content):
                    self._file(file, old)
        self._run(self._changes.close())
        while self._solids:
            self._close_solid()

    def _changed(
        self, before: _Before, name: str, was: TreeContent, now: TreeContent
    ) -> Iterable[tuple[FileContent, FileContent]]:
        """The files of a folder that changed, each with what it was."""
        folder = before.folder(name)
        changes = diff_folders(self._store.near_reader.tree_page, was.id, now.id)
        while True:
            try:
                change = next(changes, None)
            except CastoreError:
                return
            if change is None:
                return
            new, old = change.new, change.old
            if new is None or new.kind != FILE or (old is not None and old.id == new.id):
                continue
            if old is not None and old.kind == FILE:
                file: FileContent | None = FileContent(old.id, old.size)
            else:
                file = folder.file_at(change.path, new.size)
            if file is not None and file.digest != new.id:
                yield FileContent(new.id, new.size), file

    def _file(self, now: FileContent, was: FileContent) -> None:
        """Take the chunks of a file that are new in it and lie in plain blocks."""
        self._progress(now.size)
        try:
            parts = list(islice(self._chains.parts(now), _MOST_PARTS))
            places = self._places(list(dict.fromkeys(parts)))
            if not places:
                return
            old = list(islice(self._chains.parts(was), _MOST_PARTS))
        except UNFIT:
            return
        had = {part.id for part in old}
        new = [part for part in dict.fromkeys(parts) if part.id in places and part.id not in had]
        if not new:
            return
        if len(parts) == 1:
            self._whole(new[0], places[new[0].id], was)
            return
        have = {part.id for part in parts}
        tail = [part for part in old if part.id not in have][-2:]
        for part in new:
            if not places[part.id].alone and tail:
                self._wait(part, places[part.id].number, tail)
        if any(places[part.id].alone for part in new):
            self._follow(parts, {part.id for part in new}, places, was)

    def _whole(self, part: Part, place: _Place, was: FileContent) -> None:
        """Take a file of one chunk."""
        data = self._payload(part)
        change = self._matcher.match([(part.id, data)], was) if data is not None else None
        if change is None or not self._may_lie(change, place):
            return
        if place.alone:
            self._alone[part.id] = place
            self._run(self._changes.add(change))
        else:
            self._wait(part, place.number, change.bases)

    def _follow(
        self, parts: Sequence[Part], new: set[Id], places: dict[Id, _Place], was: FileContent
    ) -> None:
        """Take the chunks of a bigger file that lie alone, on what stood in their place."""

        def take(change: Change) -> None:
            if not change.bases:
                return
            fit = [(id, data) for id, data in change.chunks if self._may_lie(change, places[id])]
            if fit:
                self._alone.update((id, places[id]) for id, _ in fit)
                self._run(self._changes.add(Change(fit, change.bases)))

        follower = self._matcher.follow(was, (), take)
        if follower is None:
            return
        for part in parts:
            data = None
            if part.id in new and places[part.id].alone:
                new.discard(part.id)
                data = self._payload(part)
            known = _NOTHING if data is not None else {part.id}
            follower.take([(part.id, data or b"")], known, lambda _: False)
        follower.end()

    def _places(self, parts: Sequence[Part]) -> dict[Id, _Place]:
        """Those of these chunks that may be moved, and where they lie."""
        found: dict[Id, _Place] = {}
        for start in range(0, len(parts), _LOOKED_UP):
            wanted = [
                part
                for part in parts[start : start + _LOOKED_UP]
                if part.size
                and part.id not in self._alone
                and part.id not in self._relations.copied
                and not self._pending.holds(part.id)
            ]

            def look(tables: Reading, wanted: Sequence[Part] = wanted) -> dict[Id, _Place]:
                rows = tables.object_numbers([part.id for part in wanted])
                there = zip(wanted, rows, strict=True)
                looked = ((part.id, self._place(tables, part, row)) for part, row in there)
                return {id: place for id, place in looked if place is not None}

            found.update(self._database.read(look))
        return found

    def _place(
        self, tables: Reading, part: Part, row: tuple[int, int, int, int] | None
    ) -> _Place | None:
        if row is None or row[2] != Kind.CHUNK or row[3] != _STORED:
            return None
        info = tables.block_info(row[0])
        if info is None or info.metadata or info.bases or info.live != info.raw:
            return None
        least = self._relations.least_above(tables, row[0], part.id)
        pending = self._pending.least_above(part.id)
        if pending is not None:
            least = pending if least is None else min(least, pending)
        if least == 1:
            return None
        return _Place(row[0], info.raw == part.size, least)

    def _may_lie(self, change: Change, place: _Place) -> bool:
        """Whether deltas that rest on a chunk stay above it when it becomes one."""
        if place.least_above is None:
            return True
        bases = self._chains.bases(change.bases, change.raw)
        return bases is not None and bases.depth < place.least_above

    def _payload(self, part: Part) -> bytes | None:
        """The bytes of a chunk, compared with its id; None where they cannot be read."""
        try:
            return self._reader.chunk(part)
        except UNFIT:
            return None

    def _wait(self, part: Part, number: int, bases: Sequence[Part]) -> None:
        """Take a small chunk; its block is dealt with when the others in it are known."""
        waiting = self._solids.setdefault(number, {})
        if part.id not in waiting:
            waiting[part.id] = bases
            self._waiting += 1
        while self._waiting > _WAITING:
            self._close_solid()

    def _close_solid(self) -> None:
        number, waiting = self._solids.popitem(last=False)
        self._waiting -= len(waiting)
        data = self._database.read(lambda tables: tables.block(number))
        if data is None:
            return
        try:
            members = decode_block(data, block_place(number)).members
            if any(member.id in self._relations.copied for member in members):
                return
            chunks = {id: self._reader.chunk(Part(id, size)) for id, _, size in members}
        except UNFIT:
            return
        changes = Changes(self._chains)
        blocks: list[EncodedBlock] = []
        for id, bases in waiting.items():
            wanted = [part for part in bases if part.id not in chunks]
            if id in chunks and wanted and len(wanted) == len(bases):
                jobs = changes.add(Change([(id, chunks[id])], wanted))
                blocks += (block for job in jobs for block in job.encode() if block.bases)
        blocks += (block for job in changes.close() for block in job.encode() if block.bases)
        for block in blocks:
            for member in block.members:
                del chunks[member.id]
        if blocks:
            rest = encode_plain(list(chunks.items())) if chunks else []
            self._give((number,), [*blocks, *rest])

    def _run(self, jobs: Iterable[Job]) -> None:
        """Encode changes of chunks that lie alone, and take what gained by it."""
        for job in jobs:
            for block in job.encode():
                places = [self._alone.pop(member.id) for member in block.members]
                if block.bases:
                    self._give([place.number for place in places], [block])

    def _give(self, old: Sequence[int], blocks: Sequence[EncodedBlock]) -> None:
        """Make a unit, if it takes less than what it replaces and may lie where it would."""

        def stored(tables: Reading) -> int:
            infos = [tables.block_info(number) for number in old]
            return sum(info.stored for info in infos if info is not None)

        plain = [block._replace(again=b"") for block in blocks]
        unit = Unit(tuple(old), tuple(plain), self._database.read(stored))
        if unit.freed > 0 and self._sound(unit):
            try:
                for block in plain:
                    self._prove(block)
            except UNFIT:
                # It is read in several views, between which a collection may move what it rests on.
                if self._database.read(self._relations.holds):
                    raise
                return
            self._add(unit)

    def _sound(self, unit: Unit) -> bool:
        """Whether each delta lies above what it rests on, and below what rests on it."""
        depths = unit.depths()
        for block in unit.blocks:
            for base in block.bases:
                if base in depths or self._depth(base) >= block_depth(block.data):
                    return False
        pending = ((self._pending.least_above(id), depth) for id, depth in depths.items())
        if any(least is not None and depth >= least for least, depth in pending):
            return False
        above = {number for old in unit.old for number in self._relations.above(old)}
        return self._database.read(partial(under, above=above, depths=depths))

    def _depth(self, id: Id) -> int:
        """How deep an object lies; too deep to rest on where it cannot be found."""
        try:
            return block_depth(self._pending.load(id).block)
        except UNFIT:
            return DELTA_DEPTH + 1

    def _prove(self, encoded: EncodedBlock) -> None:
        """Read a block as readers will, by way of all it rests on; raises CorruptObject."""
        where = "the block just encoded"
        block = decode_block(encoded.data, where)
        raw = memoryview(raw_bytes(block, self._pending.load, where))
        at = 0
        for id, _, size in block.members:
            if content_id(raw[at : at + size]) != id:
                raise unlike(id)
            at += size
