"""A sink and a cache in memory: real implementations of the protocols, which can lose things."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from castore.content.blocks import decode_block
from castore.content.reader import ObjectReader, StoredObject
from castore.content.sink import Batch
from castore.content.stamps import (
    cache_key,
    each_id,
    pack_stamps,
    read_remembered,
    stamp_of,
)
from castore.errors import ObjectNotFound
from castore.model.edges import edges
from castore.model.ids import Id, Kind


class MemorySink:
    """Keeps blocks by number, like the database; `lose` removes objects as a collector would."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}
        self.rows: dict[Id, tuple[Kind, int, int]] = {}
        self.batches: list[Batch] = []
        self.indexed: dict[Id, bytes] = {}
        self.refused = 0
        self.lookups = 0
        self.lose_before_write: set[Id] = set()
        self.thread = threading.get_ident()
        self.writing = threading.Lock()
        self.reader = ObjectReader(self.load, view=lambda fn: fn(self))

    def known(self, ids: Sequence[Id]) -> set[Id]:
        assert threading.get_ident() == self.thread
        self.lookups += 1
        return {id for id in ids if id in self.rows}

    def write(self, batch: Batch) -> set[Id]:
        assert self.writing.acquire(blocking=False), "two writes at a time"
        try:
            return self._write(batch)
        finally:
            self.writing.release()

    def _write(self, batch: Batch) -> set[Id]:
        self.lose(self.lose_before_write)
        self.lose_before_write = set()
        vanished = {id for id in batch.needs() if id not in self.rows}
        if vanished:
            self.refused += 1
            return vanished
        self.batches.append(batch)
        for block in batch.blocks:
            with block.laid() as data:
                self.put(bytes(data))
                assert data[len(block.head) :] == block.frame
        self.indexed.update((id, payload) for _, id, payload in batch.indexed)
        return set()

    def put(self, data: bytes) -> int:
        number = len(self.blocks) + 1
        self.blocks[number] = data
        for slot, member in enumerate(decode_block(data, f"block {number}").members):
            self.rows.setdefault(member.id, (member.kind, number, slot))
        return number

    def lose(self, ids: Iterable[Id]) -> None:
        for id in ids:
            self.rows.pop(id, None)

    def load(self, id: Id) -> StoredObject:
        try:
            kind, number, slot = self.rows[id]
        except KeyError:
            raise ObjectNotFound(f"no object {id.hex()}") from None
        return StoredObject(kind, number, slot, self.blocks[number])

    def place(self, id: Id) -> tuple[int, int] | None:
        kind, number, slot = self.rows.get(id, (Kind.TREE, 0, 0))
        return (number, slot) if kind is Kind.CHUNK else None

    def lying(self, id: Id, known: Container[int]) -> tuple[int, int, bytes] | None:
        place = self.place(id)
        if place is None:
            return None
        return *place, b"" if place[0] in known else self.blocks[place[0]]

    def closure(self, ids: Iterable[Id]) -> set[Id]:
        """All objects below `ids`; raises ObjectNotFound where one is absent."""
        todo, seen = list(ids), set()
        while todo:
            id = todo.pop()
            if id in seen:
                continue
            seen.add(id)
            kind = self.load(id).kind
            if kind is Kind.CHUNK:
                self.reader.payload(id, kind)
                continue
            root = self.reader.layout_root(id) if kind is Kind.LAYOUT else None
            payload = root if root is not None else self.reader.payload(id, kind)
            todo.extend(edge.target for edge in edges(kind, payload))
        return seen


class MemoryCache:
    """Remembers everything."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def lookup(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get(key) for key in keys]

    def remember(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        self.rows.update(rows)

    def digests(self) -> set[Id]:
        """Every digest in a row."""
        rows = [read_remembered(row) for row in self.rows.values()]
        return {digest for row in rows if row for digest in each_id(row.digests)}

    def restamp(self, folder: Path) -> None:
        """Make the rows say that all below is as it was, whatever became of it."""
        for path in (folder, *folder.rglob("*")):
            key = cache_key(path.stat(), str(path))
            row = read_remembered(self.rows.get(key, b""))
            if row is not None:
                names = row.names.decode().split("\0") if path.is_dir() else [""]
                stamps = pack_stamps(stamp_of((path / name).stat()) for name in names)
                self.rows[key] = row._replace(stamps=stamps).pack()
