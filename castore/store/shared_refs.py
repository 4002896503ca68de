"""Refs of a cache: made what they are in its bucket, and taken back where that was not reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.model.ids import Id
from castore.model.refs import HEADS, LOST, TAGS, lost_ref, remote_ref
from castore.store.sync_clone import ORIGIN
from castore.store.sync_plan import Move

REFRESH: Final = "refresh"


def news(tables: Reading, there: Mapping[str, Id]) -> list[Move]:
    """What refs here are to become so that they are those of the bucket."""
    here = dict((*tables.refs(HEADS), *tables.refs(TAGS)))
    return [
        Move(ref, here.get(ref, b""), there.get(ref, b""))
        for ref in sorted(there.keys() | here.keys())
        if here.get(ref) != there.get(ref) and not tables.tombstone(ref)
    ]


def follow(tables: Writing, there: Mapping[str, Id], at: int) -> None:
    """Let refs be where they are in the bucket; a version that is not there is lost."""
    _move(tables, news(tables, there), at)


def put_back(tables: Writing, moves: Sequence[Move], at: int) -> None:
    """Put refs back that were to move in a bucket, and did not for all that is known.

    Their versions are lost until the bucket is seen to have them.
    """
    back = [
        Move(ref, new, old)
        for ref, old, new in moves
        if (tables.ref(ref) or b"") == new and not tables.tombstone(ref)
    ]
    if back:
        _move(tables, back, at)


def arrived(tables: Reading, moves: Sequence[Move]) -> bool:
    """Whether all these versions are on the lines of their branches, as the bucket was just now."""
    return bool(moves) and all(
        move.new
        and move.ref.startswith(HEADS)
        and known(tables, move.new, tables.ref(remote_ref(ORIGIN, move.name)) or b"")
        for move in moves
    )


def arrived_before(tables: Reading, operation: Operation, move: Move) -> Id:
    """The version that an earlier attempt at an operation got to the bucket, b"" if none did."""
    earlier = tables.operations_by_id(operation.op_id) if operation.op_id else ()
    for attempt in earlier:
        for ref, old, new in attempt.refs:
            if ref == move.ref and new != move.new and arrived(tables, [Move(ref, old, new)]):
                return new
    return b""


def known(tables: Reading, old: Id, new: Id) -> bool:
    """Whether a version is on the line that ends at another."""
    step = tables.step(old)
    return bool(new) and step is not None and tables.ancestor(new, step.number) == old


def _move(tables: Writing, moves: Sequence[Move], at: int) -> None:
    noted: list[tuple[str, Id, Id]] = []
    for ref, old, new in moves:
        if ref.startswith(HEADS):
            branch = ref.removeprefix(HEADS)
            lost = lost_ref(branch, old)
            if old and not known(tables, old, new) and tables.add_if_new(lost, old):
                noted.append((lost, b"", old))
            for found, id in list(tables.refs(f"{LOST}{branch}/")):
                if known(tables, id, new) and tables.remove_if_equals(found, id):
                    noted.append((found, id, b""))
        if new:
            tables.set_if_equals(ref, old or None, new)
        else:
            tables.remove_if_equals(ref, old)
        noted.append((ref, old, new))
    tables.append_operation(REFRESH, at=at, by="", refs=noted, detail={"remote": ORIGIN})
    tables.bump_generation()
