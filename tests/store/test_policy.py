"""Policy: which approvals count, and which policy is in force."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore import errors
from castore.store.policy import (
    Approval,
    Policy,
    approval,
    last_approved,
    policy_in_force,
    strictest,
)
from tests.store.reviewing import known, put, say, stated, under

ANN, BEN, EVA = "ann@example.org", "ben@example.org", "eva@example.org"
AUTHOR = "author@example.org"


def judged(store: castore.Store, version: castore.Version, file: bytes | None = None) -> Approval:
    return approval(store, version, policy_in_force(store, version, file))


def test_one_approval_is_enough_by_default(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    assert judged(store, version) == Approval(False, ("0 of 1 approvals",))
    say(store, version, "Ann <Ann@example.org>")
    assert judged(store, version) == Approval(True, (), (ANN,))


def test_approvals_count_identities_whatever_their_case(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w", "{approvals: 2}")
    for name in ("ann", "Ann", "ANN"):
        say(store, version, name)
    assert judged(store, version).reasons == ("1 of 2 approvals",)
    say(store, version, BEN)
    assert judged(store, version).approvers == ("ann", BEN)


def test_a_rejection_outweighs_every_approval(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, ANN)
    rejection = say(store, version, BEN, "rejected")
    assert judged(store, version).reasons == (f"rejected by {BEN}",)
    say(store, version, ANN, "approved")
    assert not judged(store, version).approved
    say(store, version, BEN, "revoked", replaces=(rejection,))
    assert judged(store, version).approved


def test_the_author_does_not_count_where_the_policy_says_so(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w", "{not_author: true}")
    say(store, version, AUTHOR)
    assert judged(store, version).reasons == (
        "0 of 1 approvals",
        f"{AUTHOR} approved, which does not count: the author may not approve",
    )
    say(store, version, ANN)
    uncounted = {AUTHOR: "does not count: the author may not approve"}
    assert judged(store, version) == Approval(True, (), (ANN,), uncounted=uncounted)


def test_an_unknown_author_might_be_anybody(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("x")
    version = store.commit(str(tmp_path / "f.txt")).version
    say(store, version, ANN)
    assert judged(store, version).approved
    reasons = judged(store, version, b"review: {not_author: true}").reasons
    assert reasons[1].endswith("the author, who may not approve, is unknown")


@pytest.mark.parametrize("review", ["{humans_only: true}", f"{{reviewers: [{ANN}]}}"])
def test_some_policies_demand_a_known_identity(
    store: castore.Store, tmp_path: Path, review: str
) -> None:
    version = under(store, tmp_path / "w", review)
    say(store, version, ANN)
    assert "config.toml does not know" in judged(store, version).reasons[1]
    known(store, "Ann@Example.org")
    assert judged(store, version).approved


def test_only_reviewers_count_where_the_policy_names_them(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w", f"{{reviewers: [{ANN.title()}]}}")
    known(store, ANN, BEN)
    say(store, version, BEN)
    assert judged(store, version).reasons[1] == (
        f"{BEN} approved, which does not count: reviewers are {ANN}"
    )
    say(store, version, ANN)
    assert judged(store, version).approvers == (ANN,)


def test_agents_never_count(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    known(store, agents=("bot",))
    say(store, version, "Bot")
    say(store, version, ANN, meta={"agent": "writer@7"})
    found = judged(store, version)
    assert found.approvers == ()
    assert [reason.split(", which")[1] for reason in found.reasons[1:]] == [
        " does not count: agents may ask, and not grant"
    ] * 2


def test_a_policy_that_demands_signatures_is_not_met(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w", "{signed: true}")
    known(store, ANN)
    say(store, version, ANN)
    found = judged(store, version)
    assert not found.approved
    assert found.approvers == (ANN,)
    assert found.reasons == (
        "no valid signature by a key that config.toml knows is on the version",
        "0 of 1 approvals are signed by who gave them",
    )


def test_an_incomplete_set_is_never_approved(store: castore.Store, tmp_path: Path) -> None:
    under(store, tmp_path / "w")
    (tmp_path / "w" / "text.txt").unlink()
    with pytest.raises(errors.IncompleteSet) as caught:
        store.commit(spec=tmp_path / "w" / "report.spec.yaml", cwd=tmp_path / "w")
    partial = store.version(bytes.fromhex(caught.value.attributes["partial"]))
    say(store, partial, ANN)
    assert judged(store, partial).reasons == ("the set is incomplete",)


def test_dismissing_is_up_to_the_policy(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, ANN)
    rejection = say(store, version, BEN, "rejected")
    say(store, version, ANN, "", subject="comment", meta={"dismiss": True}, replaces=(rejection,))
    assert judged(store, version).approved
    assert judged(store, version, b"review: {forbid_dismiss: true}").reasons == (
        f"rejected by {BEN}",
    )


def test_who_loosens_a_spec_needs_what_it_demanded_so_far(
    store: castore.Store, tmp_path: Path
) -> None:
    first = under(store, tmp_path / "w", "{approvals: 2}")
    for name in (ANN, BEN):
        say(store, first, name)
    second = under(store, tmp_path / "w", text="y")
    say(store, second, EVA)
    assert judged(store, second).reasons == ("1 of 2 approvals",)
    # The second does not count, so the first is still what the third is judged by.
    third = under(store, tmp_path / "w", text="z")
    say(store, third, EVA)
    assert last_approved(store, third) == first
    assert policy_in_force(store, third).approvals == 2
    assert judged(store, third).reasons == ("1 of 2 approvals",)
    say(store, third, ANN)
    assert judged(store, third).approved
    fourth = under(store, tmp_path / "w", text="!")
    assert last_approved(store, fourth) == third
    assert policy_in_force(store, fourth).approvals == 1


def test_a_tighter_spec_holds_at_once(store: castore.Store, tmp_path: Path) -> None:
    say(store, under(store, tmp_path / "w"), ANN)
    second = under(store, tmp_path / "w", "{approvals: 3}")
    assert policy_in_force(store, second).approvals == 3


def test_approvals_beside_the_line_do_not_count(store: castore.Store, tmp_path: Path) -> None:
    first = under(store, tmp_path / "w")
    (tmp_path / "f.txt").write_text("x")
    other = store.commit(str(tmp_path / "f.txt"), name="other").version
    say(store, other, ANN)
    second = under(store, tmp_path / "w", text="y")
    assert last_approved(store, second) is None
    say(store, first, ANN)
    assert last_approved(store, second) == first
    assert last_approved(store, first) is None
    assert last_approved(store, first, itself=True) == first


def test_a_note_of_another_project_or_about_something_else_is_no_approval(
    store: castore.Store, tmp_path: Path
) -> None:
    first = under(store, tmp_path / "w")
    second = under(store, tmp_path / "w", text="y")
    say(store, second, ANN, scope=b"\1" * 16)
    # Ids that begin alike share rows of the index.
    put(store, stated(store, second, ANN, "approved", target=second.id[:16] + bytes(16)))
    say(store, first, ANN)
    assert not judged(store, second).approved
    assert last_approved(store, second, itself=True) == first


def test_a_rewritten_version_has_lost_its_approvals(store: castore.Store, tmp_path: Path) -> None:
    first = under(store, tmp_path / "w")
    say(store, first, ANN)
    assert judged(store, first).approved
    second = under(store, tmp_path / "w", text="x ")
    assert not judged(store, second).approved


def test_the_strictest_of_two_policies_demands_what_either_does() -> None:
    one = Policy(approvals=2, not_author=True, reviewers=("a", "b"), require=("valid",))
    other = Policy(humans_only=True, signed=True, reviewers=("b", "c"), require=("valid", "fresh"))
    assert strictest(one, other) == Policy(
        approvals=2,
        not_author=True,
        humans_only=True,
        reviewers=("b",),
        signed=True,
        require=("valid", "fresh"),
    )
    assert strictest(Policy(reviewers=("a",)), Policy()).reviewers == ("a",)
    assert strictest(Policy(), Policy(reviewers=("a",))).reviewers == ("a",)
    assert strictest(Policy(reviewers=("a",)), Policy(reviewers=("b",))).reviewers == ()


def test_policies_that_agree_on_no_reviewer_let_nobody_approve(
    store: castore.Store, tmp_path: Path
) -> None:
    known(store, ANN, BEN)
    version = under(store, tmp_path / "w", f"{{reviewers: [{ANN}]}}")
    say(store, version, ANN)
    found = judged(store, version, f"review: {{reviewers: [{BEN}]}}".encode())
    assert "nobody" in found.reasons[1]


def test_a_policy_file_is_read_with_every_fault(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    found = policy_in_force(store, version, b"review: {approvals: 2}\nrequire: [approved, fresh]\n")
    assert found == Policy(approvals=2, require=("approved", "fresh"))
    with pytest.raises(errors.InvalidSpec) as caught:
        policy_in_force(store, version, b"approvals: 2\nrequire: [approvd]\nreview: {signed: 3}\n")
    assert [fault["fix"] for fault in caught.value.faults] == [
        "`approvals:` belongs under `review:`",
        "approved",
        "write true or false",
    ]
    for text in (b"", b"- 1\n", b"\xff"):
        with pytest.raises(errors.InvalidSpec):
            policy_in_force(store, version, text)
