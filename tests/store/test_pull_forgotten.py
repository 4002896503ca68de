"""A pull that makes versions anew leaves forgotten what was forgotten of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import castore
from castore.errors import ObjectNotFound
from castore.remote.memory import MemoryTransport
from castore.store.sync_pull import PullReport, pull
from castore.store.sync_push import push
from tests.store.syncing import NAME, commit, copy_of, sound


@pytest.fixture
def bucket() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def other(store: castore.Store, bucket: MemoryTransport, tmp_path: Path) -> Iterator[castore.Store]:
    """A clone of the bucket after one version of `store` was pushed."""
    commit(store, "out", a=b"one")
    push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as made:
        yield made


@pytest.fixture
def middle(store: castore.Store, other: castore.Store, bucket: MemoryTransport) -> bytes:
    """The version between two that only `store` has, forgotten, beside one that the bucket has."""
    commit(other, "out", a=b"theirs")
    push(other, NAME, bucket)
    commit(store, "out", a=b"mine")
    gone = commit(store, "out", a=b"a mistake")
    commit(store, "out", a=b"mine again")
    store.forget(gone.id.hex(), by="ana", why="a mistake")
    return gone.id


def pulled(store: castore.Store, bucket: MemoryTransport, old: bytes) -> tuple[PullReport, bytes]:
    """A pull, and the id that the version `old` has after it."""
    report = pull(store, NAME, bucket, rebase=True)
    return report, next(made.new for made in report.rebased if made.old == old)


@pytest.mark.parametrize("collected", [False, True])
def test_what_was_forgotten_is_so_under_its_new_id(
    store: castore.Store,
    other: castore.Store,
    bucket: MemoryTransport,
    middle: bytes,
    collected: bool,
) -> None:
    if collected:
        store.gc(grace=0)
    report, anew = pulled(store, bucket, middle)
    assert len(report.rebased) == 3
    was, removal = store.forgotten(store.version(middle)), store.forgotten(store.version(anew))
    assert was is not None
    assert removal is not None
    assert removal[:3] == was[:3]
    with pytest.raises(ObjectNotFound, match="a mistake"):
        store.read_bytes(f"{anew.hex()}:a")
    assert store.read_bytes("out:a") == b"mine again"
    sound(store)
    push(store, NAME, bucket)
    pull(other, NAME, bucket)
    assert [version.number for version in other.log("out")] == [5, 4, 3, 2, 1]
    assert other.forgotten(other.version(anew)) is not None
    sound(other)
    store.gc(grace=0)
    sound(store)


def test_it_is_said_once_where_the_same_version_is_made_again(
    store: castore.Store, bucket: MemoryTransport, middle: bytes
) -> None:
    _, anew = pulled(store, bucket, middle)
    store.undo()
    _, again = pulled(store, bucket, middle)
    assert again == anew
    assert store.forgotten(store.version(anew)) is not None
    sound(store)
