"""Fetching: what a bucket has and the store lacks comes here; `remotes/NAME/*` tell where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias

from castore.content.reader import ObjectReader
from castore.database.reading import Reading, State
from castore.database.sink import StageSink
from castore.database.tables import ObjectRow, Removal
from castore.database.writing import Writing
from castore.errors import CorruptObject, ObjectNotFound
from castore.model.artifact_set import Artifact
from castore.model.ids import Id, Kind, short
from castore.model.refs import HEADS, TAGS, remote_ref
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue
from castore.remote.root import Removed, Root
from castore.remote.transport import Transport
from castore.store.purged_there import PurgedThere, purged_places, reliant_places
from castore.store.removals import PURGE, record_forgotten
from castore.store.stages import worker_header
from castore.store.store import Store
from castore.store.sync_depth import cut_history
from castore.store.sync_inbox import Waiting, look_into_inbox
from castore.store.sync_plan import Move, refs_named
from castore.store.sync_remote import Remote, connect
from castore.store.sync_sound import require_sound
from castore.store.sync_take import Intake
from castore.store.sync_walk import Lack, LackWalk

FETCH: Final = "fetch"
_Groups: TypeAlias = dict[tuple[int, str, str], list[Id]]


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a fetch brought, or with `dry_run` would bring.

    `moves` are refs `remotes/NAME/*` and tags here. `conflicts` are tags that name another version
    here than there, and stay. `purged` were purged there and still lie here, at `places`. `bytes`
    came in `requests`; a dry run tells what the blocks take there. `there` are all refs of the
    bucket, `waiting` notes in its inbox, which nobody who may write has taken along yet. `met`, of
    a dry run, are for each branch of the bucket the versions here that those to come rest on;
    `tips` what is in the newest of those branches that are here as well. `reliant` are places of
    what came that need bytes that were purged here, and cannot be read here.
    """

    remote: str
    url: str
    moves: tuple[Move, ...]
    conflicts: tuple[str, ...]
    purged: tuple[Id, ...]
    objects: int
    notes: int
    bytes: int
    requests: int
    dry_run: bool = False
    there: Mapping[str, Id] = field(default_factory=dict)
    waiting: tuple[Waiting, ...] = ()
    met: Mapping[str, Sequence[Id]] = field(default_factory=dict)
    places: tuple[PurgedThere, ...] = ()
    tips: Mapping[str, Sequence[Artifact]] = field(default_factory=dict)
    reliant: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was lacking."""
        return bool(self.moves or self.objects)

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "remote": self.remote,
            "url": self.url,
            "refs": [
                {"ref": m.ref, "old": m.old.hex() or None, "new": m.new.hex() or None}
                for m in self.moves
            ],
            "conflicts": list(self.conflicts),
            "purged": [id.hex() for id in self.purged],
            "purged_places": [place.as_json() for place in self.places],
            "purged_here": list(self.reliant),
            "objects": self.objects,
            "notes": self.notes,
            "bytes": self.bytes,
            "requests": self.requests,
            "dry_run": self.dry_run,
            "waiting": [note.as_json() for note in self.waiting],
        }


def fetch(
    store: Store,
    name: str,
    transport: Transport,
    refs: Sequence[str] = (),
    *,
    by: str = "",
    contents: bool = True,
    depth: int | None = None,
    inbox: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> FetchReport:
    """Bring branches and tags of a bucket, or all of them, with all they need and what is said.

    Everything is compared with its id before it is stored, and nothing names a version that is not
    here as a whole. Branches here do not move: `remotes/NAME/*` do. What was forgotten there is so
    here, unless its set lies here. Without `contents` files stay there until they are read; with
    `depth` no more than so many versions of each line come, 0 for all, also where history was cut
    before. With `inbox` it is told which notes wait there. Raises RefNotFound, CorruptObject for
    what a bucket should not hold, RemoteError.
    """
    remote = connect(store, name, transport)

    def bring(root: Root, catalogue: Catalogue) -> FetchReport:
        wanted = refs_named(root.refs, refs, f"{name} has no branch or tag", f"cas fetch {name}")
        found = _Fetch(
            remote, root, catalogue, wanted, by, progress, contents=contents, depth=depth
        )
        report = found.run(dry_run=dry_run)
        if not inbox:
            return report
        return replace(report, waiting=look_into_inbox(store, transport, catalogue))

    return remote.at_rest(bring)


class _Fetch:
    def __init__(
        self,
        remote: Remote,
        root: Root,
        catalogue: Catalogue,
        wanted: dict[str, Id],
        by: str,
        progress: Callable[[int], None] | None,
        *,
        contents: bool,
        depth: int | None,
    ) -> None:
        self._depth = depth
        self._remote = remote
        self._store = remote.store
        self._root = root
        self._wanted = wanted
        self._by = by
        self._progress = progress
        self._fetcher = BlockFetcher(remote.transport)
        self._far = FarObjects(catalogue, self._fetcher)
        self._reader = ObjectReader(self._far.load)
        self._walk = LackWalk(self._store, catalogue, self._reader, root, contents=contents)

    def run(self, *, dry_run: bool) -> FetchReport:
        if self._depth is not None:
            cut = cut_history(self._store, self._reader, self._wanted.values(), self._depth)
            self._walk.cut(cut.beyond)
            self._walk.versions(cut.wanted)
        self._walk.versions(self._wanted.values())
        self._walk.notes()
        self._walk.bases()
        self._refuse_partials()
        lack = self._walk.lack
        if dry_run:
            report = self._report(lack, self._store.database.read(self._moves), dry_run=True)
            heads = [ref for ref in self._wanted if ref.startswith(HEADS)]
            met = {ref: self._met(self._wanted[ref]) for ref in heads}
            return replace(report, met=met, tips=self._tips(met))
        session = self._store.entropy(16)
        header = worker_header(self._store.now(), os.getpid())
        sink = StageSink(self._store.database, session, header=header)
        try:
            record_removals(self._store, self._root)
            intake = Intake(self._store, sink, self._fetcher, self._far, lack, self._progress)
            intake.content()
            intake.promises()
            intake.objects()
            require_sound(self._store, self._wanted.values())
            moves = self._finish(session)
        except BaseException:
            sink.discard()
            raise
        versions = {wanted.id for wanted in lack.objects if wanted.kind is Kind.MANIFEST}
        reliant = reliant_places(self._store, lack.purged - self._root.purged.keys(), versions)
        return replace(self._report(lack, moves, dry_run=False), reliant=reliant)

    def _met(self, tip: Id) -> list[Id]:
        """The versions here that a version of the bucket is, or rests on by way of others there."""
        found: list[Id] = []
        waiting, seen = [tip], {tip}
        while waiting:
            id = waiting.pop()
            if self._store.database.read(partial(_stored, id=id)):
                found.append(id)
                continue
            # History may be cut there.
            with suppress(ObjectNotFound):
                above = [up for up in self._reader.manifest(id).parents if up not in seen]
                seen.update(above)
                waiting += above
        return found

    def _tips(self, met: Mapping[str, Sequence[Id]]) -> dict[str, Sequence[Artifact]]:
        """What is in the newest version of each branch that is here too, and is not here as far."""
        found: dict[str, Sequence[Artifact]] = {}
        for ref, rests in met.items():
            id = self._wanted[ref]
            if id in rests or self._store.database.read(partial(Reading.ref, name=ref)) is None:
                continue
            if id not in self._root.forgotten:
                found[ref] = self._reader.set(self._reader.manifest(id).set).artifacts
        return found

    def _refuse_partials(self) -> None:
        """No ref but one of `partial/` may name an incomplete set."""
        fetched = {wanted.id for wanted in self._walk.lack.objects}
        for ref, id in self._wanted.items():
            reader = self._reader if id in fetched else self._store.reader
            if not reader.manifest(id).complete:
                raise CorruptObject(
                    f"the bucket's {ref} names {short(id)}, an incomplete set", id=id.hex()
                )

    def _moves(self, tables: Reading) -> list[Move]:
        """The refs here that tell where those of the bucket are, and tags, that are to change."""
        moves: list[Move] = []
        for ref, id in sorted(self._wanted.items()):
            if ref.startswith(HEADS):
                mirror = remote_ref(self._remote.name, ref.removeprefix(HEADS))
                current = tables.ref(mirror) or b""
                if current != id:
                    moves.append(Move(mirror, current, id))
            elif tables.ref(ref) is None and not _taken(tables, ref):
                moves.append(Move(ref, b"", id))
        if self._wanted.keys() == self._root.refs.keys():
            moves += self._gone(tables)
        for ref in sorted(self._root.tombs):
            current = tables.ref(ref) or b""
            if ref.startswith(TAGS) and current:
                moves.append(Move(ref, current, b""))
        return moves

    def _gone(self, tables: Reading) -> list[Move]:
        """What tells of branches that the bucket has no more."""
        prefix = remote_ref(self._remote.name, "")
        return [
            Move(ref, id, b"")
            for ref, id in tables.refs(prefix)
            if HEADS + ref.removeprefix(prefix) not in self._root.refs
        ]

    def _finish(self, session: bytes) -> list[Move]:
        """Move refs to what came, all at once."""
        at = self._store.now()

        def transact(tables: Writing) -> list[Move]:
            moves = self._moves(tables)
            for ref, old, new in moves:
                if new:
                    tables.set_if_equals(ref, old or None, new)
                else:
                    tables.remove_if_equals(ref, old, tombstone=ref.startswith(TAGS))
            tables.drop_stage(session)
            self._remote.note_seen(tables)
            self._remote.drop_unlisted(tables, [index.id for index in self._root.indexes])
            if moves or self._walk.lack.notes:
                tables.bump_generation()
                detail = {"remote": self._remote.name, "notes": len(self._walk.lack.notes)}
                tables.append_operation(FETCH, at=at, by=self._by, refs=moves, detail=detail)
            return moves

        return self._store.database.write(transact)

    def _report(self, lack: Lack, moves: Sequence[Move], *, dry_run: bool) -> FetchReport:
        def look(tables: Reading) -> tuple[list[str], list[Id]]:
            conflicts = [
                ref.removeprefix(TAGS)
                for ref, id in sorted(self._wanted.items())
                if ref.startswith(TAGS) and tables.ref(ref) != id and _taken(tables, ref)
            ]
            return conflicts, [id for id in self._root.purged if _stored(tables, id)]

        conflicts, purged = self._store.database.read(look)
        size = sum(spot.stored for spot in lack.content.values())
        spots = {(*wanted.spot.pack, wanted.spot.offset): wanted.spot for wanted in lack.objects}
        size += sum(spot.stored for spot in spots.values())
        return FetchReport(
            self._remote.name,
            self._remote.bucket.url,
            tuple(moves),
            tuple(conflicts),
            tuple(purged),
            objects=len(lack.objects) + len(lack.chunks),
            notes=len(lack.notes),
            bytes=size if dry_run else self._fetcher.bytes,
            requests=0 if dry_run else self._fetcher.requests,
            dry_run=dry_run,
            there=self._root.refs,
            places=purged_places(self._store, self._root, purged),
        )


def record_removals(store: Store, root: Root) -> None:
    """What was forgotten or purged there is so here, where it does not lie here still.

    No bucket makes anything go that a store has.
    """

    def lacking(tables: Reading) -> tuple[_Groups, _Groups]:
        forgotten, purged = root.forgotten, root.purged
        return (
            _groups({id: r for id, r in forgotten.items() if not _whole(tables, id)}),
            _groups({id: r for id, r in purged.items() if _absent(tables, id)}),
        )

    def transact(tables: Writing) -> None:
        forgotten, purged = lacking(tables)
        for (at, by, why), ids in forgotten.items():
            record_forgotten(tables, ids, at=at, by=by, why=why)
        for (at, by, why), ids in purged.items():
            detail = {"files": ids, "objects": len(ids), "selectors": []}
            record = tables.append_operation(
                PURGE, op_id=PURGE, at=at, by=by, why=why, detail=detail
            )
            for id in ids:
                promised = tables.object_row(id)
                kind = promised.kind if promised is not None else Kind.CHUNK
                tables.put_object_row(id, ObjectRow(0, 0, kind, State.PURGED))
                tables.record_purged(id, Removal(at, by, why, str(record.sequence)))

    if any(store.database.read(lacking)):
        store.database.write(transact)


def _taken(tables: Reading, ref: str) -> bool:
    """Whether a tag of the bucket cannot be made here."""
    name = ref.removeprefix(TAGS)
    return tables.ref(ref) is not None or tables.tombstone(ref) or bool(tables.ref(HEADS + name))


def _groups(removed: Mapping[Id, Removed]) -> _Groups:
    """What was removed at once: ids by when, by whom and why."""
    groups: _Groups = {}
    for id, (at, by, _, why) in sorted(removed.items()):
        groups.setdefault((at, by, why), []).append(id)
    return groups


def _stored(tables: Reading, id: Id) -> bool:
    row = tables.object_row(id)
    return row is not None and row.state is State.STORED


def _whole(tables: Reading, id: Id) -> bool:
    """Whether a version was forgotten here, or its set lies here: what others let go of stays."""
    if tables.forgotten(id) is not None:
        return True
    if not _stored(tables, id):
        return False
    return _stored(tables, ObjectReader(tables.load).manifest(id).set)


def _absent(tables: Reading, id: Id) -> bool:
    """Whether nothing of an object lies here: what was promised only does not."""
    row = tables.object_row(id)
    return row is None or row.state is State.PROMISED
