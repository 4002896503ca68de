"""Collection: what goes, what stays, in which order, and what is said about it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import castore
from castore.content.encoder import encode_chunks, encode_metadata, encode_solid
from castore.content.ingest import Ingestor
from castore.content.layouts import build_layout
from castore.content.stamps import remember_all
from castore.database import derive, indexes
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.sink import StageSink
from castore.database.tables import Removal
from castore.errors import CorruptObject, ObjectNotFound, RefNotFound
from castore.model.edges import edges
from castore.model.encoding import decode, encode
from castore.model.ids import Kind, content_id
from castore.model.pages import Part, decode_layout
from castore.store import collect_roots, collect_sweep
from castore.store.branches import create_branch, delete_branch, move_branch
from castore.store.collect import CollectRequest, _Collection, collect
from castore.store.collect_cache import trim_files
from castore.store.collect_census import Census
from castore.store.collect_map import LiveMap
from castore.store.intent import Intent
from castore.store.stages import encode_header, encode_staged
from castore.store.tags import delete_tag
from castore.store.version import Version
from castore.store.why import Link, explain
from tests.store.gcscene import (
    DAY,
    after_each_write,
    closed,
    commit,
    delta,
    drop,
    grown,
    put,
    stored_bytes,
    stored_ids,
    whole,
)


def test_nothing_is_dead_in_a_store_that_keeps_everything(
    store: castore.Store, tmp_path: Path
) -> None:
    grown(store, tmp_path)
    report = store.gc(grace=0)
    assert (report.dead, report.freed, report.slices) == (0, 0, 0)
    assert report.alive == len(stored_ids(store))
    assert "gc" not in {operation.op for operation in operations(store)}


@pytest.mark.parametrize("slice_bytes", [1, 40_000, collect_sweep.SLICE_BYTES])
def test_everything_needed_is_there_after_every_slice(
    store: castore.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slice_bytes: int,
) -> None:
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", slice_bytes)
    grown(store, tmp_path)
    drop(store, "b1")
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        closed(store)

    watching = contextmanager(after_each_write)
    with watching(monkeypatch, store, look):
        report = store.gc(grace=0)
    assert looks >= report.slices > (5 if slice_bytes < 100_000 else 0)
    whole(store)
    drop(store, "b0", "b2")
    with watching(monkeypatch, store, look):
        store.gc(grace=0)
    assert stored_ids(store) == set()
    assert stored_bytes(store) == 0
    whole(store)


def test_what_stays_is_what_a_fresh_store_would_hold(store: castore.Store, tmp_path: Path) -> None:
    grown(store, tmp_path)
    kept = {name: store.read_bytes(f"b2:{name}") for name in ("big", "sub/deep/3")}
    drop(store, "b0", "b1")
    store.gc(grace=0)
    assert {name: store.read_bytes(f"b2:{name}") for name in kept} == kept
    assert [version.number for version in store.log("b2")] == [3, 2, 1]
    whole(store)


def test_the_dry_run_says_what_is_freed_to_the_byte(store: castore.Store, tmp_path: Path) -> None:
    grown(store, tmp_path)
    drop(store, "b1")
    before, ids = stored_bytes(store), stored_ids(store)
    said = store.gc(grace=0, dry_run=True)
    assert (stored_bytes(store), stored_ids(store)) == (before, ids)
    done = store.gc(grace=0)
    assert before - stored_bytes(store) == done.freed == said.freed > 0
    assert (said.dead, said.kept, said.reasons) == (done.dead, done.kept, done.reasons)
    assert said.dry_run
    assert not done.dry_run
    logged = operations(store)[0]
    assert (logged.op, logged.detail["freed_bytes"]) == ("gc", done.freed)


def test_what_is_said_is_freed_whatever_becomes_of_a_block(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that are shared, wholly dead, half dead and kept, half dead and written anew."""
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", 100_000)
    dice = random.Random(11)

    def solid(count: int) -> dict[str, bytes]:
        datas = [dice.randbytes(3000 + dice.randrange(900)) for _ in range(count)]
        put(store, *encode_solid([(content_id(data), data) for data in datas]))
        return {f"f{content_id(data).hex()[:8]}": data for data in datas}

    def some(datas: dict[str, bytes], count: int) -> dict[str, bytes]:
        return dict(list(datas.items())[:count])

    shared, dead, most, few, big = (
        solid(10),
        solid(10),
        solid(12),
        solid(12),
        dice.randbytes(90_000),
    )
    kept = shared | some(most, 9) | some(few, 2) | {"big": big}
    commit(store, "kept", **kept)
    commit(store, "gone", **(shared | dead | most | few | {"big": big, "own": big[:70_000]}))
    put(store, *encode_chunks([(content_id(big[:1000]), big[:1000])]))
    drop(store, "gone")
    whole(store)
    before, pages = stored_bytes(store), store.database.check_pages()
    said = store.gc(grace=0, dry_run=True)
    assert store.database.check_pages().free == pages.free
    done = store.gc(grace=0)
    assert done.slices > 1
    assert said.kept == sum(map(len, list(most.values())[9:]))
    assert (said.rewritten_blocks, said.dropped_blocks > 3) == (1, True)
    assert before - stored_bytes(store) == done.freed == said.freed > 100_000
    for figure in ("alive", "dead", "kept", "reasons", "dropped_blocks", "rewritten_blocks"):
        assert getattr(said, figure) == getattr(done, figure)
    # The file has that much more room, and what the rows of dead objects took.
    free = store.database.check_pages().free - pages.free
    assert 4096 * free >= said.freed - 4096
    assert {name: store.read_bytes(f"kept:{name}") for name in kept} == kept
    again = store.gc(grace=0, dry_run=True)
    assert (again.freed, again.dead, again.kept) == (0, said.kept, said.kept)
    whole(store)


def test_the_operation_log_keeps_within_the_grace(store: castore.Store) -> None:
    gone = commit(store, "main", a=b"first")
    drop(store, "main")
    assert store.gc().dead == 0
    assert store.gc(grace=DAY).dead == 0
    create_branch(store, "back", store.version(gone.id), by="test")
    drop(store, "back")
    commit(store, "other", a=b"other")
    assert store.gc(grace=0).dead > 0
    with pytest.raises(ObjectNotFound):
        store.version(gone.id)
    whole(store)


def test_a_grace_that_has_passed_keeps_nothing(tmp_path: Path) -> None:
    moment = [1_790_000_000_000_000]
    with castore.init(tmp_path, now=lambda: moment[0]) as store:
        commit(store, "main", a=b"first")
        drop(store, "main")
        moment[0] += 30 * DAY
        assert store.gc().dead == 0
        moment[0] += 1
        assert store.gc().dead > 0


def test_pins_keep_and_unpins_let_go(store: castore.Store) -> None:
    version = commit(store, "main", a=b"pinned" * 1000)
    store.pin("main", why="cited", by="me")
    drop(store, "main")
    assert store.gc(grace=0).dead == 0
    assert [(pin.version.id, pin.why) for pin in store.pins()] == [(version.id, "cited")]
    assert store.read_bytes(f"{version.id.hex()}:a") == b"pinned" * 1000
    store.unpin(version.id.hex(), by="me")
    with pytest.raises(RefNotFound, match="not pinned"):
        store.unpin(version.id.hex())
    assert store.gc(grace=0).dead > 0
    assert stored_ids(store) == set()
    assert [o.op for o in operations(store)[:5]] == [
        "gc", "gc-begin", "unpin", "branch-delete", "pin",
    ]  # fmt: skip


def test_a_forgotten_version_keeps_its_manifest_only(store: castore.Store) -> None:
    first = commit(store, "main", a=b"secret" * 20_000, b=b"shared" * 20_000)
    second = commit(store, "main", a=b"public" * 20_000, b=b"shared" * 20_000)
    removal = Removal(1, "me", "asked", "op")
    store.database.write(lambda tables: tables.forget(first.id, removal))
    said = store.gc(dry_run=True)
    assert [reason.name for reason in said.reasons] == ["forgotten"]
    assert store.gc().freed == said.freed > 0
    ids = stored_ids(store)
    assert first.id in ids
    assert first.set_id not in ids
    assert content_id(b"secret" * 20_000) not in ids
    assert store.read_bytes(f"{second.id.hex()}:b") == b"shared" * 20_000
    closed(store)


@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
def test_roots_that_are_walked_in_slices_are_all_found(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(collect_roots, "_SLICE_ROWS", rows)
    versions = [commit(store, f"b{n}", a=b"%d" % n * 3000) for n in range(7)]
    assert store.gc(grace=0).dead == 0
    drop(store, "b0", "b3", "b6")
    assert store.gc(grace=DAY).dead == 0
    removal = Removal(1, "me", "asked", "op")
    for n in (1, 4, 5):
        store.database.write(lambda tables, n=n: tables.forget(versions[n].id, removal))
    said = store.gc(grace=0, dry_run=True)
    assert [(reason.name, reason.objects) for reason in said.reasons] == [
        ("forgotten", 6), ("unreachable", 9),
    ]  # fmt: skip
    assert store.gc(grace=0).freed == said.freed
    assert store.read_bytes("b2:a") == b"2" * 3000
    closed(store)


def test_incomplete_sets_are_given_up_when_told(store: castore.Store, tmp_path: Path) -> None:
    session = os.urandom(16)
    intent = Intent(branch="main", context=castore.Context(run="run-1"))
    header = decode(encode_header(intent, store.now(), os.getpid()), limit=1 << 16, what="header")
    del header["check"]
    header = encode({**header, "boot": "before this one"})
    sink = StageSink(store.database, session, header=header)
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(b"staged" * 3000)
    assert store.gc(grace=0).dead == 0
    assert store.gc(grace=0, expire_partials=DAY).expired == ()
    said = store.gc(grace=0, expire_partials=0, dry_run=True)
    assert said.expired == (("run-1", "main"),)
    assert [reason.name for reason in said.reasons] == ["expired partial"]
    assert store.database.read(lambda tables: tables.stages())
    done = store.gc(grace=0, expire_partials=0)
    assert (done.freed, done.reasons) == (said.freed, said.reasons)
    assert stored_ids(store) == set()
    whole(store)


def test_a_living_session_is_not_given_up(store: castore.Store) -> None:
    with store.session("main") as session:
        session.write("a", b"x" * 30_000)
        session._supply.make_durable()
        report = store.gc(grace=0, expire_partials=0)
        assert (report.dead, report.expired) == (0, ())
        session.commit()
    whole(store)


def test_half_dead_content_stays_and_less_is_rewritten(store: castore.Store) -> None:
    dice = random.Random(1)
    datas = [dice.randbytes(4000) for _ in range(20)]
    put(store, *encode_solid([(content_id(data), data) for data in datas]))
    commit(store, "all", **{f"f{n}": data for n, data in enumerate(datas)})
    commit(store, "most", **{f"f{n}": data for n, data in enumerate(datas[:11])})
    drop(store, "all")
    report = store.gc(grace=0)
    assert report.kept == 9 * 4000
    assert report.dead > report.kept
    assert {content_id(data) for data in datas} <= stored_ids(store)
    commit(store, "few", **{f"f{n}": data for n, data in enumerate(datas[:9])})
    drop(store, "most")
    said = store.gc(grace=0, dry_run=True)
    done = store.gc(grace=0)
    assert (done.kept, done.freed) == (0, said.freed)
    assert done.rewritten_blocks >= 1
    assert {content_id(data) for data in datas[9:]} & stored_ids(store) == set()
    for number in range(9):
        assert store.read_bytes(f"few:f{number}") == datas[number]
    whole(store)


def deltas(store: castore.Store) -> list[bytes]:
    """Versions w0 … w3 on branches of their own, each chunk but the first a delta of the one
    before, and the first and an unrelated one in a solid block."""
    dice = random.Random(3)
    texts = [dice.randbytes(12_000)]
    for number in range(3):
        texts.append(texts[-1][:5000] + b"edit %d" % number + texts[-1][5000:])
    solid = [texts[0], dice.randbytes(14_000)]
    put(store, *encode_solid([(content_id(data), data) for data in solid]))
    commit(store, "w0", a=texts[0], other=solid[1])
    for depth in range(1, 4):
        put(store, delta([texts[depth - 1]], [texts[depth]], depth=depth))
        commit(store, f"w{depth}", a=texts[depth])
    return texts


@pytest.mark.parametrize("slice_bytes", [1, collect_sweep.SLICE_BYTES])
@pytest.mark.parametrize(
    "gone", [("w0",), ("w1",), ("w2",), ("w3",), ("w0", "w1"), ("w0", "w2"), ("w1", "w2", "w3")]
)
def test_deltas_are_written_in_full_before_their_bases_go(
    store: castore.Store,
    monkeypatch: pytest.MonkeyPatch,
    gone: tuple[str, ...],
    slice_bytes: int,
) -> None:
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", slice_bytes)
    texts = deltas(store)
    whole(store)
    drop(store, *gone)
    before = stored_bytes(store)
    said = store.gc(grace=0, dry_run=True)
    with contextmanager(after_each_write)(monkeypatch, store, lambda: closed(store)):
        done = store.gc(grace=0)
    assert before - stored_bytes(store) == done.freed == said.freed
    for number, text in enumerate(texts):
        if f"w{number}" not in gone:
            assert store.read_bytes(f"w{number}:a") == text
    whole(store)
    again = store.gc(grace=0)
    assert again.freed == 0
    drop(store, *({f"w{number}" for number in range(4)} - set(gone)))
    store.gc(grace=0)
    assert stored_ids(store) == set()


def test_a_live_base_that_moves_takes_its_deltas_along(store: castore.Store) -> None:
    texts = deltas(store)
    # w0's block also holds `other`, bigger than the base: without it less than half is alive.
    commit(store, "base", a=texts[0])
    drop(store, "w0")
    report = store.gc(grace=0)
    assert report.rewritten_blocks >= 1
    for number in range(1, 4):
        assert store.read_bytes(f"w{number}:a") == texts[number]
    whole(store)


def test_second_copies_go_and_the_row_leads_to_what_stays(store: castore.Store) -> None:
    dice = random.Random(5)
    mine, yours, both = (dice.randbytes(9000) for _ in range(3))
    # Two sessions store the same bytes at once: neither saw the other's.
    one, two = os.urandom(16), os.urandom(16)
    sinks = [StageSink(store.database, s, header=b"") for s in (one, two)]
    for sink in sinks:
        sink.known = lambda ids: set()  # type: ignore[method-assign]
    ingestors = [Ingestor(sink) for sink in sinks]
    for ingestor, own in zip(ingestors, (mine, yours), strict=True):
        ingestor.add_bytes(both)
        ingestor.add_bytes(own)
    for ingestor in ingestors:
        ingestor.flush()
        ingestor.close()
    commit(store, "left", a=both, b=mine)
    commit(store, "right", a=both, b=yours)
    for session in (one, two):
        store.database.write(lambda tables, session=session: tables.drop_stage(session))
    whole(store)
    drop(store, "left")
    before = stored_bytes(store)
    said = store.gc(grace=0, dry_run=True)
    done = store.gc(grace=0)
    assert before - stored_bytes(store) == done.freed == said.freed
    assert store.read_bytes("right:a") == both
    whole(store)
    drop(store, "right")
    store.gc(grace=0)
    assert stored_ids(store) == set()


def test_a_damaged_store_is_left_alone(store: castore.Store, tmp_path: Path) -> None:
    grown(store, tmp_path)
    drop(store, "b1")
    lost = content_id((tmp_path / "out" / "sub" / "deep" / "9").read_bytes())
    store.database.write(lambda tables: tables.drop_object_row(lost))
    before = stored_bytes(store)
    with pytest.raises(CorruptObject, match="damaged store"):
        store.gc(grace=0)
    assert stored_bytes(store) == before


def test_the_pages_of_a_big_layout_go_from_the_top(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", 30_000)
    parts = [Part(content_id(b"%d" % n), len(b"%d" % n)) for n in range(3000)]
    put(store, *encode_solid([(content_id(b"%d" % n), b"%d" % n) for n in range(3000)]))
    root, inner = build_layout(parts)
    digest = content_id(b"".join(b"%d" % n for n in range(3000)))
    pages = [(Kind.LAYOUT, id, payload) for id, payload in inner]
    # The other way round from how they are written usually: the root in the oldest block.
    put(store, *encode_metadata([(Kind.LAYOUT, digest, root)]))
    put(store, *(block for page in pages for block in encode_metadata([page])))
    closed(store)
    with contextmanager(after_each_write)(monkeypatch, store, lambda: closed(store)):
        report = store.gc(grace=0)
    assert report.slices > 5
    assert stored_ids(store) == set()


@pytest.mark.parametrize("remark", [True, False])
def test_what_is_published_between_marking_and_sweeping_stays(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, remark: bool
) -> None:
    """Everything that makes dead objects alive again; without marking again it must be lost."""
    old = {f"f{n}": bytes([n]) * 20_000 for n in range(5)}
    gone = commit(store, "gone", **old)
    drop(store, "gone")
    commit(store, "main", a=b"main")
    census = _Collection._census

    def late(self: _Collection, live: LiveMap) -> Census:
        found = census(self, live)
        create_branch(store, "back", gone, by="me")
        return found

    monkeypatch.setattr(collect_sweep, "mark_again", remark)
    monkeypatch.setattr(_Collection, "_census", late)
    store.gc(grace=0)
    if not remark:
        with pytest.raises(ObjectNotFound):
            store.read_bytes("back:f1")
        return
    for name, data in old.items():
        assert store.read_bytes(f"back:{name}") == data
    whole(store)


@pytest.mark.parametrize("how", ["pin", "tag", "stage", "commit", "entry"])
def test_every_way_to_make_something_a_root_is_seen(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    old = {f"f{n}": bytes([n]) * 20_000 for n in range(5)}
    gone = commit(store, "gone", **old)
    drop(store, "gone")
    census = _Collection._census
    session = store.session("again")

    def late(self: _Collection, live: LiveMap) -> Census:
        found = census(self, live)
        if how == "pin":
            store.pin(gone.id.hex())
        elif how == "tag":
            store.tag("t", gone.id.hex())
        elif how == "entry":
            artifact = store.artifacts(gone.id.hex())[0].artifact
            payload = encode_staged(artifact)
            store.database.write(lambda t: t.put_stage(b"s" * 16, session._sink._header or b""))
            store.database.write(lambda t: t.put_staged_entry(b"s" * 16, "x", payload))
        else:
            for name, data in old.items():
                session.write(name, data)
            if how == "stage":
                session._supply.make_durable()
            else:
                session.commit()
        return found

    monkeypatch.setattr(_Collection, "_census", late)
    store.gc(grace=0)
    monkeypatch.undo()
    if how == "stage":
        session.commit()
    needed = (
        {content_id(data) for data in old.values()} if how != "entry" else {content_id(old["f0"])}
    )
    assert needed <= stored_ids(store)
    closed(store)


def test_a_collection_that_another_one_disturbs_begins_again(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(store, tmp_path)
    drop(store, "b1")
    census = _Collection._census
    calls = 0

    def late(self: _Collection, live: LiveMap) -> Census:
        nonlocal calls
        calls += 1
        found = census(self, live)
        if calls == 1:
            assert store.gc(grace=0).freed > 0
            drop(store, "b2")
        return found

    monkeypatch.setattr(_Collection, "_census", late)
    assert store.gc(grace=0).freed > 0
    assert calls == 3
    whole(store)


def test_slices_are_bounded_in_bytes(store: castore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(1)
    datas = [dice.randbytes(60_000) for _ in range(200)]
    put(store, *(block for d in datas for block in encode_chunks([(content_id(d), d)])))
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", 1_000_000)
    report = store.gc(grace=0)
    assert report.dropped_blocks == 200
    assert report.slices >= 12
    assert report.largest <= 1_000_000


def test_slices_follow_the_clock_and_always_get_on(store: castore.Store) -> None:
    dice = random.Random(1)
    datas = [dice.randbytes(60_000) for _ in range(200)]
    put(store, *(block for d in datas for block in encode_chunks([(content_id(d), d)])))
    seconds = 0.0

    def clock() -> float:
        nonlocal seconds
        seconds += 1.0
        return seconds

    slept: list[float] = []
    report = collect(store, CollectRequest(grace=0), clock=clock, sleep=slept.append)
    # A second went by at every look at the clock: one block a transaction, and every one goes.
    assert (report.dropped_blocks, report.slices) == (200, 200)
    assert len(slept) == 200
    assert min(slept) > 0
    assert stored_bytes(store) == 0
    put(store, *(block for d in datas for block in encode_chunks([(content_id(d), d)])))
    report = collect(store, CollectRequest(grace=0), clock=lambda: 1.0, sleep=slept.append)
    assert report.slices < 10
    assert stored_bytes(store) == 0


def test_what_was_read_before_a_collection_cannot_be_named_after_it(store: castore.Store) -> None:
    version = commit(store, "main", a=b"x")
    drop(store, "main")
    store.gc(grace=0)
    with pytest.raises(ObjectNotFound, match="meanwhile"):
        create_branch(store, "back", version, by="me")


def test_what_loses_its_name_is_told_although_it_was_collected_at_once(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (commit(store, name, a=name.encode()) for name in ("one", "two", "three"))
    store.tag("t", "two")
    drop(store, "two")
    collecting = False

    def gc() -> None:
        nonlocal collecting
        if not collecting:
            collecting = True
            store.gc(grace=0)
            collecting = False

    with contextmanager(after_each_write)(monkeypatch, store, gc):
        assert delete_branch(store, "one", by="me").label == one.label
        assert delete_tag(store, "t", by="me").id == two.id
        create_branch(store, "back", three, by="me")
        later = commit(store, "later", a=b"later")
        assert move_branch(store, "three", later, by="me").id == three.id
    assert {version.id for version in store.branches()} == {three.id, later.id}
    for gone in (one, two):
        with pytest.raises(ObjectNotFound):
            store.version(gone.id)


def test_a_damaged_version_can_lose_its_name(store: castore.Store) -> None:
    version = commit(store, "main", a=b"x")
    store.database.write(lambda tables: tables.drop_object_row(version.id))
    with pytest.raises(ObjectNotFound):
        delete_branch(store, "main", by="me")
    assert store.database.read(lambda tables: tables.refs()) == []


def test_the_cache_of_files_keeps_the_newest_rows(store: castore.Store) -> None:
    rows = []
    for n, moment in enumerate([7, 1 << 60, 3, 3, 3, 1 << 40, 9, 0]):
        files = {b"%d" % file: (bytes(48), content_id(b"x")) for file in range(10)}
        rows.append((n.to_bytes(16, "big"), remember_all(moment, files).pack()))
    store.database.write(lambda tables: tables.put_files(rows))

    def left() -> list[int]:
        return store.database.read(
            lambda tables: sorted(row.moment_ns for _, row in tables.file_rows())
        )

    assert trim_files(store.database, 50, dry_run=True) == 30
    assert len(left()) == 8
    assert trim_files(store.database, 80) == 0
    assert trim_files(store.database, 50) == 30
    assert left() == [3, 7, 9, 1 << 40, 1 << 60]
    # A row goes as a whole.
    report = collect(store, CollectRequest(cache_files=29))
    assert report.cached_files == 30
    assert left() == [1 << 40, 1 << 60]


def operations(store: castore.Store) -> list[Operation]:
    """The operation log, newest first."""
    return store.database.read(lambda tables: list(tables.operations()))


def test_why_tells_the_shortest_chain(store: castore.Store, tmp_path: Path) -> None:
    grown(store, tmp_path)
    found = store.why("b1:sub/deep/12")
    assert found.root == "heads/b1"
    assert [link.kind for link in found.chain] == ["manifest", "set", "tree", "tree", "chunk"]
    assert [link.name for link in found.chain] == ["b1@v3", "", "sub", "deep", "12"]
    digest = content_id((tmp_path / "out" / "big").read_bytes())
    big = store.why(digest.hex()[:12])
    assert [link.kind for link in big.chain] == ["manifest", "set", "layout"]
    assert big.root == "heads/b2"
    first = decode_layout(store.reader.layout_root(digest) or b"").parts[0]
    assert store.why(first.id.hex()).chain == (*big.chain, Link(first.id, "chunk"))
    old = store.why("b2@v1")
    assert [link.name for link in old.chain] == ["b2@v3", "b2@v2", "b2@v1"]
    drop(store, "b2")
    assert store.why(digest.hex()).root.startswith("operation ")
    assert store.why("b1").kept
    nothing = explain(store, digest, grace=0)
    assert not nothing.kept
    assert nothing.as_json()["chain"] == []
    store.gc(grace=0)
    with pytest.raises(RefNotFound):
        store.why(digest.hex())


def test_ids_that_begin_alike_change_no_answer(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of look-ups tell only how ids begin: here by one byte, so that many are alike."""
    for module in (derive, indexes):
        monkeypatch.setattr(module, "BRIEF_ID_BYTES", 1)
    monkeypatch.setattr(indexes, "BRIEF_BYTES", 3)
    grown(store, tmp_path)
    held: dict[bytes, set[tuple[bytes, str]]] = {}
    for version in store.log():
        for entry in store.files(version.id.hex()):
            if entry.kind == "file":
                held.setdefault(entry.digest, set()).add((version.id, entry.path))
    for digest in random.Random(3).sample(sorted(held), 20):
        found = store.find(digest=digest.hex())
        paths = {(item.version.id, f"{item.artifact.name}/{item.path}") for item in found}
        assert {(id, path.rstrip("/")) for id, path in paths} == held[digest]
        why = store.why(digest.hex())
        assert why.root.startswith("heads/")
        for above, below in pairwise(why.chain):
            kind, payload = store.reader.object(above.id)
            assert below.id in {target for target, _, _ in edges(kind, payload)}
    drop(store, "b2")
    expected = store.gc(grace=0, dry_run=True)
    assert store.gc(grace=0).freed == expected.freed > 0
    whole(store)


@pytest.mark.parametrize("told", ["branches", "tags", "pins", "log"])
def test_what_is_listed_was_there_when_its_name_was_found(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    version = commit(store, "main", a=b"x")
    if told == "tags":
        store.tag("t", "main")
    if told == "pins":
        store.pin("main")
    read = store.database.read

    def then_collect(fn: Callable[[Reading], Any]) -> Any:
        result = read(fn)
        monkeypatch.setattr(store.database, "read", read)
        if told == "pins":
            store.unpin("main")
        if told == "tags":
            delete_tag(store, "t", by="me")
        drop(store, "main")
        store.gc(grace=0)
        return result

    monkeypatch.setattr(store.database, "read", then_collect)
    listed: dict[str, Callable[[], list[Version]]] = {
        "branches": store.branches,
        "tags": lambda: [found for _, found in store.tags()],
        "pins": lambda: [pin.version for pin in store.pins()],
        "log": lambda: list(store.log("main")),
    }
    assert [found.id for found in listed[told]()] == [version.id]
    with pytest.raises(ObjectNotFound):
        store.version(version.id)
