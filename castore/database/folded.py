"""Rows of `lookup` that tell what the notes about a version come to: its review, its lifecycle.

They follow from the manifest and all notes about it that are stored, in whatever order these came.
A version has a row for each state it has where dismissals count and where a policy forbids them:
which of them holds is the store's to tell. A state that needs no note, review none and lifecycle
draft, has no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from castore.content.reader import ObjectReader
from castore.database import tables as tabling
from castore.database.indexes import Index, lookup_key
from castore.database.reading import Reading
from castore.database.recording import RecordWriting
from castore.database.tables import State
from castore.model.ids import Id, Kind
from castore.model.limits import ID_BYTES
from castore.model.note import Note
from castore.model.status import Status, fold

SINCE: Final = 3
"""The version of the indexes from which on there are such rows."""
STATES: Final[Mapping[Index, tuple[str, ...]]] = {
    Index.REVIEW: ("requested", "approved", "rejected", "contested"),
    Index.LIFECYCLE: ("published", "archived", "withdrawn"),
}
"""The states that have rows."""
_SLICE: Final = 1000


def notes_about(reading: Reading, id: Id) -> dict[Id, Note]:
    """The notes about a version or a note, of this project, newest first.

    Each is compared with its id; what was said about another object or in another project does not
    count. Raises CorruptObject.
    """
    found = [note for _, note in reading.lookup(Index.TARGET, id)]
    if not found:
        return {}
    reader, project = ObjectReader(reading.load), reading.meta(tabling.PROJECT_KEY)
    notes = ((note, reader.note(note)) for note in found)
    return {key: note for key, note in notes if note.target == id and note.scope == project}


def statuses(notes: Mapping[Id, Note], id: Id) -> tuple[Status, Status]:
    """What notes about a version come to where dismissals count, and where they do not."""
    counted = fold(notes, id)
    dismissed = any(note.meta.get("dismiss") is True for note in notes.values())
    return counted, fold(notes, id, dismissals=False) if dismissed else counted


def folded_keys(reading: Reading, id: Id, at: int) -> set[bytes]:
    """The rows that a version made at `at` must have; raises CorruptObject."""
    notes = notes_about(reading, id)
    if not notes:
        return set()
    states = [(status.review, status.lifecycle) for status in statuses(notes, id)]
    pairs = [pair for state in states for pair in zip(STATES, state, strict=True)]
    return {lookup_key(index, s, at, id) for index, s in pairs if s in STATES[index]}


def possible_keys(id: Id, at: int) -> Iterator[bytes]:
    """Every row that a version made at `at` may have."""
    for index, states in STATES.items():
        for state in states:
            yield lookup_key(index, state, at, id)


def refold(writing: RecordWriting, ids: Iterable[Id]) -> None:
    """Make the rows of these versions what they must be, where they are stored."""
    reader = ObjectReader(writing.load)
    for id in ids:
        row = writing.object_row(id)
        if row is None or row.kind is not Kind.MANIFEST or row.state is not State.STORED:
            continue
        at = reader.manifest(id).at
        wanted = folded_keys(writing, id, at)
        gone = [key for key in possible_keys(id, at) if key not in wanted]
        writing.replace_rows("lookup", [(key, b"") for key in sorted(wanted)], gone)


def refold_all(writing: RecordWriting) -> None:
    """Make the rows of every version that somebody wrote a note about; memory is bounded."""
    reader = ObjectReader(writing.load)
    start = bytes((Index.TARGET,))
    while True:
        found: list[Id] = []
        for key, _ in writing.lookup_rows(start):
            if key[0] != Index.TARGET or len(found) == _SLICE:
                break
            found.append(key[-ID_BYTES:])
            start = key + b"\0"
        refold(writing, {reader.note(id).target for id in found})
        if len(found) < _SLICE:
            return
