"""Re-basing: deltas whose bases are collected rest on what is left of their history."""

from __future__ import annotations

import random
from contextlib import contextmanager

import pytest

import castore
from castore.content.blocks import Block, decode_block
from castore.content.encoder import encode_chunks, encode_solid
from castore.database.reading import Reading
from castore.model.ids import Id, content_id
from castore.store import collect_sweep
from castore.store.collect_judge import Judgement
from castore.store.collect_map import LiveMap, Places
from castore.store.collect_rebase import Rest, holds
from castore.store.collect_report import CollectReport
from tests.store.gcscene import (
    after_each_write,
    closed,
    commit,
    delta,
    drop,
    put,
    stored_bytes,
    whole,
)

DICE = random.Random(29)
TEXT = DICE.randbytes(30_000)


def version(number: int) -> bytes:
    """Edits that pile up, one a version."""
    data = bytearray(TEXT)
    for edit in range(number):
        at = edit * 631 % len(data)
        data[at : at + 8] = b"edit %03d" % edit
    return bytes(data)


def block_of(store: castore.Store, data: bytes) -> Block:
    """The block that some content lies in."""

    def read(tables: Reading) -> Block:
        row = tables.object_row(content_id(data))
        assert row is not None
        return decode_block(tables.block(row.block) or b"", "")

    return store.database.read(read)


def collected(store: castore.Store, monkeypatch: pytest.MonkeyPatch) -> CollectReport:
    """Collect, looking at the store after each transaction; it frees what was said."""
    before = stored_bytes(store)
    said = store.gc(grace=0, dry_run=True)
    with contextmanager(after_each_write)(monkeypatch, store, lambda: closed(store)):
        done = store.gc(grace=0)
    assert before - stored_bytes(store) == done.freed == said.freed
    assert (said.rewritten_blocks, said.dropped_blocks) == (
        done.rewritten_blocks,
        done.dropped_blocks,
    )
    whole(store)
    return done


@pytest.mark.parametrize("slice_bytes", [1, collect_sweep.SLICE_BYTES])
def test_a_history_that_is_thinned_out_does_not_grow(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, slice_bytes: int
) -> None:
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", slice_bytes)
    for number in range(20):
        commit(store, "weekly", report=version(number))
        if number % 5 == 4:
            commit(store, f"kept-{number}", report=version(number))
    before = stored_bytes(store)
    drop(store, "weekly")
    assert collected(store, monkeypatch).freed > 0
    assert stored_bytes(store) < min(before, 2 * len(TEXT))
    depths = [block_of(store, version(number)).depth for number in range(4, 20, 5)]
    assert depths.count(0) == 1
    for number in range(4, 20, 5):
        assert store.read_bytes(f"kept-{number}:report") == version(number)
    assert store.gc(grace=0).freed == 0


def test_what_is_below_a_dead_base_takes_its_place(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, *encode_chunks([(content_id(version(0)), version(0))]))
    for number in range(1, 6):
        put(store, delta([version(number - 1)], [version(number)], depth=number))
    for number in range(6):
        commit(store, f"w{number}", report=version(number))
    drop(store, "w1", "w2", "w4")
    collected(store, monkeypatch)
    assert block_of(store, version(3)).bases == (content_id(version(0)),)
    assert block_of(store, version(5)).bases == (content_id(version(3)),)
    assert [block_of(store, version(at)).depth for at in (3, 5)] in ([1, 2], [1, 4])
    for number in (0, 3, 5):
        assert store.read_bytes(f"w{number}:report") == version(number)


def fan(store: castore.Store) -> None:
    """Five versions on branches of their own that all rest on one, which nothing keeps."""
    put(store, *encode_chunks([(content_id(version(0)), version(0))]))
    for number in range(1, 6):
        put(store, delta([version(0)], [version(number)]))
        commit(store, f"w{number}", report=version(number))


@pytest.mark.parametrize("slice_bytes", [1, collect_sweep.SLICE_BYTES])
def test_of_those_that_rest_on_one_only_one_is_written_in_full(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, slice_bytes: int
) -> None:
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", slice_bytes)
    fan(store)
    collected(store, monkeypatch)
    blocks = [block_of(store, version(number)) for number in range(1, 6)]
    (full,) = [block for block in blocks if not block.depth]
    assert {block.bases for block in blocks if block.depth} == {(full.members[0].id,)}
    for number in range(1, 6):
        assert store.read_bytes(f"w{number}:report") == version(number)


def test_an_heir_that_stays_a_delta_after_all_is_no_base(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in the heir's block and what it rests on come to life between judging and writing."""
    fan(store)
    extra = random.Random(1).randbytes(5000)
    put(store, delta([version(0)], [version(6), extra]))
    commit(store, "w6", report=version(6))
    judged = collect_sweep.Sweep._apply

    def late(self: collect_sweep.Sweep, groups: list[list[Judgement]]) -> None:
        if groups:
            monkeypatch.undo()
            commit(store, "late", report=version(0), extra=extra)
        judged(self, groups)

    monkeypatch.setattr(collect_sweep.Sweep, "_apply", late)
    store.gc(grace=0)
    for number in range(1, 7):
        assert store.read_bytes(f"w{number}:report") == version(number)
        assert block_of(store, version(number)).bases == (content_id(version(0)),)
    whole(store)


def test_what_is_chosen_is_looked_at_again_when_it_is_written(store: castore.Store) -> None:
    put(store, *encode_chunks([(content_id(version(0)), version(0))]))
    put(store, delta([version(0)], [version(1)]))
    ids = (content_id(version(0)), content_id(version(1)))

    def good(bases: tuple[Id, ...], depth: int, *, limit: int = 0) -> bool:
        live = LiveMap(Places(), limit)
        return store.database.read(lambda tables: holds(tables, Rest(bases, depth), live))

    assert good(ids, 2)
    assert good(ids[:1], 1)
    assert not good(ids, 1)
    assert not good(ids, 2, limit=1 << 40)
    assert not good((content_id(b"unknown"),), 1)


def test_many_small_files_rest_each_on_its_own(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [random.Random(at).randbytes(3000) for at in range(12)]

    def files(number: int) -> dict[str, bytes]:
        return {f"f{at}": text + b"edit %d" % number for at, text in enumerate(texts)}

    for number in range(6):
        commit(store, "weekly", **files(number))
        if number in (1, 3, 5):
            commit(store, f"kept-{number}", **files(number))
    drop(store, "weekly")
    collected(store, monkeypatch)
    assert stored_bytes(store) < 60_000
    for number in (1, 3, 5):
        for name, data in files(number).items():
            assert store.read_bytes(f"kept-{number}:{name}") == data


def test_a_deeper_copy_does_not_take_the_place_of_a_base(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(8)
    base, big, other, beside = (dice.randbytes(size) for size in (9000, 14_000, 9000, 9000))
    put(store, *encode_solid([(content_id(data), data) for data in (base, big)]))
    put(store, *encode_chunks([(content_id(other), other)]))
    commit(store, "old", a=big)
    put(store, delta([base], [b"more" + base]))
    # Another session did not see the first copy.
    put(store, delta([other], [base, beside]))
    commit(store, "kept", a=base, b=b"more" + base, c=other, d=beside)
    drop(store, "old")
    assert collected(store, monkeypatch).kept == len(big) + len(base)
    assert store.read_bytes("kept:b") == b"more" + base


@pytest.mark.parametrize("seed", range(6))
def test_histories_thinned_again_and_again(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    kept: dict[str, dict[str, bytes]] = {}
    files = {f"f{at}": dice.randbytes(2000 << at % 5) for at in range(7)}
    for step in range(24):
        for name in dice.sample(sorted(files), dice.randrange(1, 4)):
            data, at = files[name], dice.randrange(1800)
            files[name] = data[:at] + dice.randbytes(6) + data[at + dice.randrange(12) :]
        branch = f"b{step}"
        commit(store, "main", **files)
        commit(store, branch, **files)
        kept[branch] = dict(files)
        if step % 6 == 5:
            drop(store, "main")
            for name in dice.sample(sorted(kept), len(kept) // 2):
                drop(store, name)
                del kept[name]
            collected(store, monkeypatch)
    for branch, contents in kept.items():
        for name, data in contents.items():
            assert store.read_bytes(f"{branch}:{name}") == data
