"""Damage done to a store behind its back, and versions no commit would make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb

import castore
from castore.content.blocks import Block, Codec, Member, decode_block, encode_block
from castore.content.sink import EncodedBlock
from castore.database.writing import Writing
from castore.errors import CorruptObject
from castore.model.artifact_set import ArtifactSet, encode_set
from castore.model.ids import Id, Kind, object_id
from castore.model.manifest import Manifest, SpecPin, encode_manifest
from castore.model.refs import branch_ref
from castore.store.selectors import tip


def with_table(
    folder: Path, table: str, change: Callable[[lmdb.Transaction[bytes], object], None]
) -> None:
    """Run `change` on a table of a closed store, without any of castore's code."""
    integer = table in ("blocks", "blockinfo", "ops")
    with lmdb.open(str(folder), max_dbs=20, map_size=1 << 30, lib_version=0) as environment:
        handle = environment.open_db(table.encode(), create=False, integerkey=integer)
        with environment.begin(write=True) as transaction:
            change(transaction, handle)


def alter(folder: Path, table: str, key: bytes, alter: Callable[[bytes], bytes | None]) -> None:
    """Replace the value at a key of a closed store; None deletes it."""

    def change(transaction: lmdb.Transaction[bytes], handle: object) -> None:
        value = transaction.get(key, db=handle)
        assert value is not None, f"{table} has no {key!r}"
        new = alter(value)
        if new is None:
            transaction.delete(key, db=handle)
        else:
            transaction.put(key, new, db=handle)

    with_table(folder, table, change)


def flip_last(data: bytes) -> bytes:
    """The same with the lowest bit of the last byte flipped."""
    return data[:-1] + bytes((data[-1] ^ 1,))


def block_key_of(folder: Path, id: Id) -> bytes:
    """The key of the block in which an object of a closed store lies."""
    found: list[bytes] = []

    def look(transaction: lmdb.Transaction[bytes], handle: object) -> None:
        row = transaction.get(id, db=handle)
        assert row is not None
        found.append(row[:8])

    with_table(folder, "objects", look)
    return found[0]


def alter_block_of(folder: Path, id: Id) -> None:
    """Flip the last bit of an object where it lies as it is, else of its block.

    Of a big file it is that of its first chunk.
    """
    key = block_key_of(folder, id)

    def change(transaction: lmdb.Transaction[bytes], handle: object) -> None:
        data = transaction.get(key, db=handle)
        assert data is not None
        end = len(data) - _behind(data, id)
        transaction.put(key, flip_last(data[:end]) + data[end:], db=handle)

    with_table(folder, "blocks", change)


def _behind(data: bytes, id: Id) -> int:
    """How many bytes lie behind an object in its block, as far as one can tell."""
    try:
        block = decode_block(data, "test")
    except CorruptObject:
        return 0
    if block.codec is not Codec.RAW or block.metadata:
        return 0
    ids = [member.id for member in block.members]
    slot = ids.index(id) if id in ids else 0
    return sum(member.size for member in block.members[slot + 1 :])


def raw_block(kind: Kind, items: Sequence[tuple[Id, bytes]]) -> EncodedBlock:
    """Objects in one block, stored as they are."""
    members = tuple(Member(id, kind, len(payload)) for id, payload in items)
    raw = b"".join(payload for _, payload in items)
    data = encode_block(Block(Codec.RAW, kind is not Kind.CHUNK, 0, len(raw), (), members, raw))
    assert decode_block(data, "test").members == members
    return EncodedBlock(data, members, len(raw), ())


def publish_set(
    store: castore.Store,
    branch: str,
    members: ArtifactSet,
    pages: Sequence[tuple[Id, bytes]],
    **fields: object,
) -> castore.Version:
    """Put a set and a manifest on a branch, with none of the checks of a commit."""
    parent = tip(store, branch)
    manifest = Manifest(
        set=members.id,
        spec=SpecPin(id=branch),
        branch=branch,
        at=store.now(),
        number=parent.number + 1 if parent else 1,
        parents=(parent.id,) if parent else (),
    )
    if fields:
        from dataclasses import replace

        manifest = replace(manifest, **fields)  # type: ignore[arg-type]
    payload, set_payload = encode_manifest(manifest), encode_set(members)
    id = object_id(Kind.MANIFEST, payload)
    blocks = [raw_block(Kind.TREE, [page]) for page in pages]
    blocks.append(raw_block(Kind.SET, [(members.id, set_payload)]))
    blocks.append(raw_block(Kind.MANIFEST, [(id, payload)]))
    ref = branch_ref(branch)

    def transact(tables: Writing) -> None:
        tables.put_blocks(blocks)
        old = tables.ref(ref)
        tables.set_if_equals(ref, old, id)
        moves = [(ref, old or b"", id)]
        tables.append_operation(
            "test", op_id="", at=store.now(), by="", why="", refs=moves, detail={}
        )

    store.database.write(transact)
    return castore.Version(id, manifest, branch)
