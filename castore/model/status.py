"""The status of a version: a fold over the notes that stand about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from castore.model.ids import Id
from castore.model.note import Note

_REVIEW_RANK: Final = {"requested": 1, "approved": 2, "rejected": 3}
_LIFECYCLE_RANK: Final = {"draft": 0, "published": 1, "archived": 2, "withdrawn": 3}


@dataclass(frozen=True, slots=True)
class Status:
    """What the notes about one version come to.

    `review` is "none", "requested", "approved", "rejected" or "contested"; `validation` is
    "unknown", "passed" or "failed"; `approvers` and `rejecters` are distinct identities.
    """

    review: str = "none"
    approvers: tuple[str, ...] = ()
    rejecters: tuple[str, ...] = ()
    validation: str = "unknown"
    lifecycle: str = "draft"
    deployments: Mapping[str, str] = field(default_factory=dict)


def identity(name: str) -> str:
    """Who `name` is: the lower-case e-mail address if there is one, else the whole string."""
    for word in name.replace("<", " ").replace(">", " ").split():
        if "@" in word[1:-1]:
            return word.lower()
    return name


def standing(notes: Mapping[Id, Note]) -> dict[Id, Note]:
    """The notes that no other of these replaces.

    A note replaces one of its own writer about the same target and subject; a deployment replaces
    whatever stood for its environment. Ids that are not here never block the fold.
    """
    replaced = {
        old
        for note in notes.values()
        for old in note.replaces
        if old in notes and _may_replace(note, notes[old])
    }
    return {id: note for id, note in notes.items() if id not in replaced}


def fold(notes: Mapping[Id, Note], target: Id) -> Status:
    """The status of `target` under these notes, in whatever order they came."""
    current = {id: note for id, note in standing(notes).items() if note.target == target}
    verdicts: dict[str, str] = {}
    for note in _of(current.values(), "review"):
        who = identity(note.by)
        if note.value in _REVIEW_RANK and (
            _REVIEW_RANK[note.value] > _REVIEW_RANK.get(verdicts.get(who, ""), 0)
        ):
            verdicts[who] = note.value
    approvers = tuple(sorted(who for who, value in verdicts.items() if value == "approved"))
    rejecters = tuple(sorted(who for who, value in verdicts.items() if value == "rejected"))
    stages = [note.value for note in _of(current.values(), "lifecycle")]
    return Status(
        review=_review(approvers, rejecters, verdicts.values()),
        approvers=approvers,
        rejecters=rejecters,
        validation=_validation({note.value for note in _of(current.values(), "validation")}),
        lifecycle=max(stages, key=lambda stage: _LIFECYCLE_RANK.get(stage, 0), default="draft"),
        deployments={
            environment: note.value
            for environment, (_, note) in deployed(current).items()
            if note.meta.get("state") != "removed"
        },
    )


def deployed(notes: Mapping[Id, Note]) -> dict[str, tuple[Id, Note]]:
    """The one deployment note that counts per environment: of several the highest (at, id)."""
    best: dict[str, tuple[Id, Note]] = {}
    for id, note in notes.items():
        if note.subject != "deployment":
            continue
        other = best.get(note.value)
        if other is None or (note.at, id) > (other[1].at, other[0]):
            best[note.value] = (id, note)
    return best


def _may_replace(note: Note, old: Note) -> bool:
    if note.subject != old.subject:
        return bool(note.meta.get("dismiss", False)) and note.subject == "comment"
    if note.subject == "deployment":
        return note.value == old.value
    return note.target == old.target and identity(note.by) == identity(old.by)


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
