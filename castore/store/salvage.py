"""Salvage: what is readable in a damaged store copied into a new one, and what is lost named.

Nothing is mended in place. The damaged files are only read, and never mapped, so that they need
not open and cannot kill the reader. Bytes are compared with their ids before they are stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from castore.database.copying import appearing, replace_file
from castore.database.environment import CARRIED_FILES, Database, build
from castore.database.failures import using_files, writing_copy
from castore.database.identity import Identity
from castore.database.operations import Operation, RefMove
from castore.database.reading import Index
from castore.database.relics import Relics
from castore.database.tables import STAGE_BATCH, UUID_BYTES, ObjectRow, Removal, State
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput, WouldOverwrite
from castore.model.ids import Id, Kind
from castore.model.limits import ID_BYTES
from castore.model.refs import lost_ref
from castore.store.homes import versions_under
from castore.store.opening import clock, find_store, is_store
from castore.store.salvage_blocks import BlockRescue, Rescued
from castore.store.salvage_history import (
    Believed,
    Moved,
    believed,
    find_refs,
    manifest_of,
    replayed,
)
from castore.store.salvage_records import logged_forgotten, put_pins, released
from castore.store.salvage_report import SalvageReport
from castore.store.store import Store
from castore.store.verify import fsck
from castore.store.verify_closure import ClosureCheck
from castore.store.verify_report import Finding, Findings
from castore.store.version import Version

OPERATION: Final = "salvage"
# In the detail of that: the entries of the log that were lost then, as (first, last).
_LOST: Final = "lost"
_STEP: Final = 1_000
_DAMAGE_SHOWN: Final = 1_000


def salvage(
    where: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
    progress: Callable[[int], None] | None = None,
) -> SalvageReport:
    """Copy what is readable in the store at `where` to a store in the folder `destination`.

    `where` may be too damaged to open; it is not changed, and nobody may write to it meanwhile. The
    new store appears whole or not at all; it has a uuid of its own. A `destination` that an earlier
    salvage of this store made gets only what it lacks. Versions of which something is lost stay in
    history; what is lost is marked, so that reading it says so and `fsck` names it. `progress` is
    told bytes of blocks. Raises StoreNotFound, CorruptObject where there is no data file at all,
    WouldOverwrite, Conflict for a store that is no salvage of this one, Locked, StoreFull.
    """
    source, folder = find_store(where), Path(destination).absolute()
    _check_place(source, folder)
    with using_files(source):
        found = Relics(source)
    with found as relics:
        with using_files(source):
            identity = relics.identity(entropy)
        task = _Salvage(relics, identity, folder, progress)
        if is_store(folder):
            database = Database.open(folder)
            try:
                return task.add_to(Store(database, now=now, entropy=entropy))
            finally:
                database.close()
        with appearing(folder) as temporary:
            with writing_copy(folder):
                build(temporary, Identity(entropy(UUID_BYTES), identity.project), now())
                for name in CARRIED_FILES:
                    replace_file(source / name, temporary / name)
            database = Database.open(temporary)
            try:
                return task.fill(Store(database, now=now, entropy=entropy))
            finally:
                database.close()


def _check_place(source: Path, folder: Path) -> None:
    own, found = source.resolve(), folder.resolve()
    if found == own or own in found.parents:
        raise InvalidInput(
            f"{str(folder)!r} lies in the damaged store itself", fix="name a folder elsewhere"
        )
    if is_store(folder) or not os.path.lexists(folder):
        if not folder.parent.is_dir():
            raise InvalidInput(
                f"{str(folder.parent)!r} is not a folder", fix=f"mkdir -p {folder.parent}"
            )
        return
    if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
        raise WouldOverwrite(
            f"{str(folder)!r} exists and is no store", fix="name a folder that does not exist"
        )


class _Missing(Findings):
    """What is needed and not there, without any bound: each is to be marked as lost."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[Id, Kind] = {}

    def add(self, object: Id, kind: str, where: str, detail: str) -> None:  # noqa: ARG002
        """Note an object."""
        if len(object) == ID_BYTES and kind.upper() in Kind.__members__:
            self.ids.setdefault(object, Kind[kind.upper()])


@dataclass(slots=True)
class _Salvage:
    """One salvage of what `relics` has."""

    relics: Relics
    identity: Identity
    folder: Path
    progress: Callable[[int], None] | None

    def fill(self, store: Store) -> SalvageReport:
        """Everything that is readable, into an empty store."""
        log = believed(self.relics)
        numbers = {entry.sequence: at for at, entry in enumerate(log.entries, 1)}
        forgotten = {
            id: _renumbered(removal, numbers)
            for id, removal in self.relics.removals["forgotten"].items()
        }
        if log.whole:
            forgotten = logged_forgotten(self.relics.operation(entry) for entry in log.entries)
        store.database.write(lambda tables: self._put_removals(tables, numbers, forgotten))
        rescued = self._rescue(store)
        self._put_log(store, log)
        places = replayed(self.relics.operation(entry) for entry in log.entries)
        gone = self._released(store, log)
        refs, moved = find_refs(store, self.relics, log, places, gone)
        if moved or not log.whole or rescued.damaged or self.relics.damage:
            refs |= _adopted(store, refs.values(), gone)
        at = store.now()

        def put_rows(tables: Writing) -> None:
            self._put_rows(tables, refs)
            put_pins(tables, self.relics.rows["pins"], at, whole=log.whole)

        store.database.write(put_rows)
        _mark_lost(store, gone)
        now = {name: ids[-1] for name, ids in places.items()}
        moves = [
            (name, now.get(name, b""), refs.get(name, b""))
            for name in sorted(refs.keys() | now.keys())
            if now.get(name, b"") != refs.get(name, b"")
        ]
        self._record(store, moves, rescued, log.lost)
        self.relics.check_unchanged()
        report = self._report(store, rescued, log.lost, moved)
        return replace(report, created=True, operations=len(log.entries), refs=len(refs))

    def add_to(self, store: Store) -> SalvageReport:
        """What is readable and not there yet, into what an earlier salvage made."""
        earlier = self._earlier(store)
        log = believed(self.relics)
        rescued = self._rescue(store)
        places = replayed(self.relics.operation(entry) for entry in log.entries)
        gone = self._released(store, log)
        refs, moved = find_refs(store, self.relics, log, places, gone)
        theirs = replayed(iter(store.database.read(lambda t: list(t.operations_from(1)))))
        fresh = {name: id for name, id in refs.items() if id and name not in theirs}
        if fresh or rescued.blocks:
            store.database.write(lambda tables: _put_refs(tables, fresh))
            _mark_lost(store, gone)
            moves = [(name, b"", id) for name, id in sorted(fresh.items())]
            self._record(store, moves, rescued, log.lost)
        self.relics.check_unchanged()
        # The log came over once: what the source has lost of it since is there.
        lost = _numbers(earlier.detail.get(_LOST, ()))
        return replace(self._report(store, rescued, lost, moved), refs=len(fresh))

    def _earlier(self, store: Store) -> Operation:
        """The entry of the salvage that made the store; raises Conflict if it was of another."""
        made = store.database.read(lambda tables: list(tables.operations_by_id(OPERATION)))
        ours = [one for one in made if one.detail.get("source") == self.identity.uuid]
        if not ours:
            raise Conflict(
                f"{self.folder} is no salvage of the store {self.identity.uuid.hex()}",
                fix="name a folder that does not exist",
            )
        return min(ours, key=lambda one: one.sequence)

    def _released(self, store: Store, log: Believed) -> frozenset[Id]:
        if not log.whole:
            return frozenset()
        return released(store, [self.relics.operation(entry) for entry in log.entries])

    def _rescue(self, store: Store) -> Rescued:
        rescue = BlockRescue(self.relics, store.database, self.progress)
        rescue.run()
        return rescue.done

    def _put_removals(
        self, tables: Writing, numbers: dict[int, int], forgotten: dict[Id, Removal]
    ) -> None:
        """What may never be stored again, before anything is."""
        for id, removal in forgotten.items():
            tables.forget(id, removal)
        for id, removal in self.relics.removals["purged"].items():
            tables.record_purged(id, _renumbered(removal, numbers))
        for id, row in self.relics.states.items():
            tables.put_object_row(id, ObjectRow(0, 0, row.kind, row.state))
        for id in self.relics.removals["purged"].keys() - self.relics.states.keys():
            tables.put_object_row(id, ObjectRow(0, 0, Kind.CHUNK, State.PURGED))

    def _put_log(self, store: Store, log: Believed) -> None:
        for at in range(0, len(log.entries), _STEP):

            def put(tables: Writing, at: int = at) -> None:
                for entry in log.entries[at : at + _STEP]:
                    found = self.relics.operation(entry)
                    tables.append_operation(
                        found.op,
                        op_id=found.op_id,
                        at=found.at,
                        by=found.by,
                        why=found.why,
                        refs=found.refs,
                        detail=found.detail,
                    )

            store.database.write(put)

    def _put_rows(self, tables: Writing, refs: dict[str, Id]) -> None:
        _put_refs(tables, refs)
        for key, value in self.relics.rows["stage"]:
            if key.startswith(STAGE_BATCH):
                ids = [value[at : at + ID_BYTES] for at in range(0, len(value), ID_BYTES)]
                there = tables.present(id for id in ids if len(id) == ID_BYTES)
                value = b"".join(id for id in ids if id in there)
            tables.replace_rows("stage", [(key, value)])
        tables.bump_generation()

    def _record(
        self, store: Store, moves: list[RefMove], rescued: Rescued, lost: list[int]
    ) -> None:
        at = store.now()
        detail = {
            "source": self.identity.uuid,
            "blocks": rescued.blocks,
            _LOST: [list(run) for run in islice(_runs(lost), _STEP)],
        }

        def put(tables: Writing) -> None:
            tables.append_operation(
                OPERATION,
                op_id=OPERATION,
                at=at,
                by="",
                why=f"salvaged from {self.relics.folder}",
                refs=moves,
                detail=detail,
            )

        store.database.write(put)

    def _report(
        self, store: Store, rescued: Rescued, lost_entries: list[int], moved: list[Moved]
    ) -> SalvageReport:
        found = fsck(store)
        damage = [f"data.mdb: {text}" for text in self.relics.damage]
        for where, detail in (*self.relics.unreadable, *rescued.damaged):
            damage.append(detail if detail.startswith(where) else f"{where}: {detail}")
        lost = [*_lost_history(store, lost_entries, moved), *found.findings]
        return SalvageReport(
            source=self.relics.folder,
            folder=self.folder,
            created=False,
            blocks=rescued.blocks,
            objects=rescued.objects,
            bytes=rescued.bytes,
            operations=0,
            refs=0,
            damage=tuple(dict.fromkeys(damage[:_DAMAGE_SHOWN])),
            lost=tuple(lost),
            more=found.more,
        )


def _renumbered(removal: Removal, numbers: dict[int, int]) -> Removal:
    """The same, with the number that its operation has in the new log; "" for one that is lost."""
    if not removal.op.isdigit():
        return removal
    number = numbers.get(int(removal.op))
    return removal._replace(op=str(number) if number else "")


def _put_refs(tables: Writing, refs: dict[str, Id]) -> None:
    tables.replace_rows("refs", [(name.encode(), id) for name, id in refs.items()])


def _adopted(store: Store, starts: Iterable[Id], gone: frozenset[Id]) -> dict[str, Id]:
    """Refs for the newest of versions that no ref leads to any more: `lost/<branch>/<id>`.

    Of those in `gone`, which a collection may have begun to take, only what is there in full.
    """
    reached = _reach(store, [id for id in starts if id])
    lone: dict[Id, str] = {}
    held: set[Id] = set()
    for id in versions_under(store, [(Index.TIME, b"")]):
        manifest = manifest_of(store, id) if id not in reached else None
        if manifest is not None and manifest.complete:
            if id in gone and not _is_whole(store, Version(id, manifest, manifest.branch)):
                continue
            lone[id] = manifest.branch
            held.update(manifest.parents)
    return {lost_ref(branch, id): id for id, branch in lone.items() if id not in held}


def _is_whole(store: Store, version: Version) -> bool:
    missing = _Missing()
    ClosureCheck(store, missing).version(version)
    return not missing.ids


def _reach(store: Store, starts: list[Id]) -> set[Id]:
    reached: set[Id] = set()
    while starts:
        id = starts.pop()
        if id in reached:
            continue
        reached.add(id)
        manifest = manifest_of(store, id)
        starts.extend(manifest.parents if manifest else ())
    return reached


def _mark_lost(store: Store, gone: frozenset[Id]) -> None:
    """Note of every object that a version not `gone` needs, and that is not there: it is lost."""
    missing = _Missing()
    closure = ClosureCheck(store, missing)
    for id in versions_under(store, [(Index.TIME, b"")]):
        manifest = manifest_of(store, id) if id not in gone else None
        if manifest is not None:
            closure.version(Version(id, manifest, manifest.branch))
    ids = iter(missing.ids.items())
    while batch := list(islice(ids, _STEP)):
        store.database.write(partial(_put_lost, batch=batch))


def _put_lost(tables: Writing, batch: list[tuple[Id, Kind]]) -> None:
    for id, kind in batch:
        if tables.object_row(id) is None:
            tables.put_object_row(id, ObjectRow(0, 0, kind, State.LOST))


def _lost_history(store: Store, entries: list[int], moved: list[Moved]) -> Iterator[Finding]:
    for ref in moved:
        now = f"it is at {store.version(ref.now).label} now" if ref.now else "it is gone"
        yield Finding(ref.was, "ref", ref.name, f"its version is lost: {now}")
        for id in ref.others:
            yield Finding(id, "manifest", ref.name, "a version before that one, lost as well")
    for first, last in _runs(entries):
        which = f"operation {first}" if first == last else f"operations {first} to {last}"
        yield Finding(b"", "operation", which, "lost from the log; those behind have new numbers")


def _numbers(runs: Iterable[Sequence[int]]) -> list[int]:
    return [number for first, last in runs for number in range(first, last + 1)]


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, last) of those that follow each other."""
    begin = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[begin], numbers[at - 1]
            begin = at
