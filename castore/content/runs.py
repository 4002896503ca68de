"""Chunks that lie side by side are cut from their block in one piece.

What is gathered here is not compared with ids: that is for whoever compares whole files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from blake3 import blake3

from castore.content.descent import Rows
from castore.content.kept import Decoded
from castore.model.ids import Id
from castore.model.limits import MIB
from castore.model.pages import Part

Piece: TypeAlias = bytes | memoryview

# What takes less than this share of a block is copied, so that it does not hold on to all of it.
_PINS: Final = 0.5
# Of stored blocks, for one call.
_MOST_BYTES: Final = 32 * MIB


class Run(NamedTuple):
    """Chunks that follow each other in a file and lie in one block, with their places in it."""

    number: int
    block: bytes
    chunks: list[tuple[int, Part]]


def runs_of(rows: Rows, parts: Sequence[Part]) -> list[Run] | None:
    """Where these chunks lie, in order; None if one is not stored, or for 32 MiB of blocks."""
    found: list[Run] = []
    known: dict[int, bytes] = {}
    last, size = -1, 0
    for part in parts:
        lying = rows.lying(part.id, known)
        if lying is None:
            return None
        number, slot, data = lying
        if number != last:
            found.append(Run(number, known.setdefault(number, data), []))
            size += len(data)
            if size > _MOST_BYTES:
                return None
            last = number
        found[-1].chunks.append((slot, part))
    return found


def pieces_of(run: Run, decoded: Decoded) -> list[Piece] | None:
    """The bytes of these chunks, those side by side as one; None if one is not what it should be.

    Only its id in the table of the block and its size are looked at.
    """
    spans: list[tuple[int, int]] = []
    starts, ids = decoded.starts, decoded.ids
    total = 0
    for slot, (id, size) in run.chunks:
        if slot >= len(ids) or ids[slot] != id:
            return None
        start, end = starts[slot], starts[slot + 1]
        if end - start != size:
            return None
        total += size
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    raw = decoded.raw
    if total < _PINS * len(raw):
        return [raw[start:end] for start, end in spans]
    view = memoryview(raw)
    return [view[start:end] for start, end in spans]


def compared(
    pieces: Iterable[Piece], digest: Id, size: int, wrong: Callable[[], None]
) -> Iterator[Piece]:
    """The pieces of a file, the last of them only if the whole has this digest.

    Else `wrong` is called, which has to raise.
    """
    hasher = blake3()
    left = size
    for piece in pieces:
        hasher.update(piece)
        left -= len(piece)
        if left <= 0 and (left < 0 or hasher.digest() != digest):
            wrong()
        yield piece
