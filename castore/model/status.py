"""The status of a version: a fold over the notes that stand about it.

Every function here gives one answer whatever the order in which notes arrived, and notes merge by
set union: unknown ids in `after` and `replaces` never block it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from castore.model.ids import Id
from castore.model.note import Note
from castore.model.values import frozen, made

_REVIEW_RANK: Final = {"requested": 1, "approved": 2, "rejected": 3}
_LIFECYCLE_RANK: Final = {"draft": 0, "published": 1, "archived": 2, "withdrawn": 3}
_NO_SPECS: Final[Mapping[Id, str]] = {}


@frozen
class Status:
    """What the notes about one version come to.

    `review` is "none", "requested", "approved", "rejected" or "contested", and where a policy was
    asked also "pending": somebody approves and nobody rejects, but the policy wants more. Then,
    as for "approved", `counted` of the `needed` approvals count; both are 0 where none was asked.
    `validation` is "unknown", "passed" or "failed"; `approvers` and `rejecters` are distinct
    identities; `deployments` maps each environment where this version is the one deployed to
    itself.
    """

    review: str = "none"
    approvers: tuple[str, ...] = ()
    rejecters: tuple[str, ...] = ()
    validation: str = "unknown"
    lifecycle: str = "draft"
    deployments: Mapping[str, str] = made(default_factory=dict)
    counted: int = 0
    needed: int = 0

    def judged(self, review: str, counted: int = 0, needed: int = 0) -> Status:
        """The same with what a policy makes of the review."""
        return Status(
            review, self.approvers, self.rejecters, self.validation, self.lifecycle,
            self.deployments, counted, needed,
        )  # fmt: skip

    def deployed_to(self, places: Mapping[str, str]) -> Status:
        """The same with other deployments."""
        return Status(
            self.review, self.approvers, self.rejecters, self.validation, self.lifecycle,
            places, self.counted, self.needed,
        )  # fmt: skip


def identity(name: str) -> str:
    """Who `name` is: the lower-case e-mail address if there is one, else the whole string."""
    for word in name.replace("<", " ").replace(">", " ").split():
        if "@" in word[1:-1]:
            return word.lower()
    return name


def standing(
    notes: Mapping[Id, Note], *, specs: Mapping[Id, str] = _NO_SPECS, dismissals: bool = True
) -> dict[Id, Note]:
    """The notes that no other of these replaces; one replaced never stands again.

    A note replaces one of its own writer about the same target and subject; a deployment replaces
    whatever stood for its environment and spec; a comment whose meta has `dismiss` true replaces
    any note about its target but a deployment, unless `dismissals` is False (a policy that forbids
    it). `specs` gives the spec id of a version where the notes are about several specs.
    """
    replaced = {
        old
        for note in notes.values()
        for old in note.replaces
        if old in notes
        and (
            _replaces_own(note, notes[old], specs)
            or (dismissals and _dismisses(note, old, notes[old]))
        )
    }
    return {id: note for id, note in notes.items() if id not in replaced}


def fold(
    notes: Mapping[Id, Note],
    target: Id,
    *,
    specs: Mapping[Id, str] = _NO_SPECS,
    dismissals: bool = True,
) -> Status:
    """The status of `target` under these notes, in whatever order they came.

    `notes` are at least all notes about `target`, and for a right answer about deployments those
    about the other versions of its spec; `specs` and `dismissals` as in `standing`.
    """
    all_standing = standing(notes, specs=specs, dismissals=dismissals)
    current = [note for note in all_standing.values() if note.target == target]
    verdicts: dict[str, str] = {}
    for note in _of(current, "review"):
        who = identity(note.by)
        if note.value in _REVIEW_RANK and (
            _REVIEW_RANK[note.value] > _REVIEW_RANK.get(verdicts.get(who, ""), 0)
        ):
            verdicts[who] = note.value
    approvers = tuple(sorted(who for who, value in verdicts.items() if value == "approved"))
    rejecters = tuple(sorted(who for who, value in verdicts.items() if value == "rejected"))
    stages = [note.value for note in _of(current, "lifecycle")]
    return Status(
        review=_review(approvers, rejecters, verdicts.values()),
        approvers=approvers,
        rejecters=rejecters,
        validation=_validation({note.value for note in _of(current, "validation")}),
        lifecycle=max(stages, key=lambda stage: _LIFECYCLE_RANK.get(stage, 0), default="draft"),
        deployments=_deployments(all_standing, target, specs),
    )


def deployed(notes: Mapping[Id, Note]) -> dict[str, tuple[Id, Note]]:
    """Per environment the one deployment note that counts: of several the highest (at, id).

    `notes` are standing notes about versions of one spec. A note whose `meta.state` is "removed"
    counts too: then nothing is deployed there.
    """
    best: dict[str, tuple[Id, Note]] = {}
    for id, note in notes.items():
        if note.subject != "deployment":
            continue
        other = best.get(note.value)
        if other is None or (note.at, id) > (other[1].at, other[0]):
            best[note.value] = (id, note)
    return best


def _deployments(notes: Mapping[Id, Note], target: Id, specs: Mapping[Id, str]) -> dict[str, str]:
    spec = specs.get(target)
    of_spec = {id: note for id, note in notes.items() if specs.get(note.target) == spec}
    return {
        environment: environment
        for environment, (_, note) in sorted(deployed(of_spec).items())
        if note.target == target and note.meta.get("state") != "removed"
    }


def _replaces_own(note: Note, old: Note, specs: Mapping[Id, str]) -> bool:
    if note.subject != old.subject:
        return False
    if note.subject == "deployment":
        return note.value == old.value and specs.get(note.target) == specs.get(old.target)
    return note.target == old.target and identity(note.by) == identity(old.by)


def _dismisses(note: Note, old_id: Id, old: Note) -> bool:
    return (
        note.subject == "comment"
        and old.subject != "deployment"
        and note.meta.get("dismiss") is True
        and note.target in (old.target, old_id)
    )


def _of(notes: Iterable[Note], subject: str) -> list[Note]:
    return [note for note in notes if note.subject == subject]


def _review(
    approvers: Collection[str], rejecters: Collection[str], verdicts: Collection[str]
) -> str:
    if rejecters:
        return "contested" if approvers else "rejected"
    if approvers:
        return "approved"
    return "requested" if verdicts else "none"


def _validation(values: Collection[str]) -> str:
    return "failed" if "failed" in values else "passed" if "passed" in values else "unknown"
