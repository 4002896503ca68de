"""The inbox of a bucket: notes of people who may do no more than put them there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import castore
from castore.errors import PermissionDenied, RefMoved
from castore.model.ids import Kind, object_id
from castore.model.note import Note, encode_note
from castore.remote.inbox import INBOX_NOTES, read_waiting, waiting
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


def test_what_waits_does_not_count_for_who_may_not_take_it_along(
    store: castore.Store, reviewer: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    reviewer.approve("out", by="bob@example.org")
    push(reviewer, NAME, Reviewer(bucket))
    with copy_of(bucket, tmp_path / "third") as third:
        for said in (0, 1):
            push(third, NAME, Reviewer(bucket))
            assert not third.gate("out", require=["approved"]).passed
            assert len(waiting(bucket)) == 1 + said
            third.comment("out", "fine", by="eve@example.org")
        assert connect(third, NAME, bucket).bucket.read().root.uploads == {}
        sound(third)


def test_a_push_that_is_refused_takes_nothing_in(
    store: castore.Store, reviewer: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    with copy_of(bucket, tmp_path / "third") as third:
        commit(third, "out", a=b"other")
        commit(store, "out", a=b"two")
        push(store, NAME, bucket)
        pull(reviewer, NAME, Reviewer(bucket))
        reviewer.approve("out@v1", by="bob@example.org")
        push(reviewer, NAME, Reviewer(bucket))
        with pytest.raises(RefMoved):
            push(third, NAME, bucket)
        assert not third.gate("out@v1", require=["approved"]).passed


def test_no_more_is_looked_at_than_memory_and_patience_allow(
    store: castore.Store,
    reviewer: castore.Store,
    bucket: MemoryTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("castore.store.sync_inbox._LOOKED_AT", 5)
    for at in range(50):
        bucket.put(inbox_key(bytes([at]) * 32), b"junk")
    reviewer.approve("out", by="bob@example.org")
    push(reviewer, NAME, Reviewer(bucket))
    asked: list[str] = []
    monkeypatch.setattr(
        "castore.store.sync_inbox.read_waiting",
        lambda transport, id: asked.append(id.hex()) or read_waiting(transport, id),
    )
    for push_number in range(1, 500):
        push(store, NAME, bucket)
        assert len(asked) <= 5 * push_number
        if store.gate("out", require=["approved"]).passed:
            break
    else:
        raise AssertionError("junk keeps a note from ever being taken")
    monkeypatch.setattr("castore.store.sync_inbox._LOOKED_AT_BYTES", 0)
    for text in ("a", "b"):
        reviewer.comment("out", text, by="bob@example.org")
    push(reviewer, NAME, Reviewer(bucket))
    monkeypatch.setattr("castore.store.sync_inbox._LOOKED_AT", 1_000)
    assert push(store, NAME, bucket).notes == 1


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
