"""Chains: which stored chunks new ones may be deltas of, and what reading them will then cost.

A delta is read by way of all deltas below it. What that takes is summed up beforehand from the
headers of blocks alone, and kept far below the bounds of castore.content.deltas: where a chain
costs too much, older chunks further down take the place of the bases.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from castore.content.blocks import Codec, decode_block
from castore.content.codecs import marked
from castore.content.deltas import Load, StoredObject, block_place
from castore.content.layouts import iter_parts
from castore.content.reader import ObjectReader
from castore.errors import CorruptObject, ObjectNotFound, TypeMismatch, UnsupportedFormat
from castore.model.artifact_set import FileContent
from castore.model.ids import Id, Kind
from castore.model.limits import BLOCK_BASES, DELTA_DEPTH, DICTIONARY_BYTES, MIB
from castore.model.pages import Part

# What is damaged, or was collected, is no base and no error.
UNFIT: Final = (CorruptObject, ObjectNotFound, TypeMismatch, UnsupportedFormat)
# After so many levels a delta is a step: it rests on the step before, or the bottom, and its frame
# says so. A chain of n is then read by way of at most n / STEP_EVERY + STEP_EVERY.
STEP_EVERY: Final = 12
# Where no step is found in so many levels, as below deltas that say nothing, half of them make one.
_STEP_WITHIN: Final = 4 * STEP_EVERY
# Reading may decode so many times the bytes it is for, and this much in any case.
_WORK_TIMES: Final = 64
_WORK_BYTES: Final = 16 * MIB
_MOST_WORK_BYTES: Final = 512 * MIB
_HELD_BYTES: Final = 32 * MIB
_CHAIN_BASES: Final = 4096
_KEPT_HEADERS: Final = 4096
_KEPT_PLACES: Final = 1 << 16
_TOP: Final = DELTA_DEPTH + 1


class Bases(NamedTuple):
    """Stored chunks, in order, as bases of one delta; its depth, and whether it is a step."""

    parts: tuple[Part, ...]
    depth: int
    step: bool = False


class _Header(NamedTuple):
    """What a block says of itself; `delta` is the size of its frame, 0 if it is none."""

    depth: int
    delta: int
    step: bool
    raw: int
    bases: tuple[Id, ...]
    members: tuple[Part, ...]


class _Run(NamedTuple):
    """How many levels lie between a chunk and its last step, and what that is."""

    levels: int
    step: tuple[Part, ...]


class _Place(NamedTuple):
    number: int
    slot: int


class Chains:
    """Looks for bases in one store; for one thread, but for `payload`."""

    def __init__(self, reader: ObjectReader, load: Load) -> None:
        self._reader = reader
        self._load = load
        self._headers: OrderedDict[int, _Header] = OrderedDict()
        self._places: dict[Id, _Place] = {}

    def payload(self, part: Part) -> bytes:
        """The bytes of a base; raises as ObjectReader.chunk."""
        return self._reader.chunk(part)

    def parts(self, file: FileContent) -> Iterable[Part]:
        """The chunks of a stored file, in order; raises one of UNFIT, also while they are read."""
        if file.digest not in self._places:
            stored = self._load(file.digest)
            if stored.kind is not Kind.CHUNK:
                root = self._reader.layout_root(file.digest)
                return iter_parts(self._reader.layout_page, root or b"")
            self._note(file.digest, stored)
        return (Part(file.digest, file.size),)

    def bases(self, wanted: Iterable[Part], raw: int) -> Bases | None:
        """Bases for a delta of `raw` bytes.

        Those wanted, or older ones where that costs too much; for a step always the step before.
        None where there are none, or more than a delta may have.
        """
        try:
            wanted = list(dict.fromkeys(wanted))
            parts = self._below(wanted)
            step = parts is not wanted
            chain = self._chain(parts)
            for depth in (chain.depth // 2, 0):
                if chain.fits(raw):
                    break
                parts = self._older(parts, depth)
                chain = self._chain(parts)
            good = parts and chain.fits(raw) and len(parts) <= BLOCK_BASES
            if not good or sum([part.size for part in parts]) > DICTIONARY_BYTES:
                return None
            return Bases(tuple(parts), 1 + chain.depth, step)
        except UNFIT:
            return None

    def _below(self, wanted: list[Part]) -> list[Part]:
        """These, or the last steps below them where that is far for one of them."""
        if self._depth(wanted) < STEP_EVERY:
            return wanted
        runs = {part: self._run(part) for part in wanted}
        if max(run.levels for run in runs.values()) < STEP_EVERY:
            return wanted
        found: dict[Part, None] = {}
        for part, run in runs.items():
            # What is near its step may lie on this one, too.
            near = run.levels < STEP_EVERY // 4
            found.update(dict.fromkeys((part,) if near else run.step))
        return list(found)

    def _run(self, part: Part) -> _Run:
        """The way from a chunk to the last steps below it, or to the bottom."""
        parts = [part]
        half = parts
        for level in range(_STEP_WITHIN):
            if level == _STEP_WITHIN // 2:
                half = parts
            below: dict[Part, None] = {}
            for at in parts:
                _, slot, header = self._find(at.id)
                ends = header.step or not header.delta
                below.update(dict.fromkeys((at,) if ends else self._beneath(slot, header)))
            if [*below] == parts or len(below) > BLOCK_BASES:
                return _Run(level, tuple(parts))
            parts = [*below]
        return _Run(_STEP_WITHIN, tuple(half))

    def _beneath(self, slot: int, header: _Header) -> list[Part]:
        """What the member at this place of a delta rests on."""
        below = self._sized(header.bases)
        # Small files lie beside each other, each with what it was before.
        return [below[slot]] if len(below) == len(header.members) else below

    def _chain(self, parts: Sequence[Part]) -> _Chain:
        """What has to be read for these, each block once."""
        headers: dict[int, _Header] = {}
        # Depth of the block a base lies in, and of the deepest that needs it.
        spans: dict[Part, tuple[int, int]] = {}
        todo = deque([(part, _TOP) for part in parts])
        work = 0
        while todo and len(spans) <= _CHAIN_BASES:
            part, above = todo.popleft()
            number, _, header = self._find(part.id)
            before = spans.get(part)
            spans[part] = (header.depth, max(above, before[1] if before else 0))
            if before is None and not header.delta:
                work += header.raw + part.size
            if number not in headers and header.delta:
                headers[number] = header
                below = self._sized(header.bases)
                work += header.delta + header.raw + sum([base.size for base in below])
                todo.extend([(base, header.depth) for base in below])
        return _Chain(
            self._depth(parts),
            sum([header.delta for header in headers.values()]),
            work if not todo else _MOST_WORK_BYTES + 1,
            _most_held(spans),
        )

    def _older(self, parts: Sequence[Part], depth: int) -> list[Part]:
        """What these rest on at this depth or above it, in order."""
        found: dict[Part, None] = {}
        todo = deque(parts)
        looked_at = 0
        while todo:
            part = todo.popleft()
            _, slot, header = self._find(part.id)
            if header.depth <= depth:
                found[part] = None
                continue
            looked_at += 1
            if looked_at > _CHAIN_BASES:
                return []
            todo.extendleft(reversed(self._beneath(slot, header)))
        return list(found)

    def _depth(self, parts: Sequence[Part]) -> int:
        return max([self._find(part.id)[2].depth for part in parts], default=0)

    def _sized(self, ids: Sequence[Id]) -> list[Part]:
        found = [self._find(id) for id in ids]
        return [header.members[slot] for _, slot, header in found]

    def _find(self, id: Id) -> tuple[int, int, _Header]:
        """The block an object lies in, and where; raises one of UNFIT."""
        place = self._places.get(id)
        header = self._headers.get(place.number) if place is not None else None
        if place is not None and header is not None:
            return *place, header
        return self._note(id, self._load(id))

    def _note(self, id: Id, stored: StoredObject) -> tuple[int, int, _Header]:
        number = stored.block_number
        header = self._headers.get(number)
        if header is None:
            header = self._headers[number] = self._read(number, stored.block)
            if len(self._headers) > _KEPT_HEADERS:
                self._headers.popitem(last=False)
        if stored.slot >= len(header.members) or header.members[stored.slot].id != id:
            raise CorruptObject(f"{block_place(number)} does not hold {id.hex()}", id=id.hex())
        self._places[id] = _Place(number, stored.slot)
        return number, stored.slot, header

    def _read(self, number: int, data: bytes) -> _Header:
        block = decode_block(data, block_place(number))
        if len(self._places) > _KEPT_PLACES:
            self._places.clear()
        if block.codec is Codec.DELTA:
            places = {member.id: _Place(number, at) for at, member in enumerate(block.members)}
            self._places.update(places)
        return _Header(
            block.depth,
            len(block.frame) if block.codec is Codec.DELTA else 0,
            block.codec is Codec.DELTA and marked(block.frame),
            block.raw_size,
            block.bases,
            tuple([Part(member.id, member.size) for member in block.members]),
        )


class _Chain(NamedTuple):
    """What lies below a delta: depth, bytes of deltas, bytes decoded, most bytes held at once."""

    depth: int
    deltas: int
    work: int
    held: int

    def fits(self, raw: int) -> bool:
        """Whether a delta of `raw` bytes may lie on it."""
        return (
            self.depth < DELTA_DEPTH
            and self.deltas <= raw
            and self.work <= min(_WORK_BYTES + _WORK_TIMES * raw, _MOST_WORK_BYTES)
            and self.held <= _HELD_BYTES
        )


def _most_held(spans: dict[Part, tuple[int, int]]) -> int:
    """The most bytes that wait at once when blocks are decoded from the shallowest up."""
    changes = [0] * (_TOP + 2)
    for part, (born, needed) in spans.items():
        changes[born] += part.size
        changes[needed + 1] -= part.size
    return max(accumulate(changes))
