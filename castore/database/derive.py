"""What table `lookup` holds about an object: a pure function of it, so that a rebuild equals.

But for JUMP, and for what a version and its set have rows of together: `member_keys`.
"""

from __future__ import annotations

from typing import Final

from castore.database.indexes import (
    BRIEF_ID_BYTES,
    INDEXES_VERSION,
    MEMBERS_SINCE,
    VALUE_BYTES,
    Index,
    Value,
    lookup_key,
    time_bytes,
)
from castore.model.artifact_set import (
    ArtifactSet,
    Content,
    FileContent,
    TreeContent,
    decode_set,
)
from castore.model.ids import Id, Kind
from castore.model.manifest import Manifest, decode_manifest
from castore.model.note import decode_note
from castore.model.pages import tree_ids
from castore.model.status import identity

INDEXED: Final = frozenset({Kind.TREE, Kind.SET, Kind.MANIFEST, Kind.NOTE})


def lookup_keys(kind: Kind, id: Id, payload: bytes, version: int = INDEXES_VERSION) -> set[bytes]:
    """Every key but JUMP that an object by itself gives rise to; raises CorruptObject."""
    if kind is Kind.MANIFEST:
        return manifest_keys(id, decode_manifest(payload), version)
    if kind is Kind.TREE:
        return _held_keys(Index.IN_TREE, tree_ids(payload), id, version)
    if kind is Kind.SET:
        return set_keys(id, decode_set(payload), version)
    if kind is Kind.NOTE:
        note = decode_note(payload)
        return {
            lookup_key(Index.TARGET, note.target, note.at, id),
            lookup_key(Index.SUBJECT, (note.subject, note.value), note.at, id),
        }
    return set()


def _held_keys(index: Index, held: list[Id], holder: Id, version: int) -> set[bytes]:
    """One key an entry: this is the hot loop of big folders, so keys are built in place."""
    head = bytes((index,))
    if version == 1:
        end = time_bytes(0) + holder
        return {head + id[:VALUE_BYTES] + end for id in held}
    end = holder[:BRIEF_ID_BYTES]
    return {head + id[:BRIEF_ID_BYTES] + end for id in held}


def member_keys(id: Id, at: int, members: ArtifactSet) -> set[bytes]:
    """The keys of the manifest `id`, of this time, for what is in its set."""
    pairs = {(Index.ARTIFACT_TYPE, artifact.type) for artifact in members.artifacts}
    pairs |= {(Index.ARTIFACT_FORMAT, artifact.format) for artifact in members.artifacts}
    return {lookup_key(index, value, at, id) for index, value in pairs if value}


def manifest_keys(id: Id, manifest: Manifest, version: int = INDEXES_VERSION) -> set[bytes]:
    """The keys of a manifest; values that are empty, which means unknown, have none."""
    agent, spec = manifest.agent, manifest.spec
    single: list[tuple[Index, str]] = [
        (Index.AGENT, agent.id),
        (Index.SPEC, spec.id),
        (Index.RUN, manifest.run),
        (Index.TRACE, manifest.trace),
        (Index.AUTHOR, manifest.author if version < MEMBERS_SINCE else identity(manifest.author)),
        (Index.OPERATION, manifest.operation),
    ]
    if version >= MEMBERS_SINCE:
        single.append((Index.WORKSPACE, manifest.workspace))
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


def set_keys(id: Id, members: ArtifactSet, version: int = INDEXES_VERSION) -> set[bytes]:
    """The keys of a set."""
    artifacts = members.artifacts
    held = [found for artifact in artifacts if (found := _content(artifact.content))]
    keys = _held_keys(Index.IN_SET, held, id, version)
    if version < MEMBERS_SINCE:
        types = {artifact.type for artifact in artifacts if artifact.type}
        keys |= {lookup_key(Index.TYPE, type, 0, id) for type in types}
    return keys


def _content(content: Content) -> Id:
    if isinstance(content, FileContent):
        return content.digest
    return content.id if isinstance(content, TreeContent) else content.digest
