"""Savings: what compression, solid blocks and deltas each take off the bytes of content.

Compression is what each object would save if it lay alone; solid blocks and deltas are what lying
together saves beyond that. The latter is found by encoding objects alone, of at most SAMPLE blocks
of each sort, evenly spread, and counted up by stored bytes. The parts always add up to the
difference between raw and stored bytes, which is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any, Final, NamedTuple

from castore.content.blocks import decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.encoder import encode_chunks
from castore.database.reading import Reading
from castore.database.tables import BlockInfo, State
from castore.model.ids import Id, Kind
from castore.store.store import Store

SAMPLE: Final = 32
_SLICE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Savings:
    """Bytes that were saved, each way; below zero where it cost more than it saved.

    `dedup` is content that is not stored again. `grouped` blocks hold several objects or are
    deltas; `measured` of them were looked into, so with fewer the figures of `compression`,
    `solid` and `delta` are estimates, but not their sum.
    """

    dedup: int = 0
    compression: int = 0
    solid: int = 0
    delta: int = 0
    grouped: int = 0
    measured: int = 0

    def as_json(self) -> dict[str, Any]:
        """The figures as data."""
        return {
            "dedup_bytes": self.dedup,
            "compression_bytes": self.compression,
            "solid_bytes": self.solid,
            "delta_bytes": self.delta,
            "grouped_blocks": self.grouped,
            "measured_blocks": self.measured,
        }


class Share(NamedTuple):
    """A block of content that counts: its raw bytes that do, and whether it holds several."""

    number: int
    info: BlockInfo
    raw: int
    solid: bool

    @property
    def stored(self) -> float:
        """The part of its stored bytes that stands for `raw`."""
        return self.info.stored * self.raw / self.info.raw if self.info.raw else 0.0


def savings(store: Store, shares: Sequence[Share], dedup: int) -> Savings:
    """What was saved on these blocks; reads a sample of them."""
    deltas = [share for share in shares if share.info.bases]
    solid = [share for share in shares if share.solid and not share.info.bases]
    by_solid = _beyond_alone(store, solid)
    by_delta = _beyond_alone(store, deltas)
    raw = sum(share.raw for share in shares)
    stored = sum(share.stored for share in shares)
    return Savings(
        dedup=dedup,
        compression=round(raw - stored) - by_solid - by_delta,
        solid=by_solid,
        delta=by_delta,
        grouped=len(solid) + len(deltas),
        measured=min(len(solid), SAMPLE) + min(len(deltas), SAMPLE),
    )


def _beyond_alone(store: Store, shares: Sequence[Share]) -> int:
    """How many bytes more these would take with every object in a block of its own."""
    step = max(1.0, len(shares) / SAMPLE)
    sample = [shares[int(index * step)] for index in range(min(len(shares), SAMPLE))]
    alone = stored = 0
    for share in sample:
        size = store.database.read(partial(_alone, number=share.number))
        if size is not None:
            alone += size
            stored += share.info.stored
    if not stored:
        return 0
    return round((alone / stored - 1) * sum(share.stored for share in shares))


def _alone(tables: Reading, number: int) -> int | None:
    """What the members of a block would take one by one; None if it is gone meanwhile."""
    data = tables.block(number)
    if data is None:
        return None
    block = decode_block(data, block_place(number))
    raw = raw_bytes(block, tables.load, block_place(number))
    ends = [0]
    for member in block.members:
        ends.append(ends[-1] + member.size)
    return sum(
        encode_chunks([(member.id, raw[start:end])])[0].size
        for member, (start, end) in zip(block.members, pairwise(ends), strict=True)
    )


def solid_blocks(store: Store) -> set[int]:
    """The numbers of blocks that hold several objects of content."""
    found: set[int] = set()
    start: Id | None = b""
    while start is not None:
        numbers, start = store.database.read(partial(_shared, start=start))
        found |= numbers
    return found


def _shared(tables: Reading, start: Id) -> tuple[set[int], Id | None]:
    numbers: set[int] = set()
    rows = tables.object_rows(start)
    for _, row in islice(rows, _SLICE):
        if row.slot and row.kind is Kind.CHUNK and row.state is State.STORED:
            numbers.add(row.block)
    more = next(rows, None)
    return numbers, more[0] if more else None


def shares_of(store: Store, chunks: Mapping[Id, int]) -> list[Share]:
    """The blocks in which these chunks lie, each with the raw bytes of those alone."""
    found: dict[int, Share] = {}
    items = sorted(chunks.items())
    for at in range(0, len(items), _SLICE):
        part = items[at : at + _SLICE]
        for number, info, size in store.database.read(partial(_places, chunks=part)):
            before = found.get(number, Share(number, info, 0, False))
            solid = before.solid or size < info.raw
            found[number] = before._replace(raw=before.raw + size, solid=solid)
    return [found[number] for number in sorted(found)]


def _places(tables: Reading, chunks: Sequence[tuple[Id, int]]) -> list[tuple[int, BlockInfo, int]]:
    places = []
    for id, size in chunks:
        row = tables.object_row(id)
        info = tables.block_info(row.block) if row and row.state is State.STORED else None
        if row is not None and info is not None:
            places.append((row.block, info, size))
    return places
