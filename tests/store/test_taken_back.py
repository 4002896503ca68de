"""What a rebase takes back of others is told: before it, by it, and where it is proposed."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore.errors import RefMoved
from castore.remote.memory import MemoryTransport
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from tests.store.syncing import NAME, commit, copy_of

FIRST = {"a": b"a", "b": b"b", "d": b"d", "same": b"same"}
THEIRS = {"a": b"theirs", "b": b"other", "c": b"new", "same": b"same"}
OURS = {**FIRST, "a": b"ours"}
TOLD = {"branch": "out", "changed_back_or_removed": ["b", "c", "d"], "replaced": ["a"]}
WORDS = "changes back or removes: b, c, d; puts its own in the place of: a"


@pytest.fixture
def bucket() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def other(store: castore.Store, bucket: MemoryTransport, tmp_path: Path) -> castore.Store:
    """A clone with a version of its own, of a bucket that has another."""
    commit(store, "out", **FIRST)
    push(store, NAME, bucket)
    other = copy_of(bucket, tmp_path / "other")
    commit(store, "out", **THEIRS)
    push(store, NAME, bucket)
    commit(other, "out", **OURS)
    return other


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_others_changed_is_named(
    other: castore.Store, bucket: MemoryTransport, *, dry_run: bool
) -> None:
    with other:
        with pytest.raises(RefMoved, match=f"in 'out' --rebase {WORDS}") as caught:
            pull(other, NAME, bucket, dry_run=dry_run)
        assert caught.value.attributes["takes_back"] == [TOLD]
        report = pull(other, NAME, bucket, rebase=True, dry_run=dry_run)
        assert report.as_json()["takes_back"] == [TOLD]
        if not dry_run:
            assert other.read_bytes("out:b") == FIRST["b"]
            assert pull(other, NAME, bucket, rebase=True).takes_back == ()


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_named_where_nothing_is_taken_back(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path, *, dry_run: bool
) -> None:
    commit(store, "out", **FIRST)
    push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as other:
        commit(store, "out", **FIRST)
        push(store, NAME, bucket)
        commit(other, "out", **OURS)
        assert pull(other, NAME, bucket, rebase=True, dry_run=dry_run).takes_back == ()


def test_what_both_began_with_may_be_forgotten(
    other: castore.Store, bucket: MemoryTransport
) -> None:
    """Then nobody knows who changed what: what lacks is removed, what differs is replaced."""
    with other:
        other.forget("out@v1", force=True)
        (taken,) = pull(other, NAME, bucket, rebase=True).takes_back
        assert (taken.back, taken.replaced) == (("c",), ("a", "b"))


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_was_forgotten_there_is_not_taken_back(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport, *, dry_run: bool
) -> None:
    store.forget("out@v2", force=True)
    push(store, NAME, bucket)
    with other:
        assert pull(other, NAME, bucket, rebase=True, dry_run=dry_run).takes_back == ()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_bundle_names_it_too(
    store: castore.Store, other: castore.Store, tmp_path: Path, *, dry_run: bool
) -> None:
    file = tmp_path / "x.bundle"
    store.create_bundle(file)
    with other:
        with pytest.raises(RefMoved, match=f"in 'out' --rebase {WORDS}"):
            other.import_bundle(file, dry_run=dry_run)
        report = other.import_bundle(file, rebase=True, dry_run=dry_run)
        assert report.as_json()["takes_back"] == [TOLD]


def test_a_commit_to_a_bucket_says_so(tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    with castore.open(url, caches=tmp_path / "one") as one:
        commit(one, "out", **FIRST)
        with castore.open(url, caches=tmp_path / "two") as two:
            commit(one, "out", **THEIRS)
            with pytest.raises(RefMoved, match=f"in 'out' --rebase {WORDS}") as caught:
                commit(two, "out", **OURS)
            assert caught.value.attributes["takes_back"] == [TOLD]
        with castore.open(url, caches=tmp_path / "two") as two:
            two.behind.rebase = True
            commit(one, "out", **FIRST)
            with two.session(name="out") as session:
                for name, data in {**THEIRS, "b": b"mine"}.items():
                    session.add(name, data)
                session.commit()
            assert session.report is not None
            said = "out: changes back or removes: a, c, d; puts its own in the place of: b"
            assert session.report.warnings == (said,)
            assert not two.behind.took_back
