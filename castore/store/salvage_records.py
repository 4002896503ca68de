"""Pins and forgotten versions as the operation log tells them, where their rows are damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from castore.database.operations import Operation
from castore.database.tables import Removal
from castore.database.writing import Writing
from castore.model.ids import Id
from castore.model.limits import ID_BYTES
from castore.store.removals import FORGET
from castore.store.salvage_history import manifest_of
from castore.store.store import Store
from castore.store.undo import UNDO

PIN = "pin"
UNPIN = "unpin"


def logged_pins(operations: Iterable[Operation]) -> dict[Id, str]:
    """What is pinned at the end of the log, and why."""
    found: dict[Id, str] = {}
    for operation in operations:
        if operation.op == PIN:
            found[operation.detail["id"]] = operation.why
        elif operation.op == UNPIN:
            found.pop(operation.detail["id"], None)
    return found


def logged_forgotten(operations: Iterable[Operation]) -> dict[Id, Removal]:
    """What is forgotten at the end of the log, and by which operation."""
    found: dict[Id, Removal] = {}
    for operation in operations:
        versions = operation.detail.get("versions", ())
        if operation.op == FORGET:
            told = (operation.at, operation.by, operation.why, str(operation.sequence))
            found.update((id, Removal(*told)) for id in versions)
        elif operation.op == UNDO:
            for id in versions:
                found.pop(id, None)
    return found


def released(store: Store, operations: Sequence[Operation]) -> frozenset[Id]:
    """Versions of a whole log that a collection in it may have taken, by what it was told.

    No ref or pin leads to them at its end; and all that names them, or what follows them, is older
    than a collection by more than its grace. What undoing or deleting let go of has no follower.
    """
    before: dict[Id, set[Id]] = {}
    last: dict[Id, int] = {}
    taken = 0
    for operation in reversed(operations):
        if operation.op == "gc":
            taken = max(taken, operation.at - operation.detail.get("grace", operation.at))
        for _, old, new in operation.refs:
            for id in filter(None, (old, new)):
                last[id] = max(last.get(id, 0), operation.at)
            if old and new and operation.op != UNDO:
                before.setdefault(new, set()).add(old)
                last[old] = max(last[old], last[new])
    ends = {name: new for operation in operations for name, _, new in operation.refs}
    pending = [*filter(None, ends.values()), *logged_pins(operations)]
    reached: set[Id] = set()
    while pending:
        id = pending.pop()
        if id not in reached:
            reached.add(id)
            manifest = manifest_of(store, id)
            pending += before.get(id, ())
            pending += manifest.parents if manifest else ()
    return frozenset(id for id, at in last.items() if at < taken and id not in reached)


def put_pins(tables: Writing, rows: Iterable[tuple[bytes, bytes]], at: int, *, whole: bool) -> None:
    """Pin what the log says is pinned; if some of that is lost, what is in readable `rows` too.

    The log is told of what it does not say: a pin by rows alone, and one of a version that is lost.
    """
    logged = logged_pins(tables.operations_from(1))
    wanted: Mapping[Id, str] = logged
    if not whole:
        texts = {id: why.decode("utf-8", "replace") for id, why in rows if len(id) == ID_BYTES}
        wanted = {**texts, **logged}
    for id, why in wanted.items():
        here = bool(tables.present((id,)))
        if here:
            tables.pin(id, why)
        if here != (id in logged):
            op = PIN if here else UNPIN
            tables.append_operation(op, op_id="", at=at, by="", why=why, refs=(), detail={"id": id})
