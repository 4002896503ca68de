"""Reindexing: every derived table made again from the blocks, the refs and the operation log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from castore.database.rebuild import rebuild
from castore.database.writing import Writing
from castore.errors import CorruptObject
from castore.model.values import frozen
from castore.store.store import Store

_ROW_BYTES: Final = 128
"""What a row takes in pages, about: for a look whether the disk has room."""


@frozen
class ReindexReport:
    """What a reindex made: rows by table, and the version of the look-up rows before and after."""

    rows: dict[str, int]
    before: int
    after: int

    def as_json(self) -> dict[str, Any]:
        """The report as data."""
        return {"rows": self.rows, "indexes_before": self.before, "indexes": self.after}


def reindex(store: Store, *, progress: Callable[[int], None] | None = None) -> ReindexReport:
    """Make every derived row again: places of objects, sizes of blocks, look-ups.

    One transaction: whoever is killed in it leaves the store as it was, and readers see the old
    rows until it ends; writers wait that long. The pages it changes, the size of the new tables,
    are added to the file and used again later; up to 512 MiB of them are held in memory. `progress`
    is told the bytes of blocks done, each of which is read twice. Raises CorruptObject for a
    damaged block, and changes nothing then; StoreFull, Locked.
    """
    counts = store.database.read(lambda tables: tables.counts())
    derived = ("objects", "blockinfo", "lookup")

    def work(tables: Writing) -> ReindexReport:
        before = tables.indexes()
        rebuild(tables, progress)
        # A collection that runs beside it has marked objects by places that may have changed.
        tables.bump_gc_epoch()
        made = tables.counts()
        return ReindexReport({name: made[name] for name in derived}, before, tables.indexes())

    try:
        room = _ROW_BYTES * sum(counts[name] for name in derived)
        return store.database.write(work, room=room)
    except CorruptObject as error:
        error.fix = error.fix or "cas fsck --full"
        raise
