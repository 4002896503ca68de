"""Notes: what people and agents say about versions, as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from castore.content.reader import ObjectReader
from castore.database import folded
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.errors import Ambiguous, RefNotFound
from castore.model.ids import Id, Kind
from castore.model.limits import PREFIX_MIN
from castore.model.note import SUBJECTS, Note
from castore.model.status import identity
from castore.store.moments import format_moment
from castore.store.store import Store

AGENT: Final = "agent"
"""The key of a note's meta that names the agent who acted."""


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


def on_line(tables: Reading, ids: Iterable[Id], tip: Id, highest: int) -> dict[int, Id]:
    """Those of `ids` on the first-parent line of `tip`, by number, with `highest` at most."""
    found: dict[int, Id] = {}
    for id in ids:
        step = tables.step(id)
        number = step.number if step is not None else 0
        if 0 < number <= highest and tables.ancestor(tip, number) == id:
            found[number] = id
    return found


def known_as(name: str) -> str:
    """The name under which an identity is configured and counted: in lower case."""
    return identity(name).lower()


def find_note(store: Store, text: str) -> tuple[Id, Note]:
    """The note with this id, or whose id alone begins so; raises NotFound, Ambiguous."""
    found = store.database.read(lambda tables: tables.ids_with_prefix(text, 1000))
    ids = [id for id, kind in found if kind is Kind.NOTE]
    if len(text) < PREFIX_MIN or not ids:
        raise RefNotFound(f"no note's id begins with {text!r}", fix="cas show REV")
    if len(ids) > 1:
        raise Ambiguous(f"{text!r} begins {len(ids)} note ids", candidates=[id.hex() for id in ids])
    return ids[0], store.reader.note(ids[0])


def note_record(id: Id, note: Note) -> dict[str, Any]:
    """A note as `--json` prints it."""
    meta = {k: v.hex() if isinstance(v, bytes) else v for k, v in note.meta.items()}
    return {
        "id": id.hex(),
        "subject": note.subject,
        "value": note.value or None,
        "by": note.by,
        "agent": meta.pop(AGENT, None),
        "at": format_moment(note.at),
        "text": note.text or None,
        "target": note.target.hex(),
        "replaces": [old.hex() for old in note.replaces],
        "after": [old.hex() for old in note.after],
        "meta": meta,
        "trust": "claimed",
    }
