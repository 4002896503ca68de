"""Deployments: which version is where, with one answer for each environment and spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from castore.content.reader import ObjectReader
from castore.database.indexes import VALUE_BYTES, Index
from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.model.ids import Id
from castore.model.limits import ID_BYTES
from castore.model.note import Note
from castore.model.status import Status
from castore.model.values import frozen
from castore.store.moments import format_moment
from castore.store.policy import Approval, Approvals
from castore.store.removals import removal_record
from castore.store.standing import Verdicts, current_note, deployment_notes, status_of
from castore.store.store import Store
from castore.store.version import Version, version_in


@frozen
class Deployment:
    """A version that is deployed, where, the note that says so, and whether it is approved.

    `approval` is under the policy in force, `removal` tells who forgot the version, if somebody
    did.
    """

    environment: str
    version: Version
    id: Id
    note: Note
    status: Status = Status()
    approval: Approval = Approval(False)
    removal: Removal | None = None

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
            "review": self.status.review,
            "lifecycle": self.status.lifecycle,
            "approved": self.approval.approved,
            "approvers": list(self.approval.approvers),
            "approvals": {
                "counted": len(self.approval.approvers),
                "needed": self.approval.needed,
            },
            "wanting": list(self.approval.reasons),
            "forgotten": removal_record(self.removal) if self.removal else None,
        }


def deployments(store: Store) -> list[Deployment]:
    """What is deployed where, by environment and spec, and who approved it."""
    verdicts, approvals = Verdicts(store), Approvals(store)
    return [
        Deployment(
            environment,
            version,
            id,
            note,
            status_of(store, version, verdicts),
            approvals.told(version),
            store.forgotten(version),
        )
        for environment, version, id, note in store.database.read(lambda t: list(_current(t)))
    ]


def deployed_versions(tables: Reading) -> list[tuple[str, Version]]:
    """Each environment, once for each spec that is deployed there, and the version that is."""
    return [(environment, version) for environment, version, _, _ in _current(tables)]


def deployed_places(tables: Reading) -> dict[Id, str]:
    """Of each version that is deployed where: its environments, in words."""
    found: dict[Id, list[str]] = {}
    for environment, version in deployed_versions(tables):
        found.setdefault(version.id, []).append(environment)
    return {id: ", ".join(places) for id, places in found.items()}


def _current(tables: Reading) -> Iterator[tuple[str, Version, Id, Note]]:
    for environment, spec in sorted(_keys(tables)):
        current = current_note(tables, environment, spec)
        if current is not None:
            id, note = current
            yield environment, version_in(tables, note.target), id, note


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
