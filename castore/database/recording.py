"""Writing the rows that stand for themselves: sessions, counters, pins, removals, caches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence, Set
from itertools import islice
from typing import Any, Final

import lmdb

from castore.database import tables
from castore.database.reading import Reading
from castore.database.tables import Removal, Tables
from castore.errors import CastoreError, InvalidInput
from castore.model.ids import Id
from castore.model.limits import MIB

# Of so many rows of the cache of files the oldest are dropped.
_SAMPLE_ROWS: Final = 8
_SAMPLE_DROPS: Final = 2
# The cache is made anew while it takes at most so many times what is added, and at most so much.
_ANEW_TIMES: Final = 8
_ANEW_BYTES: Final = 16 * MIB


class RecordWriting(Reading):
    """A view that may change records; it belongs to the thread it was given to."""

    __slots__ = ("_thread", "sealed")

    def __init__(self, transaction: lmdb.Transaction[bytes], handles: Tables) -> None:
        super().__init__(transaction, handles)
        self._thread = threading.get_ident()
        self.sealed: Callable[[], CastoreError] | None = None

    def _check(self) -> None:
        super()._check()
        # LMDB: a write transaction ended by another thread leaves the store locked for ever.
        if threading.get_ident() != self._thread:
            raise RuntimeError("a write transaction may be used only by the thread that began it")

    def _admit(self) -> None:
        """Raise what says why nothing is written to this store but its caches of files."""
        if self.sealed is not None:
            raise self.sealed()

    def _put(self, table: Any, key: bytes, value: bytes) -> None:
        self._check()
        self._txn.put(key, value, db=table)

    def _delete(self, table: Any, key: bytes) -> bool:
        self._check()
        return self._txn.delete(key, db=table)

    def _put_sorted(self, table: Any, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Sorted rows share the pages they touch: three times as fast as random puts."""
        self._check()
        with self._txn.cursor(table) as cursor:
            cursor.putmulti(sorted(rows))

    def replace_rows(
        self, table: str, rows: Iterable[tuple[bytes, bytes]], gone: Iterable[bytes] = ()
    ) -> None:
        """Write rows of a table as they are stored elsewhere, and take others away."""
        handle = getattr(self._tables, table)
        for key in gone:
            self._delete(handle, key)
        for key, value in rows:
            self._put(handle, key, value)

    # Sessions.

    def put_stage(self, session: bytes, header: bytes) -> None:
        """Begin a session (16 bytes), or replace its header."""
        self._admit()
        self._put(self._tables.stage, tables.stage_key(tables.STAGE_HEADER, session), header)

    def add_stage_batch(self, session: bytes, ids: Iterable[Id]) -> None:
        """Keep these ids from the collector until the session ends."""
        value = b"".join(set(ids))
        if not value:
            return
        self.bump_generation()
        prefix = tables.stage_key(tables.STAGE_BATCH, session)
        last = next(
            (
                key
                for key, _ in self._walk(self._tables.stage, prefix + b"\xff" * 9, backwards=True)
            ),
            b"",
        )
        batch = int.from_bytes(last[len(prefix) :], "big") + 1 if last.startswith(prefix) else 0
        self._put(self._tables.stage, prefix + tables.batch_suffix(batch), value)

    def put_staged_entry(self, session: bytes, artifact: str, payload: bytes) -> None:
        """Note what a session made of an artifact; the collector keeps it too."""
        self.bump_generation()
        key = tables.stage_key(tables.STAGE_ENTRY, session, artifact.encode())
        self._put(self._tables.stage, key, payload)

    def drop_stage(self, session: bytes) -> None:
        """End a session; what no published version holds is left to the collector."""
        parts = (tables.STAGE_HEADER, tables.STAGE_BATCH, tables.STAGE_ENTRY)
        for part in parts:
            prefix = tables.stage_key(part, session)
            for key in [key for key, _ in self._with_prefix(self._tables.stage, prefix)]:
                self._delete(self._tables.stage, key)

    # Records, caches and counters.

    def set_integer(self, name: str, value: int) -> None:
        """Set a counter of table `meta`."""
        self._put(self._tables.meta, name.encode(), tables.pack_integer(value))

    def bump_generation(self) -> int:
        """Tell a running collector that there is something more to keep."""
        value = self.generation() + 1
        self.set_integer(tables.GENERATION, value)
        return value

    def bump_gc_epoch(self) -> int:
        """Tell running sessions that the collector removed something."""
        value = self.gc_epoch() + 1
        self.set_integer(tables.GC_EPOCH, value)
        return value

    def _was_purged(self, id: Id) -> InvalidInput:
        removal = self.purged(id)
        told = (
            f" by {removal.by or 'unknown'} (operation {removal.op}): {removal.why}"
            if removal
            else ""
        )
        return InvalidInput(
            f"content {id.hex()} was purged from this store{told}; it is not stored again",
            fix="leave it out, or change it",
            id=id.hex(),
            operation=removal.op if removal else None,
        )

    def bump_erasures(self) -> int:
        """Tell every process that what it has written before may not reach the file again."""
        value = self.integer(tables.ERASURES) + 1
        self.set_integer(tables.ERASURES, value)
        return value

    def note_scrubbed(self, erasures: int) -> None:
        """Note that this data file was cleared of what was erased up to this count."""
        self.set_integer(tables.SCRUBBED, erasures)

    def blank_block(self, number: int) -> None:
        """Overwrite a block that is about to go: LMDB leaves a small value in its page."""
        key = tables.number_key(number)
        data = self._get(self._tables.blocks, key)
        if data is not None and len(data) <= tables.SMALL_VALUE_BYTES:
            self._put(self._tables.blocks, key, bytes(len(data)))

    def pin(self, id: Id, why: str) -> None:
        """Keep an object and what it needs, whatever refs do."""
        self.bump_generation()
        self._put(self._tables.pins, id, why.encode())

    def unpin(self, id: Id) -> bool:
        """End that; False if it was not pinned."""
        return self._delete(self._tables.pins, id)

    def forget(self, id: Id, removal: Removal) -> None:
        """Record that the bytes of a version may go."""
        self._put(self._tables.forgotten, id, tables.pack_removal(removal))

    def unforget(self, id: Id) -> bool:
        """Take that back, while the bytes are still there; False if it was not forgotten."""
        return self._delete(self._tables.forgotten, id)

    def record_purged(self, id: Id, removal: Removal) -> None:
        """Record that an object must go, and may never come back."""
        self._put(self._tables.purged, id, tables.pack_removal(removal))

    def put_upload(self, remote: str, payload: bytes) -> None:
        """Note how far the upload to a remote is."""
        self._put(self._tables.uploads, remote.encode(), payload)

    def drop_upload(self, remote: str) -> bool:
        """Forget an upload; False if there was none."""
        return self._delete(self._tables.uploads, remote.encode())

    def put_located(self, key: bytes, data: bytes) -> None:
        """Cache an index of a remote."""
        self._put(self._tables.located, key, data)

    def drop_located(self, key: bytes) -> bool:
        """Forget a cached index; False if it was not there."""
        return self._delete(self._tables.located, key)

    def drop_files(self, keys: Iterable[bytes]) -> None:
        """Forget cached digests."""
        for key in keys:
            self._delete(self._tables.files, key)

    def put_files(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Cache rows about files, by key."""
        self._put_sorted(self._tables.files, rows)

    def keep_files(
        self, rows: Sequence[tuple[bytes, bytes]], spared: Set[bytes], most: int
    ) -> None:
        """As `put_files`, but what is in the way of keeping to `most` bytes is dropped first.

        Old rows go, none `spared`. Where many come the table is made anew: keys are digests, and
        pages of which rows here and there were dropped stay nearly empty.
        """
        new = sum([len(key) + len(row) for key, row in rows])
        held = self._files_bytes()
        if held + new <= most:
            self.put_files(rows)
        elif held <= min(_ANEW_TIMES * new, _ANEW_BYTES):
            self._make_files_anew(dict(rows), spared, most // 2)
        else:
            self.put_files(rows)
            self._trim_files([key for key, _ in rows], spared, most)

    def _make_files_anew(self, rows: dict[bytes, bytes], spared: Set[bytes], most: int) -> None:
        """The table of these rows, those spared, and of the others the newest, `most` bytes."""
        others: list[tuple[int, bytes, bytes]] = []
        with self._txn.cursor(self._tables.files) as cursor:
            for key, row in cursor:
                if key in spared:
                    rows.setdefault(key, row)
                else:
                    others.append((tables.read_file(row).moment_ns, key, row))
        room = most - sum([len(key) + len(row) for key, row in rows.items()])
        for _, key, row in sorted(others, reverse=True):
            room -= len(key) + len(row)
            if room < 0:
                break
            rows.setdefault(key, row)
        self._txn.drop(self._tables.files, delete=False)
        with self._txn.cursor(self._tables.files) as cursor:
            cursor.putmulti(sorted(rows.items()), append=True)

    def _trim_files(self, near: Iterable[bytes], spared: Set[bytes], most: int) -> None:
        """While the cache takes more than `most` bytes, drop old rows behind each key of `near`.

        Keys are digests, so these are a sample: of _SAMPLE_ROWS the oldest two, but none `spared`.
        """
        table = self._tables.files
        excess = self._files_bytes() - most
        for key in near if excess > 0 else ():
            with self._txn.cursor(table) as cursor:
                cursor.set_range(key)
                sample = [(tables.read_file(row).moment_ns, len(row), other)
                          for other, row in islice(cursor, _SAMPLE_ROWS)
                          if other not in spared]  # fmt: skip
            for _, size, other in sorted(sample)[:_SAMPLE_DROPS]:
                self._txn.delete(other, db=table)
                excess -= size
            if excess <= 0:
                break

    def _files_bytes(self) -> int:
        """What the pages of the cache of files take."""
        self._check()
        found = self._txn.stat(self._tables.files)
        pages = found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
        return int(pages * found["psize"])
