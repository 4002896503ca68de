"""Standing: the folded status of a version, from the notes about it that are stored."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from castore.database import folded
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.errors import InvalidInput, RefNotFound
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import Status, standing
from castore.store.deployments import current_note, standing_notes
from castore.store.judging import forbids_to_dismiss
from castore.store.notes import ids_in_state, notes_about, on_line
from castore.store.store import Store
from castore.store.version import Version


def status_of(store: Store, version: Version) -> Status:
    """Review, validation, lifecycle and deployment of a version.

    A dismissal counts unless the policy in force forbids it. Whether the policy's demands are met
    is told by `castore.store.policy.approval`.
    """
    notes = notes_about(store, version.id)
    if not notes:
        return Status()
    status, undismissed = folded.statuses(notes, version.id)
    if status != undismissed and forbids_to_dismiss(store, version):
        status = undismissed
    if status.deployments:
        places = {name: name for name in status.deployments if _deployed(store, version, name)}
        status = replace(status, deployments=places)
    return status


def standing_ids(store: Store, version: Version) -> frozenset[Id]:
    """The notes about a version that count: none other rightfully took their place."""
    notes = notes_about(store, version.id)
    allowed = standing(notes)
    strict = standing(notes, dismissals=False)
    if allowed.keys() != strict.keys() and forbids_to_dismiss(store, version):
        allowed = strict
    gone = {
        id
        for id, note in allowed.items()
        if note.subject == "deployment" and not _stands(store, version, id, note)
    }
    return frozenset(allowed.keys() - gone)


def _stands(store: Store, version: Version, id: Id, note: Note) -> bool:
    spec = version.manifest.spec.id
    return id in store.database.read(lambda tables: standing_notes(tables, note.value, spec))


def _deployed(store: Store, version: Version, environment: str) -> bool:
    find = partial(current_note, environment=environment, spec=version.manifest.spec.id)
    found = store.database.read(find)
    return found is not None and found[1].target == version.id


def newest_in_state(store: Store, version: Version, index: Index, state: str) -> Version:
    """The newest along first parents that is in a state of `folded.STATES`; raises RefNotFound."""

    def read(tables: Reading) -> dict[int, Id]:
        return on_line(tables, ids_in_state(tables, index, state), version.id, version.number)

    for _, id in sorted(store.database.read(read).items(), reverse=True):
        found = store.version(id, version.branch)
        if is_in_state(store, found, index, state):
            return found
    raise RefNotFound(f"no version of {version.branch} is {state}", fix=f"cas log {version.branch}")


def is_in_state(store: Store, version: Version, index: Index, state: str) -> bool:
    """Whether a version is in a state of its review or lifecycle."""
    status = status_of(store, version)
    return state == (status.review if index is Index.REVIEW else status.lifecycle)


def check_state(index: Index, state: str) -> str:
    """A state to filter by, as given; raises InvalidInput for one there is not."""
    default = "none" if index is Index.REVIEW else "draft"
    states = (default, *folded.STATES[index])
    if state not in states:
        raise InvalidInput(f"{index.name.lower()} {state!r}: use one of {', '.join(states)}")
    return state
