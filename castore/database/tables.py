"""The tables of a store: their names, and the bytes of their keys and rows.

One LMDB environment holds all of them. Block numbers and sequences are 8 bytes in the order of the
machine, because LMDB compares integer keys natively; everything else is written little endian in
values and big endian in keys that are walked in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from castore.errors import CorruptObject
from castore.model.encoding import decode, encode
from castore.model.fields import Fields
from castore.model.ids import Id, Kind
from castore.model.limits import ID_BYTES, KIB

SMALL_VALUE_BYTES: Final = 64 * KIB
"""No page of LMDB is bigger: a longer value never shares a page with another."""
INTEGER_KEYED: Final = frozenset({"blocks", "blockinfo", "ops"})
SESSION_BYTES: Final = 16
UUID_BYTES: Final = 16

# Keys of table `meta`; numbers are u64 little endian, uuids 16 bytes, features a canonical map.
FORMAT_KEY: Final = b"format"
CREATED_KEY: Final = b"created"
UUID_KEY: Final = b"uuid"
PROJECT_KEY: Final = b"project"
FEATURES_KEY: Final = b"features"
NEXT_BLOCK_KEY: Final = b"next_block"
GENERATION: Final = "generation"
GC_EPOCH: Final = "gc_epoch"
INDEXES: Final = "indexes"
ERASURES: Final = "erasures"
SCRUBBED: Final = "scrubbed"

# objects: block number, slot, kind, state.
_OBJECT: Final = struct.Struct("<QHBB")
# blockinfo: stored, raw and live bytes, 1 for metadata; then the block numbers of the bases.
_BLOCK_INFO: Final = struct.Struct("<IIIB")
# files: the moment of the row (nanoseconds) and how many files it is about; the rest is content's.
_FILE: Final = struct.Struct("<QI")
_NUMBER: Final = struct.Struct("=Q")
_INTEGER: Final = struct.Struct("<Q")
_BIG: Final = struct.Struct(">Q")

# stage: one byte, the session, then nothing, a batch number or the name of an artifact.
STAGE_HEADER: Final = b"h"
STAGE_BATCH: Final = b"b"
STAGE_ENTRY: Final = b"e"


class Tables(NamedTuple):
    """The open handles of all tables, by name."""

    meta: Any
    blocks: Any
    blockinfo: Any
    objects: Any
    refs: Any
    ops: Any
    forgotten: Any
    purged: Any
    stage: Any
    pins: Any
    uploads: Any
    lookup: Any
    files: Any
    located: Any


class State(IntEnum):
    """Whether the bytes of an object are here: stored, promised by a remote, purged, or lost."""

    STORED = 1
    PROMISED = 2
    PURGED = 3
    LOST = 4


# Looked up, not made: an enumeration takes three times as long to find one of its members.
_KINDS: Final = {int(kind): kind for kind in Kind}
_STATES: Final = {int(state): state for state in State}
_KIND_AT: Final = 10
_STORED_CHUNK: Final = bytes((Kind.CHUNK, State.STORED))


class ObjectRow(NamedTuple):
    """Where an object lies: its block and its place among the members; both 0 unless stored."""

    block: int
    slot: int
    kind: Kind
    state: State


class BlockInfo(NamedTuple):
    """Bytes of a block as stored, decoded and in use; the blocks its bases lie in, ascending."""

    stored: int
    raw: int
    live: int
    metadata: bool
    bases: tuple[int, ...]


class FileRow(NamedTuple):
    """When the files of a row were looked at, in nanoseconds, and how many they are."""

    moment_ns: int
    files: int


class Stage(NamedTuple):
    """A session that is not published yet; `header` is whatever the session wrote."""

    session: bytes
    header: bytes


class Removal(NamedTuple):
    """Why a version was forgotten or an object purged: when, by whom, by which operation."""

    at: int
    by: str
    why: str
    op: str


def number_key(number: int) -> bytes:
    """The key of a block or an operation."""
    return _NUMBER.pack(number)


def read_number(key: bytes) -> int:
    """The number in such a key; raises CorruptObject."""
    try:
        return int(_NUMBER.unpack(key)[0])
    except struct.error:
        raise CorruptObject(f"a key of {len(key)} bytes, not 8", where="blocks") from None


def pack_integer(value: int) -> bytes:
    """A counter of table `meta`."""
    return _INTEGER.pack(value)


def read_integer(value: bytes, what: str) -> int:
    """The counter in such a value; raises CorruptObject."""
    if len(value) != _INTEGER.size:
        raise CorruptObject(f"meta {what}: {len(value)} bytes, not 8", where=f"meta {what}")
    return int(_INTEGER.unpack(value)[0])


def read_text(value: bytes, table: str) -> str:
    """The text of a name or reason in a table; raises CorruptObject."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CorruptObject(f"{table}: {value[:60]!r} is no text", where=table) from None


def pack_object(row: tuple[int, int, Kind, State]) -> bytes:
    """The bytes of an objects row."""
    return _OBJECT.pack(*row)


def pack_objects(block: int, kinds: Sequence[Kind]) -> list[bytes]:
    """The objects rows of all members of a new block, of these kinds, in order."""
    pack, stored = _OBJECT.pack, State.STORED
    return [pack(block, slot, kind, stored) for slot, kind in enumerate(kinds)]


def read_object(value: bytes, id: Id) -> ObjectRow:
    """The objects row of `id`; raises CorruptObject."""
    try:
        block, slot, kind, state = _OBJECT.unpack(value)
        return ObjectRow(block, slot, _KINDS[kind], _STATES[state])
    except (struct.error, KeyError):
        raise CorruptObject(
            f"the row of {id.hex()} is malformed", id=id.hex(), where="objects"
        ) from None


def read_chunk_place(value: bytes) -> tuple[int, int] | None:
    """The block and slot that an objects row tells; None unless it is that of a stored chunk."""
    if value[_KIND_AT:] != _STORED_CHUNK or len(value) != _OBJECT.size:
        return None
    block, slot, _, _ = _OBJECT.unpack(value)
    return block, slot


def read_stored_block(value: bytes, kind: Kind) -> int | None:
    """The block that an objects row tells; None unless it is that of a stored object of a kind."""
    if value[_KIND_AT:] != bytes((kind, State.STORED)) or len(value) != _OBJECT.size:
        return None
    block, _, _, _ = _OBJECT.unpack(value)
    return int(block)


def read_objects(values: Iterable[bytes | None]) -> list[tuple[int, int, int, int] | None]:
    """(block, slot, kind, state) of each of these objects rows as numbers; raises CorruptObject."""
    unpack = _OBJECT.unpack
    try:
        return [None if value is None else unpack(value) for value in values]
    except struct.error:
        raise CorruptObject("rows of objects are malformed", where="objects") from None


def read_places(values: bytes) -> list[tuple[int, int]]:
    """The (block, slot) of those of many objects rows, end to end, that are stored.

    Raises CorruptObject.
    """
    if len(values) % _OBJECT.size:
        raise CorruptObject("rows of objects are malformed", where="objects")
    stored = int(State.STORED)
    rows = _OBJECT.iter_unpack(values)
    return [(block, slot) for block, slot, _, state in rows if state == stored]


def pack_block_info(info: BlockInfo) -> bytes:
    """The bytes of a blockinfo row."""
    head = _BLOCK_INFO.pack(info.stored, info.raw, info.live, info.metadata)
    return head + b"".join(_INTEGER.pack(number) for number in info.bases)


def read_block_info(value: bytes, number: int) -> BlockInfo:
    """The blockinfo row of block `number`; raises CorruptObject."""
    if len(value) < _BLOCK_INFO.size or (len(value) - _BLOCK_INFO.size) % _INTEGER.size:
        raise CorruptObject(f"blockinfo of block {number} is malformed", where="blockinfo")
    stored, raw, live, metadata = _BLOCK_INFO.unpack_from(value)
    bases = tuple(int(base) for (base,) in _INTEGER.iter_unpack(value[_BLOCK_INFO.size :]))
    return BlockInfo(stored, raw, live, bool(metadata), bases)


def read_file(value: bytes) -> FileRow:
    """What the table knows of a files row; a malformed one is as old as can be."""
    return FileRow(*_FILE.unpack_from(value)) if len(value) >= _FILE.size else FileRow(0, 1)


def stage_key(part: bytes, session: bytes, rest: bytes = b"") -> bytes:
    """A key of table `stage`; `session` must have 16 bytes."""
    if len(session) != SESSION_BYTES:
        raise ValueError(f"a session has {SESSION_BYTES} bytes, not {len(session)}")
    return part + session + rest


def batch_suffix(batch: int) -> bytes:
    """The end of the key of a session's batch."""
    return _BIG.pack(batch)


def split_ids(value: bytes, where: str) -> list[Id]:
    """Ids that stand end to end; raises CorruptObject."""
    if len(value) % ID_BYTES:
        raise CorruptObject(f"{where}: ids cut short", where=where)
    return [value[i : i + ID_BYTES] for i in range(0, len(value), ID_BYTES)]


def pack_removal(removal: Removal) -> bytes:
    """The bytes of a row of `forgotten` or `purged`."""
    return encode(removal._asdict())


def read_removal(value: bytes, table: str) -> Removal:
    """Such a row; raises CorruptObject."""
    fields = Fields(decode(value, limit=256 * KIB, what=table), table, Removal._fields)
    return Removal(
        fields.integer("at", 0), fields.text("by"), fields.text("why"), fields.text("op")
    )
