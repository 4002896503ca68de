"""What the collector keeps: refs, pins, sessions, and what the operation log holds for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from castore.content.reader import ObjectReader
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.tables import State, read_text
from castore.errors import CorruptObject
from castore.model.artifact_set import Artifact, FileContent, TreeContent
from castore.model.ids import Id
from castore.store.collect_map import LiveMap
from castore.store.removals import FORGET
from castore.store.stages import decode_staged
from castore.store.store import Store

GRACE: Final = 30 * 86_400_000_000
"""How long the operation log keeps what its entries name, in microseconds, unless configured."""
# Entries of the log are almost in order of their times: clocks differ, transactions overtake.
_OUT_OF_ORDER: Final = 1000


_SLICE_ROWS: Final = 1000
INTERNALIZE: Final = "internalize"
"""The operation that brings external artifacts in; its detail lists their digests as `held`."""


class More(NamedTuple):
    """Some ids, and how to find the ones that follow, None if there are no more."""

    ids: list[Id]
    rest: Walk | None = None


Walk: TypeAlias = Callable[[Reading], More]
"""Finds a slice of ids in any later view: what it walks is only ever added to meanwhile."""


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
        self._pins: set[Id] = set()

    def fresh(self, tables: Reading) -> Iterator[Id | Walk]:
        """Ids, and walks to many of them.

        What was given before is left out where that is cheap to know. Take all of it, or the rest
        is lost.
        """
        sequence = tables.last_sequence()
        if self._sequence is None:
            # A ref that moves while they are walked leaves both its ids in the log.
            yield partial(self._refs, start=b"")
            if self._since is not None:
                yield partial(self._logged, before=sequence + 1, older=0)
        else:
            for operation in tables.operations_from(self._sequence + 1):
                yield from _named(operation)
                if operation.op == INTERNALIZE:
                    yield from operation.detail.get("held", ())
                if operation.detail.get("op") == FORGET:
                    # A forget was taken back: its versions were marked without their sets.
                    yield partial(sets_of, ids=list(operation.detail.get("versions", ())))
        self._sequence = sequence
        pins = [id for id, _ in tables.pins() if id not in self._pins]
        _check_known(tables, pins, "a pin")
        self._pins |= tables.present(pins)
        yield from pins
        for stage in tables.stages():
            if stage.session not in self._without:
                yield from self._staged(tables, stage.session)

    def _refs(self, tables: Reading, start: bytes) -> More:
        rows = list(islice(tables.rows("refs", start), _SLICE_ROWS))
        ids = [id for name, id in rows if id and read_text(name, "refs") not in self._without]
        _check_known(tables, ids, "a ref")
        if len(rows) < _SLICE_ROWS:
            return More(ids)
        return More(ids, partial(self._refs, start=rows[-1][0] + b"\0"))

    def _logged(self, tables: Reading, before: int, older: int) -> More:
        ids: list[Id] = []
        found = list(islice(tables.operations(before=before), _SLICE_ROWS))
        for operation in found:
            if operation.at >= (self._since or 0):
                older = 0
                ids += _named(operation)
            elif (older := older + 1) > _OUT_OF_ORDER:
                return More(ids)
        if len(found) < _SLICE_ROWS:
            return More(ids)
        return More(ids, partial(self._logged, before=found[-1].sequence, older=older))

    def _staged(self, tables: Reading, session: bytes) -> Iterator[Id | Walk]:
        for batch in tables.staged_batches(session, self._batches.get(session, 0)):
            self._batches[session] = batch + 1
            yield partial(_batch, session=session, batch=batch)
        for name, payload in tables.staged_entries(session).items():
            if self._entries.get((session, name)) != payload:
                self._entries[session, name] = payload
                yield from content_ids(decode_staged(payload))


def _check_known(tables: Reading, ids: Sequence[Id], what: str) -> None:
    """Without its row nobody knows what an object needs, and all of that would go."""
    rows = tables.object_numbers(ids)
    if None in rows:
        id = ids[rows.index(None)]
        raise CorruptObject(
            f"{id.hex()} is missing, although {what} names it: nothing is removed from a damaged "
            "store",
            id=id.hex(),
            where="objects",
            fix="cas fsck --full",
        )


def grace_of(store: Store, given: int | None) -> int:
    """The grace that was given, else the configured `gc.grace`, else 30 days; in microseconds."""
    if given is None:
        given = store.config().grace
    return GRACE if given is None else given


def forgotten_sets(tables: Reading, live: LiveMap, start: Id = b"") -> More:
    """The sets of forgotten versions whose manifests are alive: a Walk, given `live`."""
    reader = ObjectReader(tables.load)
    ids = []
    rows = list(islice(tables.rows("forgotten", start), _SLICE_ROWS))
    for id, _ in rows:
        row = tables.object_row(id)
        if row is not None and row.state is State.STORED and live.marked(row.block, row.slot):
            ids.append(reader.manifest(id).set)
    if len(rows) < _SLICE_ROWS:
        return More(ids)
    return More(ids, partial(forgotten_sets, live=live, start=rows[-1][0] + b"\0"))


def sets_of(tables: Reading, ids: Sequence[Id]) -> More:
    """The sets of versions, of those that are stored: a Walk, given `ids`."""
    reader = ObjectReader(tables.load)
    here = tables.present(ids[:_SLICE_ROWS])
    found = [reader.manifest(id).set for id in ids[:_SLICE_ROWS] if id in here]
    rest = ids[_SLICE_ROWS:]
    return More(found, partial(sets_of, ids=rest) if rest else None)


def content_ids(artifact: Artifact) -> Iterator[Id]:
    """The id of what an artifact holds, if that is stored."""
    if isinstance(artifact.content, FileContent):
        yield artifact.content.digest
    elif isinstance(artifact.content, TreeContent):
        yield artifact.content.id


def _batch(tables: Reading, session: bytes, batch: int, start: int = 0) -> More:
    ids = tables.staged_batch(session, batch, start, _SLICE_ROWS)
    if len(ids) < _SLICE_ROWS:
        return More(ids)
    return More(ids, partial(_batch, session=session, batch=batch, start=start + _SLICE_ROWS))


def _named(operation: Operation) -> Iterator[Id]:
    for _, old, new in operation.refs:
        yield from (id for id in (old, new) if id)
