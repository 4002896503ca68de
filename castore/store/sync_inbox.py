"""Notes by way of the inbox of a bucket: left there by who may do no more, and taken along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from castore.database.writing import Writing
from castore.errors import RemoteError
from castore.model.ids import Id, Kind
from castore.model.note import Note
from castore.remote.inbox import put_waiting, read_waiting, waiting
from castore.remote.index import Catalogue
from castore.remote.keys import inbox_key
from castore.remote.transport import Transport
from castore.store.publish import metadata_block
from castore.store.store import Store

TAKEN: Final = "inbox"
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A note in the inbox of a bucket, that does not count yet."""

    id: Id
    note: Note

    def as_json(self) -> dict[str, Any]:
        """The note as `--json` prints it."""
        note = self.note
        return {
            "id": self.id.hex(),
            "target": note.target.hex(),
            "subject": note.subject,
            "value": note.value or None,
            "by": note.by,
            "text": note.text or None,
        }


def look_into_inbox(store: Store, transport: Transport, there: Catalogue) -> tuple[Waiting, ...]:
    """The notes that wait in a bucket and that it has not, at most 100; raises RemoteError."""
    found: list[Waiting] = []
    for id in waiting(transport):
        if there.has(id) or len(found) >= _SHOWN:
            continue
        read = read_waiting(transport, id)
        if read is not None and read[1].scope == store.database.project:
            found.append(Waiting(id, read[1]))
    return tuple(found)


def leave_in_inbox(store: Store, transport: Transport, notes: Iterable[Id]) -> int:
    """Leave notes in a bucket for somebody who may write there; how many were not there yet."""
    known = set(waiting(transport))
    new = sorted(set(notes) - known)
    for id in new:
        put_waiting(transport, id, store.near_reader.payload(id, Kind.NOTE))
    return len(new)


def take_from_inbox(
    store: Store, remote: str, transport: Transport, there: Catalogue, *, by: str
) -> list[Id]:
    """Store the notes that wait in a bucket, about what is here; the ids of all that wait.

    A push then takes them along. What is no note of this project is passed over.
    """
    ids = waiting(transport)
    here = store.database.read(lambda tables: tables.present(ids))
    new: dict[Id, tuple[bytes, Note]] = {}
    for id in ids:
        read = None if id in here or there.has(id) else read_waiting(transport, id)
        if read is not None and read[1].scope == store.database.project:
            new[id] = read
    at = store.now()

    def transact(tables: Writing) -> None:
        near = tables.present([note.target for _, note in new.values()])
        known = [
            (Kind.NOTE, id, data)
            for id, (data, note) in new.items()
            if note.target in near or note.target in new or there.has(note.target)
        ]
        if known:
            tables.put_blocks([metadata_block(kind, data)[0] for kind, _, data in known], known)
            detail = {"remote": remote, "notes": len(known)}
            tables.append_operation(TAKEN, at=at, by=by, detail=detail)
            tables.bump_generation()

    if new:
        store.database.write(transact)
    return ids


def empty_inbox(transport: Transport, ids: Sequence[Id], there: Catalogue) -> None:
    """Remove notes that the bucket has by now; who may not do so leaves them there."""
    taken = [inbox_key(id) for id in ids if there.has(id)]
    if taken:
        with suppress(RemoteError):
            transport.delete(taken)
