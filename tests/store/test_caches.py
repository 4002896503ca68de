"""Caches of buckets: bounded, without ever letting go of what is nowhere else; read offline."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

import castore
from castore.errors import RemoteError, StoreNotFound
from castore.model.refs import LOST
from castore.remote.urls import open_transport
from castore.store.caches import CacheUse, contents_bytes, trim
from castore.store.config import KnownRemote
from castore.store.shared import cache_folder
from castore.store.sync import collect_remote
from castore.store.sync_plan import Move
from castore.store.sync_push import push_moves
from castore.store.sync_remote import connect
from tests.store.syncing import commit, sound

MOST = 500_000


def machine(tmp_path: Path, name: str = "one", **options: object) -> castore.Store:
    """The bucket of a test as the store of one machine."""
    url = (tmp_path / "bucket").as_uri()
    return castore.open(url, caches=tmp_path / name, **options)  # type: ignore[arg-type]


def held(store: castore.Store) -> int:
    return store.database.read(contents_bytes)


def filled(store: castore.Store, versions: int = 6) -> dict[str, bytes]:
    """Versions of noise, big files and small ones; what each holds."""
    random = Random(5)
    contents = {}
    for number in range(1, versions + 1):
        big, small = random.randbytes(300_000), random.randbytes(2_000)
        commit(store, "out", big=big, small=small, same=b"the same in all")
        contents |= {f"out@v{number}:big": big, f"out@v{number}:small": small}
    return contents


def test_what_a_bucket_has_goes_when_the_cache_is_closed(tmp_path: Path) -> None:
    with machine(tmp_path) as store:
        contents = filled(store)
        assert held(store) > 1_800_000
    with machine(tmp_path, cache_bytes=MOST) as store:
        pass
    with machine(tmp_path, cache_bytes=MOST) as store:
        assert 0 < held(store) <= MOST
        sound(store)
        # The newest is here still, the rest comes when it is read.
        bring, store.bring = store.bring, None
        assert store.read_bytes("out@v6:small") == contents["out@v6:small"]
        with pytest.raises(castore.CastoreError, match="promised"):
            store.read_bytes("out@v1:big")
        store.bring = bring
        for selector, data in contents.items():
            assert store.read_bytes(selector) == data
        sound(store)
        assert held(store) > MOST
    with machine(tmp_path) as store:
        assert held(store) <= MOST
        commit(store, "out", big=contents["out@v1:big"])
        sound(store)
    with castore.clone(tmp_path / "bucket", tmp_path / "copy") as copy:
        assert copy.read_bytes("out:big") == contents["out@v1:big"]
        sound(copy)


def test_history_that_rests_on_deltas_stays_readable(tmp_path: Path) -> None:
    text = bytearray(b"".join(b"row %d of a table\n" % row for row in range(20_000)))
    held_by = {}
    with machine(tmp_path) as store:
        for number in range(1, 12):
            text[number * 1000 : number * 1000 + 4] = b"%04d" % number
            extra = Random(number).randbytes(60_000)
            commit(store, "out", table=bytes(text), extra=extra)
            held_by[number] = bytes(text)
    for most in (300_000, 80_000, 0):
        with machine(tmp_path, cache_bytes=most):
            pass
        with machine(tmp_path) as store:
            assert held(store) <= most
            sound(store)
            assert store.read_bytes("out@v7:table") == held_by[7]


def test_what_never_arrived_stays_as_a_whole(tmp_path: Path) -> None:
    secret = Random(1).randbytes(200_000)
    with machine(tmp_path) as store:
        contents = filled(store, 3)
        store.database.acknowledge = None
        # The bucket has one file of it, and never hears of the other.
        commit(store, "out", big=contents["out@v1:big"], only=secret)
    with machine(tmp_path, cache_bytes=1) as store:
        [(_, lost)] = store.database.read(lambda tables: tables.refs(LOST))
    with machine(tmp_path, cache_bytes=1) as store:
        store.bring = None
        label = lost.hex()
        assert store.read_bytes(f"{label}:only") == secret
        assert store.read_bytes(f"{label}:big") == contents["out@v1:big"]
        with pytest.raises(castore.CastoreError, match="promised"):
            store.read_bytes("out@v2:big")
        sound(store)


def test_what_others_took_back_stays_as_a_whole(tmp_path: Path) -> None:
    """The bucket has it until its next collection, and nothing leads to it there."""
    with machine(tmp_path) as store:
        contents = filled(store, 2)
    with machine(tmp_path, "two") as two:
        older, newer = (two.resolve(f"out@v{number}").version.id for number in (1, 2))
        transport = open_transport((tmp_path / "bucket").as_uri())
        push_moves(two, "origin", transport, [Move("heads/out", newer, older)])
    for _ in range(2):
        with machine(tmp_path, cache_bytes=1) as store:
            assert [id for _, id in store.database.read(lambda t: t.refs(LOST))] == [newer]
    with machine(tmp_path, "two") as two:
        collect_remote(two)
    with machine(tmp_path) as store:
        assert store.read_bytes(f"{newer.hex()}:big") == contents["out@v2:big"]
        sound(store)


def _given_up(store: castore.Store, data: bytes) -> None:
    with store.session(name="out", run="r1") as session:
        session.add("big", data)
        raise TimeoutError


def test_a_partial_stays_as_a_whole(tmp_path: Path) -> None:
    with machine(tmp_path) as store:
        contents = filled(store, 2)
        with pytest.raises(TimeoutError):
            _given_up(store, contents["out@v1:big"])
    with machine(tmp_path, cache_bytes=1):
        pass
    with machine(tmp_path) as store:
        assert [partial.run for partial in store.partials()] == ["r1"]
        with store.session(name="out", resume="r1") as session:
            session.add("more", b"x")
            session.commit()
        assert store.read_bytes("out:big") == contents["out@v1:big"]
        sound(store)


def test_who_else_reads_keeps_the_cache_as_it_is(tmp_path: Path) -> None:
    with machine(tmp_path) as first:
        filled(first)
        before = held(first)
        with machine(tmp_path, cache_bytes=1):
            pass
        assert held(first) == before


def test_the_file_becomes_smaller(tmp_path: Path) -> None:
    random = Random(3)
    with machine(tmp_path) as store:
        for number in range(4):
            commit(store, "out", big=random.randbytes(40_000_000), n=b"%d" % number)
        folder = store.folder
    assert (folder / "data.mdb").stat().st_size > 150_000_000
    with machine(tmp_path, cache_bytes=50_000_000):
        pass
    assert (folder / "data.mdb").stat().st_size < 70_000_000
    assert not (folder.parent / "small").exists()
    with machine(tmp_path) as store:
        assert len(store.read_bytes("out@v1:big")) == 40_000_000
        commit(store, "out", big=b"after")
        sound(store)


def test_a_bucket_is_read_offline(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="never read"):
        machine(tmp_path, offline=True)
    with machine(tmp_path) as store:
        contents = filled(store, 3)
    with machine(tmp_path, "two") as two:
        assert two.read_bytes("out@v3:big") == contents["out@v3:big"]
        seen_at = two.behind.seen_at
    (tmp_path / "bucket").rename(tmp_path / "away")
    with machine(tmp_path, "two", offline=True) as two:
        assert two.behind.seen_at == seen_at
        assert seen_at is not None
        assert [version.number for version in two.log("out")] == [3, 2, 1]
        assert two.read_bytes("out:big") == contents["out@v3:big"]
        with pytest.raises(RemoteError, match="not in the cache") as caught:
            two.read_bytes("out@v1:big")
        assert "--offline" in caught.value.fix
        before = two.database.read(lambda tables: tables.last_sequence())
        for write in (
            lambda: commit(two, "out", a=b"x"),
            lambda: commit(two, "out", a=Random(2).randbytes(30_000_000)),
            lambda: two.tag("good", "out"),
            lambda: two.approve("out", by="bob@example.org"),
            lambda: two.push(),
        ):
            with pytest.raises(RemoteError, match="offline"):
                write()
        assert two.database.read(lambda tables: (tables.last_sequence(), tables.stages())) == (
            before, [],
        )  # fmt: skip
        two.close()


def test_nothing_is_let_go_that_no_index_names(tmp_path: Path) -> None:
    with machine(tmp_path) as store:
        contents = filled(store, 2)
    url = (tmp_path / "bucket").as_uri()
    with machine(tmp_path) as store:
        known = connect(store, "origin", open_transport(url))
        root = known.bucket.read().root
        empty = known.bucket.catalogue(
            type(root)(root.project, root.uuid, serial=root.serial), known
        )
        before = held(store)
        trim(store, empty, 1)
        assert held(store) == before
        assert store.read_bytes("out@v1:big") == contents["out@v1:big"]


def test_uses_know_of_each_other(tmp_path: Path) -> None:
    home = cache_folder(tmp_path, KnownRemote("s3://bucket/x"))
    one, two = CacheUse(home), CacheUse(home)
    assert one.seen_at is None
    assert not one.alone()
    two.close()
    two.close()
    assert one.alone()
    one.note_seen(1_000_000)
    assert one.seen_at == 1_000_000
    one.note_owing(owing=True)
    assert one.owing
    assert os.listdir(home)
    one.close()
