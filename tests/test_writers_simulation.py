"""The simulation of many writers makes the requests that the real code makes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import castore
from benchmarks.writers import (
    DELETE,
    GET,
    PUT,
    REPLACE,
    Bucket,
    Load,
    Shard,
    at_once,
    even,
    simulate,
)
from castore.remote.memory import MemoryTransport
from castore.store.store import Behind
from castore.store.sync_push import push
from castore.store.sync_stage import BucketStages
from tests.store.syncing import commit


class _Counting:
    """A transport that counts what is asked of it."""

    url = "memory://bucket"

    def __init__(self, within: MemoryTransport) -> None:
        self._within = within
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> object:
        if name in (GET, PUT, REPLACE, DELETE):
            self.requests[name] += 1
        return getattr(self._within, name)


def run(steps: object) -> None:
    for pause in steps:  # type: ignore[attr-defined]
        assert pause >= 0


def test_a_writer_alone_makes_as_many_requests(tmp_path: Path) -> None:
    transport = _Counting(MemoryTransport())
    told = Bucket(even(20, 60), random.Random(1))
    shard, known = Shard(), set[int]()
    with castore.init(tmp_path) as store:
        commit(store, "out", a=b"the first makes the bucket")
        push(store, "origin", transport)  # type: ignore[arg-type]
        run(told.commit(shard, known))
        for number in range(40):
            commit(store, "out", a=b"%d" % number)
            transport.requests.clear()
            told.figures.requests.clear()
            push(store, "origin", transport)  # type: ignore[arg-type]
            run(told.commit(shard, known))
            assert told.figures.requests == transport.requests, number
        stages = BucketStages(store, "origin", transport)  # type: ignore[arg-type]
        store.behind = Behind("", lambda: None, stages)
        upload = stages.begin_upload()
        transport.requests.clear()
        told.figures.requests.clear()
        store.stage(b"a part", upload=upload)
        run(told.stage())
        assert told.figures.requests == transport.requests


def test_what_is_asked_for_lands_until_it_is_too_much() -> None:
    little = simulate(Load(50, 100, 1), even(20, 60), 100)
    assert little.refused == 0
    assert 20 < little.commits < 90
    much = simulate(Load(50, 1, 1), even(20, 60), 100)
    spread = simulate(Load(50, 1, 10), even(20, 60), 100)
    assert much.commits < 2000 < spread.commits
    assert much.conflicts / much.commits > 2 * spread.conflicts / spread.commits


def test_one_upload_for_all_is_what_many_commits_are_not() -> None:
    each, long = at_once(40, 1, even(20, 60), staged=False)
    one, short = at_once(40, 1, even(20, 60), staged=True)
    assert (each.commits, one.commits, one.conflicts) == (40, 40, 0)
    assert each.conflicts > 40
    assert short < long / 3
