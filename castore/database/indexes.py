"""The keys of table `lookup`; values are empty but for JUMP.

    index 1 byte | 16 bytes standing for the value | time u64 big endian | id 32 bytes
    TIME 1 byte                                    | time u64 big endian | id 32 bytes
    IN_TREE or IN_SET 1 byte | 8 bytes of the id of what is held | 8 bytes of the holder's id
    JUMP 1 byte  | id of a manifest                                   -> number, parent, jump

An id stands for itself by its first 16 bytes, any other value by 16 bytes of BLAKE3, so that keys
stay below the 511 bytes of LMDB. Rows are hints: two values may share 16 bytes by a crafted
collision, and two ids 8 bytes more easily, so whoever shows a result compares the object itself.
Two holders may then share a row: it goes with the last of them.

This is version 4 of the indexes. Before it TYPE led from artifact types to sets, AUTHOR had the
author as written, and WORKSPACE, ARTIFACT_TYPE and ARTIFACT_FORMAT had no rows: an older store
stays without until a rebuild. Version 2 had no rows of REVIEW and LIFECYCLE, which follow from
several objects: see `castore.database.folded`. In version 1, moreover, IN_TREE and IN_SET had rows
as the others have.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, TypeAlias

from castore.model.encoding import encode_item
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import ID_BYTES

Value: TypeAlias = str | bytes | tuple[str, str]

_TIME: Final = struct.Struct(">Q")
VALUE_BYTES: Final = 16
"""How many bytes of a key stand for a value."""

INDEXES_VERSION: Final = 4
UPDATED_VERSION: Final = 3
"""The version that the first write brings an older store to; what came later takes a rebuild."""
MEMBERS_SINCE: Final = 4
"""The version from which on versions are found by workspace, author, and what is in their sets."""
BRIEF_ID_BYTES: Final = 8
BRIEF_BYTES: Final = 1 + 2 * BRIEF_ID_BYTES


class Index(IntEnum):
    """The first byte of a lookup key, and what its rows lead from; to manifests unless said."""

    TIME = 1
    AGENT = 2
    AGENT_VERSION = 3  # (agent id, agent version)
    SPEC = 4
    SPEC_VERSION = 5  # (spec id, spec version)
    RUN = 6
    TRACE = 7
    AUTHOR = 8  # identity of the author
    TYPE = 9  # artifact type, to sets: before version 4
    SOURCE = 10  # the target of a source (an id), its digest (an id) or its uri
    TARGET = 11  # an id, to the notes about it
    SUBJECT = 12  # (subject, value), to notes
    OPERATION = 13  # operation id
    IN_TREE = 14  # content or page, to tree pages, by 8 bytes each
    IN_SET = 15  # content or tree, to sets, by 8 bytes each
    IN_MANIFEST = 16  # set, spec source, file of a spec, attachment
    CHILD = 17  # any parent
    LOGGED = 18  # operation id, to sequences of `ops`
    JUMP = 19
    REVIEW = 20  # what the notes about it come to
    LIFECYCLE = 21  # what the notes about it come to
    WORKSPACE = 22
    ARTIFACT_TYPE = 23  # type of an artifact in the set of a version, while the set is stored
    ARTIFACT_FORMAT = 24  # its format, likewise


BRIEF: Final = {Index.IN_TREE: Kind.TREE, Index.IN_SET: Kind.SET}
"""The indexes with a row for each of many entries, which are kept short, and what they lead to."""


def lookup_prefix(index: Index, value: Value = b"") -> bytes:
    """The beginning of all keys of `index` for `value`, which is left out for TIME."""
    if index is Index.TIME:
        return bytes((index,))
    if isinstance(value, bytes) and len(value) == ID_BYTES:
        return bytes((index,)) + value[:VALUE_BYTES]
    if isinstance(value, tuple):
        data = encode_item(list(value))
    else:
        data = value.encode() if isinstance(value, str) else value
    return bytes((index,)) + content_id(data)[:VALUE_BYTES]


def lookup_key(index: Index, value: Value, at: int, tail: bytes) -> bytes:
    """The key that leads from `value` to the object, or for LOGGED the sequence, in `tail`."""
    return lookup_prefix(index, value) + _TIME.pack(at) + tail


def brief_prefix(index: Index, held: Id) -> bytes:
    """The beginning of all keys of an index of BRIEF for what is held, in every version."""
    return bytes((index,)) + held[:BRIEF_ID_BYTES]


def brief_key(wide: bytes) -> bytes:
    """The key of version 2 for one of version 1 of an index of BRIEF."""
    return wide[: 1 + BRIEF_ID_BYTES] + wide[-ID_BYTES:][:BRIEF_ID_BYTES]


def lookup_jump(id: Id) -> bytes:
    """The key of a manifest's jump row."""
    return bytes((Index.JUMP,)) + id


def time_bytes(at: int) -> bytes:
    """Microseconds UTC as they stand in a key."""
    return _TIME.pack(at)


def split_key(key: bytes, prefix: bytes) -> tuple[int, bytes]:
    """The (time, id) behind the prefix of a key."""
    start = len(prefix)
    return int(_TIME.unpack_from(key, start)[0]), key[start + _TIME.size :]


def operation_key(op_id: str, at: int, sequence: int) -> bytes:
    """The key that leads from an operation id to its entry in the log."""
    return lookup_key(Index.LOGGED, op_id, at, _TIME.pack(sequence))


def read_sequence(tail: bytes) -> int:
    """The sequence such a key leads to."""
    return int(_TIME.unpack(tail)[0])
