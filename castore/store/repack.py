"""Repacking: what was stored plainly becomes deltas of the version before, as commits make them.

Versions are gone through from the oldest, so that what was made first lies lowest. What is encoded
takes the place of old blocks in short write transactions, beside whoever reads and writes. Killed
at any moment, it leaves a whole store, and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from castore.database.indexes import Index, lookup_prefix, split_key
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.model.ids import Id
from castore.model.limits import MIB
from castore.store.repack_pending import KEPT_BYTES, Pending, Unit
from castore.store.repack_plan import Planner
from castore.store.repack_relations import Relations
from castore.store.repack_write import RepackWriter
from castore.store.store import Store

_SLICE_VERSIONS: Final = 256
# What is encoded before it is written, in bytes of pages.
_PENDING_BYTES: Final = 4 * MIB


@dataclass(frozen=True, slots=True)
class RepackReport:
    """What a repack did, or with `dry_run` would do.

    `freed` is what blocks take less afterwards, as stored: space in the file that is used again.
    `replaced` blocks went, `deltas` took the place of `chunks` that were stored plainly. `passed`
    counts those for which something else moved or vanished meanwhile. Without `exact`, a dry run
    had too much in mind and forgot the oldest of it: the real figure may then differ by what would
    rest on that. `slices` counts write transactions, of which the biggest touched about `largest`
    bytes of pages.
    """

    dry_run: bool
    versions: int
    replaced: int
    deltas: int
    chunks: int
    freed: int
    passed: int
    exact: bool
    slices: int
    largest: int
    file: int

    def as_json(self) -> dict[str, Any]:
        """The report as data."""
        return {
            "dry_run": self.dry_run,
            "versions": self.versions,
            "replaced_blocks": self.replaced,
            "deltas": self.deltas,
            "chunks": self.chunks,
            "freed_bytes": self.freed,
            "passed": self.passed,
            "exact": self.exact,
            "slices": self.slices,
            "largest_slice_bytes": self.largest,
            "file_bytes": self.file,
        }


def repack(
    store: Store,
    *,
    dry_run: bool = False,
    by: str = "",
    progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> RepackReport:
    """Store as deltas what lies in plain blocks although the version before has what it was.

    Bases, the least gain and the bounds of chains are those of a commit; ids never change. Each new
    block is read back, by way of what it rests on, and compared with its ids before the old one
    goes. A dry run encodes everything too and tells the same bytes, if nothing else changes the
    store and `exact` is said. Memory: 16 bytes for each base block of a delta, some 10 MiB of
    blocks, and for a dry run 32 MiB of deltas. Transactions keep the pace of a collection.
    `progress` is told the bytes of files that were compared. What cannot be read stays as it is.
    Raises CorruptObject if what was encoded cannot be read back, of which nothing is written, and
    for a delta whose header is damaged; StoreFull.
    """
    return _Repack(store, dry_run, by, progress, clock, sleep).run()


class _Repack:
    """One pass over all versions."""

    def __init__(
        self,
        store: Store,
        dry_run: bool,
        by: str,
        progress: Callable[[int], None] | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._database = store.database
        self._dry_run = dry_run
        self._by = by
        self._progress = progress or (lambda _: None)
        self._relations = Relations()
        self._pending = Pending(store.database.load, KEPT_BYTES if dry_run else None)
        self._writer = RepackWriter(store.database, self._relations, clock=clock, sleep=sleep)
        self._replaced = self._deltas = self._chunks = self._freed = self._passed = 0

    def run(self) -> RepackReport:
        """Repack, or with `dry_run` only count."""
        self._relate()
        planner = Planner(self._store, self._relations, self._pending, self._add, self._progress)
        versions = 0
        for id in self._versions():
            planner.version(id)
            versions += 1
        self._flush()
        report = self._report(versions)
        if report.slices:
            self._database.write(partial(self._record, report=report), urgent=True)
        return report

    def _versions(self) -> Iterator[Id]:
        """Every stored version, the oldest first; none that is committed meanwhile is missed."""
        start: bytes = lookup_prefix(Index.TIME)
        while True:
            keys = self._database.read(partial(_version_keys, start=start))
            for key in keys:
                yield split_key(key, lookup_prefix(Index.TIME))[1]
            if len(keys) < _SLICE_VERSIONS:
                return
            start = keys[-1] + b"\0"

    def _add(self, unit: Unit) -> None:
        self._pending.add(unit)
        if self._dry_run:
            self._count(unit)
        elif self._pending.cost >= _PENDING_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._dry_run:
            return
        units = self._pending.units
        written = self._writer.write(units)
        for unit in written:
            self._count(unit)
        self._passed += len(units) - len(written)
        self._pending.clear()
        self._relate()

    def _relate(self) -> None:
        while self._database.read(self._relations.extend):
            pass

    def _count(self, unit: Unit) -> None:
        deltas = [block for block in unit.blocks if block.bases]
        self._replaced += len(unit.old)
        self._deltas += len(deltas)
        self._chunks += sum(len(block.members) for block in deltas)
        self._freed += unit.freed

    def _report(self, versions: int) -> RepackReport:
        return RepackReport(
            dry_run=self._dry_run,
            versions=versions,
            replaced=self._replaced,
            deltas=self._deltas,
            chunks=self._chunks,
            freed=self._freed,
            passed=self._passed,
            exact=self._pending.exact,
            slices=self._writer.slices,
            largest=self._writer.largest,
            file=self._database.file_bytes(),
        )

    def _record(self, tables: Writing, report: RepackReport) -> None:
        detail = {"chunks": report.chunks, "deltas": report.deltas, "freed_bytes": report.freed}
        tables.append_operation("repack", at=self._store.now(), by=self._by, detail=detail)


def _version_keys(tables: Reading, start: bytes) -> list[bytes]:
    prefix = lookup_prefix(Index.TIME)
    rows = islice(tables.lookup_rows(start), _SLICE_VERSIONS)
    return [key for key, _ in rows if key.startswith(prefix)]
