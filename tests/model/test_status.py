"""The fold of notes: one answer whatever the order, and merging stores is a union."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.model.note import SUBJECTS, Note
from castore.model.status import Status, deployed, fold, identity, standing
from tests.model.samples import some_id

V1, V2 = some_id(1), some_id(2)
ANA, BEN = "Ana <ana@example.org>", "ben@example.org"
Notes = dict[bytes, Note]


def note(
    subject: str, value: str, by: str = ANA, target: bytes = V1, at: int = 1, **more: object
) -> Note:
    """A note about version 1, unless told otherwise."""
    blank = Note(bytes(16), target, "manifest", subject, value, by, at)
    return dataclasses.replace(blank, **more)  # type: ignore[arg-type]


def collect(*notes: Note) -> Notes:
    """Notes by id."""
    return {made.id: made for made in notes}


@st.composite
def histories(draw: st.DrawFn) -> Notes:
    """Notes of few people about few versions, that replace earlier ones and unknown ones."""
    made: Notes = {}
    for at in range(draw(st.integers(0, 9))):
        subject = draw(
            st.sampled_from(("review", "validation", "lifecycle", "deployment", "comment"))
        )
        values = SUBJECTS[subject] or ("production", "staging")
        known = [*made, some_id(77)]
        fresh = note(
            subject,
            draw(st.sampled_from(values)),
            draw(st.sampled_from((ANA, BEN, "ANA@EXAMPLE.ORG"))),
            draw(st.sampled_from((V1, V2))),
            at=draw(st.integers(0, 3)),
            text=str(at),
            replaces=tuple(draw(st.lists(st.sampled_from(known), max_size=3))),
            meta=draw(
                st.sampled_from(
                    ({}, {"state": "removed"}, {"state": "deployed"}, {"dismiss": True})
                )
            ),
        )
        made[fresh.id] = fresh
    return made


@given(histories(), st.randoms())
def test_the_order_of_notes_does_not_matter(notes: Notes, random: random.Random) -> None:
    shuffled = dict(random.sample(sorted(notes.items()), len(notes)))
    for target in (V1, V2):
        assert fold(shuffled, target) == fold(notes, target)
    assert deployed(standing(shuffled)) == deployed(standing(notes))


@given(histories(), st.data())
def test_two_stores_that_exchange_notes_agree(notes: Notes, data: st.DataObject) -> None:
    side = {id: data.draw(st.sampled_from(("left", "right", "both"))) for id in sorted(notes)}
    left = {id: n for id, n in notes.items() if side[id] != "right"}
    right = {id: n for id, n in notes.items() if side[id] != "left"}
    assert fold(left | right, V1) == fold(right | left, V1) == fold(notes, V1)


@given(histories(), histories())
def test_what_was_replaced_never_stands_again(notes: Notes, more: Notes) -> None:
    assert set(standing(notes | more)) & set(notes) <= set(standing(notes))


@given(histories())
def test_unknown_ids_never_block_the_fold(notes: Notes) -> None:
    def known(made: Note) -> Note:
        return dataclasses.replace(
            made, replaces=tuple(old for old in made.replaces if old in notes), after=()
        )

    plain = {id: known(made) for id, made in notes.items()}
    strange = {id: dataclasses.replace(made, after=(some_id(98),)) for id, made in notes.items()}
    assert fold(plain, V1) == fold(notes, V1) == fold(strange, V1)


def test_nothing_said() -> None:
    assert fold({}, V1) == Status()
    assert fold(collect(note("review", "approved", target=V2)), V1) == Status()


@pytest.mark.parametrize(
    ("verdicts", "review"),
    [
        ([("requested", ANA)], "requested"),
        ([("requested", ANA), ("approved", BEN)], "approved"),
        ([("approved", ANA), ("rejected", BEN)], "contested"),
        ([("rejected", BEN)], "rejected"),
        # Of one identity the worst that stands counts: replacing is how minds are changed.
        ([("approved", ANA), ("rejected", ANA)], "rejected"),
        ([("approved", ANA), ("requested", ANA)], "approved"),
        ([("revoked", ANA)], "none"),
        ([("revoked", ANA), ("approved", BEN)], "approved"),
    ],
)
def test_review(verdicts: list[tuple[str, str]], review: str) -> None:
    assert fold(collect(*(note("review", v, by) for v, by in verdicts)), V1).review == review


def test_approvals_count_identities_not_notes() -> None:
    notes = collect(
        note("review", "approved", "Ana <ana@example.org>"),
        note("review", "approved", "ana@EXAMPLE.org", at=2),
        note("review", "approved", BEN),
    )
    assert fold(notes, V1).approvers == ("ana@example.org", "ben@example.org")


def test_a_changed_mind() -> None:
    first = note("review", "rejected")
    second = note("review", "approved", at=2, replaces=(first.id,))
    assert fold(collect(first, second), V1).review == "approved"
    third = note("review", "revoked", at=3, replaces=(second.id,))
    assert fold(collect(first, second, third), V1).review == "none"


def test_nobody_replaces_the_verdict_of_another() -> None:
    rejected = note("review", "rejected", BEN)
    forged = note("review", "approved", ANA, replaces=(rejected.id,))
    assert fold(collect(rejected, forged), V1).review == "contested"
    elsewhere = note("review", "approved", BEN, target=V2, replaces=(rejected.id,))
    assert fold(collect(rejected, elsewhere), V1).review == "rejected"
    other_subject = note("validation", "passed", BEN, replaces=(rejected.id,))
    assert fold(collect(rejected, other_subject), V1).review == "rejected"


def test_a_dismissal_is_explicit_and_policy_may_forbid_it() -> None:
    rejected = note("review", "rejected", BEN)
    comment = note("comment", "", ANA, replaces=(rejected.id,))
    dismissal = note("comment", "", ANA, replaces=(rejected.id,), meta={"dismiss": True})
    elsewhere = dataclasses.replace(dismissal, target=V2)
    assert fold(collect(rejected, comment), V1).review == "rejected"
    assert fold(collect(rejected, elsewhere), V1).review == "rejected"
    assert fold(collect(rejected, dismissal), V1).review == "none"
    assert fold(collect(rejected, dismissal), V1, dismissals=False).review == "rejected"


def test_validation() -> None:
    passed, failed = note("validation", "passed"), note("validation", "failed", BEN)
    assert fold(collect(passed), V1).validation == "passed"
    assert fold(collect(passed, failed), V1).validation == "failed"


def test_lifecycle() -> None:
    stages = [
        note("lifecycle", value, f"{value}@example.org")
        for value in ("draft", "published", "archived", "withdrawn")
    ]
    for last in range(4):
        assert fold(collect(*stages[: last + 1]), V1).lifecycle == stages[last].value


def deployment(target: bytes, at: int, by: str = ANA, **more: object) -> Note:
    """A deployment to production."""
    return note("deployment", "production", by, target, at, **more)


def where(notes: Mapping[bytes, Note], target: bytes) -> list[str]:
    """The environments where this version is the one deployed."""
    return list(fold(notes, target).deployments)


def test_what_is_deployed_has_one_answer() -> None:
    first = deployment(V1, 1)
    second = deployment(V2, 2, BEN, replaces=(first.id,))
    assert where(collect(first), V1) == ["production"]
    assert where(collect(first, second), V1) == []
    assert where(collect(first, second), V2) == ["production"]
    # Two writers who did not see one another: the later, then the higher id.
    unaware = deployment(V2, 2, BEN)
    assert where(collect(first, unaware), V1) == []
    assert where(collect(first, unaware), V2) == ["production"]
    tie = deployment(V2, 1, BEN)
    assert len(where(collect(first, tie), V1) + where(collect(first, tie), V2)) == 1


def test_what_was_removed_is_not_deployed() -> None:
    first = deployment(V1, 1)
    removed = deployment(V1, 2, BEN, replaces=(first.id,), meta={"state": "removed"})
    assert where(collect(first, removed), V1) == []


def test_specs_deploy_beside_one_another() -> None:
    first = deployment(V1, 1)
    other = deployment(V2, 2, replaces=(first.id,))
    notes = collect(first, other)
    specs = {V1: "report", V2: "model"}
    assert list(fold(notes, V1, specs=specs).deployments) == ["production"]
    assert list(fold(notes, V2, specs=specs).deployments) == ["production"]


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("Ana <ANA@Example.org>", "ana@example.org"),
        ("ana@example.org", "ana@example.org"),
        ("build bot", "build bot"),
        ("@ana", "@ana"),
        ("", ""),
        ("Ana", "Ana"),
    ],
)
def test_identities(name: str, who: str) -> None:
    assert identity(name) == who
