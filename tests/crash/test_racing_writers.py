"""Several processes that commit to one branch at once: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TypeAlias

import castore
from castore import errors
from castore.store.branches import list_lost
from castore.store.selectors import tip

PLAIN, EXPECTING, COMMITS = 3, 2, 8
Acks: TypeAlias = "tuple[dict[str, bytes], int, int]"


def plain(root: Path, me: int, queue: Queue[Acks]) -> None:
    """Commit each operation twice; the repetition must give the first version back."""
    store = castore.open(root)
    acks: dict[str, bytes] = {}
    for operation in [f"op-{me}-{number}" for number in range(COMMITS)]:
        for _ in range(2):
            with store.session("b", context=castore.Context(operation=operation)) as session:
                session.write("a", operation)
                id = session.commit().id
            assert acks.setdefault(operation, id) == id
    queue.put((acks, 0, 0))


def expecting(root: Path, me: int, queue: Queue[Acks]) -> None:
    store = castore.open(root)
    won: dict[str, bytes] = {}
    lost = 0
    for number in range(COMMITS):
        parent = tip(store, "b")
        with store.session("b") as session:
            session.write("a", f"expecting {me} {number}")
            try:
                won[f"expected-{me}-{number}"] = session.commit(expect=parent).id
            except errors.RefMoved:
                lost += 1
    queue.put((won, len(won), lost))


def test_writers_of_several_processes_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    castore.init(tmp_path).close()
    context = multiprocessing.get_context("spawn")
    queue: Queue[Acks] = context.Queue()
    writers = [context.Process(target=plain, args=(tmp_path, me, queue)) for me in range(PLAIN)]
    writers += [
        context.Process(target=expecting, args=(tmp_path, me, queue)) for me in range(EXPECTING)
    ]
    for writer in writers:
        writer.start()
    results = [queue.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    store = castore.open(tmp_path)
    acknowledged = [id for acks, _, _ in results for id in acks.values()]
    history = [version.id for version in store.log("b")]
    assert sorted(history) == sorted(acknowledged)
    assert sum(won + lost for _, won, lost in results) == EXPECTING * COMMITS
    assert len(list_lost(store)) == sum(lost for _, _, lost in results)
    assert store.resolve("b").version.number == len(history)
    assert store.fsck(full=True).ok
    assert store.database.heads_log()[-1][0] == len(history) + len(list_lost(store))
