"""Which objects are alive: one bit for each, by the block and the place they lie in.

A Python set takes 118 bytes an id. Here a page of 4,096 block numbers takes 1 KiB if no block in it
holds more than one object, else a byte a block (2 if one of them holds 256 objects or more) and a
bit an object; numbers that are not in use any more take nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from castore.database.tables import State
from castore.errors import CorruptObject

_BLOCKS: Final = 4096
_SHIFT: Final = 12
_RUN: Final = 64
_BYTE: Final = 255
_STORED: Final = int(State.STORED)
_STATES: Final = frozenset(map(int, State))


class Places:
    """How many places each block has, counted from the rows of all objects."""

    def __init__(self) -> None:
        self.counts: dict[int, array[int]] = {}

    def add(self, places: Iterable[tuple[int, int]]) -> None:
        """Count the (block, slot) of stored objects."""
        counts = self.counts
        for block, slot in places:
            page = counts.get(block >> _SHIFT)
            if page is None:
                page = counts[block >> _SHIFT] = array("B", bytes(_BLOCKS))
            if page[block & _BLOCKS - 1] <= slot:
                if slot >= _BYTE and page.typecode == "B":
                    page = counts[block >> _SHIFT] = array("H", page)
                page[block & _BLOCKS - 1] = slot + 1


class _Page:
    """Bits of 4,096 blocks; `counts` is None where each has one object or none."""

    __slots__ = ("bits", "counts", "known", "starts")

    def __init__(self, counts: array[int] | None, known: bytes, starts: array[int]) -> None:
        self.counts = counts
        self.known = known
        self.starts = starts
        total = starts[-1] if counts is not None else _BLOCKS
        self.bits = bytearray((total + 7) // 8)

    def start(self, at: int) -> int:
        """The first bit of a block."""
        assert self.counts is not None
        run = at // _RUN
        return self.starts[run] + sum(self.counts[run * _RUN : at])


class LiveMap:
    """The objects found alive. Blocks from number `limit` on are new and count as alive.

    With `over` it shares the places of another map, and takes no object that the other has.
    """

    def __init__(self, places: Places, limit: int, over: LiveMap | None = None) -> None:
        self.limit = limit
        self.count = 0
        self._over = over
        self._late: dict[int, int] = {}
        if over is None:
            self._pages = {
                number: _page(places.counts.pop(number)) for number in list(places.counts)
            }
        else:
            self._pages = {
                number: _Page(page.counts, page.known, page.starts)
                for number, page in over._pages.items()
            }

    def mark(self, block: int, slot: int) -> bool:
        """Note that an object is alive; whether that is news."""
        if self._over is not None and self._over.marked(block, slot):
            return False
        page = self._pages.get(block >> _SHIFT)
        at = _bit(page, block & _BLOCKS - 1, slot) if page is not None else -1
        if page is None or at < 0:
            seen = self._late.get(block, 0)
            if seen >> slot & 1:
                return False
            self._late[block] = seen | 1 << slot
        else:
            if page.bits[at >> 3] >> (at & 7) & 1:
                return False
            page.bits[at >> 3] |= 1 << (at & 7)
        self.count += 1
        return True

    def mark_all(self, rows: Sequence[tuple[int, int, int, int] | None]) -> list[int]:
        """Mark what is stored of (block, slot, kind, state); where that is news, by position.

        Raises CorruptObject for an unknown state.
        """
        news: list[int] = []
        last = start = count = -1
        bits = bytearray()
        for position, row in enumerate(rows):
            if row is None or row[3] != _STORED:
                if row is not None and row[3] not in _STATES:
                    raise CorruptObject(f"an object in state {row[3]}", where="objects")
                continue
            block, slot = row[0], row[1]
            if block != last:
                last, (bits, start, count) = block, self._span(block)
            if slot >= count:
                if self.mark(block, slot):
                    news.append(position)
                continue
            at = start + slot
            byte, bit = bits[at >> 3], 1 << (at & 7)
            if not byte & bit:
                bits[at >> 3] = byte | bit
                self.count += 1
                news.append(position)
        return news

    def _span(self, block: int) -> tuple[bytearray, int, int]:
        """The bits a block's lie in, its first, and how many; none where `mark` must look."""
        page = self._pages.get(block >> _SHIFT)
        if page is None or self._over is not None:
            return bytearray(), 0, 0
        at = block & _BLOCKS - 1
        if page.counts is None:
            return page.bits, at, page.known[at >> 3] >> (at & 7) & 1
        return page.bits, page.start(at), page.counts[at]

    def marked(self, block: int, slot: int) -> bool:
        """Whether an object was found alive."""
        page = self._pages.get(block >> _SHIFT)
        at = _bit(page, block & _BLOCKS - 1, slot) if page is not None else -1
        if page is None or at < 0:
            return bool(self._late.get(block, 0) >> slot & 1)
        return bool(page.bits[at >> 3] >> (at & 7) & 1)

    def any_marked(self, block: int, slots: Sequence[int]) -> bool:
        """Whether any of these objects of a block was found alive."""
        bits, start, count = self._span(block)
        for slot in slots:
            at = start + slot
            if bits[at >> 3] >> (at & 7) & 1 if slot < count else self.marked(block, slot):
                return True
        return False

    def alive(self, block: int, slot: int) -> bool:
        """Whether an object may not go: found alive, or new."""
        return block >= self.limit or self.marked(block, slot)

    def alive_of(self, block: int, slots: Iterable[int]) -> set[int]:
        """Those of these objects of a block that may not go."""
        if block >= self.limit:
            return set(slots)
        bits, start, count = self._span(block)
        return {
            slot
            for slot in slots
            if (
                bits[start + slot >> 3] >> (start + slot & 7) & 1
                if slot < count
                else self.marked(block, slot)
            )
        }

    def whole(self, block: int) -> bool:
        """Whether everything whose row led to a block when the map was made is alive."""
        if block >= self.limit:
            return True
        page = self._pages.get(block >> _SHIFT)
        at = block & _BLOCKS - 1
        if page is None:
            return False
        if page.counts is None:
            return bool(page.known[at >> 3] & page.bits[at >> 3] & 1 << (at & 7))
        count, start = page.counts[at], page.start(at)
        window = page.bits[start >> 3 : (start + count + 7) >> 3]
        bits = int.from_bytes(window, "little") >> (start & 7)
        mask = (1 << count) - 1
        return count > 0 and bits & mask == mask


def _page(counts: array[int]) -> _Page:
    if max(counts) > 1:
        starts = array("I", bytes(4 * (_BLOCKS // _RUN + 1)))
        for run in range(_BLOCKS // _RUN):
            starts[run + 1] = starts[run] + sum(counts[run * _RUN : (run + 1) * _RUN])
        return _Page(counts, b"", starts)
    known = bytearray(_BLOCKS // 8)
    for at, count in enumerate(counts):
        if count:
            known[at >> 3] |= 1 << (at & 7)
    return _Page(None, bytes(known), array("I"))


def _bit(page: _Page, at: int, slot: int) -> int:
    """The bit of an object in its page, -1 for a place that was not known."""
    if page.counts is None:
        return at if slot == 0 and page.known[at >> 3] >> (at & 7) & 1 else -1
    return page.start(at) + slot if slot < page.counts[at] else -1
