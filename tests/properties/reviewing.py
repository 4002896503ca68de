"""The rules of review: every kind of note, and what they come to under the policy in force."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from castore import errors
from castore.model.ids import Id
from castore.store.statements import Stated
from tests.properties.machine import PEOPLE, WHICH, Machine, pick
from tests.properties.sayings import BOT, DECIDED, POLICIES, WHO, Note

AGENTS = st.sampled_from(["", "", "", "helper@2"])
STATES = st.sampled_from(["withdrawn", "published", "archived", "draft"])
PLACES = st.sampled_from(["prod", "test"])
REVIEWED = """\
spec: reviewed
version: "1"
artifacts:
  - {{name: text, type: document, format: text, path: text.txt}}
review: {review}
"""
TURNS = st.tuples(
    st.sampled_from(["request", "approve", "reject", "approve", "revoke", "mark", "deploy"]),
    PEOPLE,
    AGENTS,
    STATES,
    PLACES,
)


class Reviewing(Machine):
    """Whatever is said about a version."""

    def about(self, which: int) -> Id | None:
        """The version to speak about: often the newest of a branch."""
        heads = [line for _, line in sorted(self.model.lines().items())]
        if heads and which % 3:
            line = heads[which % len(heads)]
            near = [id for id in line[:3] if id not in self.model.forgotten]
            if near:
                return near[which % len(near)]
        complete = self.model.complete()
        return pick(complete, which) if complete else None

    def stated(self, op: str, stated: Stated, note: Note) -> None:
        """A note was written, which is this."""
        self.logged((op, ()))
        told = stated.note
        assert (told.target, told.subject, told.value) == (note.about, note.subject, note.value)
        assert set(told.replaces) == note.over
        self.model.said.notes[stated.id] = note

    @rule(which=WHICH, turns=st.lists(TURNS, min_size=1, max_size=5))
    def talk(self, which: int, turns: list[tuple[str, str, str, str, str]]) -> None:
        """Several speak about one version, one after the other."""
        id = self.about(which)
        for verb, by, agent, state, place in turns if id is not None else ():
            if verb == "request":
                self.request(id, by, agent)
            elif verb == "revoke":
                self.revoke(id, by, agent)
            elif verb == "mark":
                self.mark(id, by, agent, state)
            elif verb == "deploy":
                self.place(id, by, place, remove=False)
            else:
                self.verdict(id, by, agent, approves=verb == "approve")

    def request(self, id: Id, by: str, agent: str) -> None:
        """Ask for a verdict."""
        over = self.model.said.own(id, WHO[by], "review", ("requested", "revoked") if agent else ())
        stated = self.store.request_review(id.hex(), by=by, agent=agent)
        note = Note(id, "review", "requested", WHO[by], over)
        self.stated("request-review", stated, note)

    def verdict(self, id: Id, by: str, agent: str, *, approves: bool) -> None:
        """Approve or reject."""
        verb = self.store.approve if approves else self.store.reject
        if agent or WHO[by] == BOT:
            with pytest.raises(errors.NotApproved):
                verb(id.hex(), by=by, agent=agent)
            self.logged()
            return
        over = self.model.said.own(id, WHO[by], "review")
        value = "approved" if approves else "rejected"
        note = Note(id, "review", value, WHO[by], over)
        stated = verb(id.hex(), by=by)
        self.told_that_it_is_withdrawn(id, stated, approves=approves)
        self.stated("approve" if approves else "reject", stated, note)

    @rule(which=WHICH, by=PEOPLE, people=st.lists(PEOPLE, min_size=1, max_size=3))
    def approve_what_is_withdrawn(self, which: int, by: str, people: list[str]) -> None:
        """Approvals of what no gate lets pass any more."""
        id = self.about(which)
        if id is None or id in self.model.forgotten:
            return
        self.mark(id, by, "", "withdrawn")
        for who in people:
            self.verdict(id, who, "", approves=True)

    def told_that_it_is_withdrawn(self, id: Id, stated: Stated, *, approves: bool) -> None:
        """Who approves what is withdrawn is told so, and nobody else."""
        status = self.model.said.status(id, self.model.chain(id))
        told = [warning for warning in stated.warnings if " is withdrawn" in warning]
        assert len(told) == len(stated.warnings) == (approves and status.lifecycle == "withdrawn")

    @rule(
        review=st.sampled_from(sorted(POLICIES)),
        author=PEOPLE,
        number=st.integers(0, 9),
        times=st.integers(1, 3),
        people=st.lists(PEOPLE, max_size=3),
    )
    def reviewed(
        self, review: str, author: str, number: int, times: int, people: list[str]
    ) -> None:
        """Versions of which the spec says what review they need; the newest gets some of it."""
        for _ in range(times):
            content = {"text": b"text %d\n" % number}
            if self.model.dead(content["text"]):
                return
            spec = self.spec("reviewed", REVIEWED.format(review=review))
            with self.store.session(spec=spec, author=author) as session:
                session.write("text", content["text"])
                version = session.commit()
            self.landed("reviewed", version, content, demand=POLICIES[review], author=WHO[author])
        for by in people:
            self.verdict(self.model.lines()["reviewed"][0], by, "", approves=True)

    @rule(which=WHICH, by=PEOPLE)
    def approve_newest(self, which: int, by: str) -> None:
        """Several approve what the policy is about, or policies would seldom be satisfied."""
        line = self.model.lines().get("reviewed", [])
        if not line or line[0] in self.model.forgotten or WHO[by] == BOT:
            return
        over = self.model.said.own(line[0], WHO[by], "review")
        note = Note(line[0], "review", "approved", WHO[by], over)
        stated = self.store.approve("reviewed", by=by)
        self.told_that_it_is_withdrawn(line[0], stated, approves=True)
        self.stated("approve", stated, note)

    def revoke(self, id: Id, by: str, agent: str) -> None:
        """Take back what one said."""
        over = self.model.said.own(id, WHO[by], "review")
        values = {self.model.said.notes[old].value for old in over} - {"revoked"}
        refusal: type[errors.CastoreError] | None = None
        if not values:
            refusal = errors.InvalidInput
        elif values & set(DECIDED) and (agent or WHO[by] == BOT):
            refusal = errors.NotApproved
        if refusal is not None:
            with pytest.raises(refusal):
                self.store.revoke(id.hex(), by=by, agent=agent)
            self.logged()
            return
        stated = self.store.revoke(id.hex(), by=by, agent=agent)
        self.stated("revoke", stated, Note(id, "review", "revoked", WHO[by], over))

    @rule(which=WHICH, by=PEOPLE, agent=AGENTS)
    def dismiss(self, which: int, by: str, agent: str) -> None:
        notes = {
            id: note
            for id, note in self.model.said.notes.items()
            if note.about not in self.model.forgotten
        }
        if not notes:
            return
        chosen = pick(notes, which)
        about = notes[chosen].about
        line = self.model.chain(about)
        refusal: type[errors.CastoreError] | None = None
        if notes[chosen].subject == "deployment":
            refusal = errors.InvalidInput
        elif agent or WHO[by] == BOT or self.model.said.in_force(line).undismissed:
            refusal = errors.NotApproved
        elif chosen not in self.model.said.standing(dismissals=True):
            refusal = errors.InvalidInput
        if refusal is not None:
            with pytest.raises(refusal):
                self.store.dismiss(chosen.hex(), by=by, agent=agent)
            self.logged()
            return
        stated = self.store.dismiss(chosen.hex(), by=by)
        self.stated("dismiss", stated, Note(about, "comment", "", WHO[by], frozenset({chosen})))

    @rule(which=WHICH, by=PEOPLE, agent=AGENTS)
    def comment(self, which: int, by: str, agent: str) -> None:
        id = self.about(which)
        if id is None:
            return
        with pytest.raises(errors.InvalidInput):
            self.store.comment(id.hex(), " ", by=by)
        stated = self.store.comment(id.hex(), "seen", by=by, agent=agent)
        self.stated("comment", stated, Note(id, "comment", "", WHO[by]))

    def mark(self, id: Id, by: str, agent: str, state: str) -> None:
        """Mark as published, and so on."""
        over = self.model.said.own(id, WHO[by], "lifecycle")
        stated = self.store.mark(id.hex(), state, by=by, agent=agent)
        self.stated("mark", stated, Note(id, "lifecycle", state, WHO[by], over))

    @rule(
        which=WHICH,
        by=PEOPLE,
        place=PLACES,
        remove=st.booleans(),
        gone=st.booleans(),
        withdrawn=st.sampled_from([False, False, True]),
    )
    def deploy(
        self, which: int, by: str, place: str, remove: bool, gone: bool, withdrawn: bool
    ) -> None:
        """Deployed, and taken back; sometimes of what is there no more."""
        id = pick(self.lost(), which) if gone and self.lost() else self.about(which)
        if id is None:
            return
        if withdrawn and id not in self.model.forgotten:
            self.mark(id, by, "", "withdrawn")
        self.place(id, by, place, remove=remove)

    def lost(self) -> list[Id]:
        """The versions of which something is there no more."""
        lost = [id for id in self.model.versions if self.model.gone(id)]
        return [id for id in lost if id not in self.model.sealed]

    def place(self, id: Id, by: str, place: str, *, remove: bool) -> None:
        """What is there no more cannot be deployed; what should not be is, with a warning."""
        if self.model.gone(id) and not remove:
            with pytest.raises(errors.ObjectNotFound):
                self.store.deploy(id.hex(), place, by=by)
            self.logged()
            return
        spec = self.model.said.specs[id]
        if remove and self.model.said.deployed().get((place, spec)) != id:
            with pytest.raises(errors.RefNotFound):
                self.store.deploy(id.hex(), place, by=by, remove=True)
            self.logged()
            return
        over = frozenset(self.model.said.placed(place, spec))
        stated = self.store.deploy(id.hex(), place, by=by, remove=remove)
        note = Note(id, "deployment", place, WHO[by], over, removes=remove)
        against = set()
        if not remove:
            line = self.model.chain(id)
            if self.model.said.status(id, line).lifecycle == "withdrawn":
                against.add("withdrawn")
            if not self.model.said.approved(id, self.model.said.in_force(line)):
                against.add("not approved")
        words = {
            word
            for word in ("withdrawn", "not approved")
            for warning in stated.warnings
            if f" is {word}" in warning
        }
        assert words == against
        assert len(stated.warnings) == len(against)
        self.stated("deploy-remove" if remove else "deploy", stated, note)

    @rule(which=WHICH, gone=st.booleans())
    def gate(self, which: int, gone: bool) -> None:
        """What may go out, and by which requirement not."""
        id = pick(self.lost(), which) if gone and self.lost() else self.about(which)
        if id is None:
            return
        demand = self.model.said.in_force(self.model.chain(id))
        judged = self.store.gate(id.hex(), require=["approved"])
        status = self.model.said.status_under(id, dismissals=not demand.undismissed)
        against = set()
        if not self.model.said.approved(id, demand):
            against.add("approved")
        if status.lifecycle == "withdrawn":
            against.add("lifecycle")
        if self.model.gone(id):
            against.add("complete")
        assert {reason.requirement for reason in judged.reasons} == against
        assert judged.passed == (not against)
        assert list(judged.approvers) == self.model.said.approvers(id, demand)

    def reviewed_as_said(self) -> None:
        """Every answer about reviews is that of the model."""
        said, lines = self.model.said, self.model.lines()
        found = self.store.deployments()
        placed = {(one.environment, one.version.manifest.spec.id): one.version.id for one in found}
        assert placed == said.deployed()
        for one in found:
            demand = said.in_force(self.model.chain(one.version.id))
            assert one.approval.approved == said.approved(one.version.id, demand)
            assert list(one.approval.approvers) == said.approvers(one.version.id, demand)
            assert (one.removal is not None) == (one.version.id in self.model.forgotten)
        assert {one.version.id for one in self.store.waiting()} == said.waiting(lines)
        for id in {note.about for note in said.notes.values()}:
            wanted = said.status(id, self.model.chain(id))
            status = self.store.status_of(self.store.version(id))
            told = (status.review, status.approvers, status.rejecters, status.lifecycle)
            assert told == (wanted.review, wanted.approvers, wanted.rejecters, wanted.lifecycle)
            assert status.deployments.keys() == wanted.deployed
            assert (status.counted, status.needed) == (wanted.counted, wanted.needed)
        for branch, line in lines.items():
            approved = said.last_approved(line)
            if approved is None:
                with pytest.raises(errors.RefNotFound):
                    self.store.resolve(f"{branch}@approved")
            else:
                assert self.store.resolve(f"{branch}@approved").version.id == approved
            states = {id: said.status(id, line[n:]).review for n, id in enumerate(line)}
            for state in {*states.values(), "approved", "contested", "pending"} - {"none"}:
                listed = [version.id for version in self.store.log(branch, review=state)]
                assert listed == [id for id in line if states[id] == state]
