"""Erasing: blocks with purged objects in them are written anew without, deltas in full.

Each transaction leaves a whole store, so that erasing can be killed anywhere and begun again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import islice
from typing import Final

from castore.content.blocks import decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.database.reading import Reading
from castore.database.rebuild import block_info
from castore.database.tables import State
from castore.database.writing import Writing
from castore.model.ids import Id
from castore.store.collect_blocks import Dependants
from castore.store.collect_census import member_starts, slots_here
from castore.store.collect_judge import checked_member, encoded_again
from castore.store.collect_pace import Pace
from castore.store.store import Store

_SCAN_BLOCKS: Final = 20_000
_PURGED: Final = int(State.PURGED)


class Eraser:
    """Rewrites blocks in transactions of a bounded size; counts them, and the bytes they took."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = store.database
        self._pace = Pace(clock=clock, sleep=sleep)
        self._dependants = Dependants()
        self._next = 0
        self._epoch = -1
        self.blocks = 0
        self.bytes = 0

    def free_deltas(
        self, deltas: Iterable[tuple[int, Collection[Id]]], doomed: Collection[Id]
    ) -> None:
        """Write the deltas that rest on something doomed in full, so that they need it no more."""
        self._rewrite([n for n, bases in deltas if any(base in doomed for base in bases)])

    def erase(self) -> None:
        """Write every block anew that still has bytes of a purged object in it."""
        start = 0
        while True:
            numbers, start, more = self._database.read(partial(_with_purged, start=start))
            self._rewrite(numbers)
            if not more:
                return

    def _rewrite(self, numbers: list[int]) -> None:
        while numbers:
            done, cost, taken = self._database.write(
                partial(self._slice, numbers=numbers), urgent=True
            )
            numbers = numbers[done:]
            self.blocks += done
            self.bytes += taken
            self._pace.end(cost)

    def _slice(self, tables: Writing, numbers: list[int]) -> tuple[int, int, int]:
        self._pace.begin()
        self._relate(tables)
        done = cost = taken = 0
        for number in numbers:
            info = tables.block_info(number)
            size = 2 * info.stored if info else 0
            if done and self._pace.full(cost, size):
                break
            if info is not None:
                _rewrite_block(tables, number, self._dependants.of(number))
                taken += info.stored
            done += 1
            cost += size
        self._epoch = tables.bump_gc_epoch()
        return done, cost, taken

    def _relate(self, tables: Writing) -> None:
        """Know which blocks rest on which; all anew if a collection moved something meanwhile."""
        if tables.gc_epoch() != self._epoch:
            self._dependants, self._next = Dependants(), 0
        for number, info in tables.block_infos(self._next):
            self._next = number + 1
            for base in info.bases:
                self._dependants.add(base, number)


def _with_purged(tables: Reading, start: int) -> tuple[list[int], int, bool]:
    """Blocks from `start` on with a purged object in them, where to go on, if there is more."""
    rows = list(islice(tables.block_infos(start), _SCAN_BLOCKS))
    found = []
    for number, info in rows:
        start = number + 1
        # Whatever no row leads to is missing from the live bytes.
        if info.live == info.raw:
            continue
        block = decode_block(tables.block(number) or b"", block_place(number))
        states = tables.object_numbers([member.id for member in block.members])
        if any(row is not None and row[3] == _PURGED for row in states):
            found.append(number)
    return found, start, len(rows) == _SCAN_BLOCKS


def _rewrite_block(tables: Writing, number: int, dependants: Iterable[int]) -> None:
    """Put what lies in a block into plain blocks, without what no row leads to."""
    data = tables.block(number)
    if data is None:
        return
    where = block_place(number)
    block = decode_block(data, where)
    here = slots_here(tables, number, block)
    raw = raw_bytes(block, tables.load, where) if here else b""
    starts = member_starts(block)
    kept = []
    for slot in here:
        member = block.members[slot]
        payload = checked_member(member, raw[starts[slot] : starts[slot + 1]], where)
        kept.append((member.kind, member.id, payload))
    tables.blank_block(number)
    tables.replace_block(number, encoded_again(kept, metadata=block.metadata), ())
    for resting in dependants:
        above = tables.block(resting)
        if above is not None:
            info = block_info(
                tables, resting, decode_block(above, block_place(resting)), len(above)
            )
            tables.put_block_info(resting, info)
