"""The pace of a collection: how much one write transaction may remove while other writers wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from castore.model.limits import KIB, MIB

SECONDS: Final = 0.05
"""How long one transaction is to take, its commit included."""
MOST: Final = 8 * MIB
"""Bytes of pages that one transaction may touch at most, however fast the disk is."""
ROW_BYTES: Final = 4 * KIB
"""What deleting or changing one row may touch: the page it lies in."""
DECODE_BYTES: Final = 12 * KIB
"""What could be written in the time in which a block is read and decoded."""
DECODED: Final = 20
"""How many objects could be looked up in that time."""
_FIRST: Final = 2 * MIB
# Below this the cost of a commit is not that of its pages, and smaller ones gain nothing.
_LEAST: Final = 512 * KIB
_SHRINK: Final = 0.25
_GROW: Final = 1.5
# Between two transactions: a waiting writer wakes up only after the lock was given back, and would
# find it taken again.
_YIELD: Final = 0.25
_YIELD_LEAST: Final = 0.001


class Pace:
    """Bounds transactions by bytes of pages, at most `most`, and by time.

    The bytes allowed follow what the last transaction took as a whole: writing pages out and
    flushing them can take longer than changing them, and a long list of free pages makes each
    commit slower. `clock` counts seconds, `sleep` waits for so many.
    """

    def __init__(
        self,
        most: int = MOST,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._most = most
        self._least = min(_LEAST, most)
        self._clock = clock
        self._sleep = sleep
        self._begun = 0.0
        self.bytes = min(_FIRST, most)

    def begin(self) -> None:
        """A transaction begins: its writer has the lock from now on."""
        self._begun = self._clock()

    def full(self, cost: int, more: int) -> bool:
        """Whether a transaction that touched `cost` bytes should end before it touches `more`."""
        return cost + more > self.bytes or self._clock() - self._begun >= SECONDS / 2

    def end(self, cost: int) -> None:
        """A transaction that touched `cost` bytes is over, committed; lets others have a turn."""
        took = self._clock() - self._begun
        change = min(max(SECONDS / max(took, SECONDS / 100), _SHRINK), _GROW)
        if not cost:
            # How long it takes to find out that there is too much to do first tells nothing.
            pass
        elif change < 1:
            self.bytes = max(self._least, int(min(self.bytes, cost) * change))
        elif 2 * cost > self.bytes:
            self.bytes = min(self._most, int(self.bytes * change))
        self._sleep(max(_YIELD_LEAST, _YIELD * min(took, SECONDS)))
