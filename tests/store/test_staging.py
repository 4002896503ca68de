"""Staging: workers make content durable, one session takes it all, or nothing is committed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

import castore
from castore.database.writing import Writing
from castore.errors import ForkedProcess, IncompleteSet, InvalidInput, ObjectNotFound
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import content_id
from castore.store.partials import list_partials
from castore.store.stages import staged_sessions

SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")


def test_what_is_staged_pickles_and_is_taken(store: castore.Store, out: Path) -> None:
    values = {
        "text": store.stage(b"# Title\n"),
        "report.md": store.stage(out / "report.md"),
        "folder": store.stage(str(out / "data")),
        "pieces": store.stage(piece for piece in (b"one,", b"two")),
    }
    assert store.stage(values["text"]) is values["text"]
    values = pickle.loads(pickle.dumps(values))
    assert all(len(pickle.dumps(value)) < 1500 for value in values.values())
    assert isinstance(values["text"].content, FileContent)
    assert isinstance(values["folder"].content, TreeContent)
    assert len(staged_sessions(store)) == 4
    with store.session("set") as session:
        for name, value in values.items():
            session.add(name, value)
        session.write("own", "made here")
        session.commit()
    assert staged_sessions(store) == []
    assert store.read_bytes("set:pieces") == b"one,two"
    assert store.read_bytes("set:folder/deep/run.sh").startswith(b"#!/bin/sh")
    formats = {a.artifact.name: a.artifact.format for a in store.artifacts("set")}
    assert formats["report.md"] == "markdown"
    assert formats["folder"] == "folder"
    assert store.fsck(full=True).ok


def test_the_name_of_the_file_tells_the_format(store: castore.Store, out: Path) -> None:
    with store.session("set") as session:
        one = session.add("metrics", store.stage(out / "metrics.json"))
        other = session.add("direct", out / "metrics.json")
    assert (one.format, one.type) == (other.format, other.type) == ("json", other.type)


def _stage(folder: str, number: int) -> castore.Staged:
    with castore.open(folder) as store:
        return store.stage(f"worker {number}\n".encode() * 20_000)


@pytest.mark.parametrize("context", [SPAWN, FORK], ids=["spawn", "fork"])
def test_processes_stage_and_one_commits(tmp_path: Path, context: object) -> None:
    castore.init(tmp_path).close()
    with ProcessPoolExecutor(3, mp_context=context) as pool:  # type: ignore[arg-type]
        staged = list(pool.map(_stage, [str(tmp_path)] * 6, range(6)))
    with castore.open(tmp_path) as store:
        assert len(staged_sessions(store)) == 6, "their processes are gone, what they staged is not"
        assert list_partials(store) == [], "it is nobody's incomplete set"
        assert store.fsck(full=True).ok
        with store.session("set") as session:
            for number, value in enumerate(staged):
                session.add(f"part-{number}", value)
            version = session.commit()
        assert staged_sessions(store) == []
        assert store.read_bytes("set:part-5") == b"worker 5\n" * 20_000
        assert version.number == 1


def test_threads_stage_and_one_commits(store: castore.Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        staged = list(pool.map(lambda n: store.stage(b"%d" % n * 1000), range(40)))
    with store.session("set") as session:
        for number, value in enumerate(staged):
            session.add(str(number), value)
        session.commit()
    assert staged_sessions(store) == []
    assert len(store.artifacts("set")) == 40


def _expire(store: castore.Store, staged: castore.Staged) -> None:
    """As the collector does with a stage that was given up."""

    def transact(tables: Writing) -> None:
        tables.drop_stage(staged.session)
        tables.drop_object_row(staged.content.digest)  # type: ignore[union-attr]

    store.database.write(transact)


def test_expired_content_is_refused_when_taken(store: castore.Store) -> None:
    staged = store.stage(b"soon gone")
    _expire(store, staged)
    with store.session("set") as session, pytest.raises(ObjectNotFound) as caught:
        session.add("text", staged)
    assert "'text'" in caught.value.message
    assert "expired" in caught.value.message
    assert caught.value.fix == "stage it again"


def test_content_that_expires_before_the_commit_publishes_nothing(store: castore.Store) -> None:
    staged = store.stage(b"soon gone")
    with store.session("set") as session:
        session.add("text", staged, type="document", format="binary")
        _expire(store, staged)
        with pytest.raises(ObjectNotFound):
            session.commit()
    assert store.branches() == []


def test_content_that_stays_for_another_reason_is_good_enough(store: castore.Store) -> None:
    staged = store.stage(b"shared")
    for branch in ("one", "two"):
        with store.session(branch) as session:
            session.add("text", staged)
            session.commit()
    assert store.read_bytes("two:text") == b"shared"


def test_a_refused_set_keeps_what_was_staged_in_its_partial(
    store: castore.Store, tmp_path: Path
) -> None:
    spec = tmp_path / "s.spec.yaml"
    spec.write_text(
        "spec: s\nversion: '1'\nartifacts:\n"
        "  - {name: a, type: document, format: text}\n"
        "  - {name: b, type: document, format: text}\n"
    )
    staged = store.stage(b"good")
    with store.session(spec=spec, run="r1") as session:
        session.add("a", staged)
        with pytest.raises(IncompleteSet):
            session.commit()
    assert staged_sessions(store) == []
    with store.session(spec=spec, resume="r1") as session:
        session.write("b", "now")
        session.commit()
    assert store.read_bytes("s:a") == b"good"


def test_an_identical_set_drops_the_stages_too(store: castore.Store) -> None:
    for _ in range(2):
        with store.session("set") as session:
            session.add("text", store.stage(b"same"))
            session.commit(if_changed=True)
    assert staged_sessions(store) == []
    assert [version.number for version in store.log("set")] == [1]


def test_a_repeated_operation_drops_the_stages_too(store: castore.Store) -> None:
    context = castore.Context(operation="op-1")
    ids = set()
    for text in (b"first", b"again"):
        with store.session("set", context=context) as session:
            session.add("text", store.stage(text))
            ids.add(session.commit().id)
    assert len(ids) == 1
    assert staged_sessions(store) == []
    assert store.read_bytes("set:text") == b"first"


def test_an_interrupted_session_leaves_the_stages_for_the_next(store: castore.Store) -> None:
    staged = store.stage(b"kept")
    with store.session("set") as session:
        session.add("text", staged)
    assert store.branches() == []
    with store.session("set") as session:
        session.add("text", staged)
        session.commit()
    assert store.read_bytes("set:text") == b"kept"


def _coordinate(folder: str) -> None:
    store = castore.open(folder)
    with store.session("set", run="killed") as session:
        session.add("one", store.stage(b"taken"))
        store.stage(b"not taken")
        session._supply.make_durable()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_coordinator_leaves_what_it_took_to_go_on_with(tmp_path: Path) -> None:
    castore.init(tmp_path).close()
    process = SPAWN.Process(target=_coordinate, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with castore.open(tmp_path) as store:
        store.gc(grace=0)
        assert [(p.run, p.branch, p.artifacts) for p in store.partials()] == [
            ("killed", "set", ("one",))
        ]
        with store.session("set", resume="killed") as session:
            session.add("two", store.stage(b"not taken"))
            assert session.commit().number == 1
        assert store.read_bytes("set:one") + store.read_bytes("set:two") == b"takennot taken"
        # The two of the dead process are nobody's now.
        assert len(staged_sessions(store)) == 2
        store.gc(grace=0, expire_partials=0)
        assert staged_sessions(store) == []
        assert store.fsck(full=True).ok


def test_another_stores_content_is_refused(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with castore.init(tmp_path / "other") as other:
        staged = other.stage(b"there")
    with store.session("set") as session, pytest.raises(InvalidInput, match="another store"):
        session.add("text", staged)


def test_what_cannot_be_read_leaves_no_stage(store: castore.Store, tmp_path: Path) -> None:
    def broken() -> object:
        yield b"x" * 9_000_000
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        store.stage(broken())  # type: ignore[arg-type]
    with pytest.raises(castore.CastoreError):
        store.stage(tmp_path / "absent")
    assert staged_sessions(store) == []


def _in_fork(store: castore.Store, verb: str) -> str:
    try:
        if verb == "stage":
            store.stage(b"x")
        elif verb == "commit":
            with store.session("set") as session:
                session.write("text", "x")
                session.commit()
        else:
            list(store.log())
    except ForkedProcess as error:
        return f"{error.message}; {error.fix}"
    return "no error"


@pytest.mark.parametrize("verb", ["stage", "commit", "log"])
def test_a_store_opened_before_a_fork_says_so(store: castore.Store, verb: str) -> None:
    """And never hangs: the child is killed by an alarm if it does."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os.write(sink, _in_fork(store, verb).encode())
        os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert f"was opened by process {os.getpid()} and used in its fork {child}" in said
    assert "open the store again in the child process" in said
    staged = store.stage(b"the parent goes on")
    assert staged.content == FileContent(content_id(b"the parent goes on"), 18)


def test_a_forked_child_may_open_the_store_itself(store: castore.Store, tmp_path: Path) -> None:
    child = FORK.Process(target=_open_in_fork, args=(str(tmp_path),))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert store.read_bytes("set:text") == b"from the child"


def _open_in_fork(folder: str) -> None:
    with castore.open(folder) as store, store.session("set") as session:
        session.write("text", "from the child")
        session.commit()


def test_forks_beside_a_writing_thread_never_hang(store: castore.Store, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with store.session("busy") as session:
                session.write("text", os.urandom(2000))
                session.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                said = _in_fork(store, "commit")
                os._exit(0 if said.endswith("open the store again in the child process") else 1)
            _, status = os.waitpid(child, 0)
            assert status == 0
    finally:
        stop.set()
        writer.join()
    assert store.fsck(full=True).ok
