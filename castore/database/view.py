"""One view of the tables: guarded access to rows, on which everything that reads stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import lmdb

from castore.database import tables
from castore.database.tables import ObjectRow, Tables
from castore.errors import ForkedProcess
from castore.model.ids import Id


class View:
    """Rows of one transaction, refused when it is over or in a fork."""

    __slots__ = ("_open", "_pid", "_tables", "_txn")

    def __init__(self, transaction: lmdb.Transaction[bytes], handles: Tables) -> None:
        self._txn = transaction
        self._tables = handles
        self._open = True
        self._pid = os.getpid()

    def end(self) -> None:
        """Refuse any further use; called when the transaction is over."""
        self._open = False

    def _get(self, table: Any, key: bytes) -> bytes | None:
        self._check()
        return self._txn.get(key, db=table)

    def _check(self) -> None:
        if not self._open:
            raise RuntimeError("this view of the store is over: use it inside read() or write()")
        if os.getpid() != self._pid:
            raise ForkedProcess(
                "a transaction cannot be used in a fork of the process that began it",
                fix="open the store again in the child process",
            )

    def _walk(
        self, table: Any, start: bytes = b"", *, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows from the first key >= `start`, or backwards from the last key < `start`."""
        self._check()
        with self._txn.cursor(table) as cursor:
            if backwards:
                found = cursor.prev() if start and cursor.set_range(start) else cursor.last()
            else:
                found = cursor.set_range(start) if start else cursor.first()
            step = cursor.prev if backwards else cursor.next
            while found:
                yield cursor.item()
                self._check()
                found = step()

    def _with_prefix(self, table: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._walk(table, prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def object_row(self, id: Id) -> ObjectRow | None:
        """Where an object lies and in which state it is, or None if it was never known."""
        value = self._get(self._tables.objects, id)
        return None if value is None else tables.read_object(value, id)

    def integer(self, name: str) -> int:
        """A counter: `generation` grows with every publication, `gc_epoch` with every sweep."""
        value = self._get(self._tables.meta, name.encode())
        return 0 if value is None else tables.read_integer(value, name)
