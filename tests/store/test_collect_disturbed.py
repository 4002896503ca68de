"""What a collection says that others disturbed, and what it notes in the operation log."""

from __future__ import annotations

import random

import pytest

import castore
from castore.content.encoder import encode_solid
from castore.database.operations import Operation
from castore.errors import Locked
from castore.model.ids import content_id
from castore.store import collect_sweep
from castore.store.collect import CollectRequest, collect
from tests.store.gcscene import commit, dead, drop, put, rely, stored_bytes, stored_ids


def operations(store: castore.Store) -> list[Operation]:
    """What collections noted in the operation log, oldest first."""
    found = store.database.read(lambda tables: list(tables.operations()))
    return [operation for operation in reversed(found) if operation.op.startswith("gc")]


@pytest.mark.parametrize("rest", [True, False])
def test_the_report_has_what_was_freed_before_another_collection_came(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, rest: bool
) -> None:
    """The other one removes everything that was left, or something else."""
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", 30_000)
    commit(store, "gone", a=b"x" * 9000)
    drop(store, "gone")
    dead(store)
    before = stored_bytes(store)
    objects = len(stored_ids(store))
    others: list[castore.CollectReport] = []
    sleeps = 0

    def sleep(_seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps != 7:
            return
        if rest:
            others.append(collect(store, CollectRequest(grace=0)))
        else:
            store.database.write(lambda tables: tables.bump_gc_epoch())

    report = collect(store, CollectRequest(grace=0), sleep=sleep)
    assert stored_bytes(store) == 0
    assert report.freed > 100_000
    assert report.freed + sum(other.freed for other in others) == before
    everyone = [report, *others]
    assert sum(reason.objects for one in everyone for reason in one.reasons) == objects
    assert sum(reason.bytes for reason in report.reasons) == report.dead
    assert report.kept == 0
    noted = operations(store)
    assert [o.op for o in noted] == (
        ["gc-begin", "gc-begin", "gc", "gc"] if rest else ["gc-begin", "gc"]
    )
    assert noted[-1].detail["freed_bytes"] == report.freed


def test_what_stays_is_told_once_although_it_was_found_twice(store: castore.Store) -> None:
    """What half dead blocks keep, found by each attempt, is in the report once."""
    dice = random.Random(1)
    live, gone = dice.randbytes(9000), dice.randbytes(5000)
    put(store, *encode_solid([(content_id(data), data) for data in (live, gone)]))
    rely(store, [content_id(live)])
    dead(store)
    said = store.gc(grace=0, dry_run=True)
    sleeps = 0

    def sleep(_seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        if sleeps == 1:
            store.database.write(lambda tables: tables.bump_gc_epoch())

    # Each look at the clock is a second later: one block a transaction.
    seconds = iter(range(10_000))
    report = collect(store, CollectRequest(grace=0), clock=lambda: next(seconds), sleep=sleep)
    assert report.kept == said.kept == 5000
    assert (report.dead, report.freed, report.reasons) == (said.dead, said.freed, said.reasons)


def test_a_collection_waits_for_whoever_goes_on_removing(store: castore.Store) -> None:
    """Sixty times something is removed beside it, as a repack does: each attempt would see some."""
    dead(store)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) <= 60:
            store.database.write(lambda tables: tables.bump_gc_epoch())

    seconds = iter(range(10_000))
    report = collect(store, CollectRequest(grace=0), clock=lambda: next(seconds), sleep=sleep)
    assert report.freed
    assert stored_bytes(store) == 0
    assert len([o for o in operations(store) if o.op == "gc"]) == 1
    # It waits longer after each attempt, and no longer than until nothing happens.
    assert {0.25, 0.5, 1.0, 2.0, 4.0} <= set(waits)
    assert max(waits) <= 8


def test_a_collection_that_is_always_disturbed_gives_up(store: castore.Store) -> None:
    dead(store)

    def sleep(_seconds: float) -> None:
        store.database.write(lambda tables: tables.bump_gc_epoch())

    seconds = iter(range(10_000))
    with pytest.raises(Locked, match="other collections"):
        collect(store, CollectRequest(grace=0), clock=lambda: next(seconds), sleep=sleep)
    # Each of the eight attempts removed one.
    assert len(stored_ids(store)) == 12
    assert [operation.op for operation in operations(store)] == ["gc-begin"]
