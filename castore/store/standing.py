"""Standing: the folded status of a version, from the notes about it that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

from castore.content.reader import ObjectReader
from castore.database import folded
from castore.database.indexes import VALUE_BYTES, Index
from castore.database.reading import Reading
from castore.database.tables import PROJECT_KEY
from castore.errors import CastoreError, CorruptObject, InvalidInput, RefNotFound
from castore.model.ids import Id
from castore.model.limits import ID_BYTES
from castore.model.names import near_names
from castore.model.note import Note
from castore.model.status import Status, deployed, standing
from castore.store.config import KnownIdentity
from castore.store.notes import AGENT, ids_in_state, known_as, notes_about, on_line
from castore.store.store import Store
from castore.store.version import Version, spec_text

REMOVED: Final = "removed"
PENDING: Final = "pending"
"""The review of what somebody approves and nobody rejects, where the policy asks for more."""
_MOST: Final = 1 << 30
# Loaded when one is asked for: they take the parser of specs, processes or a search of artifacts,
# which the log does without.
_LATER: Final = {
    "known": "castore.store.known",
    "policy": "castore.store.policy",
    "signatures": "castore.store.signatures",
}


class Verdicts:
    """Tells of many versions whether their approvals are enough for the policy in force.

    Knows what notes and configuration came to when it was asked first; make another to see more.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asking: dict[Id, bool] = {}
        self._before: bool | None = None
        self._identities: Mapping[str, KnownIdentity] | None = None
        self._approvals: Any = None

    def judged(self, version: Version, status: Status, notes: Mapping[Id, Note]) -> Status:
        """A status that notes alone approve, as the policy in force has it.

        Raises InvalidInput for a configuration that cannot be read, CorruptObject. Where no policy
        can be found, for a spec that cannot be read or signatures that cannot be verified, nothing
        is approved.
        """
        if self._identities is None:
            self._identities = self._store.config().identities
        try:
            if not self._asks(version) and _granted(version, status, notes, self._identities):
                return status.judged("approved", len(set(map(known_as, status.approvers))), 1)
            found = self._policies().approval(version)
        except CorruptObject:
            raise
        except CastoreError:
            return status.judged(PENDING)
        review = "approved" if found.approved else PENDING
        return status.judged(review, len(found.approvers), found.needed)

    def counted(self, version: Version, status: Status) -> frozenset[str]:
        """Who of those that approve a version counts, by their names in lower case."""
        names = frozenset(map(known_as, status.approvers))
        if not names or (status.needed and status.counted == len(names)):
            return names
        return frozenset(self._policies().told(version).approvers)

    def forbids_to_dismiss(self, version: Version) -> bool:
        """Whether the policy in force for a version lets no dismissal count; raises InvalidSpec."""
        return self._asks(version) and bool(self._policies().policy(version).forbid_dismiss)

    def _policies(self) -> Any:
        if self._approvals is None:
            self._approvals = import_module(_LATER["policy"]).Approvals(self._store)
        return self._approvals

    def _asks(self, version: Version) -> bool:
        """Whether the spec of this version, or of any that was approved, may ask for something."""
        if self._before is None:
            sources = self._store.database.read(_approved_sources)
            self._before = any(map(self._spec_asks, sources))
        return self._before or self._spec_asks(version.manifest.spec.source)

    def _spec_asks(self, source: Id) -> bool:
        """Whether a spec may have a `review:`: parsing it takes longer than all of a log."""
        if source and source not in self._asking:
            text = spec_text(self._store.reader, source).lower()
            # What does not name the key cannot have it, but for escapes and other encodings.
            self._asking[source] = any(sign in text for sign in (b"review", b"\\", b"\0"))
        return bool(source) and self._asking[source]


def _granted(
    version: Version,
    status: Status,
    notes: Mapping[Id, Note],
    identities: Mapping[str, KnownIdentity],
) -> bool:
    """Whether it is plain that somebody who is no agent approved all of a version."""
    known = (identities.get(known_as(who)) for who in status.approvers)
    return (
        version.manifest.complete
        and not any(note.meta.get(AGENT) for note in notes.values())
        and all(one is None or one.kind == "person" for one in known)
    )


def _approved_sources(tables: Reading) -> set[Id]:
    """The specs of all versions that notes approve; few manifests are read, one for each spec.

    Rows of `lookup` tell which versions share the spec of one that was read.
    """
    reader = ObjectReader(tables.load)
    if tables.indexes() < folded.SINCE:
        ids = tables.present(list(ids_in_state(tables, Index.REVIEW, "approved")))
        return {reader.manifest(id).spec.source for id in ids}
    approved = tables.tails(Index.REVIEW, "approved", b"", _MOST)
    found: set[Id] = set()
    start = bytes((Index.SPEC_VERSION,))
    while approved and (row := next(tables.lookup_rows(start), None)):
        key = row[0]
        if key[0] != Index.SPEC_VERSION:
            break
        pin = reader.manifest(key[-ID_BYTES:]).spec
        left = tables.with_row(Index.SPEC_VERSION, (pin.id, pin.version), approved)
        while left:
            source = reader.manifest(left[0][-ID_BYTES:]).spec.source
            found.add(source)
            alike = set(tables.with_row(Index.IN_MANIFEST, source, left)) if source else set()
            left = [tail for tail in left[1:] if tail not in alike]
        start = key[: 1 + VALUE_BYTES] + b"\xff" * (len(key) - VALUE_BYTES)
    return found


def status_of(store: Store, version: Version, verdicts: Verdicts | None = None) -> Status:
    """Review, validation, lifecycle and deployment of a version.

    A dismissal counts unless the policy in force forbids it, and approved is what has the approvals
    that this policy asks for; what wants more of them is pending. Who asks about many versions
    gives one `verdicts` for all of them.
    """
    notes = notes_about(store, version.id)
    if not notes:
        return Status()
    verdicts = verdicts or Verdicts(store)
    status, undismissed = folded.statuses(notes, version.id)
    if status != undismissed and verdicts.forbids_to_dismiss(version):
        status = undismissed
    if status.review == "approved":
        status = verdicts.judged(version, status, notes)
    if status.deployments:
        places = {name: name for name in status.deployments if _deployed(store, version, name)}
        status = status.deployed_to(places)
    return status


def standing_ids(store: Store, version: Version) -> frozenset[Id]:
    """The notes about a version that count: none other rightfully took their place."""
    notes = notes_about(store, version.id)
    allowed = standing(notes)
    strict = standing(notes, dismissals=False)
    if allowed.keys() != strict.keys() and Verdicts(store).forbids_to_dismiss(version):
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


def is_in_state(
    store: Store, version: Version, index: Index, state: str, verdicts: Verdicts | None = None
) -> bool:
    """Whether a version is in a state of its review or lifecycle."""
    status = status_of(store, version, verdicts)
    return state == (status.review if index is Index.REVIEW else status.lifecycle)


def row_state(index: Index, state: str) -> str | None:
    """The state by whose rows of `lookup` versions in a state are found; None if by none."""
    if index is Index.REVIEW and state == PENDING:
        return "approved"
    return state if state in folded.STATES[index] else None


def check_state(index: Index, state: str) -> str:
    """A state to filter by, as given; raises InvalidInput for one there is not."""
    default = ("none", PENDING) if index is Index.REVIEW else ("draft",)
    states = (*default, *folded.STATES[index])
    if state not in states:
        name = index.name.lower()
        near = near_names(state, states) or f": use one of {', '.join(states)}"
        raise InvalidInput(
            f"there is no {name} {state!r}{near}", fix=f"--{name} {'|'.join(states)}"
        )
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


def unknown_values(store: Store, asked: Mapping[str, str]) -> list[str]:
    """What to tell of a filter of the log that nothing meets, as `known.of_filter` has it."""
    return list(import_module(_LATER["known"]).of_filter(store, asked))
