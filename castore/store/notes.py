"""Notes: what is stored about a version, in one view of the store."""

from __future__ import annotations

from collections.abc import Iterator

from castore.content.reader import ObjectReader
from castore.database import folded
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.note import SUBJECTS, Note
from castore.store.store import Store


def notes_about(store: Store, id: Id) -> dict[Id, Note]:
    """The notes about a version or a note, of this project, newest first.

    Each is compared with its id; what was said about another object or in another project does not
    count. Raises CorruptObject.
    """
    return store.database.read(lambda tables: folded.notes_about(tables, id))


def ids_in_state(tables: Reading, index: Index, state: str) -> Iterator[Id]:
    """The versions that may be in a state of `folded.STATES`, newest first, some perhaps twice.

    Whoever shows them folds their notes. An older store tells of all that have a note on it.
    """
    if tables.indexes() >= folded.SINCE:
        yield from (id for _, id in tables.lookup(index, state))
        return
    reader = ObjectReader(tables.load)
    subject = index.name.lower()
    for value in SUBJECTS[subject]:
        for _, id in tables.lookup(Index.SUBJECT, (subject, value)):
            yield reader.note(id).target
