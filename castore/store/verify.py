"""Verification (`fsck`): whether a store is whole, and if not, which versions that hurts.

Quick: refs, the operation log, `heads.log`, and of every version its manifest, number, parents and
the presence of everything it needs. Full: also every block decoded and every object re-hashed, big
files hashed as a whole, every table compared with a rebuild, and every page of the data file
accounted for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from castore.database.check import check_structure
from castore.database.headslog import LINE_DAMAGED, set_aside
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import CastoreError, CorruptObject
from castore.model.ids import Id, Kind
from castore.model.refs import HEADS, PARTIALS, TAGS
from castore.store.find import Wanted, find
from castore.store.stages import decode_header, decode_staged
from castore.store.store import Store
from castore.store.verify_blocks import BlockCheck
from castore.store.verify_closure import ClosureCheck, Marks
from castore.store.verify_pages import unreadable
from castore.store.verify_records import RecordCheck, check_places
from castore.store.verify_report import Finding, Findings, FsckReport, Hurt
from castore.store.version import Version

__all__ = ["Finding", "FsckReport", "Hurt", "fsck"]

HURT: Final = 20
"""Artifacts named in one finding at most."""
_SLICE: Final = 10_000
_TABLES: Final = {"heads.log": "heads.log", "block": "block"}


def fsck(
    store: Store,
    *,
    full: bool = False,
    version: Version | None = None,
    progress: Callable[[int], None] | None = None,
    attempts: int = 5,
) -> FsckReport:
    """Check a store, or with `version` that version and its chain of parents only.

    Damage is reported, never raised. Memory is bounded: a bit for each object seen, at most 1,000
    findings. Versions written meanwhile may or may not be looked at; if there are findings and a
    collection removed something meanwhile, all is checked again, `attempts` times at most, the last
    of which tells what the one before found too.
    `progress` is told bytes: of blocks, and of big files that are read again; 0 is a sign of life.
    A data file that is cut off, or a damaged meta page, already fails at opening the store:
    `castore.fsck` checks folders, in a process of their own.
    """
    before: FsckReport | None = None
    while True:
        try:
            epoch = store.database.read(Reading.gc_epoch)
            report = _check(store, full=full, version=version, progress=progress)
        except CorruptObject as error:
            return unreadable(store.folder, error, full=full)
        attempts -= 1
        # What a collection took meanwhile was missed by mistake.
        if not report.findings or store.database.read(Reading.gc_epoch) == epoch:
            return report
        if not attempts:
            return _lasting(report, before) if before else report
        before = report


def _lasting(report: FsckReport, before: FsckReport) -> FsckReport:
    """What was found twice: damage stays, and what was collected is not looked for again."""
    if report.more or before.more:
        return report
    known = {(found.object, found.kind, found.where) for found in before.findings}
    return replace(
        report,
        findings=tuple(f for f in report.findings if (f.object, f.kind, f.where) in known),
    )


def _check(
    store: Store,
    *,
    full: bool,
    version: Version | None,
    progress: Callable[[int], None] | None,
) -> FsckReport:
    findings = Findings()
    blocks: BlockCheck | None = None
    if version is not None:
        closure = ClosureCheck(store, findings, content=full, progress=progress)
        _check_versions(closure, [(version.label, version.id)], progress)
    else:
        refs = _refs(store, findings)
        _check_log(store, findings)
        _check_refs(store, findings, refs)
        if full:
            with BlockCheck(store, findings, progress) as blocks:
                _check_tables(store, findings, blocks, progress)
                blocks.files()
        _check_versions(ClosureCheck(store, findings), refs, progress)
        _check_stages(store, findings)
    named = tuple(_named(store, findings, blocks))
    aside = named and all(one.detail.endswith(LINE_DAMAGED) for one in named)
    return FsckReport(
        full=full,
        findings=named,
        more=findings.more,
        counts=findings.counts,
        helps=set_aside(store.folder) if aside else "",
    )


def _refs(store: Store, findings: Findings) -> list[tuple[str, Id]]:
    try:
        return store.database.read(lambda tables: tables.refs())
    except CastoreError as error:
        findings.add(b"", "ref", "refs", error.message)
        return []


def _check_log(store: Store, findings: Findings) -> None:
    """The chain of operations, and that refs are where its last records put them."""
    expected: dict[str, Id] = {}
    records = RecordCheck()
    sequence, hash = 0, b""
    try:
        while True:
            batch = store.database.read(partial(_operations, start=sequence + 1))
            for operation in batch:
                if operation.sequence != sequence + 1 or operation.prev != hash:
                    findings.add(
                        b"",
                        "operation",
                        f"operation {operation.sequence}",
                        f"does not follow operation {sequence}: one was altered or is missing",
                    )
                sequence, hash = operation.sequence, operation.hash
                expected.update((name, new) for name, _, new in operation.refs)
                records.take(operation)
                findings.count("operations")
            if not batch:
                break
        store.database.check_heads_log()
        records.compare(store, sequence, findings)
        _compare_refs(store, findings, expected, sequence)
    except CastoreError as error:
        findings.add(b"", "operation", "ops", error.message)


def _operations(tables: Reading, start: int) -> list[Operation]:
    return list(islice(tables.operations_from(start), _SLICE))


def _containers(tables: Reading, id: Id) -> list[tuple[Id, Kind]]:
    return list(tables.containers(id))


def _compare_refs(store: Store, findings: Findings, expected: dict[str, Id], sequence: int) -> None:
    def read(tables: Reading) -> tuple[int, dict[str, Id]]:
        last = tables.last_operation()
        return last.sequence if last else 0, dict(tables.refs())

    last, refs = store.database.read(read)
    if last != sequence:
        return  # Somebody wrote meanwhile: what refs are now is not what was read.
    for name in sorted(expected.keys() | refs.keys()):
        noted, found = expected.get(name, b""), refs.get(name, b"")
        if noted != found:
            findings.add(
                found,
                "ref",
                name,
                f"names {found.hex() or 'nothing'}; the operation log says "
                f"{noted.hex() or 'nothing'}",
            )


def _check_refs(store: Store, findings: Findings, refs: Iterable[tuple[str, Id]]) -> None:
    """Each ref names a manifest, and heads and tags a complete one."""
    for name, id in refs:
        findings.count("refs")
        try:
            row = store.database.read(partial(Reading.object_row, id=id))
            if row is None or row.kind is not Kind.MANIFEST:
                detail = "names what is no version" if row else "names a version that is missing"
                findings.add(id, "ref", name, detail)
                continue
            manifest = store.near_reader.manifest(id)
        except CastoreError as error:
            findings.add(id, "ref", name, error.message)
            continue
        incomplete = name.startswith(PARTIALS)
        if manifest.complete == incomplete and name.startswith((HEADS, TAGS, PARTIALS)):
            kind = "a complete" if manifest.complete else "an incomplete"
            findings.add(id, "ref", name, f"names {kind} version")


def _check_versions(
    closure: ClosureCheck,
    starts: Iterable[tuple[str, Id]],
    progress: Callable[[int], None] | None,
) -> None:
    """Every version that these lead to, each once, newest first; damaged ones end their line."""
    pending: list[Version] = []
    for where, id in starts:
        manifest = closure.manifest(id, where)
        if manifest is not None:
            pending.append(Version(id, manifest, manifest.branch))
    seen = Marks()
    stack = [(start.id, start.label) for start in reversed(pending)]
    while stack:
        id, where = stack.pop()
        row = closure.row(id)
        # A missing parent is a finding of its child.
        if row is None or row.state is not State.STORED or not seen.add(row):
            continue
        manifest = closure.manifest(id, where)
        if manifest is None:
            continue
        version = Version(id, manifest, manifest.branch)
        closure.version(version)
        if progress is not None:
            progress(0)
        stack.extend((parent, f"parent of {version.label}") for parent in manifest.parents)


def _check_tables(
    store: Store,
    findings: Findings,
    blocks: BlockCheck,
    progress: Callable[[int], None] | None,
) -> None:
    try:
        for problem in check_structure(store.database, progress=progress, on_block=blocks.block):
            kind = _TABLES.get(problem.where.split()[0], "table")
            findings.add(problem.id, kind, problem.where, problem.detail)
    except CastoreError as error:
        findings.add(b"", "table", "tables", error.message)
    check_places(store, findings)
    report = store.database.check_pages()
    findings.count("pages", report.pages)
    for text in report.problems:
        findings.add(b"", "page", "data.mdb", text)


def _check_stages(store: Store, findings: Findings) -> None:
    """What unfinished sessions rely on is stored, and what they noted can be read."""
    stages = store.database.read(lambda tables: tables.stages())
    store.database.read(partial(_check_strays, {stage.session for stage in stages}, findings))
    for stage in stages:
        findings.count("stages")

        def missing(tables: Reading, session: bytes = stage.session) -> list[Id]:
            absent: list[Id] = []
            ids = tables.staged_ids(session)
            while batch := list(islice(ids, _SLICE)):
                absent.extend(set(batch) - tables.present(batch))
            return absent

        where = f"session {stage.session.hex()}"
        try:
            decode_header(stage.header)
            _check_rows(store, stage.session)
            for id in store.database.read(missing):
                findings.add(id, "stage", where, "an object this session relies on is missing")
        except CastoreError as error:
            findings.add(b"", "stage", where, error.message)


def _check_rows(store: Store, session: bytes) -> None:
    """The batches of a session are numbered from 0, its entries named after their artifacts."""
    numbers = store.database.read(partial(Reading.staged_batches, session=session))
    for number, found in enumerate(numbers):
        if found != number:
            raise CorruptObject(f"stage: batch {found} stands where batch {number} should")
    entries = store.database.read(partial(Reading.staged_entries, session=session))
    for name, payload in entries.items():
        if (held := decode_staged(payload).name) != name:
            raise CorruptObject(f"stage: the entry of {name!r} holds {held!r}")


def _check_strays(sessions: set[bytes], findings: Findings, tables: Reading) -> None:
    """Rows of a session that is not there keep nothing, and are never ended."""
    known = {stage.session for stage in tables.stages()} | sessions
    strays = {key[1:17] for key, _ in tables.rows("stage") if key[1:17] not in known}
    for session in sorted(strays):
        where = f"session {session.hex()}"
        findings.add(b"", "stage", where, "it has rows and no header")


def _named(store: Store, findings: Findings, blocks: BlockCheck | None) -> Iterable[Finding]:
    """The findings, each with the artifacts and versions that its object belongs to."""
    known: dict[Id, tuple[Hurt, ...]] = {}
    for object, kind, where, detail in findings.kept:
        if object not in known:
            files = blocks.files_of.get(object, []) if blocks else []
            hurt = [item for id in (object, *files) for item in _hurt(store, id)]
            known[object] = tuple(dict.fromkeys(hurt))[:HURT]
        yield Finding(object, kind, where, detail, known[object])


def _hurt(store: Store, id: Id) -> list[Hurt]:
    """Artifacts and versions that hold an object, as far as the store can still tell."""
    if not id:
        return []
    try:
        row = store.database.read(lambda tables: tables.object_row(id))
        if row is not None and row.kind is Kind.MANIFEST:
            return [Hurt(id, _label(store, id))]
        found = find(store, Wanted(digest=id.hex()), limit=HURT)
        hurt = [
            Hurt(item.version.id, item.version.label, item.artifact.name, item.path)
            for item in found
        ]
        return hurt or _holders(store, id)
    except CastoreError:
        return _holders(store, id)


def _holders(store: Store, id: Id) -> list[Hurt]:
    """The versions above an object by the tables alone, where sets or folders cannot be read."""
    versions: dict[Id, None] = {}
    level, seen = [id], {id}
    while level and len(seen) < _SLICE:
        below, level = level, []
        for held in below:
            above = store.database.read(partial(_containers, id=held))
            for holder, kind in above:
                if kind is Kind.MANIFEST:
                    versions.setdefault(holder)
                elif holder not in seen:
                    seen.add(holder)
                    level.append(holder)
    return [Hurt(version, _label(store, version)) for version in islice(versions, HURT)]


def _label(store: Store, id: Id) -> str:
    try:
        return store.version(id).label
    except CastoreError:
        return id.hex()
