"""Deployments: which version is where, with one answer for each environment and spec."""

from __future__ import annotations

from typing import Any

from castore.content.reader import ObjectReader
from castore.database.indexes import VALUE_BYTES, Index
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.limits import ID_BYTES
from castore.model.note import Note
from castore.model.values import frozen
from castore.store.moments import format_moment
from castore.store.standing import current_note, deployment_notes
from castore.store.store import Store
from castore.store.version import Version, version_in


@frozen
class Deployment:
    """A version that is deployed, where, and the note that says so."""

    environment: str
    version: Version
    id: Id
    note: Note

    def as_json(self) -> dict[str, Any]:
        """The deployment as `--json` prints it."""
        return {
            "environment": self.environment,
            "spec": self.version.manifest.spec.id,
            "version": self.version.id.hex(),
            "label": self.version.label,
            "number": self.version.number,
            "by": self.note.by,
            "at": format_moment(self.note.at),
            "text": self.note.text or None,
            "note": self.id.hex(),
        }


def deployments(store: Store) -> list[Deployment]:
    """What is deployed where, by environment and spec."""

    def read(tables: Reading) -> list[Deployment]:
        found = []
        for environment, spec in sorted(_keys(tables)):
            current = current_note(tables, environment, spec)
            if current is not None:
                id, note = current
                found.append(Deployment(environment, version_in(tables, note.target), id, note))
        return found

    return store.database.read(read)


def _keys(tables: Reading) -> set[tuple[str, str]]:
    """Every (environment, spec) about which there is a note; one row is read of each subject."""
    reader = ObjectReader(tables.load)
    found: set[tuple[str, str]] = set()
    start = bytes((Index.SUBJECT,))
    while row := next(tables.lookup_rows(start), None):
        key = row[0]
        if key[0] != Index.SUBJECT:
            break
        note = reader.note(key[-ID_BYTES:])
        if note.subject == "deployment":
            specs = deployment_notes(tables, note.value)[1].values()
            found.update((note.value, spec) for spec in specs)
        start = key[: 1 + VALUE_BYTES] + b"\xff" * (len(key) - VALUE_BYTES)
    return found
