"""Purging: content leaves a store for good, its bytes leave the data file, and history verifies.

First everything that rests on the content is made to stand without it; then one transaction gives
it the state `purged`, with who, when and why; then its blocks are written anew without it, and at
last all that the data file keeps of it in places where nothing lives is cleared. Killed at any
moment the store is whole, and the same purge again goes on where it was.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from castore.database.failures import room_fix
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.scrub import Scrubbed
from castore.database.tables import ObjectRow, Removal, State
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput, Locked, StoreFull
from castore.model.ids import Id, Kind
from castore.store.promises import keep_sharing, promised, promised_of
from castore.store.purge_erase import Eraser
from castore.store.purge_reach import (
    Doomed,
    LayoutScan,
    Place,
    doom,
    files_of,
    places,
    staged_by,
)
from castore.store.removals import PURGE, PURGE_END, climb, removal_record
from castore.store.selectors import Resolved, resolve
from castore.store.stages import staged_sessions
from castore.store.store import Store

ALL: Final = "all"
OUT_OF_REACH: Final = (
    "names, messages and digests in history stay; short content can be guessed from its digest",
    "content that differs, if only by a byte, is another: look at other versions of the file",
    "backups made before: bring each up to date with cas backup, or delete it",
    "bundles, check-outs and copies that were sent elsewhere",
    "remotes that have it, until cas push and then cas gc --remote",
    "snapshots and versions kept by file systems and buckets, and spare blocks of flash disks",
)
"""What no purge can reach, in words."""
_ATTEMPTS: Final = 8
_LISTED: Final = 5
_IN_ERROR: Final = 100


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What must go: the artifacts, or files in them, that `selectors` name, and for which reason.

    Every other place with any of the same bytes must be named too, or be in one of `include`:
    selectors of versions, artifacts or files, or `all`. A file there that has only some of them can
    be read no more; what it has for itself is left to `gc`, unless it is named as well.
    """

    selectors: tuple[str, ...]
    reason: str
    include: tuple[str, ...] = ()
    dry_run: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What a purge did, or with `dry_run` would do.

    `places` are where versions had the content; `objects` and `bytes`, before compression, are what
    went. `record` is the entry of the log, None if nothing was left to be recorded; `blocks` were
    written anew or dropped, `scrubbed` is what was cleared in the data file after that. `already`
    tells who purged all of it before, when that was finished: then nothing was done.
    """

    dry_run: bool
    places: tuple[Place, ...]
    objects: int
    bytes: int
    record: Operation | None = None
    blocks: int = 0
    scrubbed: Scrubbed | None = None
    out_of_reach: tuple[str, ...] = OUT_OF_REACH
    already: Removal | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "dry_run": self.dry_run,
            "places": [_place(place) for place in self.places],
            "objects": self.objects,
            "bytes": self.bytes,
            "operation": self.record.sequence if self.record else None,
            "blocks": self.blocks,
            "cleared_bytes": self.scrubbed.bytes if self.scrubbed else None,
            "out_of_reach": list(self.out_of_reach),
            "already": removal_record(self.already) if self.already else None,
        }


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found to be purged: by manifests and pages that have it, and deltas seen so far."""

    files: tuple[Id, ...]
    doomed: Doomed
    places: tuple[Place, ...]
    manifests: frozenset[Id]
    scan: LayoutScan
    pages: frozenset[Id]
    deltas: frozenset[int]


def purge(
    store: Store,
    request: PurgeRequest,
    *,
    agree: Callable[[PurgeReport], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> PurgeReport:
    """Make content go for ever; on return no byte of it is left in the data file.

    `agree` is called once with what a dry run would report, before anything goes: it may raise.
    Content that was purged before is finished, if that was interrupted; else nothing is done or
    recorded again. Raises InvalidInput,
    RefNotFound, Conflict with every place that was not named (`places`), or for an unfinished
    session that relies on it; Locked while a reader still sees what went, and StoreFull: purge
    again then.
    """
    if not request.reason.strip():
        raise InvalidInput("a purge needs a reason", fix="--reason TEXT")
    if not request.selectors:
        raise InvalidInput("what must go? name it", fix="cas purge REV:ARTIFACT --reason TEXT")
    eraser = Eraser(store, clock=clock, sleep=sleep)
    record = None
    for attempt in range(_ATTEMPTS):
        found = _find(store, request)
        already = None if found.doomed.objects else store.database.read(partial(_over, found=found))
        if already is not None:
            return PurgeReport(request.dry_run, (), 0, 0, already=already)
        if agree is not None and attempt == 0 and not request.dry_run:
            agree(_report(found, dry_run=True))
        if request.dry_run or not found.doomed.objects:
            break
        eraser.free_deltas(found.scan.deltas.items(), found.doomed.objects.keys())
        record = store.database.write(
            partial(_record, request=request, found=found, at=store.now()), urgent=True
        )
        if record is not None:
            break
    else:
        raise Locked(f"{store.folder}: others write the same content all the time", fix="try again")
    report = _report(found, dry_run=request.dry_run, record=record)
    if request.dry_run:
        return report
    with _on_record(store):
        return _finish(store, request, report, eraser, sleep)


@contextmanager
def _on_record(store: Store) -> Iterator[None]:
    """What a full disk means in here, where the purge is recorded and its bytes are to go."""
    try:
        yield
    except StoreFull:
        raise StoreFull(
            f"{store.folder}: no room is left; the purge is recorded, but bytes of it may still "
            "be in the data file",
            fix=f"{room_fix(store.folder, 'free space on this disk')}, then purge the same again",
        ) from None


def _report(found: _Found, *, dry_run: bool, record: Operation | None = None) -> PurgeReport:
    sizes = [size for _, size in found.doomed.objects.values()]
    return PurgeReport(dry_run, found.places, len(sizes), sum(sizes), record)


def _finish(
    store: Store,
    request: PurgeRequest,
    report: PurgeReport,
    eraser: Eraser,
    sleep: Callable[[float], None],
) -> PurgeReport:
    eraser.erase()
    # From here on no process has a page in memory in which erased bytes stand.
    store.database.write(lambda tables: tables.bump_erasures(), urgent=True)
    scrubbed = store.database.scrub(sleep=sleep)
    detail = {"blocks": eraser.blocks, "cleared_bytes": scrubbed.bytes}
    store.database.write(
        lambda tables: tables.append_operation(
            PURGE_END, at=store.now(), by=request.by, why=request.reason, detail=detail
        ),
        urgent=True,
    )
    return PurgeReport(
        False,
        report.places,
        report.objects,
        report.bytes,
        report.record,
        eraser.blocks,
        scrubbed,
    )


def _find(store: Store, request: PurgeRequest) -> _Found:
    """What is to go and where else it is; raises Conflict where that was not named."""
    targets = [resolve(store, text) for text in request.selectors]
    files: dict[Id, int] = {}
    for target in targets:
        files |= files_of(store, target)
    _fetch_promised(store, list(files))
    doomed = doom(store, files)
    keep_sharing(store, doomed.chunks)
    scan = LayoutScan(doomed.chunks)
    more = bool(doomed.objects)
    while more:
        more = store.database.read(scan.scan)
    pages = scan.pages()
    doomed.objects |= pages
    _, _, manifests = store.database.read(partial(climb, ids=doomed.objects))
    held = tuple(places(store, doomed.objects, manifests))
    included = [resolve(store, text) for text in request.include if text != ALL]
    if ALL not in request.include:
        _refuse_unnamed(held, [*targets, *included])
    _refuse_staged(store, doomed)
    return _Found(
        tuple(files),
        doomed,
        held,
        frozenset(manifests),
        scan,
        frozenset(pages),
        frozenset(scan.deltas),
    )


def _fetch_promised(store: Store, files: Sequence[Id]) -> None:
    """Have what must go here; raises Conflict where versions that may have it too are not."""
    left = promised(store, files)
    if left and store.bring is not None:
        store.bring(store, left)
    if next(promised_of(store, Kind.MANIFEST), None) is not None:
        raise Conflict(
            "history here was cut, and what the versions before have of the same bytes is not "
            "known: they would lose it in every store",
            fix="cas fetch --unshallow",
        )


def _over(tables: Reading, found: _Found) -> Removal | None:
    """The removal of files that were all purged before, None unless that came to its end."""
    purges = [operation.sequence for operation in tables.operations_by_id(PURGE)]
    since = tables.operations_from(max(purges, default=0) + 1)
    if not purges or not any(operation.op == PURGE_END for operation in since):
        return None
    removals = (tables.purged(id) for id in found.files)
    return max(filter(None, removals), key=lambda removal: removal.at, default=None)


def _refuse_unnamed(held: Iterable[Place], named: Iterable[Resolved]) -> None:
    known = [
        (one.version.id, one.artifact.name if one.artifact else "", one.path.strip("/"))
        for one in named
    ]

    def is_named(place: Place) -> bool:
        return any(
            place.version == version
            and artifact in ("", place.artifact)
            and (not path or place.path == path or place.path.startswith(path + "/"))
            for version, artifact, path in known
        )

    others = [place for place in held if not is_named(place)]
    if others:
        shown = ", ".join(place.label for place in others[:_LISTED])
        more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        raise Conflict(
            f"the same bytes, or some of them, are also in {shown}{more}: they would go there too",
            fix=f"--include {others[0].label}, for each of them, or --include all",
            places=[_place(place) for place in others[:_IN_ERROR]],
            count=len(others),
        )


def _refuse_staged(store: Store, doomed: Doomed) -> None:
    def read(tables: Any) -> set[bytes]:
        pages, sets, _ = climb(tables, doomed.objects)
        return set(staged_by(tables, doomed.objects.keys() | pages | sets))

    found = store.database.read(read)
    for stage in staged_sessions(store) if found else ():
        if stage.id in found:
            run = stage.header.run
            raise Conflict(
                f"an unfinished commit to {stage.header.branch or 'a branch'} (run "
                f"{run or 'unknown'}) relies on these bytes",
                fix=f"wait for it, or: cas partial discard {run}" if run else "wait for it",
                run=run or None,
            )


def _record(tables: Writing, request: PurgeRequest, found: _Found, at: int) -> Operation | None:
    """Make the objects purged; None if something new has them in it: then all is to be found again.

    Everything that was true when they were found is looked at again, here where nobody writes.
    """
    doomed = found.doomed
    found.scan.scan(tables, None)
    pages, sets, manifests = climb(tables, doomed.objects)
    fresh = [bases for number, bases in found.scan.deltas.items() if number not in found.deltas]
    if (
        not found.scan.pages().keys() <= found.pages
        or not manifests <= found.manifests
        or any(base in doomed.objects for bases in fresh for base in bases)
        or staged_by(tables, doomed.objects.keys() | pages | sets)
    ):
        return None
    record = tables.append_operation(
        PURGE,
        op_id=PURGE,
        at=at,
        by=request.by,
        why=request.reason,
        detail={
            "files": sorted(
                id for id in doomed.objects if any(True for _ in tables.containers(id))
            ),
            "objects": len(doomed.objects),
            "selectors": list(request.selectors),
        },
    )
    removal = Removal(at, request.by, request.reason, str(record.sequence))
    lost: Counter[int] = Counter()
    for id, (kind, size) in sorted(doomed.objects.items()):
        row = tables.object_row(id)
        if row is not None and row.state is State.STORED:
            lost[row.block] += size
        tables.put_object_row(id, ObjectRow(0, 0, kind, State.PURGED))
        tables.record_purged(id, removal)
    for number, size in lost.items():
        info = tables.block_info(number)
        if info is not None:
            tables.put_block_info(number, info._replace(live=info.live - size))
    tables.bump_erasures()
    tables.bump_generation()
    tables.bump_gc_epoch()
    return record


def _place(place: Place) -> dict[str, Any]:
    return {
        "version": place.version.hex(),
        "label": place.name,
        "artifact": place.artifact,
        "path": place.path or None,
    }
