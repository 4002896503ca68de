"""Standing: the folded status of a version, from the notes about it that are stored."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Final

from castore.content.reader import ObjectReader
from castore.database import folded
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.database.tables import PROJECT_KEY
from castore.errors import CastoreError, InvalidInput, RefNotFound
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import Status, deployed, standing
from castore.store.notes import ids_in_state, notes_about, on_line
from castore.store.store import Store
from castore.store.version import Version

REMOVED: Final = "removed"
# Loaded when one is asked for: they take the parser of specs and processes, which the log does
# without.
_LATER: Final = {"policy": "castore.store.policy", "signatures": "castore.store.signatures"}


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
        return Status(
            status.review,
            status.approvers,
            status.rejecters,
            status.validation,
            status.lifecycle,
            places,
        )
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


def current_note(tables: Reading, environment: str, spec: str) -> tuple[Id, Note] | None:
    """The note about what is deployed in an environment for a spec, or None if nothing is."""
    found = deployed(standing_notes(tables, environment, spec)).get(environment)
    return None if found is None or found[1].meta.get("state") == REMOVED else found


def standing_notes(tables: Reading, environment: str, spec: str) -> dict[Id, Note]:
    """The notes about an environment and a spec that no other has taken the place of."""
    notes, specs = deployment_notes(tables, environment)
    mine = {id: note for id, note in notes.items() if specs[note.target] == spec}
    return standing(mine, specs=specs)


def deployment_notes(tables: Reading, environment: str) -> tuple[dict[Id, Note], dict[Id, str]]:
    """The notes about deployment to an environment, and the specs of the versions they name."""
    reader, project = ObjectReader(tables.load), tables.meta(PROJECT_KEY)
    notes: dict[Id, Note] = {}
    specs: dict[Id, str] = {}
    for _, id in tables.lookup(Index.SUBJECT, ("deployment", environment)):
        note = reader.note(id)
        if note.scope != project or (note.subject, note.value) != ("deployment", environment):
            continue
        if note.target not in specs and tables.present((note.target,)):
            specs[note.target] = reader.manifest(note.target).spec.id
        if note.target in specs:
            notes[id] = note
    return notes, specs


def newest_approved(store: Store, version: Version) -> Version | None:
    """The newest version up to this one that counts as approved, as `policy.last_approved`."""
    policy = import_module(_LATER["policy"])
    found: Version | None = policy.last_approved(store, version, itself=True)
    return found


def forbids_to_dismiss(store: Store, version: Version) -> bool:
    """Whether the policy in force for a version lets no dismissal count."""
    policy = import_module(_LATER["policy"])
    return bool(policy.policy_in_force(store, version).forbid_dismiss)


def signed_by(store: Store, id: Id) -> frozenset[str]:
    """The configured identities that signed a version or a note, as `signatures.signers`.

    Nobody where signatures cannot be verified here.
    """
    if not any(note.subject == "signature" for note in notes_about(store, id).values()):
        return frozenset()
    signatures = import_module(_LATER["signatures"])
    try:
        found: frozenset[str] = signatures.signers(store, id)
    except CastoreError:
        return frozenset()
    return found
