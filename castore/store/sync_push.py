"""Pushing: versions, and what is said of them, sent to a bucket; its refs move all or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import Locked, PermissionDenied, RemoteMoved
from castore.model.ids import Id, Kind
from castore.model.refs import HEADS, remote_ref
from castore.remote.bucket import Bucket, look
from castore.remote.index import Catalogue, Index, IndexWriter
from castore.remote.keys import UPLOAD_BYTES
from castore.remote.root import IndexName, Root, seal_notes
from castore.remote.transport import Transport
from castore.remote.uploads import registered
from castore.store.collect import await_quiet
from castore.store.staging import expired
from castore.store.store import Store
from castore.store.sync_inbox import empty_inbox, find_in_inbox, leave_in_inbox, take_from_inbox
from castore.store.sync_need import Moved, Need, find_need, stored_bytes
from castore.store.sync_plan import (
    Move,
    chosen_refs,
    moved_elsewhere,
    moved_refs,
    plan_moves,
    still_open,
)
from castore.store.sync_proof import Part, Parts, find_short
from castore.store.sync_remote import Remote, connect
from castore.store.sync_removals import Removals, lacks, refuse_unfetched, removals_of
from castore.store.sync_report import PushReport
from castore.store.sync_send import PackSender

PUSH: Final = "push"
_TRIES: Final = 20
_MOVES: Final = 50
_QUIET: Final = 0.05
_INDEXES: Final = 32  # Above so many the smallest are put together.
_INDEXES_KEPT: Final = 16
_MERGED_BYTES: Final = 64 << 20


_Decision: TypeAlias = tuple[list[Id], list[Move]]
"""The versions to send, and the refs that are to move."""
_Decide: TypeAlias = Callable[[Reading, Root], _Decision]


class _Again(Exception):
    """The bucket changed so that the plan does not hold any more: make another."""


def push(
    store: Store,
    name: str,
    transport: Transport,
    refs: Sequence[str] = (),
    *,
    by: str = "",
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    sleep: Callable[[float], None] | None = None,
) -> PushReport:
    """Send branches and tags, or all of them, with what they need and what is said of them.

    All refs move or none; a branch only forwards. What was forgotten or purged here is so there.
    May be interrupted at any moment, and goes on from the packs that arrived. Raises RefMoved,
    TagExists and Conflict with nothing moved, the last also where versions there that were not
    fetched have what was purged here; RemoteMoved, RemoteError, OutcomeUnknown.
    """

    def decide(tables: Reading, root: Root) -> _Decision:
        chosen = chosen_refs(tables, refs)
        return list(chosen.values()), plan_moves(tables, chosen, root, name)

    if dry_run and look(transport) is None:
        nothing = Root(store.database.project, bytes(UPLOAD_BYTES))
        plan = _planned(store, nothing, Catalogue(()), decide, name, transport.url)
        return replace(plan.report, dry_run=True)
    return _push(store, name, transport, decide, by, progress, sleep, dry_run=dry_run)


def push_moves(
    store: Store,
    name: str,
    transport: Transport,
    moves: Sequence[Move],
    *,
    by: str = "",
    parts: Parts | None = None,
    progress: Callable[[int], None] | None = None,
    sleep: Callable[[float], None] | None = None,
) -> PushReport:
    """Send these very moves of branches and tags, backwards ones and deletions too, and notes.

    What of `parts` they need is published with them. Raises RefMoved, with nothing moved, for a ref
    that is not where its move begins, and ObjectNotFound for a part that is gone; else as `push`.
    """

    def decide(_: Reading, root: Root) -> _Decision:
        for ref, old, new in moves:
            there = root.refs.get(ref, b"")
            if there not in (old, new) or (new and ref in root.tombs):
                raise moved_elsewhere(transport.url, Move(ref, old, new), there)
        return [new for _, _, new in moves if new], [
            move for move in moves if root.refs.get(move.ref, b"") != move.new
        ]

    return _push(store, name, transport, decide, by, progress, sleep, parts, dry_run=False)


def _push(
    store: Store,
    name: str,
    transport: Transport,
    decide: _Decide,
    by: str,
    progress: Callable[[int], None] | None,
    sleep: Callable[[float], None] | None,
    parts: Parts | None = None,
    *,
    dry_run: bool,
) -> PushReport:
    staged = parts or Parts()
    remote = connect(store, name, transport, create=True, sleep=sleep)

    def attempt(root: Root, there: Catalogue) -> PushReport:
        plan = _planned(store, root, staged.over(there), decide, name, transport.url)
        refuse_unfetched(remote, root, there, plan.removals)
        if dry_run:
            return replace(plan.report, dry_run=True)
        pushing = _Push(remote, root, there, plan, by, progress, staged)
        inbox = find_in_inbox(store, remote.transport, there)
        # What waits counts here as soon as it is stored: that is for who may make it count there.
        if inbox.new and pushing.may_publish():
            take_from_inbox(store, name, inbox, by=by)
            pushing.plan = _planned(store, root, staged.over(there), decide, name, transport.url)
        done = pushing.run()
        if inbox.ids and not done.waits:
            sent = remote.bucket.read().root
            empty_inbox(remote.transport, inbox.ids, remote.bucket.catalogue(sent, remote))
        return done

    changed = moved = 0
    while changed < _TRIES and moved < _MOVES:
        try:
            return remote.at_rest(attempt)
        except _Again:
            changed += 1
        except Moved:
            # A collection here: what it moved is looked for again when it is done.
            await_quiet(store, _QUIET * 2 ** min(moved, 6), sleep or time.sleep)
            moved += 1
    if changed < _TRIES:
        raise Locked(f"{store.folder}: collections are under way", fix="wait for them")
    raise RemoteMoved(
        f"{transport.url}: it changed {_TRIES} times while this was sent", fix=f"cas push {name}"
    )


class _Plan(NamedTuple):
    """What a push is to do; `report` says so, its bytes those that the blocks take here."""

    moves: list[Move]
    removals: Removals
    need: Need
    report: PushReport


def _planned(
    store: Store, root: Root, there: Catalogue, decide: _Decide, remote: str, url: str
) -> _Plan:
    """The plan for a root and what it leads to; raises Moved, RefMoved, TagExists, Conflict."""

    def plan(tables: Reading) -> tuple[_Decision, Removals]:
        return decide(tables, root), removals_of(tables, root)

    (starts, moves), removals = store.database.read(plan)
    gone = (removals.tombs & root.refs.keys()) - {move.ref for move in moves}
    moves = [*moves, *(Move(ref, root.refs[ref], b"") for ref in sorted(gone))]
    need = find_need(store, starts, there, root.forgotten, root.purged)
    report = PushReport(
        remote,
        url,
        tuple(moves),
        need.objects,
        len(need.notes),
        packs=0,
        bytes=store.database.read(lambda tables: stored_bytes(tables, need)),
        forgotten=len(removals.forgotten.keys() - root.forgotten.keys()),
        purged=len(removals.purged.keys() - root.purged.keys()),
    )
    return _Plan(moves, removals, need, report)


class _Push:
    """One attempt, from the root as it was read."""

    def __init__(
        self,
        remote: Remote,
        root: Root,
        there: Catalogue,
        plan: _Plan,
        by: str,
        progress: Callable[[int], None] | None,
        staged: Parts,
    ) -> None:
        self._staged = staged
        self._parts: list[Part] = []
        self._remote = remote
        self._store = remote.store
        self._bucket: Bucket = remote.bucket
        self.plan = plan
        self._by = by
        self._progress = progress
        self._root = root
        self._there = there
        self._listed = {index.id for index in root.indexes}
        self._upload = b""

    def may_publish(self) -> bool:
        """Whether the root may be replaced; an upload is registered then."""
        try:
            self._upload = self._register()
        except PermissionDenied:
            return False
        return True

    def run(self) -> PushReport:
        moves, removals, need, report = self.plan
        if not (moves or need.objects or lacks(self._root, removals)):
            self._finish(self._root, moves)
            return replace(report, bytes=0)
        try:
            upload = self._upload or self._register()
        except PermissionDenied:
            if moves or need.objects > len(need.notes) or not need.notes:
                raise
            new = leave_in_inbox(self._store, self._remote.transport, need.notes)
            return replace(report, bytes=0, inbox=new, waits=True)
        sender = PackSender(self._remote, upload, self._staged.over(self._there), self._progress)
        sent = sender.send(need)
        self._take_parts(need)
        index = self._index(need, sent.indexes)
        root = self._publish(upload, index, need, moves, removals)
        self._staged.drop(self._parts)
        self._finish(root, moves)
        return replace(report, packs=sent.packs, bytes=sent.bytes)

    def _register(self) -> bytes:
        """The upload that packs are sent under: that of an interrupted push, if it is still known.

        It ends when what it sent is published: a collector may then remove what is not indexed.
        """
        before = self._remote.state.upload
        if before and before in self._root.uploads:
            return before
        upload = self._store.entropy(UPLOAD_BYTES)

        self._bucket.update(partial(registered, upload=upload), upload=upload)
        self._remote.begin_upload(upload)
        return upload

    def _take_parts(self, need: Need) -> None:
        """See what was staged that this needs; raises ObjectNotFound for what is gone of it."""
        self._parts = self._staged.used(need, self._there)
        gone = [part for part in self._parts if part.lacks(self._root, self._there)]
        gone = gone or find_short(self._remote.transport, self._parts)
        if gone:
            self._staged.drop(gone)
            raise expired(gone[0].id, gone[0].name)
        for part in self._parts:
            need.relied.update(part.relied)
            for base, depth in part.rests.items():
                need.rest(base, depth)

    def _index(self, need: Need, packs: Sequence[Index]) -> IndexWriter:
        """The index of what was sent; of packs of an earlier push only what is needed now."""
        writer = IndexWriter()
        for index in packs:
            ids = [member.id for member in index.members()]
            writer.add_index(index, self._store.database.read(partial(need.among, ids=ids)))
        for part in self._parts:
            writer.add_index(part.index, part.alive)
        return writer

    def _publish(
        self,
        upload: bytes,
        writer: IndexWriter,
        need: Need,
        moves: Sequence[Move],
        removals: Removals,
    ) -> Root:
        """Replace the root by one that leads to what was sent; raises _Again."""
        own = None
        uploads = {part.upload for part in self._parts}
        ended = {upload, *self._staged.ending(self._parts)}
        if writer.blocks:
            own = self._bucket.put_index(upload, writer, self._remote)

        def landed(root: Root) -> bool:
            return own is not None and own in root.indexes

        def change(root: Root) -> Root | None:
            if landed(root):
                return None
            if not {upload, *uploads} <= root.uploads.keys():
                raise _Again
            if not all(still_open(root, move) for move in moves):
                raise _Again
            if removals.tombs & (root.refs.keys() - self._root.refs.keys()):
                raise _Again
            if root.refs != self._root.refs and removals.purged.keys() - root.purged.keys():
                raise _Again
            there = self._bucket.catalogue(root, self._remote)
            listed = {index.id for index in root.indexes}
            if not (self._listed <= listed or need.stands(self._with_parts(there))):
                raise _Again
            return replace(
                root,
                refs=moved_refs(root.refs, moves, removals.tombs),
                tombs=root.tombs | removals.tombs,
                indexes=self._indexes(upload, root, own),
                notes=seal_notes(there.ids_of(Kind.NOTE) | need.notes),
                forgotten={**removals.forgotten, **root.forgotten},
                purged={**removals.purged, **root.purged},
                uploads={known: at for known, at in root.uploads.items() if known not in ended},
            )

        return self._bucket.update(change, landed=landed, upload=upload)

    def _with_parts(self, there: Catalogue) -> Catalogue:
        return Catalogue((*there.indexes, *(part.index for part in self._parts)))

    def _indexes(self, upload: bytes, root: Root, own: IndexName | None) -> tuple[IndexName, ...]:
        """What a new root lists; the smallest are put together where they are many."""
        listed = (*root.indexes, own) if own is not None else root.indexes
        if len(listed) <= _INDEXES:
            return listed
        by_size = sorted(listed, key=lambda index: index.bytes)
        small = by_size[: len(listed) - _INDEXES_KEPT]
        while sum(index.bytes for index in small) > _MERGED_BYTES:
            small.pop()
        if len(small) < 2:
            return listed
        writer = IndexWriter()
        merging = replace(root, indexes=tuple(small))
        for index in self._bucket.catalogue(merging, self._remote).indexes:
            writer.add_index(index)
        merged = self._bucket.put_index(upload, writer, self._remote)
        return (*[index for index in listed if index not in small], merged)

    def _finish(self, root: Root, moves: Sequence[Move]) -> None:
        """Note here where the bucket's refs are, and what was seen of it."""
        at = self._store.now()

        def transact(tables: Writing) -> None:
            refs = []
            for ref, id in sorted(root.refs.items()):
                if not ref.startswith(HEADS) or not tables.present((id,)):
                    continue
                mirror = remote_ref(self._remote.name, ref.removeprefix(HEADS))
                current = tables.ref(mirror)
                if current != id and tables.set_if_equals(mirror, current, id):
                    refs.append((mirror, current or b"", id))
            self._remote.note_seen(tables, finished=True)
            self._remote.drop_unlisted(tables, [index.id for index in root.indexes])
            if moves or refs:
                detail = {
                    "remote": self._remote.name,
                    "refs": [[move.ref, move.old, move.new] for move in moves],
                }
                tables.bump_generation()
                tables.append_operation(PUSH, at=at, by=self._by, refs=refs, detail=detail)

        self._store.database.write(transact)
