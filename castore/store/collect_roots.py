"""What the collector keeps: refs, pins, sessions, and what the operation log holds for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.model.artifact_set import Artifact, FileContent, TreeContent
from castore.model.ids import Id
from castore.store.stages import decode_staged
from castore.store.store import Store

GRACE: Final = 30 * 86_400_000_000
"""How long the operation log keeps what its entries name, in microseconds, unless configured."""
# Entries of the log are almost in order of their times: clocks differ, transactions overtake.
_OUT_OF_ORDER: Final = 1000


class Roots:
    """Every root, and after that what became one since the last look.

    `since` is the moment from which on the log holds what its entries name, None for never; the
    sessions and refs of `without` are given up and hold nothing.
    """

    def __init__(self, since: int | None, without: Iterable[bytes | str] = ()) -> None:
        self._since = since
        self._without = frozenset(without)
        self._sequence: int | None = None
        self._batches: dict[bytes, int] = {}
        self._entries: dict[tuple[bytes, str], bytes] = {}

    def fresh(self, tables: Reading) -> Iterator[Id | tuple[bytes, int]]:
        """Ids, and (session, batch) for the ids of a batch, which may be many.

        What was given before is left out where that is cheap to know. Take all of it, or the rest
        is lost.
        """
        sequence = tables.last_sequence()
        if self._sequence is None:
            yield from (id for name, id in tables.refs() if name not in self._without)
            yield from self._logged(tables)
        else:
            for operation in tables.operations_from(self._sequence + 1):
                yield from _named(operation)
        self._sequence = sequence
        yield from (id for id, _ in tables.pins())
        for stage in tables.stages():
            if stage.session not in self._without:
                yield from self._staged(tables, stage.session)

    def _logged(self, tables: Reading) -> Iterator[Id]:
        if self._since is None:
            return
        older = 0
        for operation in tables.operations():
            if operation.at >= self._since:
                older = 0
                yield from _named(operation)
            elif (older := older + 1) > _OUT_OF_ORDER:
                return

    def _staged(self, tables: Reading, session: bytes) -> Iterator[Id | tuple[bytes, int]]:
        for batch in tables.staged_batches(session, self._batches.get(session, 0)):
            self._batches[session] = batch + 1
            yield session, batch
        for name, payload in tables.staged_entries(session).items():
            if self._entries.get((session, name)) != payload:
                self._entries[session, name] = payload
                yield from content_ids(decode_staged(payload))


def grace_of(store: Store, given: int | None) -> int:
    """The grace that was given, else the configured `gc.grace`, else 30 days; in microseconds."""
    if given is None:
        given = store.config().grace
    return GRACE if given is None else given


def content_ids(artifact: Artifact) -> Iterator[Id]:
    """The id of what an artifact holds, if that is stored."""
    if isinstance(artifact.content, FileContent):
        yield artifact.content.digest
    elif isinstance(artifact.content, TreeContent):
        yield artifact.content.id


def _named(operation: Operation) -> Iterator[Id]:
    for _, old, new in operation.refs:
        yield from (id for id in (old, new) if id)
