"""The inbox of a bucket: notes of people who may do no more than put them there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import castore
from castore.errors import PermissionDenied
from castore.model.ids import Kind, object_id
from castore.model.note import Note, encode_note
from castore.remote.inbox import INBOX_NOTES, waiting
from castore.remote.keys import INBOX, inbox_key
from castore.remote.memory import MemoryTransport
from castore.remote.transport import Got, Listed
from castore.store.sync_fetch import fetch
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import NAME, commit, copy_of, sound


class Reviewer:
    """A bucket to somebody who may read, and put below the inbox."""

    def __init__(self, inner: MemoryTransport) -> None:
        self._inner = inner
        self.url = inner.url

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        return self._inner.get(key, start, length)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        if not key.startswith(INBOX):
            raise PermissionDenied(f"{key}: 403 AccessDenied")
        return self._inner.put(key, data, if_absent=if_absent)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        raise PermissionDenied(f"{key}: 403 AccessDenied")

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._inner.list(prefix)

    def delete(self, keys: Sequence[str]) -> None:
        raise PermissionDenied(f"{keys[0]}: 403 AccessDenied")

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def bucket(store: castore.Store) -> MemoryTransport:
    made = MemoryTransport()
    commit(store, "out", a=b"one")
    push(store, NAME, made)
    return made


@pytest.fixture
def reviewer(bucket: MemoryTransport, tmp_path: Path) -> Iterator[castore.Store]:
    with copy_of(bucket, tmp_path / "reviewer") as made:
        yield made


def test_a_verdict_waits_and_is_taken_along(
    store: castore.Store, reviewer: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    reviewer.approve("out", by="bob@example.org")
    before = bucket.get("root")
    done = push(reviewer, NAME, Reviewer(bucket))
    assert (done.waits, done.inbox, done.changed) == (True, 1, False)
    assert bucket.get("root") == before
    assert push(reviewer, NAME, Reviewer(bucket)).inbox == 0
    # Seen by others as what does not count yet.
    seen = fetch(store, NAME, bucket, inbox=True)
    [note] = seen.waiting
    assert (note.note.value, note.note.by) == ("approved", "bob@example.org")
    assert not store.gate("out", require=["approved"]).passed
    assert not seen.changed
    sent = push(store, NAME, bucket)
    assert sent.notes == 1
    assert store.gate("out", require=["approved"]).passed
    assert waiting(bucket) == []
    assert fetch(store, NAME, bucket, inbox=True).waiting == ()
    with copy_of(bucket, tmp_path / "third") as third:
        assert third.gate("out", require=["approved"]).passed
    pull(reviewer, NAME, Reviewer(bucket))
    assert not push(reviewer, NAME, Reviewer(bucket)).waits
    known = connect(store, NAME, bucket)
    assert verify_bucket(known.bucket, known).ok
    sound(store)


def test_who_may_not_delete_takes_them_along_once(
    store: castore.Store, reviewer: castore.Store, bucket: MemoryTransport
) -> None:
    class Keeping(MemoryTransport):
        def delete(self, keys: Sequence[str]) -> None:
            raise PermissionDenied(f"{keys[0]}: 403")

    reviewer.comment("out", "fine", by="bob@example.org")
    push(reviewer, NAME, Reviewer(bucket))
    keeping = Keeping()
    for item in list(bucket.list("")):
        keeping.put(item.key, bucket.get(item.key).data)
    assert push(store, NAME, keeping).notes == 1
    assert len(waiting(keeping)) == 1
    assert push(store, NAME, keeping).notes == 0
    assert fetch(store, NAME, keeping, inbox=True).waiting == ()


def test_versions_do_not_go_by_the_inbox(reviewer: castore.Store, bucket: MemoryTransport) -> None:
    commit(reviewer, "out", a=b"two")
    with pytest.raises(PermissionDenied):
        push(reviewer, NAME, Reviewer(bucket))
    assert waiting(bucket) == []


def test_what_is_no_note_of_this_project_is_passed_over(
    store: castore.Store, bucket: MemoryTransport
) -> None:
    target = store.resolve("out").version.id
    note = Note(b"p" * 16, target, "manifest", "review", "approved", "eve@example.org", 1)
    foreign = encode_note(note)
    other = Note(store.database.project, b"v" * 32, "manifest", "comment", "", "eve", 1, "lost")
    unknown = encode_note(other)
    for data in (foreign, unknown, b"garbage", b""):
        bucket.put(inbox_key(object_id(Kind.NOTE, data)), data)
    bucket.put(inbox_key(b"x" * 32), foreign)
    bucket.put(INBOX + "readme", b"hello")
    bucket.put(inbox_key(b"y" * 32), bytes(1 << 20))
    assert [w.note.text for w in fetch(store, NAME, bucket, inbox=True).waiting] == ["lost"]
    commit(store, "out", a=b"two")
    assert push(store, NAME, bucket).notes == 0
    assert not store.gate("out", require=["approved"]).passed
    assert len(waiting(bucket)) == 6 < INBOX_NOTES
    sound(store)


def test_a_collection_leaves_the_inbox(
    store: castore.Store, reviewer: castore.Store, bucket: MemoryTransport
) -> None:
    import os

    from castore.remote.collect import collect_bucket

    reviewer.comment("out", "fine", by="bob@example.org")
    push(reviewer, NAME, Reviewer(bucket))
    known = connect(store, NAME, bucket)
    collect_bucket(known.bucket, known, os.urandom)
    assert len(waiting(bucket)) == 1
