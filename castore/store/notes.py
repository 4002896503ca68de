"""Notes: what is stored about a version, in one view of the store."""

from __future__ import annotations

from collections.abc import Iterator

from castore.content.reader import ObjectReader
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.note import Note
from castore.store.store import Store


def notes_in(tables: Reading, id: Id, project: bytes) -> dict[Id, Note]:
    """The notes about a version or a note, of this project, oldest first.

    Each is compared with its id; what was said about another object, or in another project, does
    not count. Raises CorruptObject.
    """
    reader = ObjectReader(tables.load)
    found = {note: reader.note(note) for _, note in tables.lookup(Index.TARGET, id)}
    return {
        id_: note
        for id_, note in reversed(found.items())
        if note.target == id and note.scope == project
    }


def notes_about(store: Store, id: Id) -> dict[Id, Note]:
    """As `notes_in`, in a view of its own."""
    return store.database.read(lambda tables: notes_in(tables, id, store.database.project))


def approved_ids(tables: Reading) -> Iterator[Id]:
    """Every version about which some note says approved, in no order; some may come twice."""
    reader = ObjectReader(tables.load)
    for _, id in tables.lookup(Index.SUBJECT, ("review", "approved")):
        yield reader.note(id).target
