"""Taking a bundle in: what it has and the store lacks comes here, then branches move forward."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from castore.content.reader import ObjectReader
from castore.database.environment import Database
from castore.database.failures import using_files
from castore.database.reading import Reading
from castore.database.sink import StageSink
from castore.database.writing import Writing
from castore.errors import (
    Conflict,
    CorruptObject,
    InvalidInput,
    ObjectNotFound,
    RefMoved,
    TagExists,
    WouldOverwrite,
)
from castore.model.ids import Id, Kind, short
from castore.model.names import quoted
from castore.model.refs import HEADS, TAGS
from castore.remote.bundle import BundleFile
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.store.opening import FOLDER, complete
from castore.store.promises import keep_history
from castore.store.stages import worker_header
from castore.store.store import Store
from castore.store.sync_fetch import record_removals
from castore.store.sync_plan import Move, descends, refs_named
from castore.store.sync_pull import Rebased, rebase_onto
from castore.store.sync_sound import require_sound
from castore.store.sync_take import Intake
from castore.store.sync_walk import LackWalk
from castore.store.taken_back import TakenBack, hint, taken_back

IMPORT: Final = "import"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What taking a bundle in did, or with `dry_run` would do.

    `moves` are branches that went forward or are new, and new tags; `rebased` the versions of here
    that were made anew, `takes_back` what that takes back of others; `ahead` branches that are
    further here than there. `bytes` is what blocks took in the bundle.
    """

    path: Path
    id: Id
    moves: tuple[Move, ...]
    rebased: tuple[Rebased, ...]
    ahead: tuple[str, ...]
    versions: int
    notes: int
    objects: int
    bytes: int
    dry_run: bool = False
    takes_back: tuple[TakenBack, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was lacking."""
        return bool(self.moves or self.objects)

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "bundle": str(self.path),
            "id": self.id.hex(),
            "refs": [
                {"ref": m.ref, "old": m.old.hex() or None, "new": m.new.hex()} for m in self.moves
            ],
            "rebased": [made.as_json() for made in self.rebased],
            "ahead": list(self.ahead),
            "versions": self.versions,
            "notes": self.notes,
            "objects": self.objects,
            "bytes": self.bytes,
            "dry_run": self.dry_run,
            "takes_back": [taken.as_json() for taken in self.takes_back],
        }


class _Plan(NamedTuple):
    forward: list[Move]
    diverged: list[Move]
    ahead: list[str]
    taken: list[TakenBack]


def import_bundle(
    store: Store,
    path: Path,
    refs: Sequence[str] = (),
    *,
    rebase: bool = False,
    by: str = "",
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Take in branches and tags of a bundle, or all, with what they need and what is said of them.

    Every byte is compared before it is stored, every new version checked as `fsck` does, and refs
    move last: all or none, branches only forwards. With `rebase` versions that only are here are
    made anew after those of the bundle. Raises InvalidInput for a bundle of another project,
    ObjectNotFound where what it begins after is not here, RefNotFound, RefMoved, TagExists,
    Conflict, CorruptObject; then no ref has moved.
    """
    with BundleFile(path) as bundle:
        return _Import(store, bundle, refs, rebase, by, progress).run(dry_run=dry_run)


class _Import:
    def __init__(
        self,
        store: Store,
        bundle: BundleFile,
        refs: Sequence[str],
        rebase: bool,
        by: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._store = store
        self._bundle = bundle
        self._root = bundle.head.root
        self._rebase = rebase
        self._by = by
        self._progress = progress
        self._fetcher = BlockFetcher(bundle)
        self._check_project()
        self._check_needs()
        self._wanted = self._chosen(refs)
        self._far = FarObjects(bundle.catalogue(), self._fetcher)
        bundle.compare()
        self._reader = ObjectReader(self._far.load)

    def run(self, *, dry_run: bool) -> ImportReport:
        """Take the bundle in, or tell what that would do."""
        try:
            return self._run(dry_run=dry_run)
        except CorruptObject as error:
            # What is shared with buckets speaks of one.
            said = error.message.replace("bucket", "bundle")
            error.message = f"{self._bundle.url}: {said}"
            error.args = (error.message,)
            error.fix = f"cas bundle verify {quoted(self._bundle.url)}"
            raise

    def _run(self, *, dry_run: bool) -> ImportReport:
        try:
            self._walk = self._walked()
        except CorruptObject:
            # What it begins after may be here without its files.
            if not self._bundle.head.needs or self._store.bring is None:
                raise
            keep_history(self._store, [need.id for need in self._bundle.head.needs])
            self._walk = self._walked()
        lack = self._walk.lack
        self._new = {wanted.id for wanted in lack.objects if wanted.kind is Kind.MANIFEST}
        self._check_notes()
        self._check_complete()
        plan = self._store.database.read(lambda tables: self._plan(tables, self._new))
        if dry_run:
            return self._report(plan, (), dry_run=True)
        session = self._store.entropy(16)
        header = worker_header(self._store.now(), os.getpid())
        sink = StageSink(self._store.database, session, header=header)
        try:
            intake = Intake(self._store, sink, self._fetcher, self._far, lack, self._progress)
            record_removals(self._store, self._root)
            intake.content()
            intake.objects()
            require_sound(self._store, self._wanted.values())
            return self._report(*self._finish(session), dry_run=False)
        except BaseException:
            sink.discard()
            raise

    def _walked(self) -> LackWalk:
        walk = LackWalk(self._store, self._far.catalogue, self._reader, self._root)
        walk.versions(self._wanted.values())
        walk.notes()
        walk.bases()
        return walk

    def _check_project(self) -> None:
        own, theirs = self._store.database.project, self._root.project
        if own != theirs:
            raise InvalidInput(
                f"{self._bundle.url} is of another project ({theirs.hex()}) than this store "
                f"({own.hex()})",
                fix=f"cas bundle import --init {quoted(self._bundle.url)}, in another folder",
            )

    def _check_needs(self) -> None:
        needs = self._bundle.head.needs
        here = self._store.database.read(lambda tables: tables.present([n.id for n in needs]))
        absent = [need for need in needs if need.id not in here]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            raise ObjectNotFound(
                f"{self._bundle.url} begins after {absent[0].label} ({short(absent[0].id)}){more}, "
                "which is not here",
                fix="import the bundle that has it first, or have one made without --since",
                needs=[{"id": need.id.hex(), "label": need.label} for need in absent],
            )

    def _chosen(self, names: Sequence[str]) -> dict[str, Id]:
        url = self._bundle.url
        lack, fix = f"{url} has no branch or tag", f"cas bundle show {quoted(url)}"
        return refs_named(self._root.refs, names, lack, fix)

    def _check_notes(self) -> None:
        for id in self._walk.lack.notes:
            if self._reader.note(id).scope != self._store.database.project:
                raise CorruptObject(f"note {id.hex()} is for another project", id=id.hex())

    def _check_complete(self) -> None:
        for ref, id in self._wanted.items():
            reader = self._reader if id in self._new else self._store.reader
            if not reader.manifest(id).complete:
                raise CorruptObject(f"its {ref} names {short(id)}, an incomplete set", id=id.hex())

    def _plan(self, tables: Reading, lacking: Collection[Id]) -> _Plan:
        """Where refs go; `lacking` are versions that are not here yet. Raises as `import_bundle`.

        Branches that diverged are only told of where they are to be made anew.
        """
        plan = _Plan([], [], [], [])
        for ref, new in sorted(self._wanted.items()):
            old = tables.ref(ref) or b""
            if old == new:
                continue
            name = ref.partition("/")[2]
            if ref.startswith(TAGS) and (old or tables.tombstone(ref)):
                what = f"is {short(old)} here" if old else "was deleted here"
                raise TagExists(
                    f"tag {name!r} {what}, and {short(new)} in {self._bundle.url}: tags never "
                    "move; nothing was taken in",
                    fix="name the branches and tags to take in, without it",
                )
            other = (TAGS if ref.startswith(HEADS) else HEADS) + name
            if not old and (tables.ref(other) or tables.tombstone(other)):
                kind = "tag" if other.startswith(TAGS) else "branch"
                raise Conflict(
                    f"{name!r} is a {kind} here: a branch and a tag may not share a name",
                    fix="name the branches and tags to take in, without it",
                )
            met = self._met(new, lacking)
            if not old or any(descends(tables, id, old) for id in met):
                plan.forward.append(Move(ref, old, new))
            elif new not in lacking and descends(tables, old, new):
                plan.ahead.append(name)
            else:
                plan.diverged.append(Move(ref, old, new))
                plan.taken.extend(self._taken(tables, plan.diverged[-1], met))
        if plan.diverged and not self._rebase:
            raise self._diverged(plan)
        return plan

    def _met(self, new: Id, lacking: Collection[Id]) -> list[Id]:
        """The versions here that a version is, or rests on by way of those that are lacking."""
        found, seen, waiting = [], {new}, [new]
        while waiting:
            id = waiting.pop()
            if id not in lacking:
                found.append(id)
                continue
            news = [p for p in self._reader.manifest(id).parents if p not in seen]
            seen.update(news)
            waiting.extend(news)
        return found

    def _taken(self, tables: Reading, move: Move, rests: Sequence[Id]) -> list[TakenBack]:
        """What a rebase takes back in a branch."""
        name, old, new = move.name, move.old, move.new
        if new in rests:
            return taken_back(tables, name, old, new)
        if new in self._root.forgotten:
            return []
        theirs = self._reader.set(self._reader.manifest(new).set).artifacts
        return taken_back(tables, name, old, new, rests=rests, theirs=theirs)

    def _diverged(self, plan: _Plan) -> RefMoved:
        moves = plan.diverged
        names = [move.name for move in moves]
        what = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
        return RefMoved(
            f"{what}: {short(moves[0].old)} here and {short(moves[0].new)} in {self._bundle.url} "
            f"have each what the other lacks; nothing was taken in{hint(plan.taken)}",
            fix=f"cas bundle import --rebase {quoted(self._bundle.url)} {names[0]}",
            branches=names,
            takes_back=[taken.as_json() for taken in plan.taken],
        )

    def _finish(self, session: bytes) -> tuple[_Plan, list[Rebased]]:
        """Move refs to what came, all at once."""
        at = self._store.now()

        def transact(tables: Writing) -> tuple[_Plan, list[Rebased]]:
            plan = self._plan(tables, ())
            rebased: list[Rebased] = []
            for ref, old, new in plan.forward:
                tables.set_if_equals(ref, old or None, new)
            for ref, old, new in plan.diverged:
                made = rebase_onto(tables, ref.removeprefix(HEADS), old, new)
                rebased += made
                tables.set_if_equals(ref, old, made[-1].new)
                plan.forward.append(Move(ref, old, made[-1].new))
            tables.drop_stage(session)
            if plan.forward or self._walk.lack.notes:
                tables.bump_generation()
                detail = {
                    "bundle": self._bundle.id,
                    "notes": len(self._walk.lack.notes),
                    "rebased": [[r.branch, r.old, r.new] for r in rebased],
                }
                tables.append_operation(
                    IMPORT, at=at, by=self._by, refs=plan.forward, detail=detail
                )
            return plan, rebased

        return self._store.database.write(transact)

    def _report(self, plan: _Plan, rebased: Sequence[Rebased], *, dry_run: bool) -> ImportReport:
        lack = self._walk.lack
        spots = {(*wanted.spot.pack, wanted.spot.offset): wanted.spot for wanted in lack.objects}
        spots |= lack.content
        return ImportReport(
            self._bundle.path,
            self._bundle.id,
            tuple(plan.forward),
            tuple(rebased),
            tuple(plan.ahead),
            versions=len(self._new),
            notes=len(lack.notes),
            objects=len(lack.objects) + len(lack.chunks),
            bytes=sum(spot.stored for spot in spots.values()),
            dry_run=dry_run,
            takes_back=tuple(plan.taken),
        )


def store_from_bundle(
    path: Path,
    folder: Path,
    *,
    by: str = "",
    progress: Callable[[int], None] | None = None,
    now: Callable[[], int],
    entropy: Callable[[int], bytes],
) -> tuple[Store, ImportReport]:
    """A new store in `folder/.cas`, of the project of a bundle, with all that the bundle has.

    What fails leaves no store. Raises WouldOverwrite where one is, and as `import_bundle`.
    """
    home = folder if folder.name == FOLDER else folder / FOLDER
    with BundleFile(path) as bundle:
        project = bundle.head.root.project
    if os.path.lexists(home):
        raise WouldOverwrite(
            f"{str(home)!r} is there already", fix=f"cas bundle import {quoted(str(path))}"
        )
    with using_files(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        database = Database.create(home, now=now, entropy=entropy, project=project)
    store = Store(database, now=now, entropy=entropy)
    try:
        complete(home)
        return store, import_bundle(store, path, by=by, progress=progress)
    except BaseException:
        store.close()
        shutil.rmtree(home, ignore_errors=True)
        raise
