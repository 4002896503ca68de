"""Reading many files at once: rows and blocks of a batch come from one view of the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from castore.content.deltas import StoredObject
from castore.content.reader import ObjectReader
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import CorruptObject
from castore.model.artifact_set import FileContent
from castore.model.ids import Id, Kind

BATCH_FILES: Final = 512
BATCH_BYTES: Final = 8 << 20
"""Bytes of blocks fetched ahead at once; a block may lie on either side of it."""


class Prefetch:
    """Gives the pieces of files, verified as by ObjectReader.stream, a batch of them at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[Id, StoredObject] = {}
        self._reader = ObjectReader(self._load)

    def read(self, files: Iterable[FileContent]) -> Iterator[Iterator[bytes]]:
        """The pieces of each file, in order; each must be used up before the next is asked for.

        Raises ObjectNotFound, TypeMismatch, CorruptObject.
        """
        batch: list[FileContent] = []
        for file in files:
            batch.append(file)
            if len(batch) >= BATCH_FILES:
                yield from self._batch(batch)
                batch = []
        yield from self._batch(batch)

    def _batch(self, files: Sequence[FileContent]) -> Iterator[Iterator[bytes]]:
        start = 0
        while start < len(files):
            rest = [file.digest for file in files[start:]]
            self._held = self._database.read(partial(_fetch, ids=rest))
            # At least one: what cannot be fetched ahead is loaded on its own, and complained about.
            missing = (at for at, id in enumerate(rest) if id not in self._held)
            count = max(1, next(missing, len(rest)))
            for file in files[start : start + count]:
                yield self._pieces(file)
            start += count
        self._held = {}

    def _pieces(self, file: FileContent) -> Iterator[bytes]:
        held = self._held.get(file.digest)
        if held is None or held.kind is not Kind.CHUNK:
            return self._reader.stream(file.digest, file.size)
        data = self._reader.payload(file.digest, Kind.CHUNK)
        if len(data) != file.size:
            raise CorruptObject(
                f"file {file.digest.hex()} has {len(data)} bytes, not {file.size}",
                id=file.digest.hex(),
            )
        return iter((data,))

    def _load(self, id: Id) -> StoredObject:
        return self._held.get(id) or self._database.load(id)


def _fetch(tables: Reading, ids: Sequence[Id]) -> dict[Id, StoredObject]:
    """The first of these objects, up to BATCH_BYTES of blocks; one that is absent ends them."""
    held: dict[Id, StoredObject] = {}
    blocks: dict[int, bytes] = {}
    size = 0
    for id in ids:
        row = tables.object_row(id)
        if row is None or row.state is not State.STORED or size >= BATCH_BYTES:
            break
        data = blocks.get(row.block)
        if data is None:
            data = tables.block(row.block)
            if data is None:
                break
            blocks[row.block] = data
            size += len(data)
        held[id] = StoredObject(row.kind, row.block, row.slot, data)
    return held
