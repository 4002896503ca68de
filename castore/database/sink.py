"""Where a session writes to: its blocks under a stage, and the stat cache of files."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from castore.content.blocks import block_depth
from castore.content.sink import Batch
from castore.database.environment import Database
from castore.database.reading import Reading, State
from castore.database.writing import Writing
from castore.errors import Conflict
from castore.model.ids import Id
from castore.model.limits import KIB, MIB

_PENDING_BYTES: Final = 16 * MIB
# What rows may take in the data file: this, or a share of what blocks take. They are for speed, and
# each folder that came once and was removed leaves some.
_KEPT_BYTES: Final = 1 * MIB
_KEPT_SHARE: Final = 16
# Rows of more bytes have a transaction of their own when a session ends.
_ALONG_BYTES: Final = 64 * KIB
# Rows of a session are not dropped by it; of more than these it drops none.
_SPARED_ROWS: Final = 1 << 16


class StatCache:
    """Rows about files, so that those that did not change are not read again.

    Rows are written with the next batch of the `StageSink` it was given to, or by `flush`. For one
    thread, but a batch may be written in another meanwhile. Where rows take too much, writing some
    drops old ones that this session did not ask for.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._spared: set[bytes] = set()
        self._lock = threading.Lock()
        self._pending: dict[bytes, bytes] = {}
        self._bytes = 0
        self._put: list[tuple[bytes, bytes]] = []

    def lookup(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """For each key the row remembered, or None."""
        if len(self._spared) <= _SPARED_ROWS:
            self._spared.update(keys)
        return self._database.read(lambda tables: tables.files(keys))

    def remember(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep these (key, row)."""
        with self._lock:
            self._pending.update(rows)
            self._bytes += sum([len(row) for _, row in rows])
        if self._bytes >= _PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending in a transaction of its own."""
        rows = self._rows()
        if rows:
            self._database.write(lambda tables: self._put_rows(tables, rows))
            self._drop(rows)

    def full(self) -> bool:
        """Whether so much is pending that it goes with a batch, not with what ends the session."""
        return self._bytes >= _KEPT_BYTES

    def put_few(self, tables: Writing) -> None:
        """As `put_pending`, but nothing if much is pending: that is for `flush`, after `written`.

        It changes all pages of the table, and may use those that the transaction before the last
        gave back.
        """
        if self._bytes < _ALONG_BYTES:
            self.put_pending(tables)

    def put_pending(self, tables: Writing) -> None:
        """Add what is pending to a transaction; call `written` when that is durable."""
        self._put = self._rows()
        if self._put:
            self._put_rows(tables, self._put)

    def written(self) -> None:
        """What `put_pending` added is stored."""
        self._drop(self._put)
        self._put = []

    def _put_rows(self, tables: Writing, rows: Sequence[tuple[bytes, bytes]]) -> None:
        if len(self._spared) > _SPARED_ROWS:
            tables.put_files(rows)
            return
        most = max(_KEPT_BYTES, tables.blocks_bytes() // _KEPT_SHARE)
        tables.keep_files(rows, self._spared.union([key for key, _ in rows]), most)

    def _rows(self) -> list[tuple[bytes, bytes]]:
        with self._lock:
            return list(self._pending.items())

    def _drop(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Forget rows that are stored, unless others were given for their keys since."""
        with self._lock:
            for key, row in rows:
                if self._pending.get(key) is row:
                    del self._pending[key]
            self._bytes = sum([len(row) for row in self._pending.values()])


class StageSink:
    """The sink of one session: each batch is one durable transaction that keeps its ids staged.

    `session` is 16 bytes; with `header` the first transaction begins the session. `cache`, if
    given, is written along. For one thread, but `write` may run in another beside `known`.
    """

    def __init__(
        self,
        database: Database,
        session: bytes,
        *,
        header: bytes | None = None,
        cache: StatCache | None = None,
    ) -> None:
        self._database = database
        self._session = session
        self._header = header
        self._first_header = header
        self._cache = cache
        self._entries: dict[str, bytes] = {}

    def known(self, ids: Sequence[Id]) -> set[Id]:
        """Those of `ids` that are stored now."""
        return self._database.read(lambda tables: tables.present(ids))

    def write(self, batch: Batch) -> set[Id]:
        """Make a batch durable; what it needs that is `unmet`, and then nothing was written.

        Raises Conflict if the session was discarded meanwhile, StoreFull.
        """
        own = {member.id for block in batch.blocks for member in block.members}
        relied = batch.needs()

        def transact(tables: Writing) -> set[Id]:
            vanished = unmet(tables, batch)
            if vanished:
                return vanished
            self._begin(tables, cache=self._cache is not None and self._cache.full())
            with batch.turn.soon():
                tables.put_blocks(batch.blocks, batch.indexed)
                tables.add_stage_batch(self._session, own | relied)
            return set()

        vanished = self._database.write(transact, room=sum(block.size for block in batch.blocks))
        if not vanished:
            self._written()
        return vanished

    def stage_entry(self, artifact: str, payload: bytes) -> None:
        """Note what became of an artifact; written with the next batch, or by `write_entries`."""
        self._entries[artifact] = payload

    def replace_header(self, header: bytes) -> None:
        """Give the session another header, written with what is pending, or by `write_entries`."""
        self._header = header

    def write_entries(self) -> None:
        """Make the header and the notes about artifacts durable."""
        if self._entries or self._header is not None:
            self._database.write(self._begin)
            self._written()

    def discard(self) -> None:
        """End the session without publishing it; what is written later begins it anew."""
        self._entries = {}
        self._header = self._first_header
        if self.staged:
            self._database.write(lambda tables: tables.drop_stage(self._session))

    @property
    def began(self) -> bool:
        """Whether this sink wrote a stage that must still stand when its content is published."""
        return self._first_header is not None and self._header is None

    @property
    def staged(self) -> bool:
        """Whether the store knows this session."""

        def known(tables: Reading) -> bool:
            return tables.stage(self._session) is not None

        return self._database.read(known)

    def _begin(self, tables: Writing, *, cache: bool = True) -> None:
        """Write the header, or see that the session still stands; then what is pending.

        Rows of the `cache` are spread over all its pages: they come once, unless they are many.
        """
        if self._header is not None:
            tables.put_stage(self._session, self._header)
        elif tables.stage(self._session) is None:
            raise Conflict(
                f"session {self._session.hex()} was discarded while it was being written",
                fix="start again",
            )
        for artifact, payload in self._entries.items():
            tables.put_staged_entry(self._session, artifact, payload)
        if cache and self._cache is not None:
            self._cache.put_pending(tables)

    def _written(self) -> None:
        self._header = None
        self._entries = {}
        if self._cache is not None:
            self._cache.written()


def unmet(tables: Reading, batch: Batch) -> set[Id]:
    """What a batch needs that is not stored, or was moved: a base now as deep as its delta."""
    needs = batch.needs()
    absent = needs - tables.present(needs)
    depths: dict[int, int] = {}
    for block in batch.blocks:
        for base in block.bases:
            row = tables.object_row(base)
            if row is None or row.state is not State.STORED:
                continue
            if row.block not in depths:
                depths[row.block] = tables.block_depth(row.block)
            if depths[row.block] >= block_depth(block.head):
                absent.add(base)
    return absent
