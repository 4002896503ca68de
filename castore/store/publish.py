"""Publishing: the one transaction in which a staged set becomes a version."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from castore.content.blocks import Block, Codec, Member, encode_block
from castore.content.sink import Batch, EncodedBlock
from castore.database.reading import Reading, State
from castore.database.sink import unmet
from castore.database.writing import Writing
from castore.errors import Conflict, CorruptObject
from castore.model.artifact_set import (
    ArtifactSet,
    ExternalContent,
    FileContent,
    TreeContent,
    encode_set,
)
from castore.model.ids import Id, Kind, object_id
from castore.model.manifest import Manifest, encode_manifest
from castore.model.names import check_operation
from castore.model.refs import TAGS, branch_ref, lost_ref, partial_ref
from castore.store.staging import expired
from castore.store.store import Store
from castore.store.tombstones import refuse_purged
from castore.store.version import Version

COMMIT: Final = "commit"
UNCHANGED: Final = "unchanged"
"""A commit that wrote nothing, as the set was there; on record where it has an operation id."""
Build = Callable[[Version | None], Manifest]


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything a publishing transaction needs.

    `build` makes the manifest for a given tip; `sessions` are the stages to drop with success;
    `drop_partial` is a partial ref and its expected value that success takes away; `along` writes
    caches in the same transaction, and `batch` is what the session has not written yet; with
    `began` the first stage must still stand: it alone keeps what was written before. `taken` are
    contents that something else kept, such as the stages of workers, and may be gone. `detail` goes
    to the operation log.
    """

    branch: str
    members: ArtifactSet
    build: Build
    by: str
    why: str
    sessions: Sequence[bytes] = ()
    operation: str = ""
    drop_partial: tuple[str, Id] | None = None
    along: Callable[[Writing], None] | None = None
    batch: Batch = field(default_factory=Batch)
    began: bool = False
    taken: frozenset[Id] = frozenset()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of publishing: the version; whether it was there before; the tip if it moved."""

    version: Version | None = None
    replayed: bool = False
    tip: Id | None = None
    lost: bool = False


class Vanished(Exception):
    """Something the unwritten batch relies on was collected: nothing was written; flush, repeat."""


def publish(store: Store, publication: Publication, tip: Version | None) -> Outcome:
    """Publish on top of `tip`; when the branch is elsewhere by now, nothing but `tip` comes back.

    One write transaction: replay of the operation id, the branch as expected, every member still
    stored, then set, manifest, ref, operation record, and the stages dropped.
    """
    manifest = publication.build(tip)
    blocks, id = _encoded(publication.members, manifest)
    ref = branch_ref(publication.branch)
    expected = tip.id if tip else None

    def transact(tables: Writing) -> Outcome:
        earlier = _replayed(tables, publication.branch, publication.operation)
        if earlier is not None:
            _drop(tables, publication)
            return Outcome(replayed=True, tip=earlier)
        current = tables.ref(ref)
        if current != expected:
            return Outcome(tip=current)
        _refuse_tag(tables, publication.branch)
        _put(tables, publication, blocks)
        tables.set_if_equals(ref, expected, id)
        refs = [(ref, expected or b"", id)]
        if publication.drop_partial:
            name, value = publication.drop_partial
            if tables.remove_if_equals(name, value):
                refs.append((name, value, b""))
        _record(tables, COMMIT, publication, manifest, refs)
        return Outcome(Version(id, manifest, publication.branch))

    outcome = store.database.write(transact, room=_room(publication))
    if outcome.replayed and outcome.tip:
        return Outcome(store.version(outcome.tip, publication.branch), replayed=True)
    anew = store.behind.renamed.pop(id, None) if store.behind else None
    if anew is not None:
        return replace(outcome, version=store.version(anew, publication.branch))
    return outcome


def replayed(store: Store, branch: str, operation_id: str) -> Version | None:
    """The version that an earlier commit with this operation id made on `branch`, or found.

    None if there is none. Raises InvalidInput for what cannot be such an id.
    """
    check_operation(operation_id)
    id = store.database.read(lambda tables: _replayed(tables, branch, operation_id))
    return store.version(id, branch) if id else None


def settle_identical(store: Store, publication: Publication, there: Version) -> None:
    """Take away what a session went on from, when its set turned out to be `there` already.

    An operation id is remembered: whoever repeats it is given the same version.
    """
    at, dropped = store.now(), publication.drop_partial

    def transact(tables: Writing) -> None:
        _drop(tables, publication)
        if dropped and tables.remove_if_equals(*dropped):
            tables.bump_generation()
            tables.append_operation(
                "partial-discard",
                op_id="",
                at=at,
                by=publication.by,
                why="an identical set is published",
                refs=[(*dropped, b"")],
            )
        if publication.operation:
            tables.append_operation(
                UNCHANGED,
                op_id=publication.operation,
                at=at,
                by=publication.by,
                why=publication.why,
                detail={"branch": publication.branch, "id": there.id},
            )

    if dropped or publication.sessions or publication.operation:
        store.database.write(transact)


def publish_expecting(store: Store, publication: Publication, expected: Version | None) -> Outcome:
    """Publish on top of `expected` or not at all: a moved branch keeps the version as lost."""
    outcome = publish(store, publication, expected)
    if outcome.version is not None:
        return outcome
    manifest = publication.build(expected)
    blocks, id = _encoded(publication.members, manifest)
    ref = lost_ref(publication.branch, id)

    def transact(tables: Writing) -> None:
        _put(tables, publication, blocks)
        tables.add_if_new(ref, id)
        _record(tables, "lost", publication, manifest, [(ref, b"", id)])

    store.database.write(transact, room=_room(publication))
    return Outcome(Version(id, manifest, publication.branch), tip=outcome.tip, lost=True)


def seal_partial(store: Store, publication: Publication, tip: Version | None) -> Version:
    """Keep an incomplete set under `partial/<run>/<branch>`, in place of an earlier one."""
    manifest = publication.build(tip)
    blocks, id = _encoded(publication.members, manifest)
    ref = partial_ref(manifest.run or "unknown", publication.branch)

    def transact(tables: Writing) -> None:
        _put(tables, publication, blocks)
        current = tables.ref(ref)
        tables.set_if_equals(ref, current, id)
        _record(tables, "partial", publication, manifest, [(ref, current or b"", id)])

    store.database.write(transact, room=_room(publication))
    return Version(id, manifest, publication.branch)


def metadata_block(kind: Kind, payload: bytes) -> tuple[EncodedBlock, Id]:
    """A block that holds one structured object, and the object's id."""
    id = object_id(kind, payload)
    members = (Member(id, kind, len(payload)),)
    block = Block(
        codec=Codec.RAW,
        metadata=True,
        depth=0,
        raw_size=len(payload),
        bases=(),
        members=members,
        frame=payload,
    )
    return EncodedBlock(encode_block(block), members, len(payload), ()), id


def _encoded(
    members: ArtifactSet, manifest: Manifest
) -> tuple[tuple[list[EncodedBlock], list[tuple[Kind, Id, bytes]]], Id]:
    set_payload = encode_set(members)
    manifest_payload = encode_manifest(manifest)
    set_block, set_id = metadata_block(Kind.SET, set_payload)
    manifest_block, manifest_id = metadata_block(Kind.MANIFEST, manifest_payload)
    indexed = [
        (Kind.SET, set_id, set_payload),
        (Kind.MANIFEST, manifest_id, manifest_payload),
    ]
    return ([set_block, manifest_block], indexed), manifest_id


def _put(
    tables: Writing,
    publication: Publication,
    blocks: tuple[list[EncodedBlock], list[tuple[Kind, Id, bytes]]],
) -> None:
    batch = publication.batch
    if publication.began and tables.stage(publication.sessions[0]) is None:
        raise Conflict(
            f"session {publication.sessions[0].hex()} was discarded while it was being written",
            fix="start again",
        )
    if unmet(tables, batch):
        raise Vanished
    encoded, indexed = blocks
    tables.put_blocks([*batch.blocks, *encoded], [*batch.indexed, *indexed])
    refuse_purged(tables, publication.members)
    needed = set(direct_ids(publication.members))
    absent = needed - tables.present(needed)
    absent -= _promised(tables, absent)
    if absent & publication.taken:
        raise expired(min(absent & publication.taken))
    if absent:
        raise CorruptObject(
            f"content {min(absent).hex()} is gone from the store although its stage stands",
            id=min(absent).hex(),
            where="stage",
        )
    if publication.along is not None:
        publication.along(tables)
    _drop(tables, publication)
    tables.bump_generation()


def _promised(tables: Reading, ids: Collection[Id]) -> set[Id]:
    """Those of these files that a remote has: a version may name them."""
    rows = zip(ids, tables.object_numbers(ids), strict=True)
    return {id for id, row in rows if row is not None and row[3] == State.PROMISED}


def _room(publication: Publication) -> int:
    """The bytes that the transaction will need at least."""
    return sum(block.size for block in publication.batch.blocks)


def direct_ids(members: ArtifactSet) -> list[Id]:
    """The ids of the contents and trees that a set names."""
    ids = []
    for artifact in members.artifacts:
        content = artifact.content
        if isinstance(content, FileContent):
            ids.append(content.digest)
        elif isinstance(content, TreeContent):
            ids.append(content.id)
        elif isinstance(content, ExternalContent):
            continue
    return ids


def _drop(tables: Writing, publication: Publication) -> None:
    for session in publication.sessions:
        tables.drop_stage(session)


def _record(
    tables: Writing,
    op: str,
    publication: Publication,
    manifest: Manifest,
    refs: list[tuple[str, Id, Id]],
    detail: Mapping[str, Any] | None = None,
) -> None:
    tables.append_operation(
        op,
        op_id=publication.operation,
        at=manifest.at,
        by=publication.by,
        why=publication.why,
        refs=refs,
        detail={**publication.detail, **(detail or {})},
    )


def _replayed(tables: Reading, branch: str, operation_id: str) -> Id | None:
    """The version that an earlier commit with this operation id made on this branch, or found.

    One that was collected since does not count, nor one that lost a race after that.
    """
    if not operation_id or not branch:
        return None
    ref = branch_ref(branch)
    for operation in tables.operations_by_id(operation_id):
        made = [new for name, _, new in operation.refs if operation.op == COMMIT and name == ref]
        if operation.op == UNCHANGED and operation.detail.get("branch") == branch:
            made = [bytes(operation.detail.get("id", b""))]
        for id in made:
            if tables.present((id,)) and tables.ref(lost_ref(branch, id)) is None:
                return id
    return None


def _refuse_tag(tables: Writing, branch: str) -> None:
    if tables.ref(TAGS + branch) or tables.tombstone(TAGS + branch):
        raise Conflict(
            f"a tag is called {branch!r}: a branch and a tag may not share a name",
            fix="choose another name with --name",
        )
