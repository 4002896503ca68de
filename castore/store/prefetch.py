"""Reading many files at once: rows and blocks of a batch come from one view of the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from castore.content.kept import Decoded
from castore.content.reader import ObjectReader
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.model.ids import Id, content_id

BATCH_FILES: Final = 512
BATCH_BYTES: Final = 8 << 20
"""Bytes of blocks fetched ahead at once; a block may lie on either side of it."""


class _Lying(NamedTuple):
    """Where a file that is one chunk lies, and the bytes of that block."""

    number: int
    slot: int
    block: bytes


class Prefetch:
    """Gives the pieces of files, verified as by ObjectReader.stream, a batch of them at a time.

    A file that is one chunk is cut from its block and compared with its digest here: the neighbours
    in a block come one after the other. All else, and whatever is wrong, is left to the reader.
    """

    def __init__(self, database: Database, reader: ObjectReader) -> None:
        self._database = database
        self._reader = reader
        self._number = -1
        self._decoded: Decoded | None = None

    def read(self, files: Sequence[tuple[Id, int]]) -> Iterator[Iterable[bytes]]:
        """The pieces of each file, given as digest and size, in order.

        Each must be used up before the next is asked for. Raises ObjectNotFound, TypeMismatch,
        CorruptObject, also while the pieces are taken.
        """
        start = 0
        while start < len(files):
            batch = files[start : start + BATCH_FILES]
            found = self._database.read(partial(_fetch, ids=[id for id, _ in batch]))
            for (id, size), lying in zip(batch, found, strict=False):
                data = self._chunk(id, lying)
                if data is None or len(data) != size:
                    yield self._reader.stream(id, size)
                else:
                    yield (data,)
            start += max(1, len(found))
            if not found:
                yield self._reader.stream(*batch[0])

    def _chunk(self, id: Id, lying: _Lying) -> bytes | None:
        """The bytes of a file, compared with its digest; None if they are not that."""
        if lying.number != self._number or self._decoded is None:
            self._decoded = self._reader.block(lying.number, lying.block)
            self._number = lying.number
        data = self._decoded.member(lying.slot, id)
        return data if data is not None and content_id(data) == id else None


def _fetch(tables: Reading, ids: Sequence[Id]) -> list[_Lying]:
    """The first of these files, up to BATCH_BYTES of blocks; one that is no chunk ends them."""
    found: list[_Lying] = []
    blocks: dict[int, bytes] = {}
    size = 0
    for id in ids:
        lying = tables.lying(id, blocks)
        if lying is None or size >= BATCH_BYTES:
            break
        number, slot, data = lying
        if number not in blocks:
            blocks[number] = data
            size += len(data)
        found.append(_Lying(number, slot, blocks[number]))
    return found
