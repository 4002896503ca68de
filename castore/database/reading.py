"""Reading: what can be asked of a store within one read transaction."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice, takewhile
from typing import Final

from castore.content.blocks import block_depth
from castore.content.deltas import StoredObject
from castore.database import indexes, tables
from castore.database.ancestry import Step
from castore.database.indexes import Index
from castore.database.lookups import LookupView
from castore.database.operations import Operation, decode_operation
from castore.database.tables import BlockInfo, FileRow, ObjectRow, Removal, Stage, State
from castore.errors import CorruptObject, InvalidInput, ObjectNotFound
from castore.model.ids import Id, Kind
from castore.model.limits import ID_BYTES

__all__ = [
    "BlockInfo", "Index", "ObjectRow", "Operation", "Reading", "Removal", "Stage", "State", "Step",
]  # fmt: skip

_STORED: Final = bytes((State.STORED,))
_PROMISED: Final = bytes((State.PROMISED,))
_STATE_AT: Final = 11
_WHY_ABSENT: Final = {
    State.PROMISED: ("is promised by a remote and not here", "cas pull"),
    State.PURGED: ("was purged", ""),
    State.LOST: ("was lost", "cas fsck"),
}


_CUT: Final = ("is a version before those that were fetched", "cas fetch --unshallow", "cut")


class Reading(LookupView):
    """One consistent view of the tables; it ends with the function it was given to.

    Iterators are lazy and end with the view as well. Everything handed out is a copy.
    """

    __slots__ = ()

    # Objects.

    def object_numbers(self, ids: Iterable[Id]) -> list[tuple[int, int, int, int] | None]:
        """(block, slot, kind, state) of each of many objects, None for what was never known."""
        self._check()
        get, objects = self._txn.get, self._tables.objects
        known = list(ids)
        values = [get(id, None, objects) for id in known]
        try:
            return tables.read_objects(values)
        except CorruptObject:
            for id, value in zip(known, values, strict=True):
                if value is not None:
                    tables.read_object(value, id)
            raise

    def place(self, id: Id) -> tuple[int, int] | None:
        """The block and slot of a chunk; None if it is not stored, or its row is malformed."""
        self._check()
        value = self._txn.get(id, None, self._tables.objects)
        return None if value is None else tables.read_chunk_place(value)

    def lying(self, id: Id, known: Container[int]) -> tuple[int, int, bytes] | None:
        """As `place`, with the block, but b"" for one of a number that is known.

        None also where the block is missing. For chains of deltas: a level is one call.
        """
        self._check()
        get, handles = self._txn.get, self._tables
        value = get(id, None, handles.objects)
        place = None if value is None else tables.read_chunk_place(value)
        if place is None:
            return None
        number, slot = place
        if number in known:
            return number, slot, b""
        block = get(tables.number_key(number), None, handles.blocks)
        return None if block is None else (number, slot, block)

    def load(self, id: Id) -> StoredObject:
        """The block an object lies in; raises ObjectNotFound saying why it is not here."""
        row = self.object_row(id)
        if row is None:
            raise ObjectNotFound(f"no object {id.hex()} in this store", id=id.hex())
        if row.state is not State.STORED:
            why, fix = _WHY_ABSENT[row.state]
            state = row.state.name.lower()
            if row.kind is Kind.MANIFEST and row.state is State.PROMISED:
                why, fix, state = _CUT
            removal = self.purged(id) if row.state is State.PURGED else None
            if removal is not None:
                why += f" by {removal.by or 'unknown'} (operation {removal.op}): {removal.why}"
                fix = "cas op log"
            raise ObjectNotFound(f"object {id.hex()} {why}", fix=fix, id=id.hex(), state=state)
        block = self.block(row.block)
        if block is None:
            raise CorruptObject(
                f"object {id.hex()} should lie in block {row.block}, which is missing",
                id=id.hex(),
                where=f"block {row.block}",
            )
        return StoredObject(row.kind, row.block, row.slot, block)

    def present(self, ids: Iterable[Id]) -> set[Id]:
        """Those of `ids` whose bytes are here."""
        self._check()
        get, objects = self._txn.get, self._tables.objects
        return {
            id
            for id in ids
            if (value := get(id, None, objects)) is not None and value[_STATE_AT:] == _STORED
        }

    def ids_with_prefix(self, hex_prefix: str, limit: int) -> list[tuple[Id, Kind]]:
        """At most `limit` known ids that begin with these hex digits, in order."""
        prefix = hex_prefix.lower()
        try:
            start = bytes.fromhex(prefix.ljust(2 * ID_BYTES, "0"))
        except ValueError:
            start = b""
        if len(start) != ID_BYTES or not prefix.isalnum():
            raise InvalidInput(f"{hex_prefix!r} is not the beginning of an id")
        found: list[tuple[Id, Kind]] = []
        for id, value in self._walk(self._tables.objects, start):
            if len(found) >= limit or not id.hex().startswith(prefix):
                break
            found.append((id, tables.read_object(value, id).kind))
        return found

    def object_rows(self, start: Id = b"") -> Iterator[tuple[Id, ObjectRow]]:
        """Every row from id `start` on, in order of ids."""
        for id, value in self._walk(self._tables.objects, start):
            yield id, tables.read_object(value, id)

    def places(self, start: Id, limit: int) -> tuple[list[tuple[int, int]], Id]:
        """(block, slot) of the stored in `limit` rows from `start` on; where to go on, or b""."""
        self._check()
        with self._txn.cursor(self._tables.objects) as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return [], b""
            rows = b"".join(islice(cursor.iternext(keys=False), limit))
            after = cursor.key() if cursor.next() else b""
        try:
            return tables.read_places(rows), after
        except CorruptObject:
            for id, value in islice(self._walk(self._tables.objects, start), limit):
                tables.read_object(value, id)
            raise

    def of_kind(self, kind: Kind, start: Id, limit: int) -> tuple[list[tuple[int, Id]], Id]:
        """(block, id) of the stored of a kind in `limit` rows from `start`; where to go on, or b"".

        Malformed rows are passed over.
        """
        self._check()
        found: list[tuple[int, Id]] = []
        for seen, (id, value) in enumerate(self._walk(self._tables.objects, start)):
            if seen == limit:
                return found, id
            block = tables.read_stored_block(value, kind)
            if block is not None:
                found.append((block, id))
        return found, b""

    def promised(self, start: Id, limit: int, kind: Kind | None = None) -> tuple[list[Id], Id]:
        """What only a remote has, or of a kind, in `limit` rows from `start`; where to go on."""
        found: list[Id] = []
        tail = _PROMISED if kind is None else bytes((kind, State.PROMISED))
        for seen, (id, value) in enumerate(self._walk(self._tables.objects, start)):
            if seen == limit:
                return found, id
            if value.endswith(tail):
                found.append(id)
        return found, b""

    # Blocks.

    def block(self, number: int) -> bytes | None:
        """The bytes of a block."""
        return self._get(self._tables.blocks, tables.number_key(number))

    def block_info(self, number: int) -> BlockInfo | None:
        """Sizes and bases of a block, without touching the block."""
        value = self._get(self._tables.blockinfo, tables.number_key(number))
        return None if value is None else tables.read_block_info(value, number)

    def block_depth(self, number: int) -> int:
        """How many deltas deep a block lies: 0 without bases, and for what is not there."""
        info = self.block_info(number)
        data = self.block(number) if info is not None and info.bases else None
        return block_depth(data) if data else 0

    def block_infos(self, start: int = 0) -> Iterator[tuple[int, BlockInfo]]:
        """Sizes and bases of every block from number `start` on, in order."""
        for key, value in self._walk(self._tables.blockinfo, tables.number_key(start)):
            number = tables.read_number(key)
            yield number, tables.read_block_info(value, number)

    def block_numbers(self, start: int = 0) -> Iterator[int]:
        """The number of every block from `start` on, in order, without reading the blocks."""
        self._check()
        with self._txn.cursor(self._tables.blocks) as cursor:
            found = cursor.set_range(tables.number_key(start))
            while found:
                yield tables.read_number(cursor.key())
                self._check()
                found = cursor.next()

    def blocks(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Every block from number `start` on, in order; stop early and go on in another view."""
        for key, value in self._walk(self._tables.blocks, tables.number_key(start)):
            yield tables.read_number(key), value

    # Refs.

    def ref(self, name: str) -> Id | None:
        """What a ref names; None if it does not exist, or no longer."""
        return self._get(self._tables.refs, name.encode()) or None

    def refs(self, prefix: str = "") -> list[tuple[str, Id]]:
        """Every ref whose name begins with `prefix`, in order of names, without tombstones."""
        rows = self._with_prefix(self._tables.refs, prefix.encode())
        return [(tables.read_text(key, "refs"), value) for key, value in rows if value]

    def tombstones(self, prefix: str = "") -> list[str]:
        """The names that were deleted and stay taken."""
        rows = self._with_prefix(self._tables.refs, prefix.encode())
        return [tables.read_text(key, "refs") for key, value in rows if not value]

    def tombstone(self, name: str) -> bool:
        """Whether this name was deleted and stays taken."""
        return self._get(self._tables.refs, name.encode()) == b""

    # The operation log.

    def operations(
        self, *, newest_first: bool = True, before: int | None = None
    ) -> Iterator[Operation]:
        """Every entry of the log; newest first optionally only those before a sequence."""
        start = b"" if before is None else tables.number_key(before)
        for key, value in self._walk(self._tables.ops, start, backwards=newest_first):
            yield decode_operation(tables.read_number(key), value)

    def operations_from(self, sequence: int) -> Iterator[Operation]:
        """Every entry from `sequence` on, oldest first."""
        for key, value in self._walk(self._tables.ops, tables.number_key(sequence)):
            yield decode_operation(tables.read_number(key), value)

    def operation(self, sequence: int) -> Operation | None:
        """The entry at `sequence`."""
        value = self._get(self._tables.ops, tables.number_key(sequence))
        return None if value is None else decode_operation(sequence, value)

    def last_operation(self) -> Operation | None:
        """The newest entry."""
        return next(self.operations(), None)

    def last_sequence(self) -> int:
        """The sequence of the newest entry, 0 if there is none, without decoding it."""
        last = next(self._walk(self._tables.ops, backwards=True), None)
        return tables.read_number(last[0]) if last else 0

    def operations_by_id(self, op_id: str) -> Iterator[Operation]:
        """Every entry with this operation id, newest first."""
        for _, tail in self._lookup(indexes.lookup_prefix(Index.LOGGED, op_id)):
            found = self.operation(indexes.read_sequence(tail))
            if found is not None and found.op_id == op_id:
                yield found

    # Sessions.

    def stages(self) -> list[Stage]:
        """Every session that is not published yet."""
        rows = self._with_prefix(self._tables.stage, tables.STAGE_HEADER)
        return [Stage(key[1:], value) for key, value in rows]

    def stage(self, session: bytes) -> Stage | None:
        """The session of this id (16 bytes)."""
        value = self._get(self._tables.stage, tables.stage_key(tables.STAGE_HEADER, session))
        return None if value is None else Stage(session, value)

    def staged_entries(self, session: bytes) -> dict[str, bytes]:
        """What a session noted for each artifact, in order of names."""
        prefix = tables.stage_key(tables.STAGE_ENTRY, session)
        rows = self._with_prefix(self._tables.stage, prefix)
        return {tables.read_text(key[len(prefix) :], "stage"): value for key, value in rows}

    def staged_ids(self, session: bytes) -> Iterator[Id]:
        """Every id the batches of a session wrote or rely on: roots of the collector."""
        prefix = tables.stage_key(tables.STAGE_BATCH, session)
        for _, value in self._with_prefix(self._tables.stage, prefix):
            yield from tables.split_ids(value, "stage")

    def staged_batches(self, session: bytes, start: int = 0) -> list[int]:
        """The numbers of a session's batches from `start` on, in order."""
        prefix = tables.stage_key(tables.STAGE_BATCH, session)
        rows = self._walk(self._tables.stage, prefix + tables.batch_suffix(start))
        ours = takewhile(lambda row: row[0].startswith(prefix), rows)
        return [int.from_bytes(key[len(prefix) :]) for key, _ in ours]

    def staged_batch(self, session: bytes, batch: int, start: int, most: int) -> list[Id]:
        """Ids of one batch of a session from place `start` on, at most so many.

        None if it was published or given up meanwhile.
        """
        key = tables.stage_key(tables.STAGE_BATCH, session, tables.batch_suffix(batch))
        row = self._get(self._tables.stage, key) or b""
        part = row[start * ID_BYTES : (start + most) * ID_BYTES]
        return tables.split_ids(part, "stage")

    # Records, caches and counters.

    def forgotten(self, id: Id) -> Removal | None:
        """Why a version was forgotten, or None if it was not."""
        value = self._get(self._tables.forgotten, id)
        return None if value is None else tables.read_removal(value, "forgotten")

    def purged(self, id: Id) -> Removal | None:
        """Why an object was purged, or None if it was not."""
        value = self._get(self._tables.purged, id)
        return None if value is None else tables.read_removal(value, "purged")

    def purges(self) -> int:
        """How many objects were ever purged from this store."""
        self._check()
        return int(self._txn.stat(self._tables.purged)["entries"])

    def blocks_bytes(self) -> int:
        """About how many bytes of the data file blocks take."""
        self._check()
        found = self._txn.stat(self._tables.blocks)
        return int((found["leaf_pages"] + found["overflow_pages"]) * found["psize"])

    def scrub_due(self) -> bool:
        """Whether something was erased since the data file was last cleared to its end."""
        return self.integer(tables.SCRUBBED) != self.integer(tables.ERASURES)

    def removals(self, table: str, start: Id = b"") -> Iterator[tuple[Id, Removal]]:
        """Every row of `forgotten` or `purged` from id `start` on."""
        for id, value in self._walk(getattr(self._tables, table), start):
            yield id, tables.read_removal(value, table)

    def pins(self) -> list[tuple[Id, str]]:
        """Every pinned id and why it is pinned."""
        rows = self._walk(self._tables.pins)
        return [(id, tables.read_text(value, "pins")) for id, value in rows]

    def upload(self, remote: str) -> bytes | None:
        """What was noted about the unfinished upload to a remote."""
        return self._get(self._tables.uploads, remote.encode())

    def located(self, key: bytes) -> bytes | None:
        """What was kept under a key of the cache of indexes."""
        return self._get(self._tables.located, key)

    def located_keys(self, prefix: bytes) -> list[bytes]:
        """The keys of that cache that begin so."""
        return [key for key, _ in self._with_prefix(self._tables.located, prefix)]

    def files(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The rows cached under these keys."""
        self._check()
        get, table = self._txn.get, self._tables.files
        return [get(key, None, table) for key in keys]

    def file_rows(self, start: bytes = b"") -> Iterator[tuple[bytes, FileRow]]:
        """What is known of every row of the cache of files from this key on."""
        return ((k, tables.read_file(row)) for k, row in self._walk(self._tables.files, start))

    def generation(self) -> int:
        """How often something was published."""
        return self.integer(tables.GENERATION)

    def gc_epoch(self) -> int:
        """How often the collector removed something."""
        return self.integer(tables.GC_EPOCH)

    def meta(self, key: bytes) -> bytes | None:
        """A raw value of table `meta`."""
        return self._get(self._tables.meta, key)

    def rows(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every row of a table from this key on, as stored."""
        return self._walk(getattr(self._tables, table), start)

    def counts(self) -> dict[str, int]:
        """The number of rows of each table."""
        self._check()
        return {
            name: int(self._txn.stat(handle)["entries"])
            for name, handle in self._tables._asdict().items()
        }
