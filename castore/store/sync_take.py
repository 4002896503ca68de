"""Taking in: what came from a bucket is compared with its ids, and stored contents first.

Whatever is stored has all that it needs: content, then pages, sets and versions in an order in
which nothing comes before what it needs. Until refs name it a stage holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from castore.content.blocks import Block, Codec, Member, decode_block, decode_head
from castore.content.delta_encoder import encode_plain
from castore.content.deltas import StoredObject, raw_bytes, raw_view
from castore.content.encoder import encode_metadata
from castore.content.in_turn import InTurn
from castore.content.passing import Passing, PassingFiles, Place, false_chunk_list
from castore.content.reader import ObjectReader
from castore.content.sink import Batch, EncodedBlock
from castore.database.derive import INDEXED
from castore.database.reading import Reading, State
from castore.database.sink import StageSink
from castore.database.tables import ObjectRow
from castore.database.writing import Writing
from castore.errors import CorruptObject, ObjectNotFound
from castore.model.edges import edges
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.limits import BATCH_BYTES, KIB
from castore.model.manifest import Manifest, decode_manifest
from castore.remote.fetching import BlockFetcher, Bytes, FarObjects, FetchedBlock, spot_place
from castore.remote.index import Spot
from castore.store.store import Store
from castore.store.sync_walk import Lack, Wanted

_NOTHING: Final[Mapping[Id, int]] = MappingProxyType({})
_TOGETHER_BYTES: Final = 128 * KIB
_TOGETHER: Final = 1024
_ROWS: Final = 10_000
# Pieces that came and wait until files were compared with them: they are kept in memory.
_AWAITED: Final = 3


class _Ready(NamedTuple):
    """Blocks to store, and the bytes that came for them."""

    blocks: list[EncodedBlock]
    passing: list[Passing]
    fetched: int


class Intake:
    """Stores what was lacking; `progress` is told bytes."""

    def __init__(
        self,
        store: Store,
        sink: StageSink,
        fetcher: BlockFetcher,
        far: FarObjects,
        lack: Lack,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._sink = sink
        self._fetcher = fetcher
        self._far = far
        self._lack = lack
        self._far_reader = ObjectReader(far.load)
        self._reader = ObjectReader(self._near_first)
        self._progress = progress
        self._packs = lack.packs()
        self._files = PassingFiles(
            self._root, self._far_reader.layout_page, lack.files, self._place_of
        )

    def content(self) -> None:
        """Fetch, compare and store the content that lacks, what others rest on first."""
        depths: dict[int, list[Spot]] = {}
        for spot in sorted(self._lack.content.values(), key=lambda spot: self._packs[spot.pack]):
            depths.setdefault(spot.depth, []).append(spot)
        with InTurn(self._files.see, _AWAITED) as see, InTurn(self._write) as write:
            for _, spots in sorted(depths.items()):
                batch: list[EncodedBlock] = []
                size = 0
                for ready in self._fetcher.each(spots, self._checked):
                    see(ready.passing)
                    batch += ready.blocks
                    size += sum(block.size for block in ready.blocks)
                    if size >= BATCH_BYTES:
                        write(batch)
                        batch, size = [], 0
                    if self._progress is not None:
                        self._progress(ready.fetched)
                # What comes next may rest on it.
                write(batch)
                write.wait()
        self._require(self._lack.chunks)

    def promises(self) -> None:
        """Note of files that they are there and not here, before anything names them."""
        rows = iter(self._lack.promised.items())
        while batch := list(islice(rows, _ROWS)):
            self._store.database.write(partial(_promise, batch=batch))

    def objects(self) -> None:
        """Compare and store what is not content, each after what it needs."""
        for digest in self._files.finish():
            if self._reader.digest(self._root(digest)) != digest:
                raise false_chunk_list(digest)
        for group in _groups(self._lack.objects):
            self._put_group(group)

    def _checked(self, fetched: Sequence[FetchedBlock]) -> _Ready:
        """Blocks of content that are right, as they are or without what may not be stored."""
        decoded = [_content_block(spot, data) for spot, data in fetched]
        heads = [head for head, _ in decoded]
        fitting, purged = self._store.database.read(partial(_judged, blocks=heads))
        blocks: list[EncodedBlock] = []
        passing: list[Passing] = []
        for (spot, data), (block, frame), fits in zip(fetched, decoded, fitting, strict=True):
            where = spot_place(spot)
            load = self._store.database.load if fits else self._far.load
            raw = raw_view(block, frame, load, where)
            _compare(block, raw, where)
            whole = purged.isdisjoint([member.id for member in block.members])
            if self._lack.files:
                for slot, (member, payload) in enumerate(_members(block, raw)):
                    if whole or member.id not in purged:
                        place = self._place(spot, slot)
                        passing.append(Passing(place, member.id, payload))
            if fits and whole:
                blocks.append(EncodedBlock(data, block.members, block.raw_size, block.bases))
                continue
            blocks += encode_plain(
                [
                    (member.id, bytes(payload))
                    for member, payload in _members(block, raw)
                    if member.id not in purged
                ]
            )
        return _Ready(blocks, passing, sum(len(data) for _, data in fetched))

    def _write(self, blocks: Sequence[EncodedBlock]) -> None:
        """Store blocks of content; a delta whose base was moved meanwhile is written in full."""
        if not blocks:
            return
        moved = self._sink.write(Batch(blocks))
        while moved:
            blocks = [
                again
                for block in blocks
                for again in (self._in_full(block) if moved.intersection(block.bases) else (block,))
            ]
            moved = self._sink.write(Batch(blocks))

    def _in_full(self, encoded: EncodedBlock) -> list[EncodedBlock]:
        where = "a block that was fetched"
        block = decode_block(encoded.data, where)
        raw = raw_bytes(block, self._far.load, where)
        _compare(block, memoryview(raw), where)
        return encode_plain([(member.id, payload) for member, payload in _members(block, raw)])

    def _require(self, chunks: set[Id]) -> None:
        """Raise CorruptObject for a chunk that did not come although an index names it."""

        def look(tables: Reading) -> set[Id]:
            return chunks - tables.present(chunks)

        absent = self._store.database.read(look)
        if absent:
            id = min(absent)
            raise CorruptObject(
                f"the blocks that the bucket names for {id.hex()} do not hold it",
                id=id.hex(),
                where="index",
            )

    def _place(self, spot: Spot, slot: int) -> Place:
        return spot.depth, self._packs[spot.pack], spot.offset, slot

    def _place_of(self, id: Id) -> Place | None:
        """Where a chunk that lacks is to pass."""
        found = self._far.catalogue.find(id) if id in self._lack.chunks else None
        return self._place(*found[:2]) if found and found[0].pack in self._packs else None

    def _root(self, digest: Id) -> bytes:
        """The root page of a layout, as it was when what it needs was looked for.

        It has no id of its own: a bucket might give another one each time.
        """
        kind, payload = self._far_reader.object(digest)
        if kind is not Kind.LAYOUT or content_id(payload) != self._lack.files[digest]:
            raise _changed(digest)
        return payload

    def _near_first(self, id: Id) -> StoredObject:
        """Chunks lie here by now, pages still there."""
        try:
            return self._store.database.load(id)
        except ObjectNotFound:
            return self._far.load(id)

    def _put_group(self, group: Sequence[Wanted]) -> None:
        """Store some objects at once: blocks as they are where all in them is of the group."""
        payloads = {wanted.id: (wanted.kind, self._payload(wanted)) for wanted in group}
        indexed = [(kind, id, data) for id, (kind, data) in payloads.items() if kind in INDEXED]
        spots = {(*wanted.spot.pack, wanted.spot.offset): wanted.spot for wanted in group}
        blocks: list[EncodedBlock] = []
        depths: dict[Id, int] = {}
        for spot in sorted(spots.values(), key=lambda spot: spot.depth):
            found = self._as_it_is(spot, payloads, depths)
            if found is not None:
                blocks.append(found)
                depths.update((member.id, spot.depth) for member in found.members)
        loose = [(kind, id, data) for id, (kind, data) in payloads.items() if id not in depths]
        if self._sink.write(Batch([*blocks, *encode_objects(loose)], indexed=indexed)):
            # A base was moved meanwhile: nothing is a delta then.
            every = [(kind, id, data) for id, (kind, data) in payloads.items()]
            self._sink.write(Batch(encode_objects(every), indexed=indexed))

    def _as_it_is(
        self, spot: Spot, payloads: Mapping[Id, tuple[Kind, bytes]], depths: Mapping[Id, int]
    ) -> EncodedBlock | None:
        """A block of the bucket if it may be stored as it is; `depths` of what goes before it."""
        where = spot_place(spot)
        data = self._fetcher.block(spot)
        block = decode_block(data, where)
        if not block.metadata or block.depth != spot.depth:
            return None
        fits = self._store.database.read(lambda tables: _fits(tables, block, depths))
        if not fits or any(member.id not in payloads for member in block.members):
            return None
        raw = raw_bytes(block, self._far.load, where)
        for member, payload in _members(block, raw):
            if payloads[member.id] != (member.kind, payload) or member.id in depths:
                return None
        return EncodedBlock(data, block.members, block.raw_size, block.bases)

    def _payload(self, wanted: Wanted) -> bytes:
        """The bytes of an object, compared with its id, well-formed in every field."""
        if wanted.id in self._lack.files:
            return self._root(wanted.id)
        kind, payload = self._far_reader.object(wanted.id)
        if kind is not wanted.kind:
            raise _changed(wanted.id)
        for _ in edges(kind, payload):
            pass
        if kind is Kind.MANIFEST:
            self._check_number(wanted.id, decode_manifest(payload))
        return payload

    def _check_number(self, id: Id, manifest: Manifest) -> None:
        """Raise CorruptObject for a version whose number does not follow that of its parent."""
        for parent in manifest.parents[:1]:
            with suppress(ObjectNotFound):
                above = self._reader.manifest(parent).number
                if manifest.number != above + 1:
                    raise CorruptObject(
                        f"version {id.hex()} has number {manifest.number}, and its parent {above}",
                        id=id.hex(),
                    )


def _changed(id: Id) -> CorruptObject:
    return CorruptObject(f"{id.hex()} changed while it was fetched", id=id.hex())


def _promise(tables: Writing, batch: Sequence[tuple[Id, Kind]]) -> None:
    for id, kind in batch:
        if tables.object_row(id) is None:
            tables.put_object_row(id, ObjectRow(0, 0, kind, State.PROMISED))


def _groups(objects: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Objects in their order, as many as a transaction takes."""
    group: list[Wanted] = []
    size = 0
    seen: set[tuple[bytes, Id, int]] = set()
    for wanted in objects:
        place = (*wanted.spot.pack, wanted.spot.offset)
        if place not in seen:
            seen.add(place)
            size += wanted.spot.raw
        if group and size > BATCH_BYTES:
            yield group
            group, size, seen = [], wanted.spot.raw, {place}
        group.append(wanted)
    if group:
        yield group


def _together(objects: Sequence[tuple[Kind, Id, bytes]]) -> Iterator[list[tuple[Kind, Id, bytes]]]:
    """Objects that share a block: pages with pages, the rest with the rest, up to 128 KiB."""
    for pages in (True, False):
        group: list[tuple[Kind, Id, bytes]] = []
        size = 0
        for item in objects:
            if (item[0] in (Kind.TREE, Kind.LAYOUT)) is not pages:
                continue
            if group and (size + len(item[2]) > _TOGETHER_BYTES or len(group) >= _TOGETHER):
                yield group
                group, size = [], 0
            group.append(item)
            size += len(item[2])
        if group:
            yield group


def encode_objects(objects: Sequence[tuple[Kind, Id, bytes]]) -> list[EncodedBlock]:
    """Plain blocks of objects that are no content, those that are read together in one."""
    return [block for part in _together(objects) for block in encode_metadata(part)]


def _fits(tables: Reading, block: Block, depths: Mapping[Id, int] = _NOTHING) -> bool:
    """Whether all that a block rests on is stored, or goes before it, and is less deep than it."""
    if block.codec is not Codec.DELTA:
        return True
    for base in block.bases:
        if depths.get(base, block.depth) < block.depth:
            continue
        row = tables.object_row(base)
        if row is None or row.state is not State.STORED:
            return False
        if tables.block_depth(row.block) >= block.depth:
            return False
    return True


def _judged(tables: Reading, blocks: Sequence[Block]) -> tuple[list[bool], set[Id]]:
    """Whether each block fits, and the members that were purged from this store."""
    purged: set[Id] = set()
    if tables.purges():
        ids = {member.id for block in blocks for member in block.members}
        purged = {id for id in ids if tables.purged(id) is not None}
    return [_fits(tables, block) for block in blocks], purged


def _content_block(spot: Spot, data: memoryview) -> tuple[Block, memoryview]:
    where = spot_place(spot)
    head, frame = decode_head(data, where)
    if head.metadata:
        raise CorruptObject(f"{where} holds no content", where=where)
    return head, frame


def _members(block: Block, raw: Bytes) -> Iterator[tuple[Member, Bytes]]:
    start = 0
    for member in block.members:
        yield member, raw[start : start + member.size]
        start += member.size


def _compare(block: Block, raw: memoryview, where: str) -> None:
    """Raise CorruptObject for a member whose bytes are not those of its id."""
    for member, payload in _members(block, raw):
        if object_id(member.kind, payload) != member.id:
            raise CorruptObject(
                f"{where}: the bytes of {member.id.hex()} are wrong",
                id=member.id.hex(),
                where=where,
            )
