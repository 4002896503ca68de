"""Review: asking for a verdict, giving one, taking it back; marks, deployments and comments.

Each writes one note, which takes the place only of what its writer said before about the same.
A verdict is on the version as a whole, by its full id: whatever changes is another version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from castore.database.reading import Reading
from castore.errors import InvalidInput, NotApproved, ObjectNotFound, RefMoved, RefNotFound
from castore.model.ids import Id
from castore.model.names import check_segment
from castore.model.note import SUBJECTS, Note
from castore.model.status import deployed, standing
from castore.store.notes import find_note
from castore.store.policy import Approvals, policy_in_force
from castore.store.selectors import Resolved, resolve
from castore.store.standing import REMOVED, current_note, standing_notes, status_of
from castore.store.statements import Speaker, Stated, own, refuse_agent, write_note
from castore.store.store import Store
from castore.store.tombstones import purged_in
from castore.store.version import Version, version_in

VERDICTS: Final = {"approve": "approved", "reject": "rejected"}
_DECIDED: Final = ("approved", "rejected")


def judged_version(store: Store, selector: str, verb: str, *, expect: str = "") -> Version:
    """The complete version that a verdict is about, named by full id, branch, tag or a selector.

    `expect` is the full id that it must have. Raises InvalidInput for an id prefix, an artifact or
    a partial, RefMoved where it is another version than expected, RefNotFound.
    """
    try:
        found: Resolved = resolve(store, selector, prefixes=False)
    except InvalidInput as error:
        if id := error.attributes.get("id"):
            error.fix = f"cas {verb} {id}"
        raise
    version = found.version
    if found.artifact is not None:
        raise InvalidInput(
            f"{selector!r} names an artifact: a version is reviewed as a whole",
            fix=f"cas {verb} {version.label}",
        )
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete: only complete versions are reviewed")
    if expect and expect.lower() != version.id.hex():
        if len(expect) != 2 * len(version.id):
            raise InvalidInput(
                f"expected {expect!r}: give all {2 * len(version.id)} digits",
                fix=f"cas {verb} {selector} --expect {version.id.hex()}",
            )
        raise RefMoved(
            f"{selector} is {version.id.hex()}, not {expect}",
            fix=f"cas diff {expect} {version.id.hex()}",
            expected=expect,
            actual=version.id.hex(),
        )
    return version


def request_review(store: Store, version: Version, speaker: Speaker, *, text: str = "") -> Stated:
    """Ask for a review; agents may. Raises InvalidInput for a partial."""
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete: only complete versions are reviewed")
    # An agent that acts for somebody never takes the place of a verdict of theirs.
    of = ("requested", "revoked") if speaker.acting else ()
    return write_note(
        store, version, speaker, "review", "requested", op="request-review", text=text,
        replaces=own(speaker, "review", of=of),
    )  # fmt: skip


def give_verdict(
    store: Store, version: Version, verb: str, speaker: Speaker, *, text: str = ""
) -> Stated:
    """Approve or reject a version (`verb`); raises NotApproved for agents, InvalidInput."""
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete: only complete versions are reviewed")
    refuse_agent(speaker, store.config().identities, verb, f"cas request-review {version.id.hex()}")
    warnings = list(_over(store, version)) if verb == "approve" else []
    stated = write_note(
        store, version, speaker, "review", VERDICTS[verb], op=verb, text=text,
        replaces=own(speaker, "review"),
    )  # fmt: skip
    return Stated(version, stated.id, stated.note, tuple(warnings))


def revoke(store: Store, version: Version, speaker: Speaker, *, text: str = "") -> Stated:
    """Take back what one said about a version in review; the notes themselves stay.

    Raises InvalidInput where there is nothing, NotApproved for an agent and a verdict.
    """
    identities = store.config().identities
    choose = own(speaker, "review")

    def check(tables: Reading, notes: Mapping[Id, Note]) -> None:
        mine = [notes[id] for id in choose(tables, notes) if notes[id].value != "revoked"]
        if not mine:
            raise InvalidInput(
                f"{speaker.by} has no verdict on {version.label} and asked for none",
                fix=f"cas show {version.label}",
            )
        if any(note.value in _DECIDED for note in mine):
            refuse_agent(speaker, identities, "revoke a verdict", f"cas show {version.label}")

    return write_note(
        store, version, speaker, "review", "revoked", op="revoke", text=text, replaces=choose,
        check=check,
    )  # fmt: skip


def dismiss(store: Store, note: str, speaker: Speaker, *, text: str = "") -> Stated:
    """Let a note of anybody count no longer, unless the policy in force forbids that.

    `note` is its id, or a prefix that no other note has. Raises NotApproved, InvalidInput for a
    note that does not stand, and for a deployment, which only another one answers, NotFound.
    """
    id, old = find_note(store, note)
    if old.target_kind != "manifest":
        raise InvalidInput(f"note {id.hex()[:12]} is about another note: it counts for nothing")
    version = store.version(old.target)
    if old.subject == "deployment":
        raise _undismissable(store, version, id, old)
    verb = f"dismiss a note of {old.by}"
    refuse_agent(speaker, store.config().identities, verb, f"cas comment {version.id.hex()}")
    if policy_in_force(store, version).forbid_dismiss:
        raise NotApproved(
            f"the policy in force for {version.label} forbids to dismiss notes",
            fix=f"cas show {version.label}",
        )

    def check(_: Reading, notes: Mapping[Id, Note]) -> None:
        if id not in standing(notes):
            raise _superseded(id, f"cas show {version.label}")

    return write_note(
        store, version, speaker, "comment", "", op="dismiss", text=text, meta={"dismiss": True},
        replaces=lambda _, __: [id], check=check,
    )  # fmt: skip


def _superseded(id: Id, fix: str) -> InvalidInput:
    return InvalidInput(f"note {id.hex()[:12]} does not stand: another took its place", fix=fix)


def _undismissable(store: Store, version: Version, id: Id, note: Note) -> InvalidInput:
    """Why a note about a deployment is not dismissed, and how to say otherwise on record."""
    spec, said = version.manifest.spec.id, f"note {id.hex()[:12]}"
    found = store.database.read(lambda tables: standing_notes(tables, note.value, spec))
    if (last := deployed(found).get(note.value)) is None or last[0] != id:
        return _superseded(id, "cas deploy")
    command = f"cas deploy {version.id.hex()} --to {note.value}"
    if note.meta.get("state") == REMOVED:
        return InvalidInput(
            f"{said} says that {version.label} is not on {note.value} any more: deployments are "
            "not dismissed, say that it is there",
            fix=command,
        )
    return InvalidInput(
        f"{said} says that {version.label} is deployed to {note.value}: deployments are not "
        "dismissed, say that it is there no longer",
        fix=f"{command} --remove",
    )


def comment(store: Store, version: Version, speaker: Speaker, text: str) -> Stated:
    """Say something about a version; raises InvalidInput for no text."""
    if not text.strip():
        raise InvalidInput("a comment needs a text", fix="-m TEXT")
    return write_note(
        store, version, speaker, "comment", "", op="comment", text=text,
        replaces=lambda _, __: [],
    )  # fmt: skip


def mark(store: Store, version: Version, state: str, speaker: Speaker, *, text: str = "") -> Stated:
    """Mark a version as draft, published, archived or withdrawn; raises InvalidInput.

    Of marks by several people the strictest counts: withdrawn, archived, published, draft.
    """
    if state not in SUBJECTS["lifecycle"]:
        raise InvalidInput(f"state {state!r}: use one of {', '.join(SUBJECTS['lifecycle'])}")
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete: only complete versions are marked")
    return write_note(
        store, version, speaker, "lifecycle", state, op="mark", text=text,
        replaces=own(speaker, "lifecycle"),
    )  # fmt: skip


def deploy(
    store: Store,
    version: Version,
    environment: str,
    speaker: Speaker,
    *,
    text: str = "",
    remove: bool = False,
) -> Stated:
    """Say that a version is deployed to an environment, or with `remove` that it is no longer.

    The note takes the place of every other about this environment and spec. That the version is
    withdrawn or not approved is a warning: what is there is there. Raises InvalidName for the
    environment, InvalidInput for a partial, RefNotFound if what is to be removed is not there,
    ObjectNotFound if the content of what is deployed was forgotten or purged; that it is there no
    longer can be said of any.
    """
    check_segment(environment, "environment")
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete: only complete versions are deployed")
    spec = version.manifest.spec.id
    warnings = [] if remove else list(_questionable(store, version))

    def replaces(tables: Reading, _: Mapping[Id, Note]) -> list[Id]:
        return list(standing_notes(tables, environment, spec))

    def check(tables: Reading, _: Mapping[Id, Note]) -> None:
        found = current_note(tables, environment, spec)
        if remove and (found is None or found[1].target != version.id):
            raise _not_there(tables, version, environment, found and found[1].target)

    stated = write_note(
        store,
        version,
        speaker,
        "deployment",
        environment,
        op="deploy-remove" if remove else "deploy",
        text=text,
        meta={"state": REMOVED if remove else "deployed"},
        replaces=replaces,
        check=check,
        forgotten=remove,
    )
    return Stated(version, stated.id, stated.note, tuple(warnings))


def _not_there(
    tables: Reading, version: Version, environment: str, there: Id | None
) -> RefNotFound:
    """That a version is not on an environment, and which one of its spec is."""
    message = f"{version.label} is not deployed to {environment}"
    if there is None:
        return RefNotFound(message, fix="cas deploy")
    label = version_in(tables, there).label
    return RefNotFound(
        f"{message}: {label} is",
        fix=f"cas deploy {there.hex()} --to {environment} --remove",
        deployed=there.hex(),
    )


def _over(store: Store, version: Version) -> Iterator[str]:
    """Why an approval of a version will not let it out."""
    if status_of(store, version).lifecycle == "withdrawn":
        yield f"{version.label} is withdrawn: no gate lets it pass"


def _questionable(store: Store, version: Version) -> Iterator[str]:
    """Why a version should perhaps not be deployed; raises ObjectNotFound if it cannot be."""
    members = store.set_of(version)
    gone = store.database.read(lambda tables: purged_in(tables, members))
    if gone:
        raise ObjectNotFound(
            f"{version.label} cannot be deployed: {gone[0]}",
            fix=f"cas show {version.label}",
            id=version.id.hex(),
        )
    if status_of(store, version).lifecycle == "withdrawn":
        yield f"{version.label} is withdrawn"
    found = Approvals(store).told(version)
    if not found.approved:
        yield f"{version.label} is not approved: {'; '.join(found.reasons)}"
