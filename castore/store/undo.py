"""Undo: the ref moves of one operation, or a forget, taken back as an operation of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from castore.database.operations import Operation, RefMove
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput, ObjectNotFound, RefMoved, RefNotFound
from castore.model.ids import Id, short
from castore.model.refs import HEADS, TAGS
from castore.store.operations import operation_log
from castore.store.removals import FORGET, PURGE
from castore.store.store import Store
from castore.store.version import version_in

UNDO: Final = "undo"
NOTED: Final = frozenset({
    "approve", "comment", "deploy", "deploy-remove", "dismiss", "mark", "reject", "request-review",
    "revoke",
})  # fmt: skip
"""The operations that write a note."""
_DEEDS: Final = NOTED | {"tag", "tag-delete", "pin", "unpin", PURGE}


@dataclass(frozen=True, slots=True)
class Undone:
    """The operation whose moves were taken back, those moves, and the record of that.

    `moves` are (ref, from, to), with b"" for absent; `record` is None after a dry run. Of a forget
    `restored` are the versions that are no longer forgotten.
    """

    operation: Operation
    moves: tuple[RefMove, ...]
    record: Operation | None = None
    restored: tuple[Id, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The undoing as `--json` prints it."""
        return {
            "undone": self.operation.sequence,
            "op": self.operation.op,
            "refs": [
                {"ref": name, "old": old.hex() or None, "new": new.hex() or None}
                for name, old, new in self.moves
            ],
            "versions": [id.hex() for id in self.restored],
            "sequence": self.record.sequence if self.record else None,
            "dry_run": self.record is None,
        }


def undo(
    store: Store, sequence: int | None = None, *, by: str, why: str = "", dry_run: bool = False
) -> Undone:
    """Take back the ref moves of one operation: that with this number, else the newest that can be.

    The newest is one that moved a branch or forgot versions, is no undo and was not undone since;
    so calls one after the other go further back, and an undo is taken back by its own number. If
    a note, tag, pin or purge is newer, nothing is taken back without a number (InvalidInput).
    Versions stay stored. A forget is taken back as a whole, while all its bytes are there. Raises
    RefNotFound, InvalidInput for an operation that moves no branch or concerns a tag, RefMoved
    when a ref is no longer where the operation left it, Conflict for a forget that was taken back
    already, ObjectNotFound when what it was at has been collected or forgotten.
    """
    operation = _newest(store) if sequence is None else _numbered(store, sequence)
    if operation.op == FORGET:
        return _unforget(store, operation, by=by, why=why, dry_run=dry_run)
    _check_kind(operation)
    moves = tuple((name, new, old) for name, old, new in operation.refs)
    # The collector takes a set before its parts: where the set is, all of it is.
    needed = {target: store.version(target).set_id for _, _, target in moves if target}
    if dry_run:
        store.database.read(lambda tables: _check(tables, operation, moves, needed))
        return Undone(operation, moves)
    at = store.now()

    def transact(tables: Writing) -> Operation:
        _check(tables, operation, moves, needed)
        for name, current, target in moves:
            if target:
                tables.set_if_equals(name, current or None, target)
            else:
                tables.remove_if_equals(name, current)
        tables.bump_generation()
        detail = {"op": operation.op, "sequence": operation.sequence}
        return tables.append_operation(UNDO, at=at, by=by, why=why, refs=moves, detail=detail)

    return Undone(operation, moves, store.database.write(transact))


def _unforget(store: Store, operation: Operation, *, by: str, why: str, dry_run: bool) -> Undone:
    """Take a forget back: its versions have their sets again."""
    what = f"operation {operation.sequence} ({operation.op})"
    at = store.now()

    def check(tables: Reading) -> list[Id]:
        ids = [
            id
            for id in operation.detail.get("versions", ())
            if (removal := tables.forgotten(id)) and removal.op == str(operation.sequence)
        ]
        if not ids:
            raise Conflict(f"{what} was taken back already", fix="cas op log")
        for id in ids:
            # The collector takes a set before its parts: where the set is, all of it is.
            if not tables.present((id,)) or not tables.present((version_in(tables, id).set_id,)):
                raise ObjectNotFound(
                    f"{what} cannot be undone: the content of {short(id)} has been collected",
                    id=id.hex(),
                    fix="restore it from a backup",
                )
        return ids

    def transact(tables: Writing) -> tuple[list[Id], Operation]:
        ids = check(tables)
        for id in ids:
            tables.unforget(id)
        tables.bump_generation()
        detail = {"op": operation.op, "sequence": operation.sequence, "versions": ids}
        return ids, tables.append_operation(UNDO, at=at, by=by, why=why, detail=detail)

    if dry_run:
        return Undone(operation, (), restored=tuple(store.database.read(check)))
    restored, record = store.database.write(transact)
    return Undone(operation, (), record, tuple(restored))


def _numbered(store: Store, sequence: int) -> Operation:
    found = store.database.read(lambda tables: (tables.operation(sequence), tables.last_sequence()))
    operation, last = found
    if operation is None:
        have = f"they go from 1 to {last}" if last else "there are none yet"
        raise RefNotFound(f"no operation {sequence}: {have}", fix="cas op log")
    return operation


def _newest(store: Store) -> Operation:
    """The newest operation that moved a branch or forgot versions, is no undo, and stands.

    What somebody did after it and no undo takes back is not passed over: that is what they mean.
    """
    undone: set[int] = set()
    deed: Operation | None = None
    for operation in operation_log(store):
        if operation.sequence in undone:
            continue
        if operation.op == UNDO:
            # An undo that was itself undone does not count.
            undone.add(int(operation.detail.get("sequence", 0)))
        elif _branches(operation) or operation.op == FORGET:
            if deed is not None:
                raise InvalidInput(
                    f"the newest operation, {deed.sequence} ({deed.op}), cannot be undone; before "
                    f"it comes {operation.sequence} ({operation.op})",
                    fix=f"cas op undo {operation.sequence}; or what cas op undo {deed.sequence} "
                    "says",
                )
            return operation
        elif operation.op in _DEEDS:
            deed = deed or operation
    raise RefNotFound(
        "no operation that moved a branch or forgot a version is left to undo", fix="cas op log"
    )


def _branches(operation: Operation) -> list[str]:
    return [name for name, _, _ in operation.refs if name.startswith(HEADS)]


def _check_kind(operation: Operation) -> None:
    what = f"operation {operation.sequence} ({operation.op})"
    for name, _, new in operation.refs:
        if name.startswith(TAGS):
            tag = name.removeprefix(TAGS)
            raise InvalidInput(
                f"{what} concerns tag {tag!r}: tags are never moved, and deleted names stay taken",
                fix=f"cas tag -d {tag}" if new else "cas tag",
            )
    target = operation.detail.get("target")
    if operation.op in NOTED and isinstance(target, bytes):
        raise InvalidInput(
            f"{what} wrote a note: notes stay, and are answered by another one",
            fix=_contrary(operation, target.hex()),
        )
    pinned = operation.detail.get("id")
    if operation.op in ("pin", "unpin") and isinstance(pinned, bytes):
        fix = f"cas {'unpin' if operation.op == 'pin' else 'pin'} {pinned.hex()}"
        raise InvalidInput(f"{what} moved no branch: it is answered by its contrary", fix=fix)
    if not _branches(operation):
        raise InvalidInput(
            f"{what} moved no branch: there is nothing to take back", fix="cas op log"
        )


def _contrary(operation: Operation, target: str) -> str:
    """The command that says the opposite of a note."""
    note, value = operation.detail.get("note"), operation.detail.get("value")
    match operation.op:
        case "approve" | "reject" | "request-review":
            return f"cas revoke {target}"
        case "deploy":
            return f"cas deploy {target} --to {value} --remove"
        case "comment" if isinstance(note, bytes):
            return f"cas dismiss {note.hex()}"
    return f"cas show {target}"


def _check(
    tables: Reading, operation: Operation, moves: Sequence[RefMove], needed: Mapping[Id, Id]
) -> None:
    moved = [
        (name, current, tables.ref(name) or b"")
        for name, current, _ in moves
        if (tables.ref(name) or b"") != current
    ]
    if moved:
        told = "; ".join(
            f"{name} was left {_place(left)} and is {_place(found)}" for name, left, found in moved
        )
        raise RefMoved(
            f"operation {operation.sequence} ({operation.op}) cannot be undone: {told}",
            fix="cas op log",
            refs=[
                {"ref": name, "left": left.hex() or None, "actual": found.hex() or None}
                for name, left, found in moved
            ],
        )
    for name, _, target in moves:
        branch = name.removeprefix(HEADS)
        if name.startswith(HEADS) and (
            tables.ref(TAGS + branch) or tables.tombstone(TAGS + branch)
        ):
            raise Conflict(f"a tag is called {branch!r} by now: a branch and a tag differ in name")
        gone = target and len(tables.present((target, needed[target]))) < 2
        if gone or (target and tables.forgotten(target) is not None):
            raise ObjectNotFound(
                f"{name} was at {short(target)}, whose content has been given up since",
                id=target.hex(),
                fix="cas op log",
            )


def _place(id: Id) -> str:
    return f"at {short(id)}" if id else "absent"
