"""Pushes, fetches, pulls, clones and collections between stores and a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import castore
from castore.database.indexes import Index
from castore.errors import (
    Conflict,
    CorruptObject,
    InvalidInput,
    ObjectNotFound,
    RefMoved,
    TagExists,
)
from castore.remote.collect import BucketReport, collect_bucket
from castore.remote.memory import MemoryTransport
from castore.store.opening import clock
from castore.store.sync_bring import bring
from castore.store.sync_clone import clone
from castore.store.sync_fetch import fetch
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from castore.store.sync_remote import connect, noted
from castore.store.sync_verify import verify_bucket
from castore.store.tags import delete_tag
from tests.store.conftest import ticking
from tests.store.syncing import NAME, commit, copy_of, members, refs, sound

TEXT = b"".join(b"row %d of a table that compresses\n" % row for row in range(9_000))


@pytest.fixture
def bucket() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def other(store: castore.Store, bucket: MemoryTransport, tmp_path: Path) -> Iterator[castore.Store]:
    """A clone of the bucket after one version of `store` was pushed."""
    commit(store, "out", a=b"one", big=TEXT)
    push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as made:
        yield made


def collected(store: castore.Store, bucket: MemoryTransport, *, dry: bool = False) -> BucketReport:
    known = connect(store, NAME, bucket)
    return collect_bucket(known.bucket, known, os.urandom, dry_run=dry)


def moved_back(store: castore.Store, bucket: MemoryTransport, ref: str, to: bytes) -> None:
    """Point a ref of a bucket at an older version, as nothing of castore does."""
    known = connect(store, NAME, bucket).bucket
    known.update(lambda root: None if root.refs[ref] == to else replace(
        root, refs={**root.refs, ref: to}
    ))  # fmt: skip


def verified(store: castore.Store, bucket: MemoryTransport) -> None:
    known = connect(store, NAME, bucket)
    assert verify_bucket(known.bucket, known).as_json()["findings"] == []


def test_a_clone_has_all_and_the_same(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    assert other.database.project == store.database.project
    assert other.database.uuid != store.database.uuid
    assert refs(other) == refs(store)
    assert other.read_bytes("out:big") == TEXT
    assert refs(other, "remotes/origin/") == {"remotes/origin/out": refs(store)["heads/out"]}
    sound(other)
    verified(store, bucket)


def test_what_is_there_is_not_sent_again(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    again = push(store, NAME, bucket)
    assert (again.changed, again.packs) == (False, 0)
    edited = TEXT.replace(b"row 4000 ", b"ROW 4000 ")
    commit(store, "out", a=b"one", big=edited)
    foreseen = push(store, NAME, bucket, dry_run=True)
    sent = push(store, NAME, bucket)
    assert foreseen.moves == sent.moves
    assert foreseen.objects == sent.objects
    assert sent.bytes < len(TEXT) // 50
    brought = fetch(other, NAME, bucket)
    assert brought.bytes < len(TEXT) // 50
    assert refs(other)["heads/out"] != refs(store)["heads/out"]
    pull(other, NAME, bucket)
    assert refs(other) == refs(store)
    assert other.read_bytes("out:big") == edited
    sound(other)


def test_deltas_travel_as_they_are(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    text = bytearray(TEXT)
    for version in range(8):
        text[version * 900 : version * 900 + 4] = b"%04d" % version
        commit(store, "out", big=bytes(text))
        push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as made:
        stored = store.database.read(lambda tables: [i for _, i in tables.block_infos()])
        taken = made.database.read(lambda tables: [i for _, i in tables.block_infos()])
        assert sum(1 for info in stored if info.bases) > 3
        assert sorted(i.stored for i in stored) == sorted(i.stored for i in taken)
        sound(made)


def test_a_push_moves_all_or_nothing(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    commit(other, "out", a=b"two")
    push(other, NAME, bucket)
    commit(store, "out", a=b"three")
    commit(store, "news", b=b"new")
    before = connect(store, NAME, bucket).bucket.read().root.refs
    with pytest.raises(RefMoved) as caught:
        push(store, NAME, bucket)
    assert caught.value.code == 4
    assert "cas pull origin out" in caught.value.fix
    assert connect(store, NAME, bucket).bucket.read().root.refs == before
    push(store, NAME, bucket, ["news"])
    assert "heads/news" in connect(store, NAME, bucket).bucket.read().root.refs


def test_versions_on_both_sides(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    theirs = commit(other, "out", a=b"theirs")
    push(other, NAME, bucket)
    first = commit(store, "out", a=b"mine", b=b"x")
    second = commit(store, "out", a=b"mine again", b=b"x")
    with pytest.raises(RefMoved) as caught:
        pull(store, NAME, bucket)
    assert "--rebase" in caught.value.fix
    assert refs(store)["heads/out"] == second.id
    report = pull(store, NAME, bucket, rebase=True)
    assert [(made.old, made.old_number, made.new_number) for made in report.rebased] == [
        (first.id, 2, 3), (second.id, 3, 4),
    ]  # fmt: skip
    line = list(store.log("out"))
    assert [version.number for version in line] == [4, 3, 2, 1]
    assert line[2].id == theirs.id
    assert line[0].set_id == second.set_id
    push(store, NAME, bucket)
    pull(other, NAME, bucket)
    assert refs(other) == refs(store)
    sound(store)
    sound(other)


def test_nothing_of_another_branch_leaves(store: castore.Store, bucket: MemoryTransport) -> None:
    random = Random(7)
    secret, shared = random.randbytes(3_000), random.randbytes(3_000)
    # Small contents of one commit lie in one block.
    commit(store, "private", a=secret, b=shared)
    commit(store, "public", b=shared, c=b"open")
    push(store, NAME, bucket, ["public"])
    with_secret = store.resolve("private:a")
    assert with_secret.artifact is not None
    assert with_secret.artifact.content.digest not in members(bucket)
    for item in bucket.list(""):
        assert secret[:40] not in bucket.get(item.key).data
    push(store, NAME, bucket)
    assert with_secret.artifact.content.digest in members(bucket)
    verified(store, bucket)


def test_notes_merge_both_ways(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    store.comment("out@v1", "seen", by="ann@example.org")
    other.approve("out@v1", by="bob@example.org")
    push(store, NAME, bucket)
    push(other, NAME, bucket)
    fetch(store, NAME, bucket)
    fetch(other, NAME, bucket)
    for each in (store, other):
        ids = each.database.read(lambda tables: set(tables.ids_under(Index.TARGET)))
        assert len(ids) == 2
        sound(each)
    assert connect(store, NAME, bucket).bucket.read().root.notes.notes == 2


def test_tags_never_move(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    store.tag("first", "out@v1")
    push(store, NAME, bucket)
    later = commit(other, "out", a=b"later")
    other.tag("first", "out@v2")
    report = fetch(other, NAME, bucket)
    assert report.conflicts == ("first",)
    assert refs(other, "tags/") == {"tags/first": later.id}
    with pytest.raises(TagExists):
        push(other, NAME, bucket)
    delete_tag(store, "first", by="ann@example.org")
    push(store, NAME, bucket)
    fetch(other, NAME, bucket)
    assert refs(other, "tags/") == {}
    with pytest.raises(TagExists):
        other.tag("first", "out@v1")


def test_what_was_forgotten_is_freed_there(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    noise = Random(1).randbytes(200_000)
    commit(store, "out", a=noise)
    commit(store, "out", a=b"small")
    push(store, NAME, bucket)
    size = sum(item.size for item in bucket.list("packs/"))
    assert collected(store, bucket).deleted == 0
    store.forget("out@v2", by="ann@example.org", why="too big")
    push(store, NAME, bucket)
    foreseen = collected(store, bucket, dry=True)
    assert foreseen.dead > 0
    assert sum(item.size for item in bucket.list("packs/")) == size
    done = collected(store, bucket)
    assert done.deleted > 0
    assert sum(item.size for item in bucket.list("packs/")) < size - len(noise) // 2
    verified(store, bucket)
    fetch(other, NAME, bucket)
    pull(other, NAME, bucket)
    assert other.forgotten(other.resolve("out@v2").version) is not None
    sound(other)
    store.forget("out@v1", by="ann@example.org")
    push(store, NAME, bucket)
    pull(other, NAME, bucket)
    # It lies there as a whole: what a bucket says makes nothing go.
    assert other.forgotten(other.resolve("out@v1").version) is None
    assert other.read_bytes("out@v1:big") == TEXT
    sound(other)
    with copy_of(bucket, tmp_path / "third") as third:
        assert [version.number for version in third.log("out")] == [3, 2, 1]
        sound(third)


def test_what_was_purged_is_in_no_pack(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    private = b"name and address of a person\n" * 50
    commit(store, "out", a=private, b=b"rest")
    push(store, NAME, bucket)
    digest = store.resolve("out:a").artifact.content.digest
    assert digest in members(bucket)
    store.purge("out@v2:a", reason="asked for", by="ann@example.org")
    push(store, NAME, bucket)
    collected(store, bucket)
    assert digest not in members(bucket)
    verified(store, bucket)
    with copy_of(bucket, tmp_path / "third") as third:
        sound(third)
        with pytest.raises(InvalidInput):
            commit(third, "out", a=private)
    with_it = commit(other, "mine", a=private)
    report = fetch(other, NAME, bucket)
    assert digest in report.purged
    assert refs(other)["heads/mine"] == with_it.id


def test_a_collection_keeps_what_refs_need_and_frees_the_rest(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    random = Random(3)
    kept = commit(store, "out", a=random.randbytes(50_000), b=TEXT)
    commit(store, "out", a=random.randbytes(400_000), b=TEXT.upper())
    push(store, NAME, bucket)
    moved_back(store, bucket, "heads/out", kept.id)
    report = collected(store, bucket)
    assert report.dead > 0
    assert report.rewritten > 0
    verified(store, bucket)
    with copy_of(bucket, tmp_path / "other") as made:
        assert refs(made)["heads/out"] == kept.id
        assert made.read_bytes("out:b") == TEXT
        sound(made)
    push(store, NAME, bucket)
    verified(store, bucket)
    with copy_of(bucket, tmp_path / "third") as made:
        assert refs(made) == refs(store)
        sound(made)


def test_many_small_packs_are_put_together(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    for version in range(40):
        commit(store, "out", a=b"version %d" % version)
        push(store, NAME, bucket)
    assert len(connect(store, NAME, bucket).bucket.read().root.indexes) <= 33
    assert len(list(bucket.list("packs/"))) == 80
    collected(store, bucket)
    assert len(list(bucket.list("packs/"))) == 2
    verified(store, bucket)
    with copy_of(bucket, tmp_path / "other") as made:
        assert len(list(made.log("out"))) == 40
        sound(made)


def test_another_project_is_refused(
    store: castore.Store, bucket: MemoryTransport, tmp_path: Path
) -> None:
    commit(store, "out", a=b"one")
    push(store, NAME, bucket)
    (tmp_path / "else").mkdir()
    with castore.init(tmp_path / "else", now=ticking()) as stranger:
        commit(stranger, "out", a=b"two")
        for verb in (push, fetch):
            with pytest.raises(InvalidInput, match="another project"):
                verb(stranger, NAME, bucket)


def test_an_empty_bucket_and_a_dry_run(store: castore.Store, bucket: MemoryTransport) -> None:
    commit(store, "out", a=b"one")
    assert push(store, NAME, bucket, dry_run=True).changed
    assert list(bucket.list("")) == []
    with pytest.raises(InvalidInput, match="empty"):
        fetch(store, NAME, bucket)
    push(store, NAME, bucket)
    for item in list(bucket.list("")):
        bucket.delete([item.key])
    with pytest.raises(CorruptObject, match="not when it was seen"):
        fetch(store, NAME, bucket)


def test_names_are_not_shared_between_branches_and_tags(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    store.tag("name", "out@v1")
    push(store, NAME, bucket)
    commit(other, "name", a=b"x")
    with pytest.raises(Conflict):
        push(other, NAME, bucket)


def test_a_clone_without_contents_fetches_what_is_read(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport, tmp_path: Path, out: Path
) -> None:
    commit(store, "out", a=b"one", big=TEXT + b"more", c=b"x" * 5_000)
    with store.session(name="tree") as session:
        session.add("data", out)
        session.commit()
    push(store, NAME, bucket)
    made, _ = clone(
        bucket, tmp_path / "light", now=clock, entropy=os.urandom, configure=lambda _: None,
        contents=False,
    )  # fmt: skip
    with castore.Store(made.database, now=clock, entropy=os.urandom) as light:
        sound(light)
        with pytest.raises(ObjectNotFound, match="promised"):
            light.read_bytes("out:big")
        brought: list[int] = []

        def fetch_from(store_: object, ids: Sequence[bytes]) -> None:
            brought.append(len(ids))
            assert bring(light, NAME, bucket, ids) == []

        light.bring = fetch_from
        assert light.read_bytes("out:big") == TEXT + b"more"
        assert light.read_bytes("out:big") == TEXT + b"more"
        assert brought == [1]
        light.checkout("tree", tmp_path / "checked")
        assert len(brought) == 2
        assert (tmp_path / "checked/data/data/a.csv").read_bytes() == (
            out / "data/a.csv"
        ).read_bytes()
        sound(light)
        commit(light, "out", a=b"two", big=TEXT)
        assert push(light, NAME, bucket).changed
        verified(light, bucket)
        fetch(light, NAME, bucket, contents=False)
        sound(light)
    pull(store, NAME, bucket)
    sound(store)


def test_a_deleted_tag_takes_no_tag_of_others_along(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    """Whoever does what the refusal of a tag says to do keeps the tag of the other."""
    theirs = store.resolve("out").version.id
    store.tag("rel", "out")
    push(store, NAME, bucket)
    commit(other, "out", a=b"two")
    other.tag("rel", "out")
    with pytest.raises(TagExists):
        push(other, NAME, bucket)
    delete_tag(other, "rel", by="bob")
    push(other, NAME, bucket)
    assert not push(other, NAME, bucket).changed
    root = connect(store, NAME, bucket).bucket.read().root
    assert root.refs["tags/rel"] == theirs
    assert not root.tombs
    assert fetch(other, NAME, bucket).conflicts == ("rel",)
    fetch(store, NAME, bucket)
    assert refs(store, "tags/") == {"tags/rel": theirs}


def test_a_push_tells_of_the_tags_that_it_deletes(
    store: castore.Store, bucket: MemoryTransport
) -> None:
    tagged = commit(store, "out", a=b"one")
    store.tag("rel", "out")
    push(store, NAME, bucket)
    delete_tag(store, "rel", by="bob")
    report = push(store, NAME, bucket, dry_run=True)
    assert report.moves == (("tags/rel", tagged.id, b""),)
    report = push(store, NAME, bucket)
    assert report.changed
    assert report.moves == (("tags/rel", tagged.id, b""),)
    assert not push(store, NAME, bucket).changed


class _Meanwhile(MemoryTransport):
    """A bucket in which `then` is done once, just before its root is replaced."""

    then: Callable[[], object] | None = None

    def replace(self, key: str, data: bytes, etag: str) -> str:
        then, self.then = self.then, None
        if then is not None:
            then()
        return super().replace(key, data, etag)


def test_a_tag_of_a_deleted_name_that_comes_meanwhile_stays(
    store: castore.Store, tmp_path: Path
) -> None:
    bucket = _Meanwhile()
    commit(store, "out", a=b"one")
    push(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "other") as other:
        store.tag("rel", "out")
        delete_tag(store, "rel", by="ann@example.org")
        theirs = commit(other, "draft", a=b"two")
        other.tag("rel", "draft")
        bucket.then = lambda: push(other, NAME, bucket)
        push(store, NAME, bucket)
    root = connect(store, NAME, bucket).bucket.read().root
    assert root.refs["tags/rel"] == theirs.id
    assert not root.tombs


def test_what_another_process_saw_meanwhile_stays_seen(
    store: castore.Store, other: castore.Store, bucket: MemoryTransport
) -> None:
    slow = connect(store, NAME, bucket)
    slow.bucket.read()
    commit(other, "out", a=b"two")
    push(other, NAME, bucket)
    fetch(store, NAME, bucket)
    seen = noted(store, NAME).seen
    assert seen is not None
    assert slow.bucket.seen is not None
    assert slow.bucket.seen.serial < seen.serial
    slow.begin_upload(b"u" * 16)
    assert noted(store, NAME).seen == seen
    store.database.write(slow.note_seen)
    assert noted(store, NAME).seen == seen
    assert noted(store, NAME).upload == b"u" * 16
