"""Forgetting: versions keep their place in history and lose their bytes, as foretold."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import castore
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput, ObjectNotFound, RefNotFound
from castore.model.ids import Id, Kind
from castore.store import collect_sweep
from castore.store.branches import create_branch, delete_branch, move_branch
from castore.store.collect_roots import sets_of
from castore.store.forget import ForgetReport
from castore.store.retention import Rules
from castore.store.stats import version_stats
from castore.store.verify import fsck
from tests.store.gcscene import DAY, commit, stored_bytes, stored_ids, whole

DICE = random.Random(5)
TEN: list[bytes] = [DICE.randbytes(30_000) for _ in range(10)]


@pytest.fixture
def clock() -> list[int]:
    return [1_790_000_000_000_000]


@pytest.fixture
def store(tmp_path: Path, clock: list[int]) -> Any:
    def now() -> int:
        clock[0] += 1000
        return clock[0]

    with castore.init(tmp_path, now=now) as made:
        yield made


def history(store: castore.Store, branch: str = "main", count: int = 6) -> list[castore.Version]:
    """Versions with a file of their own and one that all share."""
    return [commit(store, branch, own=TEN[n], shared=b"s" * 20_000) for n in range(count)]


def lose(tables: Writing, version: castore.Version) -> None:
    """Keep a version as one that lost a race."""
    ref = f"lost/main/{version.id.hex()}"
    tables.add_if_new(ref, version.id)
    tables.append_operation("lost", at=1, by="", refs=[(ref, b"", version.id)])


def labels(report: ForgetReport) -> list[str]:
    return [version.label for version in report.versions]


def forgotten_ids(store: castore.Store) -> set[Id]:
    return store.database.read(lambda tables: {id for id, _ in tables.removals("forgotten")})


def test_a_forgotten_version_keeps_its_place_and_loses_its_bytes(store: castore.Store) -> None:
    versions = history(store)
    said = store.forget("main@v2", "main@v3", dry_run=True)
    assert forgotten_ids(store) == set()
    done = store.forget("main@v2", "main@v3", by="me", why="too old")
    assert labels(done) == labels(said) == ["main@v2", "main@v3"]
    before = stored_bytes(store)
    freed = store.gc()
    assert (freed.freed, before - stored_bytes(store)) == (said.freed, said.freed)
    assert said.freed
    assert said.freed >= 60_000
    assert [reason.name for reason in freed.reasons] == ["forgotten"]
    assert [version.id for version in store.log("main")] == [v.id for v in reversed(versions)]
    assert store.read_bytes("main@v1:own") == TEN[0]
    assert store.read_bytes("main@v4:shared") == b"s" * 20_000
    removal = store.forgotten(versions[1])
    assert removal
    assert done.record
    assert (removal.by, removal.why, removal.op) == ("me", "too old", str(done.record.sequence))
    assert done.record.detail["versions"] == [versions[1].id, versions[2].id]
    whole(store)


@pytest.mark.parametrize("collected", [False, True])
def test_every_way_to_ask_for_its_content_says_that_it_was_forgotten(
    store: castore.Store, tmp_path: Path, collected: bool
) -> None:
    versions = history(store, count=3)
    store.forget("main@v2", by="me", why="wrong")
    if collected:
        store.gc()
    asked = [
        lambda: store.read_bytes("main@v2:own"),
        lambda: store.checkout("main@v2", tmp_path / "out"),
        lambda: store.diff("main@v3", "main@v2"),
        lambda: store.diff("main@v3"),
        lambda: store.artifacts("main@v2"),
        lambda: list(store.files("main@v2")),
        lambda: store.version_stats("main@v2"),
        lambda: store.tag("t", "main@v2"),
        lambda: store.pin("main@v2"),
        lambda: create_branch(store, "b", store.resolve("main@v2").version, by=""),
        lambda: move_branch(store, "main", store.resolve("main@v2").version, by=""),
    ]
    for ask in asked:
        with pytest.raises(ObjectNotFound, match=r"main@v2 .* forgotten on .* by me .*: wrong"):
            ask()
    assert not (tmp_path / "out").exists()
    record = store.record(versions[1])
    assert record["forgotten"]["why"] == "wrong"
    assert record["artifacts"] is None
    assert store.record(versions[2])["forgotten"] is None
    assert {found.version.id for found in store.find("own")} == {versions[0].id, versions[2].id}
    assert store.stats().versions == 3
    assert [v.id for v in store.log("main", artifact="own")] == [versions[2].id, versions[0].id]
    assert [v.id for v in store.log("main", artifact="shared")] == [versions[0].id]
    assert not fsck(store, full=True).findings


def test_what_forgetting_frees_is_what_no_other_holds(store: castore.Store) -> None:
    history(store)
    said = store.forget("main@v2", dry_run=True)
    alone = version_stats(store, store.resolve("main@v2").version).alone
    assert alone
    assert said.freed
    assert said.freed >= alone.stored
    # A version with the very same set keeps all of it.
    with store.session("twin") as session:
        session.write("own", TEN[1])
        session.write("shared", b"s" * 20_000)
        session.commit()
    assert store.forget("main@v2", dry_run=True).freed == 0


@pytest.mark.parametrize("place", ["tip", "tag", "pin", "lost", "old branch"])
def test_what_something_names_is_forgotten_only_by_force(store: castore.Store, place: str) -> None:
    versions = history(store, count=3)
    rev = "main@v2"
    if place == "tip":
        rev = "main"
    elif place == "tag":
        store.tag("t", rev)
    elif place == "pin":
        store.pin(rev)
    elif place == "lost":
        store.database.write(lambda tables: lose(tables, versions[1]))
    else:
        create_branch(store, "old", versions[1], by="")
    for dry_run in (True, False):
        with pytest.raises(Conflict) as caught:
            store.forget("main@v1", rev, dry_run=dry_run)
        assert caught.value.fix
    assert forgotten_ids(store) == set()
    store.forget(rev, force=True)
    assert len(forgotten_ids(store)) == 1
    store.gc()
    assert not fsck(store, full=True).findings


def test_a_forgotten_tip_is_no_reason_to_write_nothing(store: castore.Store) -> None:
    first = commit(store, "main", a=b"one")
    store.forget("main", force=True)
    store.gc()
    with store.session("main") as session:
        session.write("a", b"one")
        again = session.commit(if_changed=True)
    assert again.number == 2
    assert again.manifest.parents == (first.id,)
    assert store.read_bytes("main:a") == b"one"
    whole(store)


def test_rules_keep_what_they_say(store: castore.Store, clock: list[int]) -> None:
    rules = castore.Rules
    versions = history(store, count=3)
    clock[0] += 40 * DAY
    history(store, count=3)
    clock[0] += 10 * DAY
    store.tag("t", "main@v1")
    assert labels(store.forget(rules=rules(last=2), all_branches=True, dry_run=True)) == [
        "main@v4", "main@v3", "main@v2",
    ]  # fmt: skip
    assert labels(store.forget(rules=rules(within=20 * DAY), name="main", dry_run=True)) == [
        "main@v3", "main@v2",
    ]  # fmt: skip
    assert labels(store.forget(rules=rules(within=0), name="main", dry_run=True)) == [
        "main@v5", "main@v4", "main@v3", "main@v2",
    ]  # fmt: skip
    store.pin("main@v5")
    done = store.forget(rules=rules(tagged=True), all_branches=True)
    assert labels(done) == ["main@v4", "main@v3", "main@v2"]
    assert dict(done.kept) == {"newest of main": 1, "pinned": 1, "tagged t": 1}
    # Again: there is nothing more to forget, and nothing is recorded.
    last = next(store.operations()).sequence
    assert store.forget(rules=rules(tagged=True), all_branches=True).versions == ()
    assert next(store.operations()).sequence == last
    assert versions[1].id in forgotten_ids(store)


def test_a_branch_that_was_not_named_keeps_what_it_shares(store: castore.Store) -> None:
    versions = history(store, count=4)
    create_branch(store, "side", versions[1], by="")
    commit(store, "side", own=TEN[9])
    only = store.forget(rules=castore.Rules(last=1), name="main", dry_run=True)
    assert labels(only) == ["main@v3"]
    assert dict(only.kept) == {"newest of main": 1, "also on branch side": 2}
    both = store.forget(rules=castore.Rules(last=1), all_branches=True, dry_run=True)
    assert labels(both) == ["main@v3", "main@v2", "main@v1"]


def test_an_undo_is_offered_only_while_it_would_do(store: castore.Store) -> None:
    versions = history(store, count=2)
    done = store.forget("main@v1")
    assert done.record is not None
    with pytest.raises(ObjectNotFound) as before:
        store.set_of(versions[0])
    assert before.value.fix == f"cas op undo {done.record.sequence}"
    store.gc(grace=0)
    with pytest.raises(ObjectNotFound) as after:
        store.set_of(versions[0])
    assert "undo" not in after.value.fix


def test_what_is_deployed_goes_only_by_force(store: castore.Store) -> None:
    versions = history(store, count=3)
    store.deploy("main@v1", "prod", by="ann@example.org")
    with pytest.raises(Conflict, match="deployed to prod"):
        store.forget("main@v1")
    assert forgotten_ids(store) == set()
    store.forget("main@v1", force=True)
    assert forgotten_ids(store) == {versions[0].id}


def before_the_next_write(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    """Let another thread act after all was looked at, and before anything is written."""
    write = store.database.write

    def late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(store.database, "write", write)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(act).result(timeout=30)
        return write(*arguments, **options)

    monkeypatch.setattr(store.database, "write", late)


@pytest.mark.parametrize("named", [True, False])
def test_what_is_deployed_while_it_is_forgotten_stays(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    versions = history(store, count=3)
    first = versions[0].id.hex()
    before_the_next_write(store, monkeypatch, lambda: store.deploy(first, "prod", by="a@x.org"))
    if named:
        with pytest.raises(Conflict, match="deployed to prod"):
            store.forget(first)
    else:
        report = store.forget(rules=Rules(last=1), name="main")
        assert labels(report) == ["main@v2"]
    assert [item.removal for item in store.deployments()] == [None]
    assert versions[0].id not in forgotten_ids(store)
    assert store.read_bytes("main@v1:own") == TEN[0]


@pytest.mark.parametrize("forced", [True, False])
def test_what_is_forgotten_while_it_is_deployed_is_not(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    versions = history(store, count=3)
    first = versions[0].id.hex()
    before_the_next_write(store, monkeypatch, lambda: store.forget(first, force=forced))
    with pytest.raises(ObjectNotFound, match="forgotten"):
        store.deploy(first, "prod", by="a@x.org")
    assert store.deployments() == []
    assert [operation.op for operation in store.operations()][:2] == ["forget", "commit"]


def test_what_was_forgotten_where_it_is_deployed_can_be_said_to_be_there_no_longer(
    store: castore.Store,
) -> None:
    versions = history(store, count=3)
    first = versions[0].id.hex()
    store.deploy(first, "prod", by="ann@example.org")
    store.forget(first, force=True)
    assert [item.removal is not None for item in store.deployments()] == [True]
    with pytest.raises(ObjectNotFound):
        store.deploy(first, "prod", by="ann@example.org")
    store.deploy(first, "prod", by="ann@example.org", remove=True)
    assert store.deployments() == []
    with pytest.raises(RefNotFound):
        store.deploy(first, "prod", by="ann@example.org", remove=True)


def test_what_is_approved_or_deployed_stays(store: castore.Store) -> None:
    versions = history(store, count=4)
    for target, subject, value in (
        (versions[0], "review", "approved"),
        (versions[1], "deployment", "live"),
    ):
        note(store, target.id, subject, value)
    rules = castore.Rules(approved=True, deployed=True)
    done = store.forget(rules=rules, all_branches=True)
    assert labels(done) == ["main@v3"]
    assert dict(done.kept) == {"newest of main": 1, "approved": 1, "deployed to live": 1}


def note(store: castore.Store, target: Id, subject: str, value: str) -> None:
    from castore.model.note import Note, encode_note
    from castore.store.publish import metadata_block

    made = Note(
        target=target,
        target_kind="manifest",
        subject=subject,
        value=value,
        by="reviewer@example.org",
        at=store.now(),
        scope=store.database.project,
    )
    block, _ = metadata_block(Kind.NOTE, encode_note(made))
    store.database.write(lambda tables: tables.put_blocks([block]))


def test_what_cannot_be_meant_is_refused(store: castore.Store) -> None:
    history(store, count=2)
    rules = castore.Rules(last=1)
    for refused in (
        lambda: store.forget(),
        lambda: store.forget("main@v1", rules=rules),
        lambda: store.forget("main@v1", all_branches=True),
        lambda: store.forget(rules=rules),
        lambda: store.forget(rules=rules, name="main", all_branches=True),
        lambda: store.forget(all_branches=True),
    ):
        with pytest.raises(InvalidInput):
            refused()
    with pytest.raises(RefNotFound, match="mian"):
        store.forget(rules=rules, name="mian")
    assert store.forget("main@v1", "main@v1").versions
    assert store.forget("main@v1").already == 1


def test_undo_has_them_back_while_the_bytes_are_there(store: castore.Store) -> None:
    history(store)
    done = store.forget("main@v2", "main@v3")
    assert done.record
    undone = store.undo(dry_run=True)
    assert (undone.operation.op, len(undone.restored)) == ("forget", 2)
    assert forgotten_ids(store)
    store.undo()
    assert forgotten_ids(store) == set()
    assert store.gc(grace=0).freed == 0
    assert store.read_bytes("main@v2:own") == TEN[1]
    with pytest.raises(Conflict, match="taken back already"):
        store.undo(done.record.sequence)
    again = store.forget("main@v2")
    with pytest.raises(Conflict, match="taken back already"):
        store.undo(done.record.sequence)
    store.gc()
    with pytest.raises(ObjectNotFound, match="has been collected"):
        store.undo()
    assert again.record
    assert forgotten_ids(store)
    whole(store)


def test_undo_never_leads_a_branch_to_a_forgotten_version(store: castore.Store) -> None:
    history(store, count=3)
    store.forget("main@v2")
    moved = next(o for o in store.operations() if o.op == "commit")
    with pytest.raises(ObjectNotFound):
        store.undo(moved.sequence)


def test_undo_while_a_collection_is_under_way_keeps_the_bytes(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector has marked without the set when the set gets its version back."""
    history(store)
    delete_branch(store, commit(store, "dead", own=TEN[8]).branch, by="")
    store.forget("main@v2")
    estimate = collect_sweep.Sweep.run

    def late(sweep: collect_sweep.Sweep) -> None:
        store.undo()
        estimate(sweep)

    monkeypatch.setattr(collect_sweep.Sweep, "run", late)
    assert store.gc(grace=0).freed > 0
    assert store.read_bytes("main@v2:own") == TEN[1]
    whole(store)


def test_what_becomes_a_tip_meanwhile_is_left_alone(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = history(store, count=4)
    write = type(store.database).write
    done: list[int] = []

    def late(self: Any, fn: Any, **options: Any) -> Any:
        if not done:
            done.append(1)
            create_branch(store, "late", versions[1], by="")
        return write(self, fn, **options)

    monkeypatch.setattr(type(store.database), "write", late)
    assert labels(store.forget(rules=castore.Rules(last=1), all_branches=True)) == [
        "main@v3", "main@v1",
    ]  # fmt: skip


def test_a_backup_forgets_too(store: castore.Store, tmp_path: Path) -> None:
    versions = history(store, count=3)
    store.backup(tmp_path / "copy")
    store.forget("main@v1")
    store.gc()
    store.backup(tmp_path / "copy")
    with castore.open(tmp_path / "copy") as copy:
        assert copy.forgotten(versions[0])
        assert stored_ids(copy) == stored_ids(store)
        assert not fsck(copy, full=True).findings


def test_the_sets_of_many_versions_are_given_in_slices(store: castore.Store) -> None:
    versions = history(store, count=2)
    ids = [version.id for version in versions] * 700

    def walk(tables: Writing) -> list[Id]:
        found, rest = sets_of(tables, ids)
        assert rest is not None
        assert len(found) == 1000
        return found + rest(tables).ids

    assert store.database.write(walk) == [version.set_id for version in versions] * 700
