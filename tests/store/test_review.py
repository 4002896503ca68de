"""Review: who may say what, what it takes the place of, and what all of it comes to."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import castore
from castore import errors
from castore.database.indexes import Index
from castore.model.ids import Id
from castore.model.note import Note, encode_note
from castore.model.status import Status
from castore.store.branches import delete_branch
from tests.store.reviewing import known, put, say, stated, under

ANN, BEN, EVA = "ann@example.org", "ben@example.org", "eva@example.org"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "w"


def test_a_verdict_is_one_note_with_its_entry_in_the_log(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    done = store.approve("report", by=ANN, text="looks right")
    assert (done.version.id, done.note.target) == (version.id, version.id)
    assert (done.note.value, done.note.by, done.note.text) == ("approved", ANN, "looks right")
    assert done.note.scope == store.database.project
    assert store.notes(version) == {done.id: done.note}
    entry = next(store.operations())
    assert (entry.op, entry.by, entry.why, entry.at) == (
        "approve",
        ANN,
        "looks right",
        done.note.at,
    )
    assert (entry.detail["note"], entry.detail["target"]) == (done.id, version.id)
    assert store.status_of(version).review == "approved"
    assert store.fsck(full=True).ok


def test_a_writer_replaces_only_their_own(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    first = store.reject("report", by=f"Ann <{ANN.upper()}>")
    other = store.reject("report", by=BEN)
    second = store.approve("report", by=ANN)
    assert second.note.replaces == (first.id,)
    assert second.note.after == (other.id,)
    assert store.status_of(version) == Status(
        review="contested", approvers=(ANN,), rejecters=(BEN,)
    )
    store.revoke("report", by=BEN)
    assert store.status_of(version).review == "approved"
    assert len(store.notes(version)) == 4


def test_revoking_needs_something_to_revoke(store: castore.Store, work: Path) -> None:
    under(store, work)
    with pytest.raises(errors.InvalidInput, match="no verdict"):
        store.revoke("report", by=ANN)
    store.request_review("report", by=ANN)
    store.revoke("report", by=ANN)
    with pytest.raises(errors.InvalidInput, match="no verdict"):
        store.revoke("report", by=ANN)


def test_agents_ask_and_comment_and_nothing_else(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    known(store, agents=("bot@example.org",))
    for who in ({"by": ANN, "agent": "writer@7"}, {"by": "Bot@example.org"}):
        for verb in (store.approve, store.reject):
            with pytest.raises(errors.NotApproved) as caught:
                verb("report", **who)
            assert caught.value.fix == f"cas request-review {version.id.hex()}"
        store.comment("report", "done", **who)
    asked = store.request_review("report", by=ANN, agent="writer@7")
    assert asked.note.meta == {"agent": "writer@7"}
    assert store.status_of(version).review == "requested"


def test_an_agent_takes_no_verdict_away(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    verdict = store.reject("report", by=ANN)
    asked = store.request_review("report", by=ANN, agent="writer@7")
    assert asked.note.replaces == ()
    for act in (
        lambda: store.revoke("report", by=ANN, agent="writer@7"),
        lambda: store.dismiss(verdict.id.hex(), by=BEN, agent="writer@7"),
    ):
        with pytest.raises(errors.NotApproved):
            act()
    assert store.status_of(version).review == "rejected"


def test_a_short_id_is_refused_with_the_command_to_type(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    for verb, act in (("approve", store.approve), ("reject", store.reject)):
        with pytest.raises(errors.InvalidInput) as caught:
            act(version.id.hex()[:12], by=ANN)
        assert caught.value.fix == f"cas {verb} {version.id.hex()}"
    for selector in (version.id.hex(), "report@v1", "report@latest"):
        assert store.approve(selector, by=ANN).version.id == version.id
    store.tag("sent", "report")
    assert store.approve("sent", by=BEN).version.id == version.id
    with pytest.raises(errors.InvalidInput, match="as a whole"):
        store.approve("report:text", by=ANN)
    assert len(store.notes(version)) == 4


def test_an_expected_id_is_held(store: castore.Store, work: Path) -> None:
    first = under(store, work)
    second = under(store, work, text="y")
    with pytest.raises(errors.RefMoved) as caught:
        store.approve("report", by=ANN, expect=first.id.hex())
    assert caught.value.attributes["actual"] == second.id.hex()
    with pytest.raises(errors.InvalidInput, match="all 64 digits"):
        store.approve("report", by=ANN, expect=first.id.hex()[:12])
    assert store.notes(second) == {}
    store.approve("report", by=ANN, expect=second.id.hex())


def test_somebody_must_say_it(store: castore.Store, work: Path) -> None:
    under(store, work)
    with pytest.raises(errors.InvalidInput, match="who says so"):
        store.approve("report", by="")
    with pytest.raises(errors.InvalidInput, match="text"):
        store.comment("report", " ", by=ANN)


def test_a_dismissal_takes_a_note_of_another_away(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    verdict = store.reject("report", by=BEN)
    store.approve("report", by=ANN)
    store.dismiss(verdict.id.hex()[:12], by=ANN, text="answered")
    assert store.status_of(version).review == "approved"
    assert store.resolve("report@approved").version == version
    with pytest.raises(errors.InvalidInput, match="does not stand"):
        store.dismiss(verdict.id.hex(), by=ANN)
    with pytest.raises(errors.RefNotFound):
        store.dismiss(version.id.hex(), by=ANN)


def test_a_deployment_is_not_dismissed(store: castore.Store, work: Path) -> None:
    """What is deployed has one answer: a dismissal by whoever wrote it elsewhere changes none."""
    version = under(store, work)
    said = store.deploy("report", "production", by=BEN)
    with pytest.raises(errors.InvalidInput, match="deployed to production") as caught:
        store.dismiss(said.id.hex(), by=ANN)
    assert caught.value.fix == f"cas deploy {version.id.hex()} --to production --remove"
    say(store, version, ANN, "", subject="comment", meta={"dismiss": True}, replaces=(said.id,))
    assert list(store.status_of(version).deployments) == ["production"]
    assert [item.version.id for item in store.deployments()] == [version.id]


def test_who_would_dismiss_a_deployment_is_told_what_to_say(
    store: castore.Store, work: Path
) -> None:
    version = under(store, work)
    there = store.deploy("report", "production", by=BEN).id.hex()
    gone = store.deploy("report", "production", by=BEN, remove=True).id.hex()
    with pytest.raises(errors.InvalidInput, match="took its place") as caught:
        store.dismiss(there, by=ANN)
    assert caught.value.fix == "cas deploy"
    with pytest.raises(errors.InvalidInput, match="not on production any more") as caught:
        store.dismiss(gone, by=ANN)
    assert caught.value.fix == f"cas deploy {version.id.hex()} --to production"
    store.deploy(version.id.hex(), "production", by=ANN)
    with pytest.raises(errors.InvalidInput, match="took its place"):
        store.dismiss(gone, by=ANN)


def test_who_removes_what_is_not_there_is_told_what_is(store: castore.Store, work: Path) -> None:
    first = under(store, work)
    with pytest.raises(errors.RefNotFound, match=r"v1 is not deployed to production$") as caught:
        store.deploy("report", "production", by=ANN, remove=True)
    assert caught.value.fix == "cas deploy"
    store.deploy("report", "production", by=ANN)
    under(store, work, text="again")
    with pytest.raises(errors.RefNotFound, match=r"v2 is not .*: report@v1 is") as caught:
        store.deploy("report", "production", by=ANN, remove=True)
    assert caught.value.fix == f"cas deploy {first.id.hex()} --to production --remove"
    assert caught.value.attributes["deployed"] == first.id.hex()


def test_a_policy_that_forbids_to_dismiss_is_kept(store: castore.Store, work: Path) -> None:
    version = under(store, work, "{forbid_dismiss: true}")
    verdict = store.reject("report", by=BEN)
    store.approve("report", by=ANN)
    with pytest.raises(errors.NotApproved, match="forbids"):
        store.dismiss(verdict.id.hex(), by=ANN)
    # One that another program wrote does not count either.
    say(store, version, ANN, "", subject="comment", meta={"dismiss": True}, replaces=(verdict.id,))
    assert store.status_of(version).review == "contested"
    assert list(store.log(review="approved")) == []
    with pytest.raises(errors.RefNotFound):
        store.resolve("report@approved")


def test_marks_and_what_is_found_by_them(store: castore.Store, work: Path) -> None:
    versions = [under(store, work, text=text) for text in "abc"]
    store.mark("report@v1", "published", by=ANN)
    store.mark("report@v2", "published", by=ANN)
    store.mark("report@v2", "withdrawn", by=BEN)
    store.mark("report@v2", "published", by=ANN)
    assert [store.status_of(v).lifecycle for v in versions] == ["published", "withdrawn", "draft"]
    assert store.resolve("report@published").version == versions[0]
    for state, found in (("published", [0]), ("withdrawn", [1]), ("draft", [2]), ("archived", [])):
        assert list(store.log(lifecycle=state)) == [versions[n] for n in found]
    with pytest.raises(errors.InvalidInput):
        store.mark("report", "gone", by=ANN)
    with pytest.raises(errors.InvalidInput):
        list(store.log(lifecycle="gone"))


def test_the_log_by_state_is_the_log_filtered(store: castore.Store, work: Path) -> None:
    dice = random.Random(5)
    for number in range(12):
        under(store, work, text=str(number))
        (work / "side.txt").write_text(str(number))
        store.commit(str(work / "side.txt"), name="side")
    everything = list(store.log())
    for version in dice.sample(everything, 12):
        dice.choice([store.approve, store.reject, store.request_review])(version.id.hex(), by=ANN)
    for state in ("none", "requested", "approved", "rejected", "contested"):
        wanted = [version for version in everything if store.status_of(version).review == state]
        assert list(store.log(review=state)) == wanted
        assert list(store.log("side", review=state)) == [v for v in wanted if v.branch == "side"]
        assert list(store.log(review=state, limit=2)) == wanted[:2]


def test_approved_is_judged_by_the_policy(store: castore.Store, work: Path) -> None:
    first = under(store, work, "{approvals: 2}")
    store.approve("report", by=ANN)
    with pytest.raises(errors.RefNotFound):
        store.resolve("report@approved")
    store.approve("report", by=BEN)
    second = under(store, work, text="y")
    store.approve("report", by=ANN)
    assert store.resolve("report@approved").version == first
    assert store.resolve("report@approved~0").version == first
    store.approve("report", by=BEN)
    assert store.resolve("report@approved").version == second


def test_what_is_deployed_has_one_answer(store: castore.Store, work: Path) -> None:
    first = under(store, work)
    second = under(store, work, text="y")
    store.deploy("report@v1", "production", by=ANN)
    store.deploy("report@v1", "staging", by=ANN)
    store.deploy("report@v2", "production", by=BEN)
    told = [(item.environment, item.version.id) for item in store.deployments()]
    assert told == [("production", second.id), ("staging", first.id)]
    assert list(store.status_of(first).deployments) == ["staging"]
    with pytest.raises(errors.RefNotFound):
        store.deploy("report@v1", "production", by=ANN, remove=True)
    store.deploy("report@v2", "production", by=ANN, remove=True)
    assert [item.environment for item in store.deployments()] == ["staging"]
    with pytest.raises(errors.InvalidName):
        store.deploy("report", "a/b", by=ANN)
    # Another spec has places of its own.
    (work / "side.txt").write_text("x")
    store.commit(str(work / "side.txt"), name="side")
    store.deploy("side", "staging", by=ANN)
    assert [item.version.branch for item in store.deployments()] == ["report", "side"]


def test_the_inbox_holds_what_waits(store: castore.Store, work: Path) -> None:
    assert store.waiting() == []
    first = under(store, work, "{approvals: 2}")
    store.request_review("report", by=ANN, text="please")
    (item,) = store.waiting()
    assert (item.version, item.status.review, item.approved) == (first, "requested", None)
    assert item.approval.reasons == ("0 of 2 approvals",)
    assert item.changes(store).old is None
    store.approve("report", by=ANN)
    (item,) = store.waiting()
    assert item.approval.reasons == ("1 of 2 approvals",)
    store.approve("report", by=BEN)
    assert store.waiting() == []
    second = under(store, work, "{approvals: 2}", text="y")
    store.request_review("report", by=ANN)
    third = under(store, work, "{approvals: 2}", text="z")
    store.reject("report", by=ANN)
    store.approve("report", by=BEN)
    assert [item.version for item in store.waiting()] == [third, second]
    assert [item.version for item in store.waiting("report@v2")] == [second]
    item = store.waiting()[1]
    assert item.approved == first
    assert [change.name for change in item.changes(store).artifacts] == ["text"]
    assert item.as_json(store)["changes"]["artifacts"][0]["name"] == "text"
    store.mark("report@v3", "withdrawn", by=ANN)
    assert [item.version for item in store.waiting()] == [second]


def test_an_operation_that_wrote_a_note_is_not_undone(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    store.approve("report", by=ANN)
    with pytest.raises(errors.InvalidInput) as caught:
        store.undo(2)
    assert caught.value.fix == f"cas revoke {version.id.hex()}"
    store.deploy("report", "production", by=ANN)
    with pytest.raises(errors.InvalidInput) as caught:
        store.undo(3)
    assert caught.value.fix == f"cas deploy {version.id.hex()} --to production --remove"
    with pytest.raises(errors.InvalidInput, match="the newest operation, 3") as caught:
        store.undo()
    assert caught.value.fix == "cas op undo 1; or what cas op undo 3 says"
    assert store.undo(1).operation.op == "commit"


def test_a_note_lives_as_long_as_its_target(store: castore.Store, work: Path) -> None:
    under(store, work)
    kept = store.approve("report", by=ANN)
    (work / "side.txt").write_text("x")
    store.commit(str(work / "side.txt"), name="side")
    gone = store.approve("side", by=ANN)
    # One without a target goes; it may come again with it.
    (orphan,) = put(store, stated(store, kept.version, ANN, "approved", target=b"n" * 32))
    delete_branch(store, "side", by=ANN)
    store.gc(grace=0)
    present = store.database.read(lambda tables: tables.present([kept.id, gone.id, orphan]))
    assert present == {kept.id}
    rows = store.database.read(lambda tables: list(tables.lookup(Index.REVIEW, "approved")))
    assert [id for _, id in rows] == [kept.version.id]
    assert store.fsck(full=True).ok


# Notes that come from elsewhere.


def test_forged_notes_are_refused(store: castore.Store, work: Path) -> None:
    version = under(store, work)
    good = stated(store, version, ANN, "approved")
    other = stated(store, version, ANN, "approved", scope=b"another project.")
    bytes_of = encode_note(good)
    with pytest.raises(errors.InvalidInput, match="another project"):
        store.receive_notes({good.id: bytes_of, other.id: encode_note(other)})
    tampered = bytes_of.replace(b"approved", b"rejected")
    for payload in (tampered, b"", bytes_of + b"\0", b"\x80"):
        with pytest.raises(errors.CorruptObject):
            store.receive_notes({good.id: payload})
    assert store.notes(version) == {}
    assert store.receive_notes({good.id: bytes_of}) == 1
    assert store.receive_notes({good.id: bytes_of}) == 0
    assert store.approval(version).approved


def test_a_note_about_another_version_approves_nothing(store: castore.Store, work: Path) -> None:
    first = under(store, work)
    second = under(store, work, text="y")
    note = stated(store, first, ANN, "approved")
    store.receive_notes({note.id: encode_note(note)})
    assert not store.approval(second).approved
    assert store.approval(first).approved


def test_bytes_of_a_note_that_were_altered_in_the_store_are_noticed(
    store: castore.Store, work: Path
) -> None:
    version = under(store, work)
    done = store.reject("report", by=ANN)
    row = store.database.read(lambda tables: tables.object_row(done.id))
    assert row is not None

    def alter(tables: castore.database.writing.Writing) -> None:
        block = tables.block(row.block) or b""
        altered = block.replace(b"rejected", b"approved")
        assert altered != block
        from_key = row.block.to_bytes(8, "little")
        tables.replace_rows("blocks", [(from_key, altered)])

    store.database.write(alter)
    for act in (
        lambda: store.status_of(version),
        lambda: store.approval(version),
        lambda: store.approve("report", by=BEN),
        lambda: store.record(version),
    ):
        with pytest.raises(errors.CorruptObject):
            act()
    assert not store.fsck(full=True).ok


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(7)), st.integers(1, 7))
def test_notes_merge_by_union_in_any_order(order: list[int], batch: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ticks = itertools.count(1_790_000_000_000_000)
        with castore.init(Path(folder), now=lambda: next(ticks)) as store:
            version = under(store, Path(folder) / "w")
            notes = _conversation(store, version)
            for start in range(0, len(order), batch):
                part = [notes[n] for n in order[start : start + batch]]
                store.receive_notes({note.id: encode_note(note) for note in part})
            assert store.status_of(version) == Status(
                review="contested", approvers=(ANN,), rejecters=(EVA,), lifecycle="published"
            )
            rows = store.database.read(
                lambda tables: list(tables.lookup(Index.REVIEW, "contested"))
            )
            assert rows == [(version.manifest.at, version.id)]
            assert store.fsck().ok


def _conversation(store: castore.Store, version: castore.Version) -> list[Note]:
    """Seven notes; whatever comes first, Ann approves and Eva rejects."""
    asked = stated(store, version, ANN, "requested", at=1)
    ann = stated(store, version, ANN, "approved", at=2, replaces=(asked.id,))
    ben = stated(store, version, BEN, "rejected", at=3)
    dismissed = stated(
        store, version, ANN, "", subject="comment", at=4, meta={"dismiss": True}, replaces=(ben.id,)
    )
    unseen: tuple[Id, ...] = (b"u" * 32,)
    eva = stated(store, version, EVA, "rejected", at=5, replaces=unseen, after=unseen)
    # Not hers to replace.
    forged = stated(store, version, BEN, "revoked", at=6, replaces=(eva.id,))
    mark = stated(store, version, ANN, "published", subject="lifecycle", at=7)
    return [asked, ann, ben, dismissed, eva, forged, mark]
