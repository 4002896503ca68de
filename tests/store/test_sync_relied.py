"""Pushes that rely on what a bucket has, while others take that away."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import castore
from castore.errors import Conflict, CorruptObject, RemoteUnavailable, TagExists
from castore.remote.collect import collect_bucket
from castore.remote.memory import MemoryTransport
from castore.remote.transport import Got
from castore.store.sync_plan import Move
from castore.store.sync_push import push, push_moves
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from castore.store.tags import delete_tag
from tests.store.syncing import NAME, commit, copy_of, refs, sound

DICE = Random(7)
WORDS = [bytes(DICE.choices(b"abcdefgh", k=9)) for _ in range(900)]


def edited(*places: int) -> bytes:
    """Text in one chunk, that is stored as a delta of the one before it."""
    words = [b"EDITED" if at in places else word for at, word in enumerate(WORDS)]
    return b" ".join(words)


class Watched(MemoryTransport):
    """A bucket where something happens once, after a key of this prefix was written."""

    prefix = ""
    happens: Callable[[], object] | None = None

    def after(self, prefix: str, happens: Callable[[], object]) -> None:
        self.prefix, self.happens = prefix, happens

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        tag = super().put(key, data, if_absent=if_absent)
        happens = self.happens
        if happens is not None and key.startswith(self.prefix):
            self.happens = None
            happens()
        return tag


def collect(store: castore.Store, bucket: MemoryTransport) -> None:
    known = connect(store, NAME, bucket)
    collect_bucket(known.bucket, known, os.urandom)


def whole(store: castore.Store, bucket: MemoryTransport, folder: Path) -> None:
    """The bucket is in order, and so is a clone of it."""
    known = connect(store, NAME, bucket)
    assert verify_bucket(known.bucket, known).as_json()["findings"] == []
    with copy_of(bucket, folder) as made:
        assert refs(made) | refs(made, "tags/") == known.bucket.read().root.refs
        sound(made)


@pytest.fixture
def bucket() -> Watched:
    return Watched()


@pytest.fixture
def scene(store: castore.Store, bucket: Watched, tmp_path: Path) -> castore.Store:
    """Another store, whose branch `x` has what a delta of `z` in `store` rests on.

    Nothing else that `z` needs has it: the version before was forgotten.
    """
    commit(store, "base", note=b"something")
    push(store, NAME, bucket)
    other = copy_of(bucket, tmp_path / "other")
    commit(other, "x", far=edited())
    push(other, NAME, bucket)
    first = commit(store, "z", big=edited())
    commit(store, "z", big=edited(5))
    store.forget(first.id.hex(), why="not needed")
    return other


def take_away(other: castore.Store, bucket: Watched) -> None:
    push_moves(other, NAME, bucket, [Move("heads/x", refs(other)["heads/x"], b"")])
    collect(other, bucket)


def test_a_delta_goes_as_it_is_where_its_base_is_there(
    store: castore.Store, scene: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    sent = push(store, NAME, bucket, ["z"])
    assert sent.bytes < 4_000
    whole(store, bucket, tmp_path / "copy")
    scene.close()


def test_the_base_of_a_delta_is_collected_before_the_root_is_replaced(
    store: castore.Store, scene: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    bucket.after("packs/", lambda: take_away(scene, bucket))
    push(store, NAME, bucket, ["z"])
    assert bucket.happens is None
    whole(store, bucket, tmp_path / "copy")
    scene.close()


def test_the_base_of_a_delta_is_collected_before_a_push_goes_on(
    store: castore.Store, scene: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    def stop() -> None:
        raise RemoteUnavailable("the line is cut")

    bucket.after("index/", stop)
    with pytest.raises(RemoteUnavailable):
        push(store, NAME, bucket, ["z"])
    take_away(scene, bucket)
    push(store, NAME, bucket, ["z"])
    whole(store, bucket, tmp_path / "copy")
    scene.close()


def test_a_push_goes_on_from_what_arrived(
    store: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    commit(store, "out", big=os.urandom(300_000))

    def stop() -> None:
        raise RemoteUnavailable("the line is cut")

    bucket.after("index/", stop)
    with pytest.raises(RemoteUnavailable):
        push(store, NAME, bucket)
    before = sum(item.size for item in bucket.list("packs/"))
    assert before > 300_000
    again = push(store, NAME, bucket)
    assert (again.packs, again.bytes) == (0, 0)
    assert sum(item.size for item in bucket.list("packs/")) == before
    whole(store, bucket, tmp_path / "copy")


def test_a_push_whose_upload_was_given_up_begins_anew(
    store: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    commit(store, "out", big=b"some content")

    def evict() -> None:
        known = connect(store, NAME, bucket).bucket
        known.update(lambda root: replace(root, uploads={}) if root.uploads else None)
        bucket.delete([item.key for item in bucket.list("packs/")])

    bucket.after("packs/", evict)
    push(store, NAME, bucket)
    whole(store, bucket, tmp_path / "copy")


def test_a_name_is_taken_while_a_push_is_on_its_way(
    store: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    commit(store, "out", big=b"some content")
    push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as other:
        commit(store, "same", big=b"more content")
        other.tag("same", "out")
        bucket.after("packs/", lambda: push(other, NAME, bucket, ["same"]))
        with pytest.raises(Conflict):
            push(store, NAME, bucket)
        root = connect(store, NAME, bucket).bucket.read().root
        assert "tags/same" in root.refs
        assert "heads/same" not in root.refs


def test_a_tag_is_deleted_while_a_push_makes_it(
    store: castore.Store, bucket: Watched, tmp_path: Path
) -> None:
    commit(store, "out", big=b"some content")
    push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as other:
        other.tag("done", "out")
        commit(store, "out", big=b"more content")
        store.tag("done", "out")
        delete_tag(other, "done", by="me")
        bucket.after("packs/", lambda: push(other, NAME, bucket))
        with pytest.raises(TagExists):
            push(store, NAME, bucket)
        root = connect(store, NAME, bucket).bucket.read().root
        assert "tags/done" in root.tombs
        assert "tags/done" not in root.refs


def test_names_of_one_letter(store: castore.Store, bucket: Watched, tmp_path: Path) -> None:
    commit(store, "o", big=b"some content")
    store.tag("t", "o")
    push(store, NAME, bucket)
    assert not push(store, NAME, bucket).changed
    whole(store, bucket, tmp_path / "copy")


class Listed(Watched):
    """A bucket where something happens once, after its packs were read for the second time."""

    reads = 0

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        happens = self.happens
        if happens is not None and key.startswith("packs/"):
            self.reads += 1
            if self.reads == 2:
                self.happens = None
                happens()
        return super().get(key, start, length)


def test_what_another_collection_removed_is_no_damage(store: castore.Store, tmp_path: Path) -> None:
    bucket = Listed()
    for at in range(3):
        commit(store, "base", note=b"something" * at)
        commit(store, "x", far=edited(at))
        push(store, NAME, bucket)
    other = copy_of(bucket, tmp_path / "other")
    push_moves(store, NAME, bucket, [Move("heads/x", refs(store)["heads/x"], b"")])
    bucket.prefix, bucket.happens = "never/", lambda: collect(other, bucket)
    collect(store, bucket)
    assert bucket.happens is None
    whole(store, bucket, tmp_path / "copy")
    other.close()


def test_a_collection_tells_of_a_pack_that_nobody_removed(
    store: castore.Store, tmp_path: Path
) -> None:
    bucket = Watched()
    commit(store, "base", note=b"something")
    push(store, NAME, bucket)
    bucket.delete([item.key for item in bucket.list("packs/")])
    with pytest.raises(CorruptObject, match="is gone"):
        collect(store, bucket)


@pytest.mark.parametrize("more", [False, True])
def test_what_a_push_sent_before_is_forgotten_before_it_goes_on(
    store: castore.Store, bucket: Watched, tmp_path: Path, more: bool
) -> None:
    """What rests on it was sent too, or is sent only now."""
    first = commit(store, "z", big=edited())
    if not more:
        commit(store, "z", big=edited(5))

    def stop() -> None:
        raise RemoteUnavailable("the line is cut")

    bucket.after("index/", stop)
    with pytest.raises(RemoteUnavailable):
        push(store, NAME, bucket)
    if more:
        commit(store, "z", big=edited(5))
    store.forget(first.id.hex(), why="not needed")
    push(store, NAME, bucket)
    whole(store, bucket, tmp_path / "copy")
