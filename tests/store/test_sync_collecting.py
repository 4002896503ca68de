"""Collections of a store while it pushes: nothing goes that the push still needs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from random import Random

import pytest

import castore
from castore.remote.memory import MemoryTransport
from castore.store.branches import delete_branch
from castore.store.collect import CollectRequest, collect
from castore.store.sync_push import push
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import NAME, commit, copy_of, refs, sound


class Disturbed(MemoryTransport):
    """A bucket in which a pack arrives just after a collection here took something."""

    def __init__(self, store: castore.Store, times: int) -> None:
        super().__init__()
        self.near = store
        self.left = times
        self.packs = 0
        self.turn = threading.Lock()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        with self.turn:
            if key.startswith("packs/"):
                self.packs += 1
                if self.left:
                    self.left -= 1
                    taken = self.near.database.read(lambda tables: tables.gc_epoch())
                    collect(self.near, CollectRequest(grace=0))
                    assert self.near.database.read(lambda t: t.gc_epoch()) > taken
                    litter(self.near)
        return super().put(key, data, if_absent=if_absent)


def litter(store: castore.Store) -> None:
    """Something dead for the next collection, in blocks that hold living content too."""
    random = Random(os.urandom(4))
    parts = {f"p{at}": random.randbytes(2_000) for at in range(8)}
    commit(store, "scratch", **parts)
    commit(store, "keep", p0=parts["p0"])
    delete_branch(store, "scratch", by="ann@example.org")


@pytest.mark.parametrize("times", [1, 6, 60])
def test_a_push_goes_on_beside_collections(
    store: castore.Store, tmp_path: Path, times: int
) -> None:
    contents = [Random(number).randbytes(9_000_000) for number in range(4)]
    for data in contents:
        commit(store, "out", big=data)
    litter(store)
    bucket = Disturbed(store, times)
    sent = push(store, NAME, bucket, ["out", "keep"], sleep=lambda _: None)
    assert sent.changed
    known = connect(store, NAME, bucket)
    assert verify_bucket(known.bucket, known).ok
    with copy_of(bucket, tmp_path / "copy") as copy:
        assert refs(copy)["heads/out"] == refs(store)["heads/out"]
        for number, data in enumerate(contents, 1):
            assert copy.read_bytes(f"out@v{number}:big") == data
        sound(copy)
    sound(store)


def test_a_branch_that_goes_meanwhile_is_not_half_sent(store: castore.Store) -> None:
    commit(store, "out", big=Random(1).randbytes(30_000_000))
    commit(store, "gone", big=Random(2).randbytes(30_000_000))

    class Deleting(MemoryTransport):
        deleted = False

        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
            if key.startswith("packs/") and not self.deleted:
                self.deleted = True
                delete_branch(store, "gone", by="ann@example.org")
                collect(store, CollectRequest(grace=0))
            return super().put(key, data, if_absent=if_absent)

    bucket = Deleting()
    push(store, NAME, bucket, sleep=lambda _: None)
    known = connect(store, NAME, bucket)
    assert "heads/out" in known.bucket.read().root.refs
    assert verify_bucket(known.bucket, known).ok
