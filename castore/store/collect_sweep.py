"""Sweeping: what is dead goes, in small transactions, whatever refers to it before it does.

An object that is stored has all it needs, at every moment and also when the collector is killed.
So metadata goes before content, and in metadata blocks go after those that hold what refers to
them. Before it removes anything, each transaction marks what became a root since the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from castore.content.blocks import Block, decode_block
from castore.content.deltas import block_place
from castore.database.reading import Reading
from castore.database.rebuild import base_blocks
from castore.database.tables import NEXT_BLOCK_KEY, ObjectRow, State
from castore.database.writing import Writing
from castore.errors import CastoreError
from castore.model.ids import Id, Kind
from castore.store.collect_blocks import BlockSet
from castore.store.collect_census import Census
from castore.store.collect_judge import Judgement, judge, needed_by
from castore.store.collect_map import LiveMap
from castore.store.collect_mark import Marker
from castore.store.collect_order import ordered_groups
from castore.store.collect_pace import DECODE_BYTES, MOST, ROW_BYTES, Pace
from castore.store.collect_rebase import NOTHING, Rebasing, Rest, holds
from castore.store.collect_report import Tally
from castore.store.store import Store

# Of pages, at most, in one transaction; `Pace` makes it less where that takes too long.
SLICE_BYTES: Final = MOST
# Objects looked at in one read transaction, and before the removals of a write transaction.
READ_BUDGET: Final = 20_000
WRITE_BUDGET: Final = 4_000
_LOOKED_AT: Final = 256
# Only a test that must fail without it switches this off.
mark_again = True


class Disturbed(CastoreError):
    """Another collection removed something: what was marked is not worth anything any more."""


@dataclass(slots=True)
class _Slice:
    """What one write transaction did."""

    groups: int = 0
    epoch: int = 0
    cost: int = 0
    judged: list[Judgement] = field(default_factory=list)
    pointed: list[tuple[int, int]] = field(default_factory=list)
    # The deltas written, by the blocks their bases lie in.
    above: dict[int, list[int]] = field(default_factory=dict)


class Sweep:
    """One pass over the blocks of a census, after everything alive was marked.

    `epoch` is the `gc_epoch` under which marking began; `begin` is run in the first transaction
    that removes something; `clock` and `sleep` are those of `Pace`. Raises Disturbed.
    """

    def __init__(
        self,
        store: Store,
        marker: Marker,
        census: Census,
        tally: Tally,
        *,
        epoch: int,
        begin: Callable[[Writing], None] | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = store.database
        self._marker = marker
        self._live: LiveMap = marker.live
        self._left = marker.left
        self._census = census
        self._tally = tally
        self._epoch = epoch
        self._begin = begin
        self._copied = {number for others in census.copies.values() for number in others}
        self._gone: set[int] = set()
        self._rebasing = Rebasing(marker.live)
        self._seen = BlockSet()
        self._pace = Pace(SLICE_BYTES, clock=clock, sleep=sleep)

    def estimate(self) -> None:
        """Count what `run` would do, and change nothing."""
        for numbers in (self._census.metadata, self._census.content):
            for found in self._judged(numbers):
                for judgement in found:
                    self._tally.add(judgement)

    def run(self) -> None:
        """Remove everything that is dead."""
        for numbers in (self._census.metadata, self._census.content):
            changes: list[list[Judgement]] = []
            cost = 0
            for found in self._judged(numbers):
                for judgement in found:
                    if not judgement.changed:
                        self._tally.add(judgement)
                changing = [judgement for judgement in found if judgement.changed]
                if changing:
                    changes.append(changing)
                    cost += sum(judgement.cost for judgement in changing)
                if cost >= SLICE_BYTES:
                    self._apply(changes)
                    changes, cost = [], 0
            self._apply(changes)

    def _judged(self, numbers: BlockSet) -> Iterator[list[Judgement]]:
        """Groups in the order in which they may go."""
        at = numbers.below()
        while at is not None:
            groups, at = self._database.read(partial(self._prepare, numbers=numbers, at=at))
            yield from groups

    def _prepare(
        self, tables: Reading, numbers: BlockSet, at: int
    ) -> tuple[list[list[Judgement]], int | None]:
        """Judge blocks from number `at` down, about one slice of them; where to go on."""
        check_epoch(tables, self._epoch)
        groups: list[list[Judgement]] = []
        needs = partial(needed_by, tables, live=self._live, census=self._census)
        cost = looked_at = 0
        following: int | None = at
        while following is not None and cost < SLICE_BYTES and looked_at < _LOOKED_AT:
            if following not in self._seen:
                for group in ordered_groups(following, needs):
                    looked_at += len(group)
                    judged = [found for number in group if (found := self._judge(tables, number))]
                    cost += sum(max(found.cost, found.decoded) for found in judged if found.changed)
                    groups.append(judged)
            following = numbers.below(following)
        return groups, following

    def _judge(self, tables: Reading, number: int) -> Judgement | None:
        """The judgement of a block; None if it was judged before, or is not there any more."""
        if number in self._seen:
            return None
        self._seen.add(number)
        choose = self._rebasing.choose
        found = judge(tables, number, self._live, self._census, gone=self._gone, choose=choose)
        if found is not None and found.changed:
            if number in self._copied:
                self._gone.add(number)
            if not found.based:
                members = [member for block in found.blocks for member in block.members]
                self._rebasing.inherit(found.rest, members)
        return found

    def _apply(self, groups: list[list[Judgement]]) -> None:
        budget = WRITE_BUDGET
        while groups:
            # Before, so that a write transaction has only that to mark which came in between.
            self._catch_up()
            done = self._database.write(
                partial(self._slice, groups=groups, budget=budget), urgent=True
            )
            self._pace.end(done.cost if done else 0)
            if done is None:
                # Who always adds more than that in between keeps no collection from getting on.
                budget *= 2
                continue
            budget = WRITE_BUDGET
            groups = groups[done.groups :]
            if not done.judged:
                continue
            self._begin = None
            self._epoch = done.epoch
            self._tally.add_slice(done.cost)
            for judgement in done.judged:
                self._tally.add(judgement)
            for block, slot in done.pointed:
                self._live.mark(block, slot)

    def _catch_up(self) -> None:
        """Mark what became a root since, and note what was added, while others may write."""
        while not self._database.read(partial(self._caught_up, budget=READ_BUDGET)):
            pass

    def _caught_up(self, tables: Reading, budget: int) -> bool:
        """Whether `budget` was enough to look at all that is new; if not, a part of it was."""
        check_epoch(tables, self._epoch)
        # Nobody writes what was added since anew: its bases stay, this time.
        bases, left = self._census.extend(tables, budget)
        for base in bases:
            self._marker.give(base)
        if left <= 0:
            return False
        return not mark_again or self._marker.catch_up(tables, left)

    def _slice(self, tables: Writing, groups: list[list[Judgement]], budget: int) -> _Slice | None:
        """Remove the first of these groups; None if there is too much to be marked before."""
        self._pace.begin()
        if not self._caught_up(tables, budget):
            return None
        done = _Slice()
        spared: set[Id] = set()
        for group in groups:
            cost = sum(self._cost(judgement, done) for judgement in group)
            # At least one goes, however slow the disk is.
            if done.groups and self._pace.full(done.cost, cost):
                break
            done.groups += 1
            for judgement in group:
                self._remove(tables, self._current(tables, judgement, spared), done, spared)
        if done.judged:
            if self._begin is not None:
                self._begin(tables)
            done.epoch = tables.bump_gc_epoch()
        return done

    def _current(self, tables: Writing, found: Judgement, spared: set[Id]) -> Judgement | None:
        """The judgement, made anew if it holds no longer or something in the block has a copy."""
        copies = self._census.copies
        alive = self._live.any_marked(found.number, [dead.slot for dead in found.dead])
        based = found.based and not holds(tables, found.rest, self._live)
        if not (alive or based or (copies and any(id in copies for id in found.members))):
            return found

        def choose(tables: Reading, _block: Block, _slots: Sequence[int]) -> Rest:
            return found.rest if holds(tables, found.rest, self._live) else NOTHING

        return judge(tables, found.number, self._live, self._census, spared=spared, choose=choose)

    def _remove(
        self, tables: Writing, found: Judgement | None, done: _Slice, spared: set[Id]
    ) -> None:
        if found is None:
            return
        done.judged.append(found)
        if not found.changed:
            return
        above = self._above(found.number, done)
        done.cost += found.cost + (ROW_BYTES + DECODE_BYTES) * len(above)
        alive = {
            id
            for slot, id in enumerate(found.members if found.pointed else ())
            if self._live.alive(found.number, slot) or id in spared
        }
        first = tables.integer(NEXT_BLOCK_KEY.decode())
        tables.replace_block(found.number, found.blocks, found.dropped)
        self._promise(tables, found)
        for number in range(first, first + len(found.blocks) if found.based else first):
            info = tables.block_info(number)
            for base in info.bases if info is not None else ():
                done.above.setdefault(base, []).append(number)
        for id, row, size in found.pointed:
            tables.put_object_row(id, row)
            info = tables.block_info(row.block)
            if info is not None:
                tables.put_block_info(row.block, info._replace(live=info.live + size))
            if id in alive:
                spared.add(id)
                done.pointed.append((row.block, row.slot))
        for number in above:
            info = tables.block_info(number)
            if info is not None:
                block = decode_block(tables.block(number) or b"", block_place(number))
                bases = base_blocks(tables, block)
                tables.put_block_info(number, info._replace(bases=bases))

    def _promise(self, tables: Writing, found: Judgement) -> None:
        """Note of files that were left to a remote that it has them."""
        for kind, id, _ in found.dropped if self._left is not None else ():
            held = kind in (Kind.CHUNK, Kind.LAYOUT) and any(True for _ in tables.containers(id))
            if held:
                tables.put_object_row(id, ObjectRow(0, 0, kind, State.PROMISED))

    def _above(self, number: int, done: _Slice) -> list[int]:
        """The blocks with bases in one, those of this transaction with them."""
        return [*self._census.dependants.of(number), *done.above.get(number, ())]

    def _cost(self, found: Judgement, done: _Slice) -> int:
        """What a change costs, with the rows of blocks with bases in what changes."""
        if not found.changed:
            return 0
        above = self._above(found.number, done)
        return found.cost + (ROW_BYTES + DECODE_BYTES) * len(above)


def check_epoch(tables: Reading, epoch: int) -> None:
    """Raise Disturbed when something was removed by another collection."""
    if tables.gc_epoch() != epoch:
        raise Disturbed("another collection is removing objects")
