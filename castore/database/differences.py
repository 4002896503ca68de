"""How a backup differs from its store: both are walked in step, and nothing of it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from castore.database import tables as tabling
from castore.database.reading import Reading
from castore.database.tables import INTEGER_KEYED, State, Tables
from castore.model.limits import KIB

# Caches of this machine, and blocks, which are compared by number.
_NOT_COMPARED: Final = frozenset({"blocks", "files", "located"})
COMPARED: Final = tuple(name for name in Tables._fields if name not in _NOT_COMPARED)
# Of the data file a row lies in, and of no other: up to which erasure that was cleared.
_OWN: Final = frozenset({("meta", tabling.SCRUBBED.encode())})
# stored, raw, then live, which alone changes while a block stays as it is.
_LIVE: Final = slice(8, 12)

Row = tuple[bytes, bytes]


class Change(NamedTuple):
    """A row that differs; None where there is none."""

    key: bytes
    new: bytes | None
    old: bytes | None


class Fate(Enum):
    """What becomes of a block: written, compared and perhaps written, or removed."""

    NEW = auto()
    SUSPECT = auto()
    GONE = auto()


class Touched:
    """The blocks that rows say something new about: their bytes may differ under one number.

    A store that was taken back to an older state gives numbers again that an interrupted backup
    has already written. Takes a bit for each number, in pages of 8 KiB that are there when needed.
    """

    _PAGE: Final = 8 * KIB

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def __contains__(self, number: int) -> bool:
        page, bit = divmod(number, 8 * self._PAGE)
        held = self._pages.get(page)
        return held is not None and bool(held[bit >> 3] >> (bit & 7) & 1)

    def add(self, number: int) -> None:
        """Say that this block is one of them."""
        page, bit = divmod(number, 8 * self._PAGE)
        held = self._pages.get(page)
        if held is None:
            held = self._pages[page] = bytearray(self._PAGE)
        held[bit >> 3] |= 1 << (bit & 7)

    def note(self, table: str, change: Change) -> None:
        """Take note of what a changed row of this table says."""
        if table == "objects" and change.new is not None:
            row = tabling.read_object(change.new, change.key)
            if row.state is State.STORED:
                self.add(row.block)
        elif table == "blockinfo" and _but_live(change.new) != _but_live(change.old):
            self.add(tabling.read_number(change.key))


def changes(ours: Reading, theirs: Reading, table: str, start: bytes = b"") -> Iterator[Change]:
    """The rows from this key on that differ, by walking both tables in step."""
    for change in _unlike(ours.rows(table, start), theirs.rows(table, start), table):
        if (table, change.key) not in _OWN:
            yield change


def _unlike(mine: Iterator[Row], yours: Iterator[Row], table: str) -> Iterator[Change]:
    numbered = table in INTEGER_KEYED
    left, right = next(mine, None), next(yours, None)
    while left is not None or right is not None:
        if left == right:
            left, right = next(mine, None), next(yours, None)
        elif right is None or (left is not None and _before(left[0], right[0], numbered)):
            assert left is not None
            yield Change(left[0], left[1], None)
            left = next(mine, None)
        elif left is None or _before(right[0], left[0], numbered):
            yield Change(right[0], None, right[1])
            right = next(yours, None)
        else:
            yield Change(left[0], left[1], right[1])
            left, right = next(mine, None), next(yours, None)


def _before(one: bytes, other: bytes, numbered: bool) -> bool:
    if numbered:
        return tabling.read_number(one) < tabling.read_number(other)
    return one < other


def fates(
    ours: Reading, theirs: Reading, touched: Touched, start: int = 0
) -> Iterator[tuple[int, Fate]]:
    """The blocks from this number on that are not simply kept, by walking both sides in step."""
    mine, yours = ours.block_numbers(start), theirs.block_numbers(start)
    left, right = next(mine, None), next(yours, None)
    while left is not None or right is not None:
        if left == right:
            assert left is not None
            if left in touched:
                yield left, Fate.SUSPECT
            left, right = next(mine, None), next(yours, None)
        elif right is None or (left is not None and left < right):
            assert left is not None
            yield left, Fate.NEW
            left = next(mine, None)
        else:
            yield right, Fate.GONE
            right = next(yours, None)


def _but_live(info: bytes | None) -> bytes:
    return b"" if info is None else info[: _LIVE.start] + info[_LIVE.stop :]
