"""Stores that are buckets: what is written is there before it is acknowledged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import castore
from castore.errors import CastoreError, RefMoved
from castore.model.refs import LOST
from castore.remote.urls import open_transport
from castore.store.branches import create_branch, delete_branch
from castore.store.config import KnownRemote
from castore.store.opening import clock
from castore.store.shared import cache_folder, open_shared
from castore.store.store import Store
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import commit, refs, sound


def machine(tmp_path: Path, name: str) -> castore.Store:
    """The bucket of a test as the store of one machine."""
    return castore.open((tmp_path / "bucket").as_uri(), caches=tmp_path / name)


def there(tmp_path: Path) -> dict[str, bytes]:
    """The refs that the bucket has."""
    with castore.clone(tmp_path / "bucket", tmp_path / f"look{os.urandom(4).hex()}") as made:
        return refs(made)


def test_a_version_is_in_the_bucket_when_it_is_acknowledged(tmp_path: Path) -> None:
    with machine(tmp_path, "one") as one:
        first = commit(one, "out", a=b"one", b=b"x" * 10_000)
        assert there(tmp_path) == {"heads/out": first.id}
        one.approve("out", by="bob@example.org")
        one.tag("good", "out")
    with machine(tmp_path, "two") as two:
        assert two.read_bytes("out:a") == b"one"
        assert two.resolve("good").version.id == first.id
        assert len(list(two.log("out"))) == 1
        second = commit(two, "out", a=b"two", b=b"x" * 10_000)
        sound(two)
    with machine(tmp_path, "one") as one:
        assert one.resolve("out").version.id == second.id
        assert one.read_bytes("out@v2:a") == b"two"
        sound(one)


@pytest.mark.parametrize("how", ["emptied", "moved"])
def test_a_bucket_that_vanished_is_no_empty_one(tmp_path: Path, how: str) -> None:
    """Nothing is read as "no versions yet", and what is here stays."""
    with machine(tmp_path, "one") as one:
        made = commit(one, "out", a=b"one")
    (tmp_path / "bucket").rename(tmp_path / "away")
    if how == "emptied":
        (tmp_path / "bucket").mkdir()
    for _ in range(2):
        with pytest.raises(CastoreError) as caught, machine(tmp_path, "one"):
            pass
        assert caught.value.code in (7, 9)
    url = (tmp_path / "bucket").as_uri()
    with castore.open(url, caches=tmp_path / "one", offline=True) as offline:
        assert offline.resolve("out").version.id == made.id
    if how == "emptied":
        (tmp_path / "bucket").rmdir()
    (tmp_path / "away").rename(tmp_path / "bucket")
    with machine(tmp_path, "one") as one:
        assert one.resolve("out").version.id == made.id


def test_of_two_at_once_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    with machine(tmp_path, "one") as one, machine(tmp_path, "two") as two:
        first = commit(one, "out", a=b"one")
        with pytest.raises(RefMoved) as caught:
            commit(two, "out", a=b"two")
        assert caught.value.attributes["remote"] == first.id.hex()
        made = caught.value.attributes["local"]
        lost = two.database.read(lambda tables: tables.refs(LOST))
        assert [id.hex() for _, id in lost] == [made]
        assert refs(two) == {"heads/out": first.id}
        again = commit(two, "out", a=b"two")
        assert again.number == 2
        assert there(tmp_path) == {"heads/out": again.id}
        sound(two)


def test_a_version_may_be_put_after_those_of_others(tmp_path: Path) -> None:
    with machine(tmp_path, "one") as one, machine(tmp_path, "two") as two:
        first = commit(one, "out", a=b"one")
        two.behind.rebase = True
        second = commit(two, "out", a=b"two")
        third = commit(one, "new", a=b"x")
        assert (second.number, second.manifest.parents) == (2, (first.id,))
        assert there(tmp_path) == {"heads/out": second.id, "heads/new": third.id}
        assert refs(two, LOST) == {}
        assert two.behind.renamed == {}
        sound(two)


def test_what_never_arrived_does_not_count(tmp_path: Path) -> None:
    with machine(tmp_path, "one") as one:
        first = commit(one, "out", a=b"one")
        one.database.acknowledge = None
        # As a process that is killed between its two writes.
        with one.session(name="out", context=castore.Context(operation="job-1")) as session:
            session.add("a", b"two")
            unsent = session.commit()
    with machine(tmp_path, "one") as one:
        assert one.resolve("out").version.id == first.id
        with one.session(name="out", context=castore.Context(operation="job-1")) as session:
            session.add("a", b"two")
            anew = session.commit()
        assert anew.number == 2
        assert there(tmp_path) == {"heads/out": anew.id}
        assert f"lost/out/{unsent.id.hex()}" in refs(one, LOST)
        sound(one)


def test_branches_are_deleted_and_moved_there_too(tmp_path: Path) -> None:
    with machine(tmp_path, "one") as one:
        first = commit(one, "out", a=b"one")
        commit(one, "out", a=b"two")
        create_branch(one, "other", one.resolve("out@v1").version, by="ann@example.org")
        assert there(tmp_path)["heads/other"] == first.id
        delete_branch(one, "other", by="ann@example.org")
        assert "heads/other" not in there(tmp_path)
    with machine(tmp_path, "two") as two:
        assert set(refs(two)) == {"heads/out"}


def test_a_cache_of_a_bucket_that_was_made_anew(tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    with machine(tmp_path, "one"):
        pass
    with machine(tmp_path, "two") as two:
        commit(two, "out", a=b"one")
    with machine(tmp_path, "one") as one:
        assert one.read_bytes("out:a") == b"one"
        assert one.folder.parent == cache_folder(tmp_path / "one", KnownRemote(url))
        known = connect(one, "origin", open_transport(url))
        assert verify_bucket(known.bucket, known).ok


def test_the_front_door_takes_a_folder_for_caches(tmp_path: Path) -> None:
    with pytest.raises(castore.CastoreError, match="cache"):
        castore.open("s3://bucket/x")
    made = open_shared((tmp_path / "bucket").as_uri(), tmp_path / "one", now=clock)
    with made:
        assert type(made) is Store
