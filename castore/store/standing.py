"""Standing: the folded status of a version, from the notes about it that are stored."""

from __future__ import annotations

from castore.database.indexes import Index
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import Status, fold
from castore.store.store import Store
from castore.store.version import Version


def notes_about(store: Store, id: Id) -> dict[Id, Note]:
    """Every stored note whose target is `id`."""
    found = store.database.read(
        lambda tables: [note for _, note in tables.lookup(Index.TARGET, id)]
    )
    return {note: store.reader.note(note) for note in found}


def status_of(store: Store, version: Version) -> Status:
    """Review, validation, lifecycle and deployment of a version."""
    notes = notes_about(store, version.id)
    return fold(notes, version.id) if notes else Status()
