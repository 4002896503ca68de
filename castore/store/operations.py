"""The operation log: who moved which ref, when and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from castore.database.operations import Operation
from castore.store.moments import format_moment
from castore.store.store import Store

_SLICE: Final = 500


def operation_log(store: Store, limit: int | None = None) -> Iterator[Operation]:
    """Operations newest first; reads in slices, so that no read transaction lasts long."""
    before: int | None = None
    left = limit
    while left is None or left > 0:
        size = _SLICE if left is None else min(left, _SLICE)
        rows = store.database.read(
            lambda tables, before=before, size=size: list(  # type: ignore[misc]
                islice(tables.operations(before=before), size)
            )
        )
        yield from rows
        if len(rows) < size:
            return
        before = rows[-1].sequence
        left = None if left is None else left - size


def operation_record(operation: Operation) -> dict[str, Any]:
    """An operation as `--json` prints it."""
    return {
        "sequence": operation.sequence,
        "op": operation.op,
        "operation": operation.op_id or None,
        "at": format_moment(operation.at),
        "by": operation.by or None,
        "why": operation.why or None,
        "refs": [
            {"ref": name, "old": old.hex() or None, "new": new.hex() or None}
            for name, old, new in operation.refs
        ],
        "detail": _plain(operation.detail),
        "hash": operation.hash.hex(),
        "previous": operation.prev.hex() or None,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
