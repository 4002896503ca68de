"""Histories that were fetched in part: what is said at the cut, and what goes on to work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import castore
from castore.errors import Conflict, NotFound
from castore.model.ids import Id
from castore.remote.memory import MemoryTransport
from castore.store.collect import CollectRequest, collect
from castore.store.opening import clock
from castore.store.sync_clone import clone
from castore.store.sync_depth import WHOLE
from castore.store.sync_fetch import fetch
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import NAME, commit, copy_of, refs, sound

TEXT = b"".join(b"row %d of a table that compresses\n" % row for row in range(9_000))


@pytest.fixture
def bucket(store: castore.Store) -> MemoryTransport:
    """Ten versions of one branch, the third with a comment and a tag, and one of another."""
    for number in range(1, 11):
        text = TEXT.replace(b"row 4000 ", b"ROW %04d " % number)
        commit(store, "out", text=text, same=b"same", own=b"%d" % number * 3000)
    store.comment("out@v3", "old", by="ann@example.org")
    store.approve("out@v9", by="bob@example.org")
    made = MemoryTransport()
    push(store, NAME, made)
    return made


def shallow(bucket: MemoryTransport, folder: Path, depth: int) -> castore.Store:
    made, _ = clone(
        bucket, folder, now=clock, entropy=os.urandom, configure=lambda _: None, depth=depth
    )
    return castore.Store(made.database, now=clock, entropy=os.urandom)


def numbers(store: castore.Store) -> list[int]:
    return [version.number for version in store.log("out")]


def notes(store: castore.Store) -> int:
    from castore.database.indexes import Index

    return len(store.database.read(lambda tables: set(tables.ids_under(Index.TARGET))))


@pytest.mark.parametrize("depth", [1, 3, 9])
def test_history_begins_so_far_back(bucket: MemoryTransport, tmp_path: Path, depth: int) -> None:
    with shallow(bucket, tmp_path / "copy", depth) as copy:
        assert numbers(copy) == list(range(10, 10 - depth, -1))
        assert copy.read_bytes("out:own") == b"10" * 3000
        assert copy.read_bytes("out:text").count(b"ROW 0010") == 1
        sound(copy)
        assert notes(copy) == {1: 0, 3: 1, 9: 2}[depth]
        with pytest.raises(NotFound) as caught:
            copy.resolve("out@v1")
        assert caught.value.fix == "cas fetch --unshallow"
        with pytest.raises(NotFound):
            copy.diff(f"out@v{11 - depth}")
        copy.version_stats("out")
        copy.stats()
        list(copy.find("own"))
        list(copy.stale())
        copy.blame("out:own")
        copy.lineage("out")
        list(copy.audit())
        assert copy.gate("out", require=["valid"]).passed
        copy.record(copy.resolve("out").version)
        collect(copy, CollectRequest(grace=0))
        copy.backup(tmp_path / "backup")
        sound(copy)


def test_it_goes_on_and_is_pushed(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    with shallow(bucket, tmp_path / "copy", 2) as copy:
        made = commit(copy, "out", text=TEXT, own=b"new")
        assert made.number == 11
        copy.approve("out", by="cid@example.org")
        push(copy, NAME, bucket)
        theirs = commit(store, "other", text=TEXT[::-1])
        pull(store, NAME, bucket)
        assert store.resolve("out").version.id == made.id
        commit(store, "out", own=b"twelve")
        push(store, NAME, bucket)
        pull(copy, NAME, bucket)
        # What is new comes, what was cut off does not.
        assert numbers(copy) == [12, 11, 10, 9]
        assert copy.resolve("other").version.id == theirs.id
        sound(copy)
        sound(store)
        known = connect(store, NAME, bucket)
        assert verify_bucket(known.bucket, known).ok


def test_it_is_deepened(store: castore.Store, bucket: MemoryTransport, tmp_path: Path) -> None:
    with shallow(bucket, tmp_path / "copy", 1) as copy:
        commit(copy, "out", own=b"new")
        assert fetch(copy, NAME, bucket).objects == 0
        foreseen = fetch(copy, NAME, bucket, depth=4, dry_run=True)
        done = fetch(copy, NAME, bucket, depth=4)
        assert done.objects == foreseen.objects > 0
        assert numbers(copy) == [11, 10, 9, 8, 7]
        sound(copy)
        assert copy.read_bytes("out@v7:own") == b"7" * 3000
        fetch(copy, NAME, bucket, depth=2)
        assert numbers(copy) == [11, 10, 9, 8, 7]
        fetch(copy, NAME, bucket, depth=WHOLE)
        assert numbers(copy) == list(range(11, 0, -1))
        assert copy.resolve("out@v1").version.id == store.resolve("out@v1").version.id
        assert notes(copy) == 2
        assert fetch(copy, NAME, bucket, depth=WHOLE).objects == 0
        sound(copy)
        push(copy, "other", MemoryTransport())


def test_another_bucket_gets_no_half_history(bucket: MemoryTransport, tmp_path: Path) -> None:
    with shallow(bucket, tmp_path / "copy", 2) as copy:
        other = MemoryTransport()
        with pytest.raises(Conflict, match="cut") as caught:
            push(copy, "other", other)
        assert "--unshallow" in caught.value.fix


def test_branches_that_part_before_the_cut(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    from castore.store.branches import create_branch

    create_branch(store, "old", store.resolve("out@v2").version, by="ann@example.org")
    commit(store, "old", own=b"on the old one")
    push(store, NAME, bucket)
    with shallow(bucket, tmp_path / "copy", 1) as copy:
        tips: dict[str, Id] = refs(copy)
        assert tips == refs(store)
        assert [v.number for v in copy.log("old")] == [3]
        sound(copy)
        commit(copy, "old", own=b"more")
        push(copy, NAME, bucket)
        fetch(copy, NAME, bucket, depth=WHOLE)
        assert [v.number for v in copy.log("old")] == [4, 3, 2, 1]
        sound(copy)
    with copy_of(bucket, tmp_path / "whole") as whole:
        assert len(list(whole.log())) == 12


def test_a_rebase_beside_the_cut(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    with shallow(bucket, tmp_path / "copy", 1) as copy:
        commit(copy, "out", own=b"mine")
        commit(store, "out", own=b"theirs")
        push(store, NAME, bucket)
        pull(copy, NAME, bucket, rebase=True)
        assert numbers(copy) == [12, 11, 10]
        push(copy, NAME, bucket)
        sound(copy)
