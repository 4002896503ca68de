"""Collection (`gc`): frees what nothing keeps any more, beside whoever reads and writes.

Everything that refs, pins, sessions and the newer part of the operation log need is marked, in
short read transactions; what is not marked is removed in short write transactions. The clock only
ever keeps something. Killed at any moment, it leaves a whole store, and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from castore.database.reading import Reading
from castore.database.tables import NEXT_BLOCK_KEY
from castore.database.writing import Writing
from castore.errors import Locked
from castore.model.ids import Id
from castore.store.collect_cache import CACHE_FILES, trim_files
from castore.store.collect_census import Census
from castore.store.collect_expire import Expired, expire, expired_partials
from castore.store.collect_map import LiveMap, Places
from castore.store.collect_mark import Left, Marker
from castore.store.collect_pace import Pace
from castore.store.collect_report import (
    EXPIRED,
    FORGOTTEN,
    UNREACHED,
    CollectReport,
    Tally,
)
from castore.store.collect_roots import Roots, Walk, forgotten_sets, grace_of, sets_of
from castore.store.collect_sweep import READ_BUDGET, Disturbed, Sweep, check_epoch
from castore.store.store import Store

_ATTEMPTS: Final = 8
# After an attempt that was disturbed nobody may have removed anything for so many seconds, twice as
# many after each further one, or for ten times as long it was waited in vain.
_QUIET: Final = 0.25
_TURNS: Final = 10
_SLICE_ROWS: Final = 20_000
_SLICE_BLOCKS: Final = 256


@dataclass(frozen=True, slots=True)
class CollectRequest:
    """How to collect: `grace` and `expire_partials` are microseconds.

    What the operation log names within `grace` (None: as configured) stays; 0 keeps nothing for its
    sake. Incomplete sets
    that are older than `expire_partials` and that nobody works on are given up first; None: none.
    The cache of files keeps about `cache_files` files, the newest. `by` is for the operation log.
    A dry run takes the versions in `forgotten` for forgotten. With `left` files that it tells of go
    too, and are promised by a remote from then on, unless one of `whole`, ids of sets, holds them.
    """

    grace: int | None = None
    expire_partials: int | None = None
    dry_run: bool = False
    cache_files: int = CACHE_FILES
    by: str = ""
    forgotten: frozenset[Id] = frozenset()
    left: Left | None = None
    whole: tuple[Id, ...] = ()


def collect(
    store: Store,
    request: CollectRequest,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> CollectReport:
    """Free what nothing keeps; safe beside commits, and beside another collection.

    Memory is bounded: about a bit for each object and a byte for each block, see
    `castore.store.collect_map`. Write transactions are kept near 0.05 s of `clock`,
    and after each others have a turn during a `sleep`: see `castore.store.collect_pace`. Where
    another collection or a repack gets in between it waits until that is over and begins anew, for
    five minutes in all at the most. Raises CorruptObject for a damaged store, of which nothing is
    removed, and Locked when they go on for longer.
    """
    grace = grace_of(store, request.grace)
    given_up = Expired()
    if request.expire_partials is not None:
        given_up = expired_partials(store, store.now() - request.expire_partials)
        if not request.dry_run:
            given_up = expire(store, given_up, by=request.by)
    tally = Tally()
    for attempt in range(_ATTEMPTS):
        if attempt:
            await_quiet(store, _QUIET * 2 ** (attempt - 1), sleep)
        if request.dry_run:
            # What an attempt only counted is counted again.
            tally = Tally()
        try:
            return _Collection(store, request, grace, given_up, tally, clock, sleep).run()
        except Disturbed:
            continue
    raise Locked(
        f"{store.folder}: other collections, or a repack, are under way", fix="wait for them"
    )


def await_quiet(store: Store, quiet: float, sleep: Callable[[float], None]) -> None:
    """Wait until no block went or moved for `quiet` seconds, ten times as long at the most."""
    epoch = -1
    for _ in range(_TURNS):
        now = store.database.read(lambda tables: tables.gc_epoch())
        if now == epoch:
            return
        epoch = now
        sleep(quiet)


class _Collection:
    """One attempt: map, mark, census, sweep; `tally` has what those before it removed."""

    def __init__(
        self,
        store: Store,
        request: CollectRequest,
        grace: int,
        given_up: Expired,
        tally: Tally,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._database = store.database
        self._request = request
        self._grace = grace
        self._given_up = given_up
        self._tally = tally
        self._clock = clock
        self._sleep = sleep
        if request.forgotten and not request.dry_run:
            raise ValueError("only a dry run may take versions for forgotten")
        self._epoch = self._database.read(lambda tables: tables.gc_epoch())

    def run(self) -> CollectReport:
        """Collect, or with `dry_run` only count; raises Disturbed."""
        marker, reasons = self._mark()
        live = marker.live
        tally = self._tally
        tally.begin(partial(_reason, reasons))
        census = self._census(live)
        sweep = Sweep(
            self._store,
            marker,
            census,
            tally,
            epoch=self._epoch,
            begin=None if tally.slices else self._record_begin,
            clock=self._clock,
            sleep=self._sleep,
        )
        if self._request.dry_run:
            sweep.estimate()
        else:
            sweep.run()
        trimmed = trim_files(
            self._database,
            self._request.cache_files,
            dry_run=self._request.dry_run,
            pace=Pace(clock=self._clock, sleep=self._sleep),
        )
        report = self._report(tally, live.count, trimmed)
        if not self._request.dry_run and tally.slices:
            self._database.write(partial(self._record_end, report=report), urgent=True)
        return report

    def _mark(self) -> tuple[Marker, list[tuple[str, LiveMap]]]:
        """Everything alive, and for each reason to be dead those that are so for it."""
        limit = self._database.read(lambda tables: tables.integer(NEXT_BLOCK_KEY.decode()))
        places = Places()
        start: Id = b""
        while True:
            rows, start = self._database.read(partial(_places, start=start))
            places.add(rows)
            if not start:
                break
        live = LiveMap(places, limit)
        request = self._request
        since = self._store.now() - self._grace if self._grace else None
        without = self._given_up.names(refs=not self._grace) if request.dry_run else ()
        marker = Marker(live, Roots(since, without), request.forgotten)
        if request.left is not None:
            self._walk_whole(marker, request.whole)
            marker.left = request.left
        self._walk(marker)
        return marker, list(self._reasons(live))

    def _walk_whole(self, marker: Marker, ids: Sequence[Id]) -> None:
        """Mark these first, with all they hold."""
        for id in ids:
            marker.give(id)

        def step(tables: Reading) -> bool:
            check_epoch(tables, self._epoch)
            return marker.run(tables, READ_BUDGET)

        while not self._database.read(step):
            pass

    def _reasons(self, live: LiveMap) -> Iterator[tuple[str, LiveMap]]:
        """The dead that something given up holds, then those that forgotten versions hold."""
        given: list[tuple[str, Sequence[Id | Walk]]] = [(EXPIRED, self._given_up.ids)]
        asked = partial(sets_of, ids=sorted(self._request.forgotten))
        count = self._database.read(lambda tables: tables.counts()["forgotten"])
        if count or self._request.forgotten:
            given.append((FORGOTTEN, [partial(forgotten_sets, live=live), asked]))
        for name, roots in given:
            if roots:
                found = Marker(LiveMap(Places(), live.limit, live))
                for root in roots:
                    found.give(root)
                self._walk(found)
                yield name, found.live

    def _walk(self, marker: Marker) -> None:
        def step(tables: Reading) -> bool:
            check_epoch(tables, self._epoch)
            return marker.catch_up(tables, READ_BUDGET)

        while not self._database.read(step):
            pass

    def _census(self, live: LiveMap) -> Census:
        census = Census(live)
        while self._database.read(census.scan):
            pass
        listed = census.metadata.downwards()
        while numbers := list(islice(listed, _SLICE_BLOCKS)):
            self._database.read(partial(self._relate, census=census, numbers=numbers))
        return census

    def _relate(self, tables: Reading, census: Census, numbers: Iterable[int]) -> None:
        check_epoch(tables, self._epoch)
        for number in numbers:
            census.relate_layouts(tables, number)

    def _record_begin(self, tables: Writing) -> None:
        """Whatever happens next, the log tells that something was removed."""
        tables.append_operation("gc-begin", at=self._store.now(), by=self._request.by)

    def _record_end(self, tables: Writing, report: CollectReport) -> None:
        detail = {
            "dead_bytes": report.dead,
            "freed_bytes": report.freed,
            "grace": self._grace,
            "objects": sum(reason.objects for reason in report.reasons),
        }
        tables.append_operation("gc", at=self._store.now(), by=self._request.by, detail=detail)

    def _report(self, tally: Tally, alive: int, trimmed: int) -> CollectReport:
        return CollectReport(
            dry_run=self._request.dry_run,
            alive=alive,
            dead=tally.dead,
            kept=tally.kept,
            freed=tally.freed,
            reasons=tally.reasons(),
            dropped_blocks=tally.dropped_blocks,
            rewritten_blocks=tally.rewritten_blocks,
            expired=self._given_up.partials,
            cached_files=trimmed,
            slices=tally.slices,
            largest=tally.largest,
            file=self._database.file_bytes(),
        )


def _places(tables: Reading, start: Id) -> tuple[list[tuple[int, int]], Id]:
    return tables.places(start, _SLICE_ROWS)


def _reason(reasons: list[tuple[str, LiveMap]], block: int, slot: int) -> str:
    return next((name for name, found in reasons if found.marked(block, slot)), UNREACHED)
