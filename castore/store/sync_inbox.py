"""Notes by way of the inbox of a bucket: left there by who may do no more, and taken along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from castore.database.writing import Writing
from castore.errors import RemoteError
from castore.model.ids import Id, Kind
from castore.model.limits import MIB
from castore.model.note import Note
from castore.remote.inbox import put_waiting, read_waiting, waiting
from castore.remote.index import Catalogue
from castore.remote.keys import inbox_key
from castore.remote.transport import Transport
from castore.store.publish import metadata_block
from castore.store.store import Store

TAKEN: Final = "inbox"
_SHOWN: Final = 100
_LOOKED_AT: Final = 1_000
_LOOKED_AT_BYTES: Final = 16 * MIB


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
    """The notes that wait in a bucket and that it has not, at most 100; raises RemoteError.

    No more than 1,000 objects are looked at.
    """
    found: list[Waiting] = []
    for id in [id for id in waiting(transport) if not there.has(id)][:_LOOKED_AT]:
        if len(found) >= _SHOWN:
            break
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


class Inbox(NamedTuple):
    """The ids of all notes that wait in a bucket, and those of them that this store lacks."""

    ids: list[Id]
    new: dict[Id, tuple[bytes, Note]]


def find_in_inbox(store: Store, transport: Transport, there: Catalogue) -> Inbox:
    """What waits in a bucket, and which of it a push is to take along: notes about what is known.

    What is no note of this project is passed over. Who may put there may put much: no more than
    1,000 objects or 16 MiB are looked at, from another place each time.
    """
    ids = waiting(transport)
    here = store.database.read(lambda tables: tables.present(ids))
    lacking = [id for id in ids if id not in here and not there.has(id)]
    if not lacking:
        return Inbox(ids, {})
    first = int.from_bytes(store.entropy(8)) % len(lacking)
    found: dict[Id, tuple[bytes, Note]] = {}
    size = 0
    for id in [*lacking[first:], *lacking[:first]][:_LOOKED_AT]:
        read = read_waiting(transport, id)
        if read is not None and read[1].scope == store.database.project:
            found[id] = read
            size += len(read[0])
        if size > _LOOKED_AT_BYTES:
            break
    targets = {note.target for _, note in found.values()}
    near = store.database.read(lambda tables: tables.present(targets))
    near |= {target for target in targets if target in found or there.has(target)}
    return Inbox(ids, {id: read for id, read in found.items() if read[1].target in near})


def take_from_inbox(store: Store, remote: str, inbox: Inbox, *, by: str) -> None:
    """Store notes that wait in a bucket, for a push that takes them along."""
    notes = [(Kind.NOTE, id, data) for id, (data, _) in inbox.new.items()]
    at = store.now()

    def transact(tables: Writing) -> None:
        tables.put_blocks([metadata_block(kind, data)[0] for kind, _, data in notes], notes)
        detail = {"remote": remote, "notes": len(notes)}
        tables.append_operation(TAKEN, at=at, by=by, detail=detail)
        tables.bump_generation()

    store.database.write(transact)


def empty_inbox(transport: Transport, ids: Sequence[Id], there: Catalogue) -> None:
    """Remove notes that the bucket has by now; who may not do so leaves them there."""
    taken = [inbox_key(id) for id in ids if there.has(id)]
    if taken:
        with suppress(RemoteError):
            transport.delete(taken)
