"""The inbox of review: versions that wait for a verdict, and what they changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import Status, standing
from castore.model.values import frozen
from castore.store.diff import SetDiff, diff_versions
from castore.store.notes import ids_in_state, note_record, notes_about, on_line
from castore.store.policy import Approval, approval, last_approved, policy_after
from castore.store.selectors import branch_names, resolve_version, tip
from castore.store.standing import Verdicts, status_of
from castore.store.store import Store
from castore.store.version import Version

_WAITING = ("requested", "contested", "pending")
_ROWS = ("requested", "contested", "approved")
_OVER = ("archived", "withdrawn")


@frozen
class Waiting:
    """A version that waits, what is wanting, and the last approved one of its branch, if any.

    `notes` are those about its review that stand, newest first.
    """

    version: Version
    status: Status
    approval: Approval
    notes: Mapping[Id, Note]
    approved: Version | None = None

    def changes(self, store: Store) -> SetDiff:
        """What it changed against the last approved version."""
        return diff_versions(store, self.approved, self.version)

    def as_json(self, store: Store) -> dict[str, Any]:
        """What waits as `--json` prints it."""
        return {
            "id": self.version.id.hex(),
            "label": self.version.label,
            "review": self.status.review,
            "wanting": list(self.approval.reasons),
            "approvers": list(self.approval.approvers),
            "notes": [note_record(id, note) for id, note in self.notes.items()],
            "approved": self.approved.id.hex() if self.approved else None,
            "changes": self.changes(store).as_json(),
        }


def waiting(store: Store, rev: str = "") -> list[Waiting]:
    """What waits for a verdict on all branches, or up to `rev`, newest first.

    That is what somebody asked for, what is contested, and what has some of the approvals it needs;
    once a version is approved, nothing before it waits. Raises RefNotFound for an unknown `rev`.
    """
    if rev:
        starts = [resolve_version(store, rev)]
    else:
        starts = [newest for name in branch_names(store) if (newest := tip(store, name))]
    found: dict[Id, Waiting] = {}
    ids = store.database.read(_ids)
    for start in starts if ids else ():
        for item in _on(store, start, ids):
            known = found.get(item.version.id)
            if known is None or item.version.branch == item.version.manifest.branch:
                found[item.version.id] = item
    items = sorted(found.values(), key=lambda item: (item.version.manifest.at, item.version.id))
    return items[::-1]


def _ids(tables: Reading) -> frozenset[Id]:
    return frozenset(id for state in _ROWS for id in ids_in_state(tables, Index.REVIEW, state))


def _on(store: Store, start: Version, ids: frozenset[Id]) -> Iterator[Waiting]:
    line = store.database.read(lambda tables: on_line(tables, ids, start.id, start.number))
    if not line:
        return
    approved = last_approved(store, start, itself=True)
    verdicts = Verdicts(store)
    for number, id in line.items():
        if approved is not None and number <= approved.number:
            continue
        version = store.version(id, start.branch)
        status = status_of(store, version, verdicts)
        judged = approval(store, version, policy_after(store, version, approved))
        if status.review in _WAITING and status.lifecycle not in _OVER and not judged.approved:
            notes = standing(notes_about(store, id))
            said = {key: note for key, note in notes.items() if note.subject == "review"}
            yield Waiting(version, status, judged, said, approved)
