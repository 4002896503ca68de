"""Blocks by number, for stores of any size: which are to be looked at, and which have bases where.

A Python set takes some 60 bytes a number, and a dict of lists more. Here a set takes a bit for
each number of a page of 4,096 in which there are any, a relation 16 bytes a pair or less.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

_SHIFT: Final = 12
_BLOCKS: Final = 1 << _SHIFT
# A look-up goes through a whole page, unless there are so many numbers in it that the pairs of each
# base take no more in an array of their own.
_RELATED_SHIFT: Final = 8
_CROWDED: Final = 8192


class BlockSet:
    """A set of block numbers."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._order: list[int] = []

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number >> _SHIFT)
        at = number & _BLOCKS - 1
        return page is not None and bool(page[at >> 3] >> (at & 7) & 1)

    def add(self, number: int) -> None:
        """Put a number in."""
        page = self._pages.get(number >> _SHIFT)
        if page is None:
            page = self._pages[number >> _SHIFT] = bytearray(_BLOCKS >> 3)
            self._order = []
        at = number & _BLOCKS - 1
        page[at >> 3] |= 1 << (at & 7)

    def below(self, number: int | None = None) -> int | None:
        """The highest below `number`, or of all; None if there is none."""
        if len(self._order) != len(self._pages):
            self._order = sorted(self._pages)
        page, at = (number >> _SHIFT, number & _BLOCKS - 1) if number is not None else (None, 0)
        if page is not None and page in self._pages:
            bits = int.from_bytes(self._pages[page], "little") & (1 << at) - 1
            if bits:
                return (page << _SHIFT) + bits.bit_length() - 1
        place = len(self._order) if page is None else bisect_left(self._order, page)
        while place > 0:
            place -= 1
            bits = int.from_bytes(self._pages[self._order[place]], "little")
            if bits:
                return (self._order[place] << _SHIFT) + bits.bit_length() - 1
        return None

    def downwards(self) -> Iterator[int]:
        """Every number, the highest first."""
        number = self.below()
        while number is not None:
            yield number
            number = self.below(number)


class Dependants:
    """Which blocks hold deltas with a base in which block."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}
        self._crowded: dict[int, dict[int, array[int]]] = {}

    def add(self, base: int, dependant: int) -> None:
        """Note a pair, once for each base block of a delta."""
        number = base >> _RELATED_SHIFT
        crowded = self._crowded.get(number)
        if crowded is not None:
            _append(crowded, base, dependant)
            return
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = array("Q")
        page.append(base)
        page.append(dependant)
        if len(page) >= _CROWDED:
            crowded = self._crowded[number] = {}
            for at in range(0, len(page), 2):
                _append(crowded, page[at], page[at + 1])
            del self._pages[number]

    def of(self, base: int) -> list[int]:
        """The blocks that have bases in this one, as they were noted."""
        crowded = self._crowded.get(base >> _RELATED_SHIFT)
        if crowded is not None:
            return list(crowded.get(base, ()))
        page = self._pages.get(base >> _RELATED_SHIFT)
        if page is None:
            return []
        return [page[at + 1] for at in range(0, len(page), 2) if page[at] == base]


def _append(pairs: dict[int, array[int]], base: int, dependant: int) -> None:
    found = pairs.get(base)
    if found is None:
        found = pairs[base] = array("Q")
    found.append(dependant)
