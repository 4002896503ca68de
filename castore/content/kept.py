"""Decoded blocks that are kept for a while: neighbours and bases are read together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import accumulate
from typing import Final, NamedTuple

from castore.content.blocks import Block
from castore.model.ids import Id
from castore.model.limits import MIB

KEPT_BYTES: Final = 16 * MIB
# What Python takes for a block and for each member of it, beside the raw bytes.
_BLOCK_BYTES: Final = 512
_MEMBER_BYTES: Final = 128


class Decoded(NamedTuple):
    """A block decoded: the ids of its members, where each begins, and the raw bytes."""

    ids: tuple[Id, ...]
    starts: list[int]
    raw: bytes

    @property
    def weight(self) -> int:
        """The memory that it takes, about."""
        return len(self.raw) + _BLOCK_BYTES + _MEMBER_BYTES * len(self.ids)

    def holds(self, slot: int, id: Id) -> bool:
        """Whether member `slot` is this one."""
        return 0 <= slot < len(self.ids) and self.ids[slot] == id

    def member(self, slot: int, id: Id) -> bytes | None:
        """The bytes of member `slot`, not compared with its id; None if it is not this one."""
        return self.raw[self.starts[slot] : self.starts[slot + 1]] if self.holds(slot, id) else None


class KeptBlocks:
    """The blocks decoded last, by number, up to 16 MiB in all; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Decoded] = OrderedDict()
        self._bytes = 0

    def get(self, number: int) -> Decoded | None:
        """The block of this number, if it is still kept."""
        with self._lock:
            found = self._blocks.get(number)
            if found is not None:
                self._blocks.move_to_end(number)
            return found

    def keep(self, number: int, block: Block, raw: bytes) -> Decoded:
        """Keep a block and its raw bytes in the place of those not asked for the longest."""
        return self.hold(number, taken_apart(block, raw))

    def hold(self, number: int, decoded: Decoded) -> Decoded:
        """Keep a block that was taken apart already."""
        with self._lock:
            if number not in self._blocks:
                self._blocks[number] = decoded
                self._bytes += decoded.weight
            while self._bytes > KEPT_BYTES:
                _, dropped = self._blocks.popitem(last=False)
                self._bytes -= dropped.weight
        return decoded


def taken_apart(block: Block, raw: bytes) -> Decoded:
    """A block and its raw bytes, with the places of its members."""
    starts = list(accumulate([member.size for member in block.members], initial=0))
    return Decoded(tuple([member.id for member in block.members]), starts, raw)
