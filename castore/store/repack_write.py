"""Writing what a repack encoded: in small transactions, each looking again at what it relies on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from castore.content.blocks import block_depth, decode_block
from castore.content.deltas import block_place
from castore.database.environment import Database
from castore.database.reading import Reading, State
from castore.database.rebuild import block_info
from castore.database.tables import NEXT_BLOCK_KEY
from castore.database.writing import Writing
from castore.model.ids import Id
from castore.store.collect_census import slots_here
from castore.store.collect_pace import Pace
from castore.store.repack_pending import Unit
from castore.store.repack_relations import Relations, under

# How often all blocks are looked at again because others moved some, for one batch of units.
_TRIES: Final = 20


@dataclass(slots=True)
class _Slice:
    """What one write transaction did."""

    units: int = 0
    epoch: int = 0
    cost: int = 0
    written: list[Unit] = field(default_factory=list)
    # The deltas of blocks that were added: (block, delta).
    related: list[tuple[int, int]] = field(default_factory=list)
    above: dict[int, list[int]] = field(default_factory=dict)


class RepackWriter:
    """Puts units in the place of old blocks, beside other writers; `clock`, `sleep` as of Pace."""

    def __init__(
        self,
        database: Database,
        relations: Relations,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._relations = relations
        self._pace = Pace(clock=clock, sleep=sleep)
        self.slices = 0
        self.largest = 0

    def write(self, units: Sequence[Unit]) -> list[Unit]:
        """Make these durable; those that were: of others something moved or vanished meanwhile.

        Beside a collection that always moves more, what is left is not written.
        """
        written: list[Unit] = []
        tries = 0
        while units and tries < _TRIES:
            while self._database.read(self._relations.extend):
                pass
            done = self._database.write(partial(self._slice, units=units), urgent=True)
            self._pace.end(done.cost if done else 0)
            if done is None:
                tries += 1
                continue
            tries = 0
            units = units[done.units :]
            if done.written:
                self.slices += 1
                self.largest = max(self.largest, done.cost)
                self._relations.moved(done.epoch)
            written += done.written
            for base, dependant in done.related:
                self._relations.add(base, dependant)
        return written

    def _slice(self, tables: Writing, units: Sequence[Unit]) -> _Slice | None:
        """Write the first of these units; None if others moved something just before."""
        self._pace.begin()
        if not self._relations.holds(tables):
            return None
        while self._relations.extend(tables):
            pass
        done = _Slice()
        for unit in units:
            # At least one goes, however slow the disk is.
            if done.units and self._pace.full(done.cost, unit.cost):
                break
            done.units += 1
            if self._holds(tables, unit, done):
                self._replace(tables, unit, done)
        if done.written:
            # What others judged or are checking is not what it was.
            done.epoch = tables.bump_gc_epoch()
        return done

    def _holds(self, tables: Reading, unit: Unit, done: _Slice) -> bool:
        """Whether all of the old blocks is in use, and each delta still above what it rests on."""
        for number in unit.old:
            data = tables.block(number)
            if data is None:
                return False
            block = decode_block(data, block_place(number))
            whole = len(slots_here(tables, number, block)) == len(block.members)
            if not whole or any(member.id in self._relations.copied for member in block.members):
                return False
        for new in unit.blocks:
            if not all(_below(tables, base, block_depth(new.data)) for base in new.bases):
                return False
        return under(tables, self._above(unit, done), unit.depths())

    def _above(self, unit: Unit, done: _Slice) -> set[int]:
        """The blocks that have bases in the old ones."""
        found: set[int] = set()
        for number in unit.old:
            found.update(self._relations.above(number), done.above.get(number, ()))
        return found

    def _replace(self, tables: Writing, unit: Unit, done: _Slice) -> None:
        resting = sorted(self._above(unit, done))
        first = tables.integer(NEXT_BLOCK_KEY.decode())
        tables.replace_block(unit.old[0], unit.blocks, ())
        for number in unit.old[1:]:
            tables.drop_block(number)
        fresh = range(first, first + len(unit.blocks))
        for number in resting:
            data = tables.block(number)
            if data is None:
                continue
            block = decode_block(data, block_place(number))
            info = block_info(tables, number, block, len(data))
            tables.put_block_info(number, info)
            for base in info.bases:
                if base in fresh:
                    done.related.append((base, number))
                    done.above.setdefault(base, []).append(number)
        for number in fresh:
            added = tables.block_info(number)
            for base in added.bases if added is not None else ():
                done.above.setdefault(base, []).append(number)
        done.written.append(unit)
        done.cost += unit.cost


def _below(tables: Reading, id: Id, depth: int) -> bool:
    """Whether an object is stored, and less deep than this."""
    row = tables.object_row(id)
    stored = row is not None and row.state is State.STORED
    return row is not None and stored and tables.block_depth(row.block) < depth
