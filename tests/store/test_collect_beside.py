"""What a collection does while it holds the lock of writers.

Work is counted, not timed: objects looked up and blocks read in each write transaction.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import castore
from castore.content.encoder import encode_solid
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.model.ids import content_id
from castore.store import collect_roots, collect_sweep
from castore.store.collect import CollectRequest, collect
from castore.store.collect_pace import DECODE_BYTES, MOST
from castore.store.collect_sweep import WRITE_BUDGET
from tests.store.gcscene import chunks, commit, dead, delta, put, rely, stored_ids, whole


class Work:
    """The objects looked up and blocks read in each write transaction of a collection."""

    def __init__(self) -> None:
        self.objects: list[int] = []
        self.blocks: list[int] = []


@contextmanager
def counted(
    monkeypatch: pytest.MonkeyPatch, store: castore.Store, before: Callable[[int], None]
) -> Iterator[Work]:
    """Count the work of each write transaction; `before` is called with the number of each."""
    work = Work()
    write, object_numbers, block = Database.write, Reading.object_numbers, Reading.block
    inside = False

    def watched(self: Database, fn: Any, **options: Any) -> Any:
        nonlocal inside
        if inside:
            return write(self, fn, **options)
        inside = True
        before(len(work.objects))
        work.objects.append(0)
        work.blocks.append(0)
        inside = False
        return write(self, fn, **options)

    def looked_up(self: Reading, ids: Any) -> Any:
        if isinstance(self, Writing) and not inside:
            work.objects[-1] += len(ids)
        return object_numbers(self, ids)

    def read_block(self: Reading, number: int) -> bytes | None:
        if isinstance(self, Writing) and not inside:
            work.blocks[-1] += 1
        return block(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", watched)
        patch.setattr(Reading, "object_numbers", looked_up)
        patch.setattr(Reading, "block", read_block)
        yield work


def test_a_batch_that_many_objects_rely_on_is_marked_in_parts(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    relied = chunks(store, 5 * WRITE_BUDGET)
    dead(store)

    def late(number: int) -> None:
        if number == 0:
            rely(store, relied)

    with counted(monkeypatch, store, late) as work:
        report = collect(store, CollectRequest(grace=0))
    assert report.dropped_blocks == 20
    assert WRITE_BUDGET <= max(work.objects) < WRITE_BUDGET + collect_roots._SLICE_ROWS
    assert set(relied) <= stored_ids(store)


def test_what_was_staged_before_the_sweep_is_marked_in_read_transactions(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    relied = chunks(store, WRITE_BUDGET - 100)
    dead(store)
    sleeps = 0

    def sleep(_seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 3:
            rely(store, relied)

    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", 30_000)
    with counted(monkeypatch, store, lambda _: None) as work:
        report = collect(store, CollectRequest(grace=0), sleep=sleep)
    assert report.dropped_blocks == 20
    assert report.slices > 5
    assert set(relied) <= stored_ids(store)
    ours = [objects for objects in work.objects if objects]
    assert not ours, "only what comes in between is left for a write transaction"


def test_blocks_added_since_the_census_are_taken_in_bounded_parts(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = commit(store, "b", a=bytes(5000))
    dead(store)
    old = bytes(5000)

    def late(number: int) -> None:
        if number == 0:
            put(store, *(delta([old], [b"%d" % n + old[:50]]) for n in range(1000)))

    with counted(monkeypatch, store, late) as work:
        report = collect(store, CollectRequest(grace=0))
    assert report.dropped_blocks == 20
    assert 0 < max(work.blocks) < 250
    assert store.read_bytes(f"{base.id.hex()}:a") == old
    whole(store)


def test_a_writer_that_always_adds_more_does_not_keep_a_collection_from_getting_on(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_sweep, "WRITE_BUDGET", 100)
    relied = chunks(store, 30_000)
    rely(store, relied)
    dead(store)
    batches = [relied[at : at + 1000] for at in range(0, len(relied), 1000)]

    def late(_number: int) -> None:
        if batches:
            rely(store, batches.pop())

    with counted(monkeypatch, store, late) as work:
        report = collect(store, CollectRequest(grace=0))
    assert report.dropped_blocks == 20
    assert batches, "it came to its end while the other one went on"
    assert len(work.objects) < 20


def test_pins_are_given_once(store: castore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = chunks(store, 300)

    def pin(tables: Writing) -> None:
        for id in pinned:
            tables.pin(id, "kept")

    store.database.write(pin)
    dead(store)

    def late(_number: int) -> None:
        store.database.write(lambda tables: tables.bump_generation())

    with counted(monkeypatch, store, late) as work:
        collect(store, CollectRequest(grace=0))
    assert set(pinned) <= stored_ids(store)
    assert max(work.objects) < 10


def test_blocks_with_bases_in_what_moves_count_as_work(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 half dead blocks, with 200 deltas above each, do not move in one transaction."""
    dice = random.Random(1)
    wanted = []
    for _ in range(30):
        live, *gone = (dice.randbytes(1500) for _ in range(4))
        put(store, *encode_solid([(content_id(data), data) for data in (live, *gone)]))
        news = [b"%d" % n + live[:20] + live for n in range(200)]
        put(store, *(delta([live], [new]) for new in news))
        wanted += [content_id(live), *map(content_id, news)]
    rely(store, wanted)
    with counted(monkeypatch, store, lambda _: None) as work:
        report = collect(store, CollectRequest(grace=0), clock=lambda: 1.0)
    assert report.rewritten_blocks == 30
    assert max(work.blocks) <= 2 * MOST // DECODE_BYTES
    assert report.slices > 5
    assert set(wanted) == stored_ids(store)
    whole(store)
