"""Writing: what can be changed in a store within one write transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import lmdb

from castore.content.blocks import Codec, Member, decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.sink import EncodedBlock
from castore.database import ancestry, derive, folded, indexes, relations, tables
from castore.database.ancestry import Step
from castore.database.derive import INDEXED
from castore.database.indexes import Index
from castore.database.operations import (
    Operation,
    RefMove,
    decode_operation,
    encode_operation,
)
from castore.database.recording import RecordWriting
from castore.database.relations import Payload
from castore.database.tables import (
    BlockInfo,
    ObjectRow,
    State,
    Tables,
)
from castore.errors import InvalidInput, InvalidName, ObjectNotFound
from castore.model.artifact_set import decode_set
from castore.model.ids import Id, Kind
from castore.model.limits import REF_BYTES
from castore.model.manifest import decode_manifest
from castore.model.note import decode_note

__all__ = ["Payload", "Writing"]


class Writing(RecordWriting):
    """A view of the tables that may change them; it belongs to the thread it was given to.

    Everything becomes durable together when the function it was given to returns, or not at all.
    """

    __slots__ = ("appended",)

    def __init__(self, transaction: lmdb.Transaction[bytes], handles: Tables) -> None:
        super().__init__(transaction, handles)
        self.appended: Operation | None = None

    # Objects and blocks.

    def put_blocks(self, blocks: Sequence[EncodedBlock], indexed: Sequence[Payload] = ()) -> int:
        """Store blocks, with the rows of their members and everything derived; how many were kept.

        Members that are stored already keep their place; a block without a new member is left out.
        `indexed` holds payloads of new trees, sets, manifests and notes, verified by the caller;
        those of raw blocks may be left out. Bases must be stored, or come earlier in `blocks`.
        Raises InvalidInput for an id that was purged, ObjectNotFound for a base that is absent.
        """
        self._check()
        self._admit()
        rows: dict[Id, bytes] = {}
        number = first = self.integer(tables.NEXT_BLOCK_KEY.decode())
        payloads = {id: payload for _, id, payload in indexed}
        new: list[Payload] = []
        infos: list[tuple[bytes, bytes]] = []
        for block in blocks:
            added = self._new_members(block, number, rows)
            if not added:
                continue
            infos.append(self._put_block(number, block, added, rows))
            if block.members[0].kind is not Kind.CHUNK:
                new.extend(_payloads(block, added, payloads))
            number += 1
        if number == first:
            return 0
        with self._txn.cursor(self._tables.blockinfo) as cursor:
            cursor.putmulti(infos)
        self._put(self._tables.meta, tables.NEXT_BLOCK_KEY, tables.pack_integer(number))
        self._put_sorted(self._tables.objects, [(id, rows[id]) for id in sorted(rows)])
        self.index(new)
        return number - first

    def _new_members(
        self, block: EncodedBlock, number: int, rows: dict[Id, bytes]
    ) -> list[tuple[int, Member]]:
        """The members that are not stored yet, with their places; their rows go into `rows`."""
        members = block.members
        get, objects, stored = self._txn.get, self._tables.objects, State.STORED
        ids = [id for id, _, _ in members]
        found = [get(id, None, objects) for id in ids]
        packed = tables.pack_objects(number, [kind for _, kind, _ in members])
        if rows.keys().isdisjoint(ids) and not any(found) and len(set(ids)) == len(ids):
            rows.update(zip(ids, packed, strict=True))
            return list(enumerate(members))
        added = []
        for slot, (id, value) in enumerate(zip(ids, found, strict=True)):
            if id in rows:
                continue
            if value is not None:
                state = tables.read_object(value, id).state
                if state is stored:
                    continue
                if state is State.PURGED:
                    raise self._was_purged(id)
            rows[id] = packed[slot]
            added.append((slot, members[slot]))
        return added

    def _put_block(
        self,
        number: int,
        block: EncodedBlock,
        added: list[tuple[int, Member]],
        rows: Mapping[Id, bytes],
    ) -> tuple[bytes, bytes]:
        """Store a block; the row of blockinfo the caller is to write."""
        bases = set()
        for base in block.bases:
            new = rows.get(base)
            row = tables.read_object(new, base) if new else self.object_row(base)
            if row is None or row.state is not State.STORED:
                raise ObjectNotFound(f"base {base.hex()} of a delta is not stored", id=base.hex())
            bases.add(row.block)
        info = BlockInfo(
            stored=block.size,
            raw=block.raw_size,
            live=sum(member.size for _, member in added),
            metadata=block.members[0].kind is not Kind.CHUNK,
            bases=tuple(sorted(bases)),
        )
        key = tables.number_key(number)
        with block.laid() as stored:
            self._txn.put(key, stored, append=True, db=self._tables.blocks)
        return key, tables.pack_block_info(info)

    def index(self, payloads: Sequence[Payload], *, fold: bool = True) -> None:
        """Write everything `lookup` holds about these objects; `fold` off leaves out `folded`."""
        keys, versions = relations.rows_of(self, payloads)
        notes = (payload for kind, _, payload in payloads if kind is Kind.NOTE)
        noted = {decode_note(payload).target for payload in notes}
        if keys:
            self._put_sorted(self._tables.lookup, [(key, b"") for key in keys])
        # Ancestors first, so that most pointers are right at once.
        for number, id, parent in sorted(versions, key=lambda version: version[0]):
            self._put_step(id, ancestry.make_step(number, parent, self.step))
            if next(self.lookup(Index.TARGET, id), None) is not None:
                noted.add(id)
        folded.refold(self, noted if fold else ())

    def _put_step(self, id: Id, step: Step) -> None:
        self._put(self._tables.lookup, indexes.lookup_jump(id), ancestry.pack_step(step))
        self._refresh_below(id)

    def _refresh_below(self, id: Id) -> None:
        """Correct the pointers of all descendants: any of them may have wanted this ancestor."""
        above = [id]
        while above:
            parent = above.pop()
            for _, child in self.lookup(Index.CHILD, parent):
                known = self.step(child)
                if known is None or known.parent != parent:
                    continue
                step = ancestry.make_step(known.number, parent, self.step)
                if step != known:
                    self._put(
                        self._tables.lookup, indexes.lookup_jump(child), ancestry.pack_step(step)
                    )
                above.append(child)

    def put_object_row(self, id: Id, row: ObjectRow) -> None:
        """Write where an object lies; the block's live bytes are the caller's to keep."""
        self._put(self._tables.objects, id, tables.pack_object(row))

    def drop_object_row(self, id: Id) -> bool:
        """Forget that an object was ever known; False if it was not."""
        return self._delete(self._tables.objects, id)

    def put_block_info(self, number: int, info: BlockInfo) -> None:
        """Write what is noted about a block."""
        key = tables.number_key(number)
        self._put(self._tables.blockinfo, key, tables.pack_block_info(info))

    def drop_block(self, number: int) -> bool:
        """Remove a block nothing lies in any more, and its blockinfo; False if there was none."""
        key = tables.number_key(number)
        self._delete(self._tables.blockinfo, key)
        return self._delete(self._tables.blocks, key)

    def replace_block(
        self, number: int, blocks: Sequence[EncodedBlock], dropped: Sequence[Payload]
    ) -> None:
        """Put plain `blocks` in the place of a block, and forget the objects in `dropped`.

        Together these must be every object whose row leads to the old block; what is dropped
        leaves `lookup` too, so trees, sets, manifests and notes need their payloads. The blocks
        that have bases in the old one need their `blockinfo` made again: the caller's to do.
        """
        fresh = self.integer(tables.NEXT_BLOCK_KEY.decode())
        rows: list[tuple[bytes, bytes]] = []
        for at, block in enumerate(blocks, fresh):
            for slot, member in enumerate(block.members):
                row = ObjectRow(at, slot, member.kind, State.STORED)
                rows.append((member.id, tables.pack_object(row)))
            info = self._put_block(at, block, list(enumerate(block.members)), {})
            self._put_sorted(self._tables.blockinfo, [info])
        if blocks:
            after = tables.pack_integer(fresh + len(blocks))
            self._put(self._tables.meta, tables.NEXT_BLOCK_KEY, after)
            self._put_sorted(self._tables.objects, rows)
        for kind, id, payload in sorted(dropped, key=lambda item: item[1]):
            self.drop_object_row(id)
            if kind in INDEXED:
                self._unindex(kind, id, payload)
        self.drop_block(number)

    def _unindex(self, kind: Kind, id: Id, payload: bytes) -> None:
        version = self.indexes()
        keys = derive.lookup_keys(kind, id, payload, version)
        if kind in indexes.BRIEF.values():
            for other in self.alike(id[: indexes.BRIEF_ID_BYTES], kind):
                if other != id:
                    keys -= derive.lookup_keys(kind, other, self._payload(other), version)
        if kind is Kind.MANIFEST:
            keys |= relations.rows_of_version(self, id, decode_manifest(payload))
        elif kind is Kind.SET:
            keys |= relations.rows_of_set(self, id, decode_set(payload))
        for key in sorted(keys):
            self._delete(self._tables.lookup, key)
        if kind is Kind.MANIFEST:
            for key in folded.possible_keys(id, decode_manifest(payload).at):
                self._delete(self._tables.lookup, key)
            self._delete(self._tables.lookup, indexes.lookup_jump(id))
            self._refresh_below(id)
        elif kind is Kind.NOTE:
            folded.refold(self, [decode_note(payload).target])

    def clear(self, table: str) -> None:
        """Empty a table that is derived or a cache; raises ValueError for any other."""
        if table not in ("lookup", "blockinfo", "files", "located"):
            raise ValueError(f"table {table} holds what cannot be made again")
        self._check()
        self._txn.drop(getattr(self._tables, table), delete=False)

    def set_state(self, id: Id, kind: Kind, state: State) -> None:
        """Note that an object is promised, purged or lost; its block is left to the collector.

        Raises CorruptObject if its block is damaged, ValueError for the state stored.
        """
        if state is State.STORED:
            raise ValueError("objects become stored by put_blocks")
        row = self.object_row(id)
        if row is not None and row.state is State.STORED:
            self._release(id, row)
        self.put_object_row(id, ObjectRow(0, 0, kind, state))

    def _release(self, id: Id, row: ObjectRow) -> None:
        """Take an object out of the live bytes of its block and out of `lookup`."""
        info, data = self.block_info(row.block), self.block(row.block)
        if info is None or data is None:
            return
        size = decode_block(data, block_place(row.block)).members[row.slot].size
        self.put_block_info(row.block, info._replace(live=info.live - size))
        if row.kind in INDEXED:
            self._unindex(row.kind, id, self._payload(id))

    def _payload(self, id: Id) -> bytes:
        """The bytes of a stored object, not compared with its id."""
        stored = self.load(id)
        where = block_place(stored.block_number)
        block = decode_block(stored.block, where)
        start, end = block.span(stored.slot)
        return raw_bytes(block, self.load, where)[start:end]

    # Refs.

    def set_if_equals(self, name: str, expected: Id | None, new: Id) -> bool:
        """Point a ref at `new` if it is at `expected` (None: does not exist, and never did)."""
        key = _ref_key(name)
        current = self._get(self._tables.refs, key)
        if current != expected or current == b"":
            return False
        self._put(self._tables.refs, key, new)
        return True

    def add_if_new(self, name: str, id: Id) -> bool:
        """Make a ref, unless the name is taken or was once."""
        return self.set_if_equals(name, None, id)

    def remove_if_equals(self, name: str, expected: Id, *, tombstone: bool = False) -> bool:
        """Remove a ref that is at `expected`; with `tombstone` its name stays taken for ever."""
        key = _ref_key(name)
        if not expected or self._get(self._tables.refs, key) != expected:
            return False
        if tombstone:
            self._put(self._tables.refs, key, b"")
        else:
            self._delete(self._tables.refs, key)
        return True

    def append_operation(
        self,
        op: str,
        *,
        op_id: str = "",
        at: int,
        by: str,
        why: str = "",
        refs: Sequence[RefMove] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> Operation:
        """Append to the operation log, chained to the entry before; returns the new entry."""
        self._admit()
        last = self.appended or self.last_operation()
        sequence = last.sequence + 1 if last else 1
        payload = encode_operation(
            op,
            op_id=op_id,
            at=at,
            by=by,
            why=why,
            prev=last.hash if last else b"",
            refs=refs,
            detail=detail or {},
        )
        self._check()
        self._txn.put(tables.number_key(sequence), payload, append=True, db=self._tables.ops)
        self.appended = decode_operation(sequence, payload)
        self.index_operation(self.appended)
        return self.appended

    def index_operation(self, operation: Operation) -> None:
        """Write what `lookup` holds about an entry of the log."""
        if operation.op_id:
            key = indexes.operation_key(operation.op_id, operation.at, operation.sequence)
            self._put(self._tables.lookup, key, b"")


def _payloads(
    block: EncodedBlock, added: Sequence[tuple[int, Member]], given: Mapping[Id, bytes]
) -> Iterator[Payload]:
    """The payloads of the new members of a block that are indexed."""
    wanted = [(slot, member) for slot, member in added if member.kind in INDEXED]
    missing = [slot for slot, member in wanted if member.id not in given]
    raw, spans = b"", []
    if missing:
        decoded = decode_block(block.data, "new block")
        if decoded.codec is not Codec.RAW:
            id = block.members[missing[0]].id
            raise InvalidInput(f"the payload of {id.hex()} must be given to be indexed")
        raw, ends = decoded.frame, [0]
        for member in block.members:
            ends.append(ends[-1] + member.size)
        spans = list(pairwise(ends))
    for slot, member in wanted:
        payload = given.get(member.id)
        if payload is None:
            start, end = spans[slot]
            payload = raw[start:end]
        yield member.kind, member.id, payload


def _ref_key(name: str) -> bytes:
    key = name.encode()
    if not 0 < len(key) <= REF_BYTES:
        raise InvalidName(f"ref {name[:40]!r}: must have 1 to {REF_BYTES} bytes")
    return key
