"""Verification of a bucket: every byte of it fetched and compared, and what its refs need there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

from castore.content.blocks import Block, decode_block
from castore.content.deltas import raw_bytes
from castore.content.reader import ObjectReader
from castore.errors import CastoreError, CorruptObject
from castore.model.edges import needs
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import PACK_BYTES
from castore.model.manifest import decode_manifest
from castore.remote.bucket import IndexCache, View
from castore.remote.fetching import BlockFetcher, FarObjects, spot_place
from castore.remote.index import Catalogue, Index, Indexed, PackName, Spot
from castore.remote.keys import PACKS, pack_key
from castore.remote.pack import read_pack
from castore.remote.root import IndexName, Root, seal_notes
from castore.remote.transport import KeyAbsent, Transport
from castore.store.verify_report import Finding, Findings, FsckReport

_WORDS: Final = {kind: kind.name.lower() for kind in Kind}


class Checked(Protocol):
    """What is verified: a `Bucket`, or a bundle."""

    @property
    def transport(self) -> Transport:
        """What packs are read from."""

    def read(self) -> View:
        """Its root; raises CorruptObject."""

    def fetch_index(self, name: IndexName) -> Index:
        """An index that root lists; raises CorruptObject."""


class _Named(NamedTuple):
    """A block as an index tells of it, and which index."""

    where: str
    spot: Spot
    members: list[Indexed]


class Damage(NamedTuple):
    """What a check found, and where: the objects that are broken, and the indexes that are lost.

    `there` are all indexes, of lost ones those that are still cached.
    """

    report: FsckReport
    broken: set[Id]
    lost: set[Id]
    there: Catalogue


def verify_bucket(
    bucket: Checked, cache: IndexCache, progress: Callable[[int], None] | None = None
) -> FsckReport:
    """What is wrong with a bucket: root, indexes, packs, every object, what refs need, notes.

    Everything is fetched. `progress` is told bytes. Raises RemoteError where it is not reached.
    """
    return check_bucket(bucket, cache, progress).report


def check_bucket(
    bucket: Checked, cache: IndexCache, progress: Callable[[int], None] | None = None
) -> Damage:
    """As `verify_bucket`, and what is to be put in again."""
    check = BucketCheck(bucket, progress, cache)
    return Damage(check.run(), check.broken, check.lost, check.catalogue)


class BucketCheck:
    """One verification; `found` are its findings so far."""

    def __init__(
        self,
        bucket: Checked,
        progress: Callable[[int], None] | None,
        cache: IndexCache | None = None,
    ) -> None:
        self._bucket = bucket
        self._cache = cache
        self._progress = progress
        self._found = Findings()
        self.catalogue = Catalogue(())
        self._files: list[Id] = []
        self._fetcher = BlockFetcher(bucket.transport)
        self.broken: set[Id] = set()
        self.lost: set[Id] = set()

    def run(self) -> FsckReport:
        """Look at everything."""
        try:
            root = self._bucket.read().root
        except CorruptObject as error:
            self._found.add(b"", "store", "root", error.message)
            return self._report()
        self.catalogue = Catalogue(self._indexes(root))
        self._far = FarObjects(self.catalogue, self._fetcher)
        self._reader = ObjectReader(self._far.load)
        there = {item.key: item.size for item in self._bucket.transport.list(PACKS)}
        for pack, spots in self._packs():
            if pack_key(*pack) in there:
                self._pack(pack, spots)
            else:
                self._found.add(pack.id, "pack", "", "an index names it, and it is gone")
                self._break(*spots)
        for digest in self._files:
            self._try(digest, Kind.LAYOUT, partial(self._file, digest))
        self._closure(root)
        notes = self.catalogue.ids_of(Kind.NOTE)
        if seal_notes(notes) != root.notes:
            detail = f"indexes lead to {len(notes)} notes, root tells of {root.notes.notes}"
            self._found.add(b"", "table", "root", f"{detail}, or of others")
        return self._report()

    def _indexes(self, root: Root) -> Iterator[Index]:
        for name in root.indexes:
            try:
                yield self._bucket.fetch_index(name)
                self._found.count("indexes")
            except CorruptObject as error:
                self._found.add(name.id, "table", "index", error.message)
                self.lost.add(name.id)
                kept = self._cache.index(name.id) if self._cache is not None else None
                if kept is not None:
                    yield Index(kept, name.id)

    def _packs(self) -> Iterator[tuple[PackName, list[_Named]]]:
        """Every pack, and what is told of the blocks in it."""
        yield from sorted(self._by_pack(self.catalogue.indexes).items())

    def _by_pack(self, indexes: Iterable[Index]) -> dict[PackName, list[_Named]]:
        found: dict[PackName, list[_Named]] = {}
        for index in indexes:
            members: dict[int, list[Indexed]] = {}
            for member in index.members():
                members.setdefault(member.block, []).append(member)
            for row in range(index.blocks_count):
                spot = index.block(row)
                named = _Named(index.where, spot, members.get(row, []))
                found.setdefault(spot.pack, []).append(named)
        return found

    def _pack(self, pack: PackName, spots: list[_Named]) -> None:
        """Fetch a pack, compare it with its name, each block with its ids, rows with blocks."""
        try:
            data = self._bucket.transport.get(pack_key(*pack), 0, PACK_BYTES + 1).data
            blocks = {placed.offset: placed.block for placed in read_pack(data, pack.id)[1]}
        except (CorruptObject, KeyAbsent) as error:
            self._found.add(pack.id, "pack", "", error.message)
            self._break(*spots)
            return
        self._found.count("packs")
        if self._progress is not None:
            self._progress(len(data))
        for named in sorted(spots, key=lambda named: named.spot.offset):
            data = blocks.get(named.spot.offset, b"")
            if len(data) != named.spot.stored:
                place = spot_place(named.spot)
                self._found.add(b"", "block", place, "an index names it, and it is not there")
                self._break(named)
                continue
            self._block(data, named)

    def _block(self, data: bytes, named: _Named) -> None:
        spot = named.spot
        where = spot_place(spot)
        try:
            block = decode_block(data, where)
            raw = raw_bytes(block, self._far.load, where)
        except CastoreError as error:
            self._found.add(b"", "block", where, error.message)
            self._break(named)
            return
        self._found.count("blocks")
        told = (spot.raw, spot.codec, spot.depth, spot.bases, spot.members)
        is_so = (block.raw_size, block.codec, block.depth, block.bases, len(block.members))
        rows = {slot: tuple(member) for slot, member in enumerate(block.members)}
        if told != is_so or any(rows.get(m.slot) != (m.id, m.kind, m.size) for m in named.members):
            self._found.add(b"", "table", named.where, f"tells wrongly of {where}")
            self._break(named)
        if not self._members(block, raw, where):
            # Who fetches one member compares all: so all are to lie elsewhere.
            self._break(named)

    def _members(self, block: Block, raw: bytes, where: str) -> bool:
        """Compare the members with their ids; whether all are right."""
        start = 0
        right = True
        for id, kind, size in block.members:
            payload = raw[start : start + size]
            start += size
            self._found.count("objects")
            if object_id(kind, payload) == id:
                continue
            if kind is Kind.LAYOUT and self.catalogue.kind(id) is Kind.LAYOUT:
                self._files.append(id)
            elif self.catalogue.has(id):
                self._found.add(id, _WORDS[kind], where, "its bytes are wrong")
                right = False
        return right

    def _break(self, *named: _Named) -> None:
        """Note all that indexes tell of these blocks as broken."""
        self.broken.update(member.id for item in named for member in item.members)

    def _file(self, digest: Id) -> None:
        """Compare the bytes of a file with its digest."""
        _, root = self._reader.object(digest)
        if self._reader.digest(root) != digest:
            raise CorruptObject("its chunks are not the file of this digest")
        self._found.count("files")

    def _closure(self, root: Root) -> None:
        """Every object that refs need must be named by an index."""
        seen: set[Id] = set()
        stack: list[tuple[Id, str]] = [(id, ref) for ref, id in sorted(root.refs.items())]
        while stack:
            id, ref = stack.pop()
            if id in seen or id in root.purged:
                continue
            seen.add(id)
            kind = self.catalogue.kind(id)
            if kind is None:
                self._lacks(id, ref)
            elif kind is not Kind.CHUNK:
                below = self._try(id, kind, partial(self._below, id, root)) or []
                stack += [(target, ref) for target in below]
        for ref, id in root.refs.items():
            self._try(id, Kind.MANIFEST, partial(self._complete, id, ref))
        self._found.count("refs", len(root.refs))

    def _lacks(self, id: Id, ref: str) -> None:
        """Tell of an object that a ref needs and no index names."""
        self._found.add(id, "ref", ref, "what it needs is in no index")

    def _below(self, id: Id, root: Root) -> list[Id]:
        kind, payload = self._reader.object(id)
        needed = needs(kind, payload, forgotten=id in root.forgotten)
        return [edge.target for edge in needed]

    def _complete(self, id: Id, ref: str) -> list[Id]:
        if not decode_manifest(self._reader.payload(id, Kind.MANIFEST)).complete:
            self._found.add(id, "ref", ref, "names an incomplete set")
        return []

    def _try(self, id: Id, kind: Kind, look: Callable[[], list[Id] | None]) -> list[Id] | None:
        """What `look` gives; a finding for what it raises."""
        try:
            return look()
        except CastoreError as error:
            self._found.add(id, _WORDS[kind], "", error.message)
            if self.catalogue.has(id):
                self.broken.add(id)
            return None

    def _report(self) -> FsckReport:
        findings = tuple(Finding(*key) for key in self._found.kept)
        return FsckReport(True, findings, self._found.more, self._found.counts)
