"""The operation log: who moved which ref when, as records chained by their hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from castore.errors import CorruptObject
from castore.model.encoding import decode, encode
from castore.model.fields import Fields, read_row, storable
from castore.model.ids import Id, operation_hash
from castore.model.limits import ID_BYTES, MIB, REF_BYTES
from castore.model.values import frozen, made

OPERATION_BYTES: Final = 16 * MIB
_REFS_LIMIT: Final = 1 << 16
_KEYS: Final = ("at", "by", "detail", "op", "op_id", "prev", "refs", "why")

RefMove = tuple[str, bytes, bytes]


@frozen
class Operation:
    """One entry of the log: `refs` holds (name, old, new), with b"" for absent.

    `sequence` counts from 1; `at` is microseconds UTC; `prev` is the hash of the entry before, b""
    for the first; `hash` is the hash of this one, which the next entry and `heads.log` repeat.
    """

    sequence: int
    op: str
    op_id: str
    at: int
    by: str
    why: str
    prev: bytes
    hash: Id
    refs: tuple[RefMove, ...] = ()
    detail: Mapping[str, Any] = made(default_factory=dict)


def encode_operation(
    op: str,
    *,
    op_id: str,
    at: int,
    by: str,
    why: str,
    prev: bytes,
    refs: Sequence[RefMove],
    detail: Mapping[str, Any],
) -> bytes:
    """The canonical bytes of a record; raises InvalidInput for what could not be read again."""
    payload = encode(
        {
            "at": at,
            "by": by,
            "detail": dict(detail),
            "op": op,
            "op_id": op_id,
            "prev": prev,
            "refs": [list(move) for move in refs],
            "why": why,
        }
    )
    return storable(payload, partial(decode_operation, 0))


def decode_operation(sequence: int, payload: bytes) -> Operation:
    """The record at `sequence`; raises CorruptObject unless it is well-formed."""
    what = f"operation {sequence}"
    fields = Fields(decode(payload, limit=OPERATION_BYTES, what=what), what, _KEYS)
    detail = fields.raw("detail")
    if type(detail) is not dict:
        raise fields.fail("detail", "not a map")
    return Operation(
        sequence=sequence,
        op=fields.text("op"),
        op_id=fields.text("op_id"),
        at=fields.integer("at", 0),
        by=fields.text("by"),
        why=fields.text("why"),
        prev=fields.id_or_empty("prev"),
        hash=operation_hash(payload),
        refs=fields.items("refs", _read_move, _REFS_LIMIT, sort=False),
        detail=detail,
    )


def _read_move(value: Any, what: str) -> RefMove:
    name, old, new = read_row(value, what, str, bytes, bytes)
    if len(name.encode()) > REF_BYTES or {len(old), len(new)} - {0, ID_BYTES}:
        raise CorruptObject(f"{what}: {name[:40]!r}: not a ref move")
    return name, old, new
