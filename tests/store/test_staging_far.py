"""Staging in a bucket: machines stage, one commits without fetching, and a collector hurts none."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import castore
from castore.errors import CorruptObject, IncompleteSet, InvalidInput, ObjectNotFound, RefMoved
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Kind
from castore.model.pages import Branching, Entry, encode_tree
from castore.remote.collect import ROUNDS_KEPT, collect_bucket
from castore.remote.index import Index, IndexWriter
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.remote.urls import open_transport
from castore.store.branches import delete_branch
from castore.store.stages import staged_sessions
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import commit, refs, sound

BIG = os.urandom(1 << 20) * 3 + os.urandom(300_000)
Machine = Callable[[str], castore.Store]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Opens the bucket of the test as the store of a machine of this name."""
    with ExitStack() as opened:

        def open(name: str) -> castore.Store:
            url = (tmp_path / "bucket").as_uri()
            return opened.enter_context(castore.open(url, caches=tmp_path / name))

        yield open


def transport(store: castore.Store) -> Transport:
    return open_transport(store.url)


def root(store: castore.Store) -> Root:
    return connect(store, "origin", transport(store)).bucket.read().root


def collect(store: castore.Store) -> None:
    known = connect(store, "origin", transport(store))
    collect_bucket(known.bucket, known, store.entropy)


def whole(store: castore.Store) -> None:
    """Every byte of the bucket is what it should be."""
    known = connect(store, "origin", transport(store))
    assert verify_bucket(known.bucket, known).as_json()["findings"] == []


def sent(value: castore.Staged) -> castore.Staged:
    """As it arrives in another process."""
    data = pickle.dumps(value)
    assert len(data) < 6_000
    return pickle.loads(data)


def test_machines_stage_and_one_commits_what_it_never_had(machine: Machine, out: Path) -> None:
    one, two, boss = machine("one"), machine("two"), machine("boss")
    values = {
        "small": one.stage(b"small"),
        "big": two.stage(BIG),
        "folder": two.stage(out),
        "pieces": one.stage(piece for piece in (b"one,", b"two")),
    }
    assert refs(one) == {}, "nothing is to be seen before the commit"
    with boss.session("set") as session:
        for name, value in values.items():
            session.add(name, sent(value))
        session.write("own", "made here")
        version = session.commit()
    assert root(boss).uploads == {}
    for store in (one, two, boss):
        assert staged_sessions(store) == []
    look = machine("look")
    assert look.resolve("set").version.id == version.id
    assert look.read_bytes("set:big") == BIG
    assert look.read_bytes("set:pieces") == b"one,two"
    assert look.read_bytes("set:folder/report.md") == (out / "report.md").read_bytes()
    whole(look)
    sound(look)
    sound(boss)


def test_the_content_never_comes_to_the_coordinator(machine: Machine, tmp_path: Path) -> None:
    worker, boss = machine("worker"), machine("boss")
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "data.json").write_bytes(b'{"broken": ')
    (folder / "big").write_bytes(BIG)
    values = {"a.json": b"[1, 2", "big": BIG[:-1], "folder": folder}
    with boss.session("set") as session:
        for name, value in values.items():
            session.add(name, worker.stage(value))
        session.commit()
    assert boss.stats().stored < 100_000, "what it has are names"
    assert boss.read_bytes("set:big") == BIG[:-1], "it comes when it is read"


def test_a_spec_checks_what_was_staged_elsewhere(machine: Machine, tmp_path: Path) -> None:
    worker, boss = machine("worker"), machine("boss")
    spec = tmp_path / "s.spec.yaml"
    spec.write_text("spec: s\nversion: '1'\nartifacts:\n  - {name: a, type: data, format: json}\n")
    with boss.session(spec=spec) as session:
        session.add("a", worker.stage(b'{"half": '))
        with pytest.raises(IncompleteSet):
            session.commit()
    assert root(boss).refs == {}
    with boss.session(spec=spec) as session:
        session.add("a", worker.stage(b'{"whole": 1}'))
        session.commit()
    whole(machine("look"))


def test_a_collector_takes_nothing_that_is_staged(machine: Machine) -> None:
    worker, boss = machine("worker"), machine("boss")
    commit(boss, "other", a=b"first")
    staged = worker.stage(BIG)
    commit(boss, "other", a=b"second")
    collect(boss)
    with boss.session("set") as session:
        session.add("big", staged)
        collect(worker)
        session.commit()
    collect(worker)
    assert machine("look").read_bytes("set:big") == BIG
    whole(worker)


def test_what_was_given_up_is_refused_when_it_is_taken_and_when_it_is_published(
    machine: Machine,
) -> None:
    worker, boss = machine("worker"), machine("boss")
    commit(boss, "other", a=b"first")
    for early in (True, False):
        small, big = worker.stage(b"small %d" % early), worker.stage(BIG + b"%d" % early)
        with boss.session("set") as session:
            if not early:
                session.add("small", small)
                session.add("big", big)
            for _ in range(ROUNDS_KEPT + 1):
                collect(worker)
            assert root(boss).uploads == {}
            late = partial(session.add, "big", big) if early else session.commit
            with pytest.raises(ObjectNotFound, match="expired") as caught:
                late()
            assert caught.value.fix == "stage it again"
        assert set(root(boss).refs) == {"heads/other"}
        assert set(refs(boss)) == {"heads/other"}
    with boss.session("set") as session:
        session.add("small", worker.stage(b"small"))
        session.add("big", worker.stage(BIG))
        session.commit()
    assert machine("look").read_bytes("set:big") == BIG
    whole(worker)
    sound(boss)


class _Before:
    """A transport that has something happen once, before an object below `index/` is written."""

    def __init__(self, transport: Transport, happens: Callable[[], None]) -> None:
        self._transport = transport
        self._happens = [happens]

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def put(self, key: str, data: bytes, **how: bool) -> str:
        if key.startswith("index/") and self._happens:
            self._happens.pop()()
        return self._transport.put(key, data, **how)


def test_an_upload_that_ends_while_its_commit_is_sent_costs_the_commit(machine: Machine) -> None:
    worker, boss = machine("worker"), machine("boss")
    commit(boss, "other", a=b"first")
    staged = worker.stage(BIG)
    for _ in range(ROUNDS_KEPT):
        collect(worker)
    assert set(root(boss).uploads) == {staged.upload}
    shared = boss.database.acknowledge.__self__  # type: ignore[union-attr]
    shared._transport = _Before(shared._transport, lambda: collect(worker))
    with boss.session("set") as session:
        session.add("big", staged)
        with pytest.raises(ObjectNotFound, match="expired"):
            session.commit()
    assert set(root(boss).refs) == {"heads/other"}
    with boss.session("set") as session:
        session.add("big", worker.stage(BIG))
        session.commit()
    whole(worker)


def test_one_upload_for_all_ends_with_the_commit(machine: Machine) -> None:
    boss = machine("boss")
    upload = boss.begin_upload()
    workers = [machine(name) for name in "abc"]
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda n: workers[n % 3].stage(b"%d" % n, upload=upload), range(9)))
    assert set(root(boss).uploads) == {upload}
    collect(boss)
    parts.append(workers[0].stage(b"late", upload=upload))
    assert root(boss).uploads == {upload: root(boss).gc_round}, "whoever stages keeps it"
    with boss.session("set") as session:
        for number, part in enumerate(parts):
            session.add(str(number), part)
        session.commit()
    assert root(boss).uploads == {}
    with pytest.raises(ObjectNotFound, match="has ended"):
        workers[1].stage(b"too late", upload=upload)
    assert len(machine("look").artifacts("set")) == 10
    whole(boss)


def test_what_is_staged_twice_or_was_there_is_taken(machine: Machine) -> None:
    one, two, boss = machine("one"), machine("two"), machine("boss")
    a, b = one.stage(BIG), two.stage(BIG)
    with boss.session("set") as session:
        session.add("a", a)
        session.add("b", b)
        session.commit()
    again = two.stage(BIG)
    assert (again.upload, again.index) == (b"", b"")
    for branch, value in (("other", again), ("third", a)):
        with boss.session(branch) as session:
            session.add("a", value)
            session.commit()
    assert machine("look").read_bytes("third:a") == BIG
    whole(boss)


def test_what_went_since_the_bucket_was_looked_at_is_not_relied_on(machine: Machine) -> None:
    worker = machine("worker")
    commit(worker, "old", a=BIG)
    boss = machine("boss")
    with boss.session("set") as session:
        session.add("a", worker.stage(b"has the bucket looked at"))
        session.commit()
    gone = worker.stage(BIG)
    delete_branch(worker, "old", by="ann@example.org")
    collect(worker)
    for staged in (worker.stage(BIG), gone):
        with boss.session("set") as session:
            session.add("a", staged)
            session.commit()
    assert machine("look").read_bytes("set:a") == BIG
    whole(worker)


def test_what_was_relied_on_goes_before_the_commit(machine: Machine) -> None:
    worker = machine("worker")
    commit(worker, "old", a=BIG)
    boss = machine("boss")
    staged = worker.stage(BIG)
    with boss.session("set") as session:
        session.add("a", staged)
        delete_branch(worker, "old", by="ann@example.org")
        collect(worker)
        with pytest.raises(ObjectNotFound, match="expired"):
            session.commit()
    assert root(boss).refs == {}
    with boss.session("set") as session:
        session.add("a", worker.stage(BIG))
        session.commit()
    assert machine("look").read_bytes("set:a") == BIG
    whole(worker)
    sound(boss)


def test_the_collector_of_the_cache_keeps_what_was_taken(machine: Machine, out: Path) -> None:
    worker, boss = machine("worker"), machine("boss")
    with boss.session("set") as session:
        session.add("big", worker.stage(BIG))
        session.add("folder", worker.stage(out))
        boss.gc(grace=0)
        session.commit()
    boss.gc(grace=0)
    assert boss.read_bytes("set:big") == BIG
    assert boss.read_bytes("set:folder/report.md") == (out / "report.md").read_bytes()
    sound(boss)


def test_two_sessions_take_from_one_upload(machine: Machine) -> None:
    worker, boss = machine("worker"), machine("boss")
    upload = boss.begin_upload()
    parts = [worker.stage(b"part %d" % n, upload=upload) for n in range(2)]
    with boss.session("one") as first, boss.session("two") as second:
        first.add("a", parts[0])
        second.add("a", parts[1])
        first.commit()
        assert upload in root(boss).uploads
        second.commit()
    assert root(boss).uploads == {}
    whole(boss)


def test_of_two_coordinators_one_wins_and_the_other_commits_again(machine: Machine) -> None:
    worker, one, two = machine("worker"), machine("one"), machine("two")
    a, b = worker.stage(BIG), worker.stage(b"b" + BIG)
    with one.session("set") as first, two.session("set") as second:
        first.add("a", a)
        second.add("a", b)
        first.commit()
        with pytest.raises(RefMoved):
            second.commit()
    with two.session("set") as session:
        session.add("a", b)
        assert session.commit().number == 2
    assert machine("look").read_bytes("set:a") == b"b" + BIG
    whole(worker)


def _altered(
    staged: castore.Staged, index: Index, keep: Callable[[Kind, int], bool]
) -> castore.Staged:
    """The same with an index that names only some of its members."""
    writer = IndexWriter()
    rows = [keep(member.kind, row) for row, member in enumerate(index.members())]
    writer.add_index(index, rows)
    id, data = writer.finish(bytes(16))
    return replace(staged, index=id, rows=data)


def test_a_worker_is_not_believed(machine: Machine, tmp_path: Path) -> None:
    worker, boss = machine("worker"), machine("boss")
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"a" * 300)
    (folder / "b").write_bytes(b"b" * 300)
    big, tree = worker.stage(os.urandom(1 << 20)), worker.stage(folder)
    cases = []
    for staged in (big, tree):
        assert staged.rows, "small enough to go along"
        index = Index(staged.rows, staged.index)
        cases += [
            _altered(staged, index, lambda kind, row: kind is not Kind.CHUNK),
            _altered(staged, index, lambda kind, row: kind is Kind.CHUNK),
            _altered(staged, index, lambda kind, row: row != 0),
        ]
    assert isinstance(big.content, FileContent)
    assert isinstance(tree.content, TreeContent)
    cases += [
        replace(big, content=replace(big.content, size=big.content.size + 1)),
        replace(big, content=replace(tree.content, id=big.content.digest)),
        replace(tree, content=replace(tree.content, size=tree.content.size + 1)),
        replace(big, upload=os.urandom(16)),
        replace(big, index=b"", rows=b""),
    ]
    for case in cases:
        with boss.session("set") as session, pytest.raises(ObjectNotFound, match="expired"):
            session.add("x", case)
    with boss.session("set") as session, pytest.raises(CorruptObject):
        session.add("x", replace(big, rows=big.rows[:-1] + b"\xff"))
    with boss.session("set") as session:
        session.add("big", big)
        session.add("tree", tree)
        session.commit()
    whole(machine("look"))
    # Nor where the bucket has all of it.
    for there in (big, tree):
        assert isinstance(there.content, (FileContent, TreeContent))
        case = replace(there, content=replace(there.content, size=there.content.size + 1))
        with boss.session("set") as session, pytest.raises(ObjectNotFound, match="expired"):
            session.add("x", case)


@pytest.mark.parametrize("told", ["size", "entries"])
def test_a_folder_that_says_something_else_than_the_folder_in_it_is_refused(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    worker, boss = machine("worker"), machine("boss")
    folder = tmp_path / "made"
    folder.mkdir()
    for at in range(3_000):
        (folder / f"{at}").write_bytes(b"x")

    def lie(level: int, entries: Sequence[Entry] | Sequence[Branching]) -> bytes:
        rows = list(entries)
        first = rows[0]
        if isinstance(first, Branching):
            rows[0] = first._replace(**{told: getattr(first, told) + 1})
        return encode_tree(level, rows)

    monkeypatch.setattr("castore.content.trees.encode_tree", lie)
    staged = worker.stage(folder)
    monkeypatch.undo()
    assert isinstance(staged.content, TreeContent)
    with boss.session("set") as session, pytest.raises(ObjectNotFound, match="expired"):
        session.add("x", staged)


def test_a_pack_that_is_gone_or_short_is_noticed_at_the_commit(machine: Machine) -> None:
    worker, boss = machine("worker"), machine("boss")
    commit(boss, "other", a=b"first")
    at = transport(boss)
    for damage in ("gone", "short"):
        staged = worker.stage(b"x" * 500 + os.urandom(500))
        key = next(item.key for item in at.list(f"packs/{staged.upload.hex()}/"))
        with boss.session("set") as session:
            session.add("x", staged)
            data = at.get(key).data
            at.delete([key])
            if damage == "short":
                at.put(key, data[:100])
            with pytest.raises(ObjectNotFound, match="expired"):
                session.commit()
    assert set(root(boss).refs) == {"heads/other"}


def test_what_is_staged_in_a_bucket_is_no_other_store_s(
    machine: Machine, store: castore.Store, tmp_path: Path
) -> None:
    there, here = machine("one").stage(b"x"), store.stage(b"x")
    assert store.begin_upload() == b""
    for wrong, value in ((store, there), (machine("boss"), here)):
        with wrong.session("set") as session, pytest.raises(InvalidInput, match="another store"):
            session.add("x", value)


def test_a_big_index_lies_in_the_bucket(machine: Machine, tmp_path: Path) -> None:
    worker, boss = machine("worker"), machine("boss")
    folder = tmp_path / "made"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}").write_bytes(b"%d" % number)
    staged = worker.stage(folder)
    assert staged.rows == b""
    with boss.session("set") as session:
        session.add("folder", sent(staged))
        session.commit()
    for name in ("boss", "look"):
        assert machine(name).read_bytes("set:folder/299") == b"299"
    whole(boss)


def test_versions_after_it_are_deltas_of_what_is_there(machine: Machine) -> None:
    worker = machine("worker")
    lines = [f"{n},{n * 7919 % 104729}\n".encode() for n in range(40_000)]
    with worker.session("table") as session:
        session.add("rows.csv", b"".join(lines))
        session.commit()
    lines[500] = b"changed\n"
    boss = machine("boss")
    with boss.session("table") as session:
        session.add("rows.csv", worker.stage(b"".join(lines)))
        session.commit()
    assert machine("look").read_bytes("table:rows.csv") == b"".join(lines)
    whole(boss)
