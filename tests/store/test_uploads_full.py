"""Where as many uploads are registered as a root may have, the oldest gives way to a new one."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest

import castore
from castore.model.limits import UPLOADS_MAX
from castore.remote.collect import collect_bucket
from castore.remote.keys import UPLOAD_BYTES
from castore.remote.memory import MemoryTransport
from castore.remote.root import Root
from castore.store.heal_bucket import heal_bucket
from castore.store.sync_push import push
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import NAME, commit


@pytest.fixture
def bucket(store: castore.Store) -> MemoryTransport:
    """A bucket in which the first of two versions is forgotten, with a root full of uploads."""
    made = MemoryTransport()
    commit(store, "out", a=Random(1).randbytes(200_000))
    commit(store, "out", a=b"small")
    push(store, NAME, made)
    store.forget("out@v1", by="ann@example.org")
    push(store, NAME, made)
    uploads = {Random(at).randbytes(UPLOAD_BYTES): 0 for at in range(UPLOADS_MAX)}

    def fill(root: Root) -> Root | None:
        return None if root.uploads else replace(root, uploads=uploads)

    connect(store, NAME, made).bucket.update(fill)
    return made


def collect(store: castore.Store, bucket: MemoryTransport) -> None:
    known = connect(store, NAME, bucket)
    collect_bucket(known.bucket, known, os.urandom)


def heal(store: castore.Store, bucket: MemoryTransport) -> None:
    packs = [item.key for item in bucket.list("packs/")]
    bucket.delete(packs)
    assert heal_bucket(store, NAME, bucket).whole


def send(store: castore.Store, bucket: MemoryTransport) -> None:
    commit(store, "out", a=b"more")
    push(store, NAME, bucket)


@pytest.mark.parametrize("work", [collect, heal, send])
def test_the_root_can_still_be_read(
    store: castore.Store, bucket: MemoryTransport, work: object
) -> None:
    assert callable(work)
    work(store, bucket)
    known = connect(store, NAME, bucket)
    assert len(known.bucket.read().root.uploads) < UPLOADS_MAX
    assert verify_bucket(known.bucket, known).as_json()["findings"] == []
