"""What table `lookup` holds about an object: a pure function of it, so that a rebuild equals.

Keys, values are empty but for JUMP:

    index 1 byte | 16 bytes standing for the value | time u64 big endian | id 32 bytes
    TIME 1 byte                                    | time u64 big endian | id 32 bytes
    JUMP 1 byte  | id of a manifest                                   -> number, parent, jump

An id stands for itself by its first 16 bytes, any other value by 16 bytes of BLAKE3, so that keys
stay below the 511 bytes of LMDB. Rows are hints: two values may share 16 bytes by a crafted
collision, so whoever shows a result compares the object itself.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, TypeAlias

from castore.model.artifact_set import Content, FileContent, TreeContent, decode_set
from castore.model.encoding import encode_item
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import ID_BYTES
from castore.model.manifest import Manifest, decode_manifest
from castore.model.note import decode_note
from castore.model.pages import tree_ids

Value: TypeAlias = str | bytes | tuple[str, str]
INDEXED: Final = frozenset({Kind.TREE, Kind.SET, Kind.MANIFEST, Kind.NOTE})

_TIME: Final = struct.Struct(">Q")
_VALUE_BYTES: Final = 16


class Index(IntEnum):
    """The first byte of a lookup key, and what its rows lead from; to manifests unless said."""

    TIME = 1
    AGENT = 2
    AGENT_VERSION = 3  # (agent id, agent version)
    SPEC = 4
    SPEC_VERSION = 5  # (spec id, spec version)
    RUN = 6
    TRACE = 7
    AUTHOR = 8
    TYPE = 9  # artifact type, to sets
    SOURCE = 10  # the target of a source (an id), its digest (an id) or its uri
    TARGET = 11  # an id, to the notes about it
    SUBJECT = 12  # (subject, value), to notes
    OPERATION = 13  # operation id
    IN_TREE = 14  # content or page, to tree pages
    IN_SET = 15  # content or tree, to sets
    IN_MANIFEST = 16  # set, spec source, file of a spec, attachment
    CHILD = 17  # any parent
    LOGGED = 18  # operation id, to sequences of `ops`
    JUMP = 19


CONTAINERS: Final = {
    Index.IN_TREE: Kind.TREE,
    Index.IN_SET: Kind.SET,
    Index.IN_MANIFEST: Kind.MANIFEST,
}


def lookup_prefix(index: Index, value: Value = b"") -> bytes:
    """The beginning of all keys of `index` for `value`, which is left out for TIME."""
    if index is Index.TIME:
        return bytes((index,))
    if isinstance(value, bytes) and len(value) == ID_BYTES:
        return bytes((index,)) + value[:_VALUE_BYTES]
    if isinstance(value, tuple):
        data = encode_item(list(value))
    else:
        data = value.encode() if isinstance(value, str) else value
    return bytes((index,)) + content_id(data)[:_VALUE_BYTES]


def lookup_key(index: Index, value: Value, at: int, tail: bytes) -> bytes:
    """The key that leads from `value` to the object, or for LOGGED the sequence, in `tail`."""
    return lookup_prefix(index, value) + _TIME.pack(at) + tail


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


def lookup_keys(kind: Kind, id: Id, payload: bytes) -> set[bytes]:
    """Every key but JUMP that an object gives rise to; raises CorruptObject if malformed."""
    if kind is Kind.MANIFEST:
        return manifest_keys(id, decode_manifest(payload))
    if kind is Kind.TREE:
        # One row an entry: this is the hot loop of big folders, so the key is built in place.
        end = _TIME.pack(0) + id
        head = bytes((Index.IN_TREE,))
        return {head + held[:_VALUE_BYTES] + end for held in tree_ids(payload)}
    if kind is Kind.SET:
        return _set_keys(id, payload)
    if kind is Kind.NOTE:
        note = decode_note(payload)
        return {
            lookup_key(Index.TARGET, note.target, note.at, id),
            lookup_key(Index.SUBJECT, (note.subject, note.value), note.at, id),
        }
    return set()


def manifest_keys(id: Id, manifest: Manifest) -> set[bytes]:
    """The keys of a manifest; values that are empty, which means unknown, have none."""
    agent, spec = manifest.agent, manifest.spec
    single: list[tuple[Index, str]] = [
        (Index.AGENT, agent.id),
        (Index.SPEC, spec.id),
        (Index.RUN, manifest.run),
        (Index.TRACE, manifest.trace),
        (Index.AUTHOR, manifest.author),
        (Index.OPERATION, manifest.operation),
    ]
    pairs: list[tuple[Index, Value]] = [(index, value) for index, value in single if value]
    if agent.version:
        pairs.append((Index.AGENT_VERSION, (agent.id, agent.version)))
    if spec.version:
        pairs.append((Index.SPEC_VERSION, (spec.id, spec.version)))
    for source in manifest.sources:
        values = (source.target, source.digest, source.uri)
        pairs.extend((Index.SOURCE, value) for value in values if value)
    held = [manifest.set, *(digest for _, digest in spec.files)]
    held.extend(digest for _, digest, _ in manifest.attachments)
    if spec.source:
        held.append(spec.source)
    pairs.extend((Index.IN_MANIFEST, value) for value in held)
    pairs.extend((Index.CHILD, parent) for parent in manifest.parents)
    pairs.append((Index.TIME, b""))
    return {lookup_key(index, value, manifest.at, id) for index, value in pairs}


def _set_keys(id: Id, payload: bytes) -> set[bytes]:
    keys = set()
    for artifact in decode_set(payload).artifacts:
        if artifact.type:
            keys.add(lookup_key(Index.TYPE, artifact.type, 0, id))
        held = _content(artifact.content)
        if held:
            keys.add(lookup_key(Index.IN_SET, held, 0, id))
    return keys


def _content(content: Content) -> Id:
    if isinstance(content, FileContent):
        return content.digest
    return content.id if isinstance(content, TreeContent) else content.digest
