"""Re-basing: what a delta that has to be written anew may rest on, where what it rests on is dead.

The live objects below a dead base take its place. Where there are none, the first delta is written
in full, and others that came from the same are made deltas of that one, its heir: of a history of
which the oldest versions go, one version is written in full, not each that rests on them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from castore.content.blocks import Block, Codec, Member, decode_block
from castore.content.deltas import block_place
from castore.database.reading import Reading
from castore.database.tables import State
from castore.model.ids import Id
from castore.model.limits import BLOCK_BASES, DICTIONARY_BYTES
from castore.store.collect_map import LiveMap

# Of dead objects below one delta.
_LOOKED_AT: Final = 4096
_KEPT_HEIRS: Final = 1 << 14
_KEPT_BLOCKS: Final = 256
# The bytes a delta rests on stay below this many times its own, or what they were: what is held at
# once when a chain is read does not grow from collection to collection.
_BASE_TIMES: Final = 2


class Rest(NamedTuple):
    """What a delta written anew is to rest on, in order, and how deep it then lies.

    `ends` are the dead objects at the bottom, each with the objects it is an ancestor of, which
    become its heirs if they are written in full.
    """

    bases: tuple[Id, ...] = ()
    depth: int = 0
    ends: tuple[tuple[Id, tuple[Id, ...]], ...] = ()


NOTHING: Final = Rest()


class _Found(NamedTuple):
    """A stored object: whether it is alive, and what its block says of it."""

    alive: bool
    slot: int
    depth: int
    delta: bool
    bases: tuple[Id, ...]
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        return self.members[self.slot].size


class _Substitute(NamedTuple):
    id: Id
    size: int
    depth: int


class Rebasing:
    """Finds bases for the deltas of one collection; what it finds depends only on their order."""

    def __init__(self, live: LiveMap) -> None:
        self._live = live
        self._heirs: OrderedDict[Id, tuple[_Substitute, ...]] = OrderedDict()

    def choose(self, tables: Reading, block: Block, slots: Sequence[int]) -> Rest:
        """What these members of a delta may rest on; nothing for a block that is no delta.

        No base lies deeper than those it has now, so no delta above it has to change.
        """
        below = _Below(tables, self._live)
        wanted: dict[Id, _Substitute] = {}
        instead: dict[Id, _Substitute] = {}
        ends: list[tuple[Id, tuple[Id, ...]]] = []
        most = _BASE_TIMES * block.raw_size
        room = 0
        for base, members in _bases(block, slots):
            found = below.find(base)
            if found is None:
                continue
            room += found.size
            if found.alive:
                wanted[base] = instead[base] = _Substitute(base, found.size, found.depth)
                continue
            live, dead = below.ends(base)
            ends += ((end, tuple(block.members[slot].id for slot in members)) for end in dead)
            heirs = (heir for end in dead for heir in self._heirs.get(end, ()))
            instead.update((other.id, other) for other in live or heirs)
        room = min(max(most, room), DICTIONARY_BYTES) - sum(base.size for base in wanted.values())
        bases: list[_Substitute] = []
        for other in instead.values():
            if other.id not in wanted:
                if other.depth >= block.depth or other.size > room:
                    continue
                room -= other.size
            bases.append(other)
        bases = bases[:BLOCK_BASES]
        depth = 1 + max((base.depth for base in bases), default=-1)
        return Rest(tuple([base.id for base in bases]), depth, tuple(ends))

    def inherit(self, rest: Rest, members: Iterable[Member]) -> None:
        """Note what was written in full, in blocks without bases, instead of resting on these."""
        sizes = {member.id: member.size for member in members}
        for end, ids in rest.ends:
            heirs = tuple([_Substitute(id, sizes[id], 0) for id in ids if id in sizes])
            if heirs:
                self._heirs[end] = heirs
                self._heirs.move_to_end(end)
        while len(self._heirs) > _KEPT_HEIRS:
            self._heirs.popitem(last=False)


def holds(tables: Reading, rest: Rest, live: LiveMap) -> bool:
    """Whether everything chosen is stored, alive, and not as deep as what is to rest on it."""
    depths: dict[int, int] = {}
    for base in rest.bases:
        row = tables.object_row(base)
        if row is None or row.state is not State.STORED or not live.alive(row.block, row.slot):
            return False
        if row.block not in depths:
            data = tables.block(row.block) or b""
            depths[row.block] = decode_block(data, block_place(row.block)).depth
        if depths[row.block] >= rest.depth:
            return False
    return True


def _bases(block: Block, slots: Sequence[int]) -> Iterator[tuple[Id, Sequence[int]]]:
    """The bases of a delta, each with those of these members that may be like it."""
    beside = len(block.bases) == len(block.members)
    for at, base in enumerate(block.bases):
        if not beside:
            yield base, slots
        elif at in slots:
            # Small files lie beside each other, each with what it was before.
            yield base, (at,)


class _Below:
    """Looks at what lies below one delta."""

    def __init__(self, tables: Reading, live: LiveMap) -> None:
        self._tables = tables
        self._live = live
        self._blocks: dict[int, Block] = {}
        self._left = _LOOKED_AT

    def find(self, id: Id) -> _Found | None:
        """An object, if it is stored."""
        row = self._tables.object_row(id)
        if row is None or row.state is not State.STORED:
            return None
        block = self._blocks.get(row.block)
        if block is None:
            data = self._tables.block(row.block) or b""
            block = decode_block(data, block_place(row.block))._replace(frame=b"")
            if len(self._blocks) >= _KEPT_BLOCKS:
                self._blocks.clear()
            self._blocks[row.block] = block
        return _Found(
            self._live.alive(row.block, row.slot),
            row.slot,
            block.depth,
            block.codec is Codec.DELTA,
            block.bases,
            block.members,
        )

    def ends(self, dead: Id) -> tuple[list[_Substitute], list[Id]]:
        """The first live objects on the ways down from a dead one, and the dead at the bottom."""
        live: dict[Id, _Substitute] = {}
        bottom: dict[Id, None] = {}
        seen = {dead}
        todo = deque([dead])
        while todo and self._left:
            self._left -= 1
            id = todo.popleft()
            found = self.find(id)
            if found is None:
                continue
            if found.alive:
                live[id] = _Substitute(id, found.size, found.depth)
                continue
            if not found.delta:
                bottom[id] = None
                continue
            below = found.bases
            if len(below) == len(found.members):
                below = below[found.slot : found.slot + 1]
            fresh = [base for base in below if base not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        return list(live.values()), list(bottom)
