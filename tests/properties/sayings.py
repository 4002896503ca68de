"""The model of notes and policies: what was said in a list, and the fold over it, in plain sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from castore.model.ids import Id

ANA, BEN, CLEO, BOT = "ana@example.org", "ben@example.org", "cleo", "bot@example.org"
WHO = {
    "Ana <ana@example.org>": ANA,
    "ANA@Example.org": ANA,
    "ben@example.org": BEN,
    "cleo": CLEO,
    "A bot <bot@example.org>": BOT,
}
"""Who speaks under which name."""
KNOWN = {ANA: "person", BEN: "person", BOT: "agent"}
"""Who is configured, and as what."""
CONFIG = "".join(f'[identity."{name}"]\nkind = "{kind}"\n' for name, kind in KNOWN.items())
DECIDED = ("approved", "rejected")


@dataclass(frozen=True)
class Demand:
    """What a version needs to count as approved; `reviewers` None: anybody."""

    approvals: int = 1
    not_author: bool = False
    humans: bool = False
    reviewers: frozenset[str] | None = None
    undismissed: bool = False

    def and_(self, other: Demand) -> Demand:
        """What either demands."""
        lists = [one.reviewers for one in (self, other) if one.reviewers is not None]
        return Demand(
            max(self.approvals, other.approvals),
            self.not_author or other.not_author,
            self.humans or other.humans,
            frozenset.intersection(*lists) if lists else None,
            self.undismissed or other.undismissed,
        )


POLICIES = {
    "{approvals: 1}": Demand(),
    "{approvals: 2, not_author: true}": Demand(approvals=2, not_author=True),
    "{forbid_dismiss: true}": Demand(undismissed=True),
    "{humans_only: true}": Demand(humans=True),
    "{reviewers: [Ana <ANA@example.org>, cleo]}": Demand(reviewers=frozenset({ANA, CLEO})),
    "{reviewers: [ben@example.org, ana@example.org]}": Demand(reviewers=frozenset({ANA, BEN})),
}
"""What stands below `review:`, and what it demands."""


@dataclass(frozen=True)
class Note:
    """One statement about a version; `over` are the notes it took the place of."""

    about: Id
    subject: str
    value: str
    who: str
    over: frozenset[Id] = frozenset()
    removes: bool = False


@dataclass(frozen=True)
class Standing:
    """What the notes about a version come to."""

    review: str
    approvers: tuple[str, ...]
    rejecters: tuple[str, ...]
    lifecycle: str
    deployed: frozenset[str]
    counted: int = 0
    needed: int = 0


@dataclass
class Sayings:
    """Every note about a version that is stored, in the order they were written.

    `lines` leads from a version to it and its ancestors, `demands` to what its spec demands,
    `authors` to who made it, `specs` to the id of its spec.
    """

    notes: dict[Id, Note] = field(default_factory=dict)
    demands: dict[Id, Demand] = field(default_factory=dict)
    authors: dict[Id, str] = field(default_factory=dict)
    specs: dict[Id, str] = field(default_factory=dict)

    def keep(self, versions: Iterable[Id]) -> None:
        """Only notes about these are left."""
        here = set(versions)
        self.notes = {id: note for id, note in self.notes.items() if note.about in here}

    def standing(self, *, dismissals: bool) -> dict[Id, Note]:
        """The notes that no other took the place of."""
        over = {
            old
            for note in self.notes.values()
            if dismissals or note.subject != "comment"
            for old in note.over
        }
        return {id: note for id, note in self.notes.items() if id not in over}

    def own(self, about: Id, who: str, subject: str, values: Sequence[str] = ()) -> frozenset[Id]:
        """What somebody said last about a version, whether it was dismissed or not."""
        return frozenset(
            id
            for id, note in self.standing(dismissals=False).items()
            if (note.about, note.who, note.subject) == (about, who, subject)
            and (not values or note.value in values)
        )

    def verdicts(self, about: Id, *, dismissals: bool) -> dict[str, str]:
        """The strongest that each said about a version."""
        found: dict[str, str] = {}
        for note in self.standing(dismissals=dismissals).values():
            if note.about == about and note.subject == "review" and note.value != "revoked":
                ranks = ["", "requested", "approved", "rejected"]
                said = found.get(note.who, "")
                found[note.who] = max(said, note.value, key=ranks.index)
        return found

    def placed(self, place: str, spec: str) -> dict[Id, Note]:
        """The notes about what is in a place that stand; only a later one takes their place."""
        return {
            id: note
            for id, note in self.standing(dismissals=False).items()
            if (note.subject, note.value, self.specs[note.about]) == ("deployment", place, spec)
        }

    def deployed(self) -> dict[tuple[str, str], Id]:
        """The version in each place, by place and spec."""
        latest: dict[tuple[str, str], Note] = {}
        for note in self.standing(dismissals=False).values():
            if note.subject == "deployment":
                latest[note.value, self.specs[note.about]] = note
        return {key: note.about for key, note in latest.items() if not note.removes}

    def status(self, about: Id, line: Sequence[Id]) -> Standing:
        """What a version's notes come to under the policy in force for it."""
        demand = self.in_force(line)
        found = self.status_under(about, dismissals=not demand.undismissed)
        if found.review != "approved":
            return found
        review = "approved" if self.approved(about, demand) else "pending"
        counted = len(self.approvers(about, demand))
        return replace(found, review=review, counted=counted, needed=demand.approvals)

    def status_under(self, about: Id, *, dismissals: bool) -> Standing:
        """What they come to by themselves, where dismissals count, or do not."""
        verdicts = self.verdicts(about, dismissals=dismissals)
        by = {value: sorted(w for w, v in verdicts.items() if v == value) for value in DECIDED}
        if by["approved"] and by["rejected"]:
            review = "contested"
        elif verdicts:
            review = next((value for value in DECIDED if by[value]), "requested")
        else:
            review = "none"
        marks = {
            note.value
            for note in self.standing(dismissals=dismissals).values()
            if (note.about, note.subject) == (about, "lifecycle")
        }
        stages = ("withdrawn", "archived", "published", "draft")
        return Standing(
            review,
            tuple(by["approved"]),
            tuple(by["rejected"]),
            next((stage for stage in stages if stage in marks), "draft"),
            frozenset(place for (place, _), id in self.deployed().items() if id == about),
        )

    # Policy. A line is a version and its ancestors, newest first.

    def in_force(self, line: Sequence[Id]) -> Demand:
        """What the newest of a line needs: what its own spec says, and the last approved one's."""
        own = self.demands.get(line[0], Demand())
        before = self.last_approved(line[1:])
        return own.and_(self.demands.get(before, Demand())) if before else own

    def last_approved(self, line: Sequence[Id]) -> Id | None:
        """The newest of a line that counts as approved, each under what was in force for it."""
        last: Id | None = None
        for id in reversed(line):
            demand = self.demands.get(id, Demand())
            if last is not None:
                demand = demand.and_(self.demands.get(last, Demand()))
            if self.approved(id, demand):
                last = id
        return last

    def approvers(self, about: Id, demand: Demand) -> list[str]:
        """Whose approvals count."""
        verdicts = self.verdicts(about, dismissals=not demand.undismissed)
        author = self.authors.get(about, "")
        strict = demand.humans or demand.reviewers is not None
        return sorted(
            who
            for who, value in verdicts.items()
            if value == "approved"
            and KNOWN.get(who) != "agent"
            and not (demand.not_author and author in ("", who))
            and (demand.reviewers is None or who in demand.reviewers)
            and not (strict and who not in KNOWN)
        )

    def approved(self, about: Id, demand: Demand) -> bool:
        """Whether a version counts as approved under what is demanded."""
        verdicts = self.verdicts(about, dismissals=not demand.undismissed)
        enough = len(self.approvers(about, demand)) >= demand.approvals
        return enough and "rejected" not in verdicts.values()

    def waiting(self, lines: Mapping[str, Sequence[Id]]) -> set[Id]:
        """The versions on these branches that wait for a verdict."""
        found = set()
        for line in lines.values():
            approved = self.last_approved(line)
            newer = line[: line.index(approved)] if approved else line
            for place, id in enumerate(newer):
                demand = self.demands.get(id, Demand())
                if approved:
                    demand = demand.and_(self.demands.get(approved, Demand()))
                status = self.status(id, newer[place:] + line[len(newer) :])
                asked = status.review in ("requested", "contested", "pending")
                over = status.lifecycle in ("archived", "withdrawn")
                if asked and not over and not self.approved(id, demand):
                    found.add(id)
        return found
