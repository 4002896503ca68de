"""Verdicts: what is shown as approved is what the policy in force says, wherever it is shown."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import castore
from castore.errors import ObjectNotFound
from castore.store.audit import ANYWHERE, Criteria, audit, audit_record
from castore.store.branches import create_branch
from castore.store.history import Filter, log
from castore.store.listing import list_artifacts, list_folder
from castore.store.policy import approval, policy_in_force
from castore.store.records import version_record
from castore.store.standing import Verdicts, status_of
from tests.store.gcscene import commit
from tests.store.reviewing import known, say, under

ANN, BEN, EVA = "ann@example.org", "ben@example.org", "eva@example.org"
AUTHOR = "author@example.org"


def approved_by_policy(store: castore.Store, version: castore.Version) -> bool:
    return approval(store, version, policy_in_force(store, version)).approved


def test_some_of_the_approvals_are_pending_everywhere(store: castore.Store, tmp_path: Path) -> None:
    first = under(store, tmp_path / "w", "{approvals: 2}")
    say(store, first, ANN)
    status = store.status_of(first)
    assert (status.review, status.counted, status.needed) == ("pending", 1, 2)
    record = version_record(store, first)
    assert (record["review"], record["approvals"]) == ("pending", {"counted": 1, "needed": 2})
    for state, count in (("pending", 1), ("approved", 0), ("none", 0)):
        assert len(list(log(store, only=Filter(review=state)))) == count
        assert len(list(audit(store, Criteria(review=state)))) == count
    assert [row["review"] for row in store.catalogue()] == ["pending"]
    under(store, tmp_path / "w", text="y")
    assert [item.status.review for item in store.waiting()] == ["pending"]
    kept = store.forget(rules=castore.Rules(approved=True), all_branches=True, dry_run=True).kept
    assert dict(kept) == {"newest of report": 1}
    say(store, first, BEN)
    status = store.status_of(first)
    assert (status.review, status.counted, status.needed) == ("approved", 2, 2)
    assert version_record(store, first)["approvals"] == {"counted": 2, "needed": 2}
    for state, count in (("pending", 0), ("approved", 1)):
        assert len(list(log(store, only=Filter(review=state)))) == count
    kept = store.forget(rules=castore.Rules(approved=True), all_branches=True, dry_run=True).kept
    assert dict(kept) == {"newest of report": 1, "approved": 1}


def test_what_does_not_count_is_not_told_as_approved(store: castore.Store, tmp_path: Path) -> None:
    mine = under(store, tmp_path / "w", "{not_author: true}")
    say(store, mine, AUTHOR)
    status = store.status_of(mine)
    assert (status.review, status.counted, status.needed) == ("pending", 0, 1)
    plain = under(store, tmp_path / "w", text="y")
    say(store, plain, ANN, meta={"agent": "writer@7"})
    assert store.status_of(plain).review == "pending"
    say(store, plain, BEN)
    assert (store.status_of(plain).review, store.status_of(plain).counted) == ("approved", 1)


def test_an_agent_that_is_configured_approves_nothing(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, "bot")
    assert store.status_of(version).review == "approved"
    known(store, agents=("bot",))
    assert store.status_of(version).review == "pending"


def test_the_policy_before_holds_for_a_spec_without_one(
    store: castore.Store, tmp_path: Path
) -> None:
    first = under(store, tmp_path / "w", "{approvals: 2}")
    loosened = under(store, tmp_path / "w", text="y")
    say(store, loosened, ANN)
    assert store.status_of(loosened).review == "approved"
    say(store, first, ANN)
    say(store, first, BEN)
    status = store.status_of(loosened)
    assert (status.review, status.counted, status.needed) == ("pending", 1, 2)


@pytest.mark.parametrize("seed", range(6))
def test_many_are_judged_together_as_each_alone(
    store: castore.Store, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    known(store, ANN, BEN, agents=("bot",))
    policies = ["", "", "{approvals: 2}", "{not_author: true}", "{humans_only: true}"]
    policies = policies[:1] if seed == 0 else policies
    versions = []
    for number in range(10):
        version = under(store, tmp_path / "w", dice.choice(policies), text=str(number))
        for who in dice.sample([ANN, BEN, EVA, AUTHOR, "bot"], dice.randrange(4)):
            say(store, version, who, dice.choice(["approved"] * 5 + ["rejected"]))
        versions.append(version)
    create_branch(store, "side", versions[5], by="")
    versions.append(store.resolve("side").version)
    alone = [approved_by_policy(store, version) for version in versions]
    for order in (range(11), reversed(range(11)), dice.sample(range(11), 11)):
        verdicts = Verdicts(store)
        for place in order:
            status = status_of(store, versions[place], verdicts)
            assert (status.review == "approved") == alone[place], versions[place]


def test_one_author_is_meant_by_log_and_audit(store: castore.Store) -> None:
    for author in ("Ann <Ann@Example.org>", "Ben <ben@example.org>", "ann"):
        with store.session("main", context=castore.Context(author=author)) as session:
            session.write("a", author)
            session.commit()
    for who, numbers in (
        (ANN, [1]), ("ANN@example.org", [1]), ("Ann <Ann@Example.org>", [1]), ("ann", [3]),
        (BEN, [2]), ("Ann", []),
    ):  # fmt: skip
        assert [v.number for v in log(store, only=Filter(author=who))] == numbers
        assert [v.number for v in audit(store, Criteria(author=who))] == numbers


def test_a_deployment_tells_who_approved_it(store: castore.Store, tmp_path: Path) -> None:
    first = under(store, tmp_path / "w", "{approvals: 2}")
    say(store, first, ANN)
    stated = store.deploy("report@v1", "prod", by=EVA)
    assert stated.warnings == ("report@v1 is not approved: 1 of 2 approvals",)
    (found,) = store.deployments()
    record = found.as_json()
    assert (record["by"], record["approved"], record["approvers"]) == (EVA, False, [ANN])
    assert (record["review"], record["wanting"]) == ("pending", ["1 of 2 approvals"])
    assert record["approvals"] == {"counted": 1, "needed": 2}
    say(store, first, BEN)
    assert store.deploy("report@v1", "test", by=EVA).warnings == ()
    record = store.deployments()[0].as_json()
    assert (record["approved"], record["approvers"]) == (True, [ANN, BEN])


def test_deployed_versions_are_found(store: castore.Store, tmp_path: Path) -> None:
    first = under(store, tmp_path / "w")
    under(store, tmp_path / "w", text="y")
    other = commit(store, "other", a=b"a")
    assert not list(audit(store, Criteria(deployed=ANYWHERE)))
    store.deploy("report@v1", "prod", by=EVA)
    store.deploy("report@v1", "test", by=EVA)
    store.deploy("other", "prod", by=EVA)
    asked = {
        where: [version.id for version in audit(store, Criteria(deployed=where))]
        for where in ("prod", "test", ANYWHERE, "nowhere")
    }
    assert set(asked["prod"]) == set(asked[ANYWHERE]) == {first.id, other.id}
    assert len(asked[ANYWHERE]) == 2
    assert (asked["test"], asked["nowhere"]) == ([first.id], [])
    assert audit_record(store, first)["deployments"] == ["prod", "test"]
    assert not list(audit(store, Criteria(deployed="test", review="approved")))
    assert not list(audit(store, Criteria(deployed="test", until="2001-01-01")))


def test_what_speaks_against_a_deployment_is_said(store: castore.Store) -> None:
    commit(store, "main", a=b"a")
    store.reject("main", by=ANN)
    (warning,) = store.deploy("main", "prod", by=EVA).warnings
    assert "rejected by ann@example.org" in warning
    store.mark("main", "withdrawn", by=ANN)
    assert "main@v1 is withdrawn" in store.deploy("main", "prod", by=EVA).warnings
    assert store.deploy("main", "prod", by=EVA, remove=True).warnings == ()


def test_what_is_gone_cannot_be_deployed(store: castore.Store) -> None:
    for data in (b"old", b"new"):
        commit(store, "main", a=data)
    store.forget("main@v1", by="me", why="old")
    with pytest.raises(ObjectNotFound, match=r"main@v1 .* was forgotten on .* by me"):
        store.deploy("main@v1", "prod", by=EVA)
    store.purge("main@v2:a", reason="asked to", by="me")
    with pytest.raises(ObjectNotFound, match="main@v2 cannot be deployed: artifact 'a' was purged"):
        store.deploy("main@v2", "prod", by=EVA)
    assert store.deployments() == []


def test_approving_what_is_withdrawn_says_so(store: castore.Store) -> None:
    commit(store, "main", a=b"a")
    assert store.approve("main", by=ANN).warnings == ()
    store.mark("main", "withdrawn", by=ANN)
    assert "withdrawn" in store.approve("main", by=BEN).warnings[0]
    assert store.reject("main", by=BEN).warnings == ()


def test_a_forgotten_version_stays_the_approved_one_and_says_so(store: castore.Store) -> None:
    for data in (b"1", b"2", b"3"):
        commit(store, "main", a=data)
    store.approve("main@v1", by=ANN)
    store.approve("main@v2", by=ANN)
    store.forget("main@v2")
    store.gc(grace=0)
    assert store.resolve("main@approved").version.number == 2
    with pytest.raises(ObjectNotFound, match=r"main@v2 .* was forgotten"):
        store.read_bytes("main@approved:a")
    with pytest.raises(ObjectNotFound, match=r"main@v2 .* was forgotten"):
        store.checkout("main@approved", store.root / "there")
    assert not (store.root / "there").exists()


def test_purged_content_is_marked(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "key").write_bytes(b"secret")
    (tmp_path / "box" / "other").write_bytes(b"known to all")
    with store.session("main") as session:
        session.write("a", "alone")
        session.write("b", "stays")
        session.add("box", tmp_path / "box")
        version = session.commit()

    def marked() -> dict[str, bool]:
        return {item.artifact.name: item.purged for item in list_artifacts(store, version)}

    assert not any(marked().values())
    store.purge("main:a", reason="x")
    store.purge("main:box/key", reason="x")
    assert marked() == {"a": True, "b": False, "box": True}
    listed = list_folder(store, store.resolve("main"), recursive=True)
    assert {entry.path for entry in listed if entry.purged} == {"a", "box", "box/key"}
    below = list_folder(store, store.resolve("main:box"))
    assert {entry.path: entry.as_json()["purged"] for entry in below} == {
        "key": True, "other": False,
    }  # fmt: skip
    members = version_record(store, version, artifacts=True)["artifacts"]
    told = {member["name"]: (member["storage"], member["purged"]) for member in members}
    assert told == {"a": ("purged", True), "b": ("stored", False), "box": ("stored", True)}


def test_a_source_whose_content_is_gone_is_told(store: castore.Store) -> None:
    commit(store, "old", a=b"a")
    commit(store, "old", a=b"b")
    commit(store, "new", a=b"c", b=b"d")
    store.forget("old@v1", by="me")
    store.gc(grace=0)
    store.purge("new:a", reason="x")

    def warned(*sources: str) -> tuple[str, ...]:
        with store.session("out", sources=sources) as session:
            session.write("a", repr(sources))
            session.commit()
        assert session.report is not None
        return session.report.warnings

    (text,) = warned("old@v1")
    assert text.startswith("source old@v1 was forgotten on ")
    (text,) = warned("new")
    assert text.startswith("source new@v1: artifact 'a' was purged on ")
    assert warned("new:b", "old@v2", "https://example.org/x") == ()
    store.mark("old@v2", "withdrawn", by=EVA)
    store.reject("old@v2", by=EVA)
    assert warned("old@v2", "a=old@v2", "new:b") == (
        "source old@v2 was withdrawn",
        f"source old@v2 was rejected by {EVA}",
    )


def test_rules_never_forget_what_is_deployed(store: castore.Store) -> None:
    for data in (b"1", b"2", b"3", b"4"):
        commit(store, "main", a=data)
    store.deploy("main@v2", "prod", by=ANN)
    store.deploy("main@v2", "test", by=ANN)
    for dry_run in (True, False):
        done = store.forget(rules=castore.Rules(last=1), all_branches=True, dry_run=dry_run)
        assert [version.label for version in done.versions] == ["main@v3", "main@v1"]
        assert dict(done.kept) == {"newest of main": 1, "deployed to prod, test": 1}


def test_a_second_purge_of_the_same_does_nothing(store: castore.Store) -> None:
    commit(store, "main", a=b"secret" * 100, b=b"b" * 100)
    first = store.purge("main:a", reason="asked to", by="me")
    assert first.already is None
    count = len(list(store.operations()))
    for dry_run in (True, False):
        again = store.purge("main:a", reason="once more", by="you", dry_run=dry_run)
        assert again.already is not None
        assert (again.already.by, again.already.why) == ("me", "asked to")
        assert again.as_json()["already"]["by"] == "me"
        assert (again.record, again.objects) == (None, 0)
    assert len(list(store.operations())) == count
    assert store.purge("main:a", "main:b", reason="x").objects == 1
