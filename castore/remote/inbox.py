"""The inbox of a bucket: notes of those who may put objects below `notes/inbox/` and nothing else.

Each lies under its id. They count when somebody who may replace root takes them along: until then
they are no part of what root tells of, may be overwritten by others who may write there, and are
believed only as far as their ids say.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import ID_BYTES, NOTE_BYTES
from castore.model.note import Note, decode_note
from castore.remote.keys import INBOX, inbox_key
from castore.remote.transport import KeyAbsent, Transport

INBOX_NOTES: Final = 10_000
"""No more notes of an inbox are looked at."""


def waiting(transport: Transport) -> list[Id]:
    """The ids of the notes that wait, as far as their keys are ids; raises RemoteError."""
    return list(islice(_ids(transport), INBOX_NOTES))


def _ids(transport: Transport) -> Iterator[Id]:
    for item in transport.list(INBOX):
        name = item.key.removeprefix(INBOX)
        if len(name) == 2 * ID_BYTES and not name.strip("0123456789abcdef"):
            yield bytes.fromhex(name)


def read_waiting(transport: Transport, id: Id) -> tuple[bytes, Note] | None:
    """A note that waits, compared with its id; None where there is none, or what is there is none.

    Raises RemoteError.
    """
    try:
        data = transport.get(inbox_key(id), 0, NOTE_BYTES + 1).data
        if object_id(Kind.NOTE, data) != id:
            return None
        return data, decode_note(data)
    except (KeyAbsent, CorruptObject):
        return None


def put_waiting(transport: Transport, id: Id, data: bytes) -> None:
    """Put a note there, over whatever is there; raises RemoteError."""
    transport.put(inbox_key(id), data)
