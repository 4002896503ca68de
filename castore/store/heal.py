"""Healing: what is damaged or missing in a store is put in again, as a remote has it.

No block is changed. What a remote has is compared with its id and stored in a new block; rows lead
to that from then on, and a damaged block goes when nothing leads to it any more. A file's list of
chunks is believed when all bytes of the file were hashed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from castore.content.blocks import decode_block
from castore.content.delta_encoder import encode_plain
from castore.content.deltas import StoredObject, block_place
from castore.content.reader import ObjectReader
from castore.content.sink import EncodedBlock
from castore.database.datafile import DATA_FILE
from castore.database.derive import INDEXED
from castore.database.reading import ObjectRow, Reading, State
from castore.database.rebuild import block_info
from castore.database.writing import Writing
from castore.errors import CastoreError, CorruptObject, ObjectNotFound
from castore.model.edges import edges
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import BATCH_BYTES
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.store.heal_report import HealReport
from castore.store.store import Store
from castore.store.sync_remote import connect
from castore.store.sync_take import encode_objects
from castore.store.verify import fsck
from castore.store.verify_report import FsckReport

HEAL: Final = "heal"
_BLOCK: Final = re.compile(r"\bblock (\d+)\b")
_ORDER: Final = (Kind.CHUNK, Kind.LAYOUT, Kind.TREE, Kind.SET, Kind.MANIFEST, Kind.NOTE)


class _Item(NamedTuple):
    kind: Kind
    id: Id
    payload: bytes


class _Moved(Exception):
    """A collection moved objects since they were looked for."""


def heal(
    store: Store,
    name: str,
    transport: Transport,
    *,
    by: str = "",
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> HealReport:
    """Check a store as a whole, and put in what is wrong or missing of it as a remote has it.

    Checked again until nothing is wrong or nothing can be healed; each check takes as long as `fsck
    --full`. Where pages of the data file are damaged, nothing can be put in: that is left, to be
    salvaged. `progress` is told bytes. Raises RemoteError; CorruptObject for a bucket that is
    damaged itself.
    """
    remote = connect(store, name, transport)
    objects = size = 0
    while True:
        report = fsck(store, full=True, progress=progress)
        if report.ok:
            break

        def fill(root: Root, there: Catalogue, report: FsckReport = report) -> tuple[int, int]:
            return _Healing(store, transport, root, there).run(report, by, dry_run=dry_run)

        try:
            done = remote.at_rest(fill)
        except CorruptObject as error:
            if error.where != str(store.folder / DATA_FILE):
                raise
            break
        objects, size = objects + done[0], size + done[1]
        if dry_run or not done[0]:
            break
    left = report.findings
    return HealReport(str(store.folder), name, objects, size, left, report.more, dry_run)


class _Healing:
    """One round: what a check found, put in."""

    def __init__(self, store: Store, transport: Transport, root: Root, there: Catalogue) -> None:
        self._store = store
        self._root = root
        self._there = there
        self._far = FarObjects(there, BlockFetcher(transport))
        self._far_reader = ObjectReader(self._far.load)
        self._mixed = ObjectReader(self._near_if_right)
        self._epoch = 0
        self._objects = 0
        self._bytes = 0

    def run(self, report: FsckReport, by: str, *, dry_run: bool) -> tuple[int, int]:
        """Heal; how many objects of how many bytes were put in."""
        suspects = self._store.database.read(partial(_suspects, report=report))
        self._epoch, blocks, wanted = suspects
        for kind in _ORDER:
            ids = sorted(id for id in wanted if self._kind(id) is kind)
            items = (item for id in ids if (item := self._lacking(id)) is not None)
            for group in _groups(items):
                self._count(group)
                if not dry_run:
                    self._put(group, blocks, by)
        if not dry_run:
            self._empty(blocks, by)
        return self._objects, self._bytes

    def _count(self, group: Sequence[_Item]) -> None:
        self._objects += len(group)
        self._bytes += sum(len(item.payload) for item in group)

    def _kind(self, id: Id) -> Kind | None:
        return self._there.kind(id)

    def _lacking(self, id: Id) -> _Item | None:
        """What is to be put in for an object, None for one that is right, or not there."""
        if id in self._root.purged or self._is_right(id):
            return None
        try:
            kind, payload = self._far_reader.object(id)
            for _ in edges(kind, payload):
                pass
        except CastoreError:
            return None
        if object_id(kind, payload) != id and not self._is_file(id, kind, payload):
            return None
        return _Item(kind, id, payload)

    def _is_right(self, id: Id) -> bool:
        """Whether an object is stored, whole, or said to be elsewhere."""
        try:
            row = self._store.database.read(lambda tables: tables.object_row(id))
            if row is not None and row.state in (State.PURGED, State.PROMISED):
                return True
            kind, payload = self._store.near_reader.object(id)
        except CastoreError:
            return False
        if object_id(kind, payload) == id:
            return True
        return self._is_file(id, kind, payload)

    def _is_file(self, digest: Id, kind: Kind, root: bytes) -> bool:
        """Whether this is the list of chunks of a file; all of it is read, from here and there."""
        try:
            return kind is Kind.LAYOUT and self._mixed.digest(root) == digest
        except CastoreError:
            return False

    def _near_if_right(self, id: Id) -> StoredObject:
        try:
            self._store.near_reader.object(id)
            return self._store.database.load(id)
        except CastoreError:
            return self._far.load(id)

    def _put(self, items: Sequence[_Item], blocks: dict[int, set[Id]], by: str) -> None:
        encoded = _encoded(items)
        indexed = [(kind, id, data) for kind, id, data in items if kind in INDEXED]
        at = self._store.now()

        def transact(tables: Writing) -> tuple[dict[Id, int], int]:
            if tables.gc_epoch() != self._epoch:
                raise _Moved
            before = {}
            for kind, id, _ in items:
                row = _row(tables, id)
                if row is not None and row.state is State.STORED:
                    before[id] = row.block
                tables.put_object_row(id, ObjectRow(0, 0, kind, State.LOST))
            tables.put_blocks(encoded, indexed)
            left = {number: ids - before.keys() for number, ids in blocks.items()}
            _settle(tables, set(before.values()), left)
            tables.append_operation(HEAL, at=at, by=by, detail={"objects": len(items)})
            tables.bump_generation()
            # A repack beside this must hear that objects lie elsewhere.
            return before, tables.bump_gc_epoch()

        try:
            before, self._epoch = self._store.database.write(
                transact, room=sum(block.size for block in encoded)
            )
        except _Moved:
            self._objects -= len(items)
            self._bytes -= sum(len(item.payload) for item in items)
            return
        for id, number in before.items():
            blocks.get(number, set()).discard(id)

    def _empty(self, blocks: dict[int, set[Id]], by: str) -> None:
        """Move what is right out of blocks in which nothing is damaged any more but their bytes."""
        for number, ids in sorted(blocks.items()):
            items = []
            for id in sorted(ids):
                try:
                    kind, payload = self._store.near_reader.object(id)
                except CastoreError:
                    break
                items.append(_Item(kind, id, payload))
            if ids and len(items) == len(ids):
                self._put(items, {number: set(ids)}, by)


def _suspects(tables: Reading, report: FsckReport) -> tuple[int, dict[int, set[Id]], set[Id]]:
    """The epoch, what rows lead to in each block that was named, and all that may be damaged."""
    numbers = {
        int(found[1])
        for finding in report.findings
        for found in _BLOCK.finditer(f"{finding.where} {finding.detail}")
    }
    wanted = {finding.object for finding in report.findings if finding.object}
    for id in wanted:
        row = _row(tables, id)
        if row is not None and row.state is State.STORED:
            numbers.add(row.block)
    blocks: dict[int, set[Id]] = {number: set() for number in numbers}
    for id, value in tables.rows("objects"):
        row = _row(tables, id) if int.from_bytes(value[:8], "little") in blocks else None
        if row is not None and row.state is State.STORED:
            blocks[row.block].add(id)
            wanted.add(id)
    return tables.gc_epoch(), blocks, wanted


def _row(tables: Reading, id: Id) -> ObjectRow | None:
    """The row of an object; none for one that is malformed."""
    try:
        return tables.object_row(id)
    except CorruptObject:
        return None


def _settle(tables: Writing, numbers: set[int], left: dict[int, set[Id]]) -> None:
    """Remove blocks that nothing leads to any more, and correct what is noted of the others."""
    gone = {number for number in numbers if number in left and not left[number]}
    for number in gone:
        tables.drop_block(number)
    for number, info in list(tables.block_infos()):
        if number in numbers or not numbers.isdisjoint(info.bases):
            data = tables.block(number)
            try:
                block = decode_block(data or b"", block_place(number))
                tables.put_block_info(number, block_info(tables, number, block, len(data or b"")))
            except (CorruptObject, ObjectNotFound):
                continue


def _groups(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    """As many as one transaction takes."""
    group: list[_Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item.payload)
        if size >= BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _encoded(items: Sequence[_Item]) -> list[EncodedBlock]:
    chunks = [(id, data) for kind, id, data in items if kind is Kind.CHUNK]
    others = [item for item in items if item.kind is not Kind.CHUNK]
    return [*encode_plain(chunks), *encode_objects(others)]
