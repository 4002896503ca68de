"""Stores that are buckets: several processes with one cache, and what must get to the bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import castore
from castore.database.operations import Operation
from castore.errors import RefMoved, RemoteUnavailable
from castore.model.ids import Id
from castore.model.refs import LOST
from castore.remote.files import FileTransport
from castore.remote.root import Root
from castore.remote.urls import open_transport
from castore.store.branches import delete_branch
from castore.store.sync_remote import connect
from tests.store.syncing import commit, refs, sound


def process(tmp_path: Path) -> castore.Store:
    """A process that uses the bucket of a test, all with one cache."""
    return castore.open((tmp_path / "bucket").as_uri(), caches=tmp_path / "caches")


def root_of(store: castore.Store, tmp_path: Path) -> Root:
    """What the bucket holds."""
    transport = open_transport((tmp_path / "bucket").as_uri())
    return connect(store, "origin", transport).bucket.read().root


def between(store: castore.Store, happens: Callable[[], object]) -> None:
    """Have something happen once, when a commit is durable in the cache and not yet sent."""
    send = store.database.acknowledge
    assert send is not None

    def acknowledge(operation: Operation) -> None:
        store.database.acknowledge = send
        happens()
        send(operation)

    store.database.acknowledge = acknowledge


def test_what_another_process_sent_along_is_acknowledged(tmp_path: Path) -> None:
    with process(tmp_path) as first, process(tmp_path) as second:
        one = commit(first, "out", a=b"one")
        second.behind.rebase = True
        made: list[castore.Version] = []
        between(first, lambda: made.append(commit(second, "out", a=b"three")))
        two = commit(first, "out", a=b"two")
        (three,) = made
        assert (two.manifest.parents, three.manifest.parents) == ((one.id,), (two.id,))
        assert root_of(first, tmp_path).refs == {"heads/out": three.id}
        assert refs(first) == {"heads/out": three.id}
        assert refs(first, LOST) == {}
        sound(first)


def test_a_version_on_its_way_is_not_lost(tmp_path: Path) -> None:
    """Another process refreshes before it is sent."""

    def look() -> None:
        with process(tmp_path) as other:
            assert other.resolve("out").version.number == 1

    with process(tmp_path) as store:
        commit(store, "out", a=b"one")
        between(store, look)
        two = commit(store, "out", a=b"two")
        assert store.resolve("out").version.id == two.id
        assert refs(store, LOST) == {}
        assert commit(store, "out", a=b"three").number == 3
        sound(store)


def test_of_two_that_refuse_to_go_after_each_other_one_is_told(tmp_path: Path) -> None:
    refused: list[Id] = []
    with process(tmp_path) as store, process(tmp_path) as other:
        commit(store, "out", a=b"one")

        def beside() -> None:
            with pytest.raises(RefMoved) as caught:
                commit(other, "out", a=b"three")
            refused.append(bytes.fromhex(caught.value.attributes["local"]))

        between(store, beside)
        two = commit(store, "out", a=b"two")
        assert store.resolve("out").version.id == two.id
        assert list(refs(store, LOST).values()) == refused


def test_what_was_removed_is_owed_until_the_bucket_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path) as store:
        old = commit(store, "out", a=b"one")
        commit(store, "out", a=b"two")

        def replace(*_: object) -> str:
            raise RemoteUnavailable("no connection")

        with monkeypatch.context() as broken:
            broken.setattr(FileTransport, "replace", replace)
            with pytest.raises(RemoteUnavailable) as caught:
                store.forget("out@v1", why="not needed")
        assert "goes with the next write" in caught.value.message
    for _ in range(2):
        with process(tmp_path) as store:
            assert store.behind.owing
            assert not root_of(store, tmp_path).forgotten
    with process(tmp_path) as store:
        commit(store, "out", a=b"three")
        assert not store.behind.owing
        assert old.id in root_of(store, tmp_path).forgotten


def test_notes_that_come_by_a_bundle_get_to_the_bucket(tmp_path: Path) -> None:
    with process(tmp_path) as store:
        commit(store, "out", a=b"one")
    with castore.clone(tmp_path / "bucket", tmp_path / "copy") as copy:
        copy.approve("out", by="bob@example.org")
        copy.create_bundle(tmp_path / "said.bundle")
    with process(tmp_path) as store:
        assert store.import_bundle(tmp_path / "said.bundle").notes == 1
        assert root_of(store, tmp_path).notes.notes == 1


def made(store: castore.Store, data: bytes, operation: str, **options: bool) -> castore.Version:
    with store.session(name="out", context=castore.Context(operation=operation)) as session:
        session.add("a", data)
        return session.commit(**options)


@pytest.mark.parametrize("operation", ["", "job-7"])
@pytest.mark.parametrize("if_changed", [False, True])
@pytest.mark.parametrize("landed", [False, True])
def test_what_failed_is_tried_again_in_the_same_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    *,
    if_changed: bool,
    landed: bool,
) -> None:
    """Nothing is acknowledged that the bucket has not, and nothing is there twice."""
    write = FileTransport.replace
    left = [2]

    def replace(self: FileTransport, key: str, data: bytes, etag: str) -> str:
        # The first registers the upload, the second publishes.
        left[0] -= 1
        if not left[0] and landed:
            write(self, key, data, etag)
        if not left[0]:
            raise RemoteUnavailable("no connection")
        return write(self, key, data, etag)

    with process(tmp_path) as store:
        one = commit(store, "out", a=b"one")
        monkeypatch.setattr(FileTransport, "replace", replace)
        with pytest.raises(RemoteUnavailable):
            made(store, b"two", operation, if_changed=if_changed)
        assert store.resolve("out").version.id == one.id
        if landed and not operation:
            # Whoever gives no id is told that something else is there, and sees what.
            with pytest.raises(RefMoved):
                made(store, b"two", operation, if_changed=if_changed)
        else:
            two = made(store, b"two", operation, if_changed=if_changed)
            assert (two.number, two.manifest.parents) == (2, (one.id,))
            assert root_of(store, tmp_path).refs == {"heads/out": two.id}
        assert store.resolve("out").version.id == root_of(store, tmp_path).refs["heads/out"]
        assert [version.number for version in store.log("out")] == [2, 1]
        assert commit(store, "out", a=b"three").number == 3
        sound(store)


def test_a_branch_that_could_not_be_deleted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*_: object) -> str:
        raise RemoteUnavailable("no connection")

    with process(tmp_path) as store:
        one = commit(store, "out", a=b"one")
        with monkeypatch.context() as broken:
            broken.setattr(FileTransport, "replace", replace)
            with pytest.raises(RemoteUnavailable):
                delete_branch(store, "out", by="ann@example.org")
            with pytest.raises(RemoteUnavailable):
                store.tag("good", "out")
        assert refs(store) == {"heads/out": one.id}
        assert refs(store, "tags/") == {}
        store.tag("good", "out")
        assert root_of(store, tmp_path).refs == {"heads/out": one.id, "tags/good": one.id}
