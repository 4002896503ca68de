"""Whether rows that no object tells of are what the operation log says: pins and removals.

Everything else in the tables follows from blocks or is a ref; these stand for themselves, so that
a flipped bit in one of them would go unnoticed. So would one in the number of the next block.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Final

from castore.database.indexes import INDEXES_VERSION
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.tables import NEXT_BLOCK_KEY, Removal, State
from castore.errors import CorruptObject
from castore.model.ids import Id
from castore.store.removals import FORGET, PURGE
from castore.store.store import Store
from castore.store.undo import UNDO
from castore.store.verify_report import Findings

_SLICE: Final = 10_000
_KEPT: Final = 64
_PIN: Final = "pin"
_UNPIN: Final = "unpin"


class RecordCheck:
    """Takes every operation in order, then compares what they come to with the rows."""

    def __init__(self) -> None:
        self._pins: dict[Id, str] = {}
        self._forgotten = 0
        self._versions: dict[int, frozenset[Id]] = {}

    def take(self, operation: Operation) -> None:
        """The next operation of the log."""
        id = operation.detail.get("id")
        if operation.op == _PIN and isinstance(id, bytes):
            self._pins[id] = operation.why
        elif operation.op == _UNPIN and isinstance(id, bytes):
            self._pins.pop(id, None)
        elif operation.op == FORGET:
            self._forgotten += len(_versions(operation))
        elif operation.op == UNDO:
            self._forgotten -= len(_versions(operation))

    def compare(self, store: Store, sequence: int, findings: Findings) -> None:
        """Tell of rows that are not what the log up to `sequence` makes them.

        Nothing is told if somebody wrote meanwhile. Raises CorruptObject for a malformed row.
        """
        store.database.read(partial(_check_numbers, findings=findings))
        store.database.read(partial(self._compare_pins, sequence=sequence, findings=findings))
        start, seen = b"", 0
        while True:
            rows = store.database.read(partial(_removals, table="forgotten", start=start))
            for id, removal in rows:
                seen += 1
                operation = _operation(store, removal, FORGET)
                if operation is None or id not in self._of(operation):
                    detail = "is said to be forgotten; the operation log says otherwise"
                    findings.add(id, "table", "forgotten", detail)
            if not rows:
                break
            start = rows[-1][0] + b"\0"
        if seen != self._forgotten and store.database.read(Reading.last_sequence) == sequence:
            detail = f"{seen} rows, the operation log says {self._forgotten}"
            findings.add(b"", "table", "forgotten", detail)
        _check_purged(store, findings)

    def _compare_pins(self, tables: Reading, sequence: int, findings: Findings) -> None:
        if tables.last_sequence() != sequence:
            return
        found = dict(tables.pins())
        for id in sorted(found.keys() | self._pins.keys()):
            if id not in self._pins:
                findings.add(id, "table", "pins", "is pinned; the operation log does not say so")
            elif id not in found:
                findings.add(id, "table", "pins", "is pinned by the operation log and not here")
            elif found[id] != self._pins[id]:
                findings.add(id, "table", "pins", "the operation log gives another reason")

    def _of(self, operation: Operation) -> frozenset[Id]:
        """The versions that an operation made forgotten; those of the last few are kept."""
        found = self._versions.get(operation.sequence)
        if found is None:
            if len(self._versions) >= _KEPT:
                self._versions.pop(next(iter(self._versions)))
            found = frozenset(_versions(operation))
            self._versions[operation.sequence] = found
        return found


def _versions(operation: Operation) -> list[Id]:
    """The versions in the detail of an operation, which may have been altered."""
    found = operation.detail.get("versions")
    ids = found if isinstance(found, list) else []
    return [id for id in ids if isinstance(id, bytes)]


def _check_numbers(tables: Reading, findings: Findings) -> None:
    """The next block gets a number that no block has: else it would be written over one."""
    following = tables.integer(NEXT_BLOCK_KEY.decode())
    for number in tables.block_numbers(following):
        detail = f"{following} is to be the next block, and block {number} is there"
        findings.add(b"", "table", "meta next_block", detail)
        break
    if tables.indexes() > INDEXES_VERSION:
        detail = f"version {tables.indexes()}, this castore knows {INDEXES_VERSION}"
        findings.add(b"", "table", "meta indexes", detail)


def check_places(store: Store, findings: Findings) -> None:
    """No row leads to a block beyond all that there are: such a one could be of a new block."""
    start = b""
    while True:
        places, after, following = store.database.read(partial(_places, start=start))
        if any(block >= following for block, _ in places):
            store.database.read(partial(_name_far, start=start, findings=findings))
        if not after:
            return
        start = after


def _places(tables: Reading, start: bytes) -> tuple[list[tuple[int, int]], bytes, int]:
    try:
        return *tables.places(start, _SLICE), tables.integer(NEXT_BLOCK_KEY.decode())
    except CorruptObject:
        # Named where its object is needed.
        rows = list(islice(tables.rows("objects", start), _SLICE + 1))
        return [], rows[-1][0] if len(rows) > _SLICE else b"", 0


def _name_far(tables: Reading, start: bytes, findings: Findings) -> None:
    following = tables.integer(NEXT_BLOCK_KEY.decode())
    for id, row in islice(tables.object_rows(start), _SLICE):
        if row.state is State.STORED and row.block >= following:
            detail = f"should lie in block {row.block}, which is missing"
            findings.add(id, row.kind.name.lower(), "objects", detail)


def _removals(tables: Reading, table: str, start: bytes) -> list[tuple[Id, Removal]]:
    return list(islice(tables.removals(table, start), _SLICE))


def _operation(store: Store, removal: Removal, op: str) -> Operation | None:
    """The operation that a removal says it is of, if it is such a one, with the same words."""
    sequence = int(removal.op) if removal.op.isdecimal() and removal.op.isascii() else 0
    if not 0 < sequence < 1 << 63 or str(sequence) != removal.op:
        return None
    found = store.database.read(partial(Reading.operation, sequence=sequence))
    if found is None or (found.op, found.at, found.by, found.why) != (op, *removal[:3]):
        return None
    return found


def _check_purged(store: Store, findings: Findings) -> None:
    """Each purged object says so in both tables, and by which operation."""
    start, known = b"", set[Removal]()
    while True:
        rows = store.database.read(partial(_removals, table="purged", start=start))
        for id, removal in rows:
            if removal not in known and _operation(store, removal, PURGE) is None:
                findings.add(id, "table", "purged", "the operation log does not know this purge")
                continue
            if len(known) < _KEPT:
                known.add(removal)
            row = store.database.read(partial(Reading.object_row, id=id))
            if row is None or row.state is not State.PURGED:
                findings.add(id, "table", "purged", "table objects does not say that it was purged")
        if not rows:
            return
        start = rows[-1][0] + b"\0"
