"""Many writers: processes that commit at once lose nothing, and readers never see a part."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import castore
from castore.errors import RefMoved

PROCESSES = 8
COMMITS = 50
BRANCHES = 4
SPAWN = multiprocessing.get_context("spawn")


def _write(folder: str, number: int, start: Barrier, told: Any) -> None:
    acknowledged = []
    with castore.open(folder) as store:
        start.wait(60)
        for round in range(COMMITS):
            text = f"{number} {round}"
            with store.session(f"b{(number + round) % BRANCHES}") as session:
                session.write("one", text)
                session.write("two", text * 300)
                version = session.commit(text)
            acknowledged.append((text, version.branch, version.number, version.id))
    told.put(acknowledged)


def _read(folder: str, start: Barrier, stop: Event, told: Any) -> None:
    """Whatever is seen is a whole set of one writer, and numbers only grow."""
    seen, last, wrong = 0, {f"b{n}": 0 for n in range(BRANCHES)}, []
    with castore.open(folder) as store:
        start.wait(60)
        while not stop.is_set():
            for version in store.branches():
                one = store.read_bytes(f"{version.id.hex()}:one").decode()
                two = store.read_bytes(f"{version.id.hex()}:two").decode()
                if two != one * 300 or version.number < last[version.branch]:
                    wrong.append((version.branch, version.number, one))
                last[version.branch] = version.number
                seen += 1
    told.put((seen, wrong))


def test_eight_processes_on_four_branches(tmp_path: Path) -> None:
    castore.init(tmp_path).close()
    start, stop = SPAWN.Barrier(PROCESSES + 1), SPAWN.Event()
    told, looked = SPAWN.SimpleQueue(), SPAWN.SimpleQueue()
    writers = [
        SPAWN.Process(target=_write, args=(str(tmp_path), number, start, told))
        for number in range(PROCESSES)
    ]
    reader = SPAWN.Process(target=_read, args=(str(tmp_path), start, stop, looked))
    for process in (*writers, reader):
        process.start()
    acknowledged = [row for _ in writers for row in told.get()]
    stop.set()
    seen, wrong = looked.get()
    for process in (*writers, reader):
        process.join(60)
        assert process.exitcode == 0
    assert seen
    assert wrong == []
    assert len(acknowledged) == PROCESSES * COMMITS
    with castore.open(tmp_path) as store:
        found = []
        for tip in store.branches():
            history = list(store.log(tip.branch))
            assert [v.number for v in history] == list(range(len(history), 0, -1))
            for child, parent in pairwise(history):
                assert child.manifest.parents == (parent.id,)
            found += [(v.manifest.message, v.branch, v.number, v.id) for v in history]
        assert sorted(found) == sorted(acknowledged), "each acknowledged once, and no other"
        report = store.fsck(full=True)
        assert report.ok, list(report.lines())


def _at_once(work: Callable[..., None], folder: Path, processes: int) -> list[Any]:
    """What each of several processes told that began at the same moment."""
    start, told = SPAWN.Barrier(processes), SPAWN.SimpleQueue()
    workers = [
        SPAWN.Process(target=work, args=(str(folder), number, start, told))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    answers = [told.get() for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    return answers


ROUNDS = 6


def _with_parent(folder: str, number: int, start: Barrier, told: Any) -> None:
    answers = []
    with castore.open(folder) as store:
        for _ in range(ROUNDS):
            start.wait(60)
            parent = store.resolve("race").version
            start.wait(60)
            try:
                with store.session("race") as session:
                    session.write("who", f"{number} on {parent.number}")
                    version = session.commit(str(number), expect=parent)
                answers.append(("won", version.id))
            except RefMoved as error:
                answers.append(("lost", bytes.fromhex(error.attributes["lost"])))
    told.put(answers)


def test_of_those_who_expect_one_parent_one_wins(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store, store.session("race") as session:
        session.write("who", "first")
        session.commit()
    answers = _at_once(_with_parent, tmp_path, 4)
    for round in range(ROUNDS):
        assert sorted(answer[round][0] for answer in answers) == ["lost"] * 3 + ["won"]
    won = {id for answer in answers for said, id in answer if said == "won"}
    lost = {id for answer in answers for said, id in answer if said == "lost"}
    with castore.open(tmp_path) as store:
        history = list(store.log("race"))
        assert {version.id for version in history[:-1]} == won
        kept = store.database.read(lambda tables: {id for _, id in tables.refs("lost/")})
        assert kept == lost, "the losers are kept, each under its own name"
        assert store.fsck(full=True).ok


def _with_operation(folder: str, number: int, start: Barrier, told: Any) -> None:
    answers = []
    with castore.open(folder) as store:
        for round in range(ROUNDS):
            start.wait(60)
            context = castore.Context(operation=f"op-{round}")
            with store.session("once", context=context) as session:
                session.write("who", f"{number} in {round}")
                version = session.commit(str(round))
            assert session.report is not None
            answers.append((version.id, session.report.replayed))
    told.put(answers)


def test_one_operation_id_makes_one_version(tmp_path: Path) -> None:
    castore.init(tmp_path).close()
    answers = _at_once(_with_operation, tmp_path, 4)
    for round in range(ROUNDS):
        assert len({answer[round][0] for answer in answers}) == 1
        assert sorted(answer[round][1] for answer in answers) == [False, True, True, True]
    with castore.open(tmp_path) as store:
        history = list(store.log("once"))
        assert [v.manifest.message for v in history] == [str(n) for n in reversed(range(ROUNDS))]
        assert store.database.read(lambda tables: tables.stages()) == []
        assert store.fsck(full=True).ok
