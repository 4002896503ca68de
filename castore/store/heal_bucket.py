"""Healing a bucket: what is damaged or missing in it is sent again, as a store has it.

What is sent lies in new packs, in full, and a new index takes the place of those that are lost or
tell of what was damaged. Damage that no ref needs is taken by a collection, with all that needs it:
a push must not rely on what rests on damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from castore.content.reader import ObjectReader
from castore.database.indexes import Index as Lookup
from castore.database.reading import Reading, State
from castore.errors import CastoreError, PermissionDenied, RemoteMoved
from castore.model.edges import needs
from castore.model.ids import Id, Kind
from castore.remote.collect import collect_bucket
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue, Index, IndexWriter
from castore.remote.keys import UPLOAD_BYTES
from castore.remote.root import IndexName, Root, seal_notes
from castore.remote.transport import Transport
from castore.remote.uploads import registered
from castore.store.heal_report import HealReport
from castore.store.store import Store
from castore.store.sync_need import Moved, Need
from castore.store.sync_remote import Remote, connect
from castore.store.sync_send import PackSender
from castore.store.sync_verify import Damage, check_bucket
from castore.store.verify_report import Finding

_TRIES: Final = 5
_UNKNOWN: Final = "it was in a damaged part of the bucket, and this store has it not"


class _Changed(Exception):
    """Somebody wrote to the bucket meanwhile."""


class _Plan(NamedTuple):
    """What is to be sent, its raw bytes, and what of what the bucket needs nobody has."""

    need: Need
    ids: set[Id]
    bytes: int
    nowhere: list[Id]


def heal_bucket(
    store: Store,
    name: str,
    transport: Transport,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> HealReport:
    """Check every byte of a bucket, and send again what is wrong or missing and lies here.

    Others may push meanwhile: then all begins anew. An index that is lost is given up only if all
    that the bucket's refs need is there again after it, and all its notes. `progress` is told
    bytes. Raises CorruptObject for a bucket without a readable root, RemoteError, RemoteMoved.
    """
    remote = connect(store, name, transport)
    remote.bucket.read()
    for _ in range(_TRIES):
        try:
            return _heal(remote, progress, dry_run=dry_run)
        except (_Changed, Moved):
            continue
    raise RemoteMoved(f"{transport.url}: it changed {_TRIES} times meanwhile", fix="try again")


def _heal(remote: Remote, progress: Callable[[int], None] | None, *, dry_run: bool) -> HealReport:
    url = remote.bucket.url
    root = remote.bucket.read().root
    checked = check_bucket(remote.bucket, remote, progress)
    report = checked.report
    if report.ok:
        return HealReport(url, remote.name, 0, 0, (), 0, dry_run)
    healing = _Healing(remote, root, checked)
    plan = healing.plan()
    if dry_run:
        objects = plan.need.objects
        return HealReport(
            url, remote.name, objects, plan.bytes, report.findings, report.more, dry_run
        )
    if healing.guesses and (plan.nowhere or not healing.knows_notes(plan)):
        missing = tuple(Finding(id, "object", "", _UNKNOWN) for id in plan.nowhere[:1000])
        left = (*report.findings, *missing)
        return HealReport(url, remote.name, 0, 0, left, report.more)
    useless = checked.broken - plan.ids
    if not (plan.need.objects or checked.lost or useless):
        return HealReport(url, remote.name, 0, 0, report.findings, report.more)
    if plan.need.objects or checked.lost:
        healing.send(plan, progress)
    if useless and not plan.nowhere:
        # Who may not delete leaves it to somebody who may.
        with suppress(PermissionDenied):
            collect_bucket(remote.bucket, remote, remote.store.entropy)
    after = check_bucket(remote.bucket, remote, progress).report
    return HealReport(url, remote.name, plan.need.objects, plan.bytes, after.findings, after.more)


class _Healing:
    def __init__(self, remote: Remote, root: Root, checked: Damage) -> None:
        self._remote = remote
        self._store = remote.store
        self._root = root
        self._broken = checked.broken
        self._lost = checked.lost
        self._there = checked.there
        self._far = ObjectReader(FarObjects(self._there, BlockFetcher(remote.transport)).load)

    @property
    def guesses(self) -> bool:
        """Whether nothing tells what was in an index."""
        return len(self._there.indexes) < len(self._root.indexes)

    def plan(self) -> _Plan:
        """What the bucket's refs and notes need and it has not whole, as far as it is here."""
        need = Need(self._store.database.read(Reading.gc_epoch))
        ids: set[Id] = set()
        nowhere: list[Id] = []
        size = 0
        seen: set[Id] = set()
        stack = [*self._root.refs.values(), *self._notes()]
        while stack:
            id = stack.pop()
            if id in seen or id in self._root.purged:
                continue
            seen.add(id)
            whole = self._there.has(id) and id not in self._broken
            row = self._store.database.read(lambda tables, id=id: tables.object_row(id))  # type: ignore[misc]
            here = row is not None and row.state is State.STORED
            if not whole and (row is None or not here):
                nowhere.append(id)
                continue
            kind = row.kind if row is not None and here else self._there.kind(id)
            if not whole and row is not None:
                need.mark(row.block, row.slot)
                ids.add(id)
                if kind is Kind.NOTE:
                    need.notes.add(id)
            if kind is Kind.CHUNK and whole:
                continue
            payload = self._payload(id, here=here)
            size += len(payload) if not whole else 0
            if kind is not None and kind is not Kind.CHUNK:
                stack.extend(self._below(id, kind, payload))
        return _Plan(need, ids, size, sorted(nowhere))

    def knows_notes(self, plan: _Plan) -> bool:
        """Whether all notes that root tells of are there, or will be."""
        notes = self._there.ids_of(Kind.NOTE) | plan.need.notes
        return len(notes) >= self._root.notes.notes

    def send(self, plan: _Plan, progress: Callable[[int], None] | None) -> None:
        """Send it, and replace root; raises _Changed."""
        bucket, entropy = self._remote.bucket, self._store.entropy
        upload = entropy(UPLOAD_BYTES)
        bucket.update(partial(registered, upload=upload))
        self._remote.begin_upload(upload)
        sender = PackSender(self._remote, upload, Catalogue(()), progress, plain=True)
        sent = sender.send(plan.need)
        writer = IndexWriter()
        for index in sent.indexes:
            writer.add_index(index)
        kept = self._untold(writer, plan.ids)
        own = bucket.put_index(upload, writer, self._remote)
        seen = self._root

        def landed(root: Root) -> bool:
            return own in root.indexes

        def change(root: Root) -> Root | None:
            if landed(root):
                return None
            if root.indexes != seen.indexes or upload not in root.uploads:
                raise _Changed
            notes = self._there.ids_of(Kind.NOTE) | plan.need.notes
            uploads = {known: at for known, at in root.uploads.items() if known != upload}
            return replace(root, indexes=(*kept, own), notes=seal_notes(notes), uploads=uploads)

        bucket.update(change, landed=landed, upload=upload)
        self._store.database.write(partial(self._remote.note_seen, finished=True))

    def _untold(self, writer: IndexWriter, dropped: set[Id]) -> list[IndexName]:
        """The indexes that tell of nothing sent anew; what others tell of the rest goes along."""
        kept = []
        names = {name.id: name for name in self._root.indexes}
        for index in self._there.indexes:
            if index.id in self._lost or any(index.row_of(id) >= 0 for id in dropped):
                writer.add_index(index, _without(index, dropped))
            else:
                kept.append(names[index.id])
        return kept

    def _notes(self) -> Iterator[Id]:
        """The notes of the bucket, and where an index is lost also those of here about it."""
        yield from self._there.ids_of(Kind.NOTE)
        if self.guesses:
            yield from self._store.database.read(
                lambda tables: list(tables.ids_under(Lookup.TARGET))
            )

    def _payload(self, id: Id, *, here: bool) -> bytes:
        if here:
            try:
                return self._store.near_reader.object(id)[1]
            except CastoreError:
                if id in self._broken or not self._there.has(id):
                    raise
        return self._far.object(id)[1]

    def _below(self, id: Id, kind: Kind, payload: bytes) -> list[Id]:
        needed = needs(kind, payload, forgotten=id in self._root.forgotten)
        return [edge.target for edge in needed]


def _without(index: Index, dropped: set[Id]) -> list[bool]:
    return [member.id not in dropped for member in index.members()]
