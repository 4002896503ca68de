"""Caches, healing, repair, depth and the inbox through a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import castore
from castore.model.ids import Kind
from castore.remote.inbox import put_waiting, waiting
from castore.remote.urls import open_transport
from castore.store.caches import contents_bytes
from castore.store.config import KnownRemote
from castore.store.notes import notes_about
from castore.store.opening import clock
from castore.store.sync_clone import clone
from tests import servers
from tests.store.syncing import commit, sound


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def url(
    seaweed: servers.Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A place of its own on the server, for each test."""
    for name, value in seaweed.environ.items():
        monkeypatch.setenv(name, value)
    return f"s3://{seaweed.bucket}/{request.node.name.replace('_', '-')}"


def held(store: castore.Store) -> int:
    return store.database.read(contents_bytes)


def test_a_bounded_cache_and_reading_offline(url: str, tmp_path: Path) -> None:
    contents = [Random(number).randbytes(400_000) for number in range(5)]
    with castore.open(url, caches=tmp_path, cache_bytes=1_000_000) as store:
        for data in contents:
            commit(store, "out", big=data)
    with castore.open(url, caches=tmp_path, cache_bytes=1_000_000) as store:
        assert held(store) <= 1_000_000
        assert [store.read_bytes(f"out@v{n}:big") for n in range(1, 6)] == contents
        sound(store)
    with castore.open(url, caches=tmp_path, offline=True) as store:
        assert [version.number for version in store.log("out")] == [5, 4, 3, 2, 1]
        with pytest.raises(castore.CastoreError, match="offline"):
            commit(store, "out", big=b"x")


def test_damage_is_healed_and_a_root_repaired(url: str, tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    with castore.init(tmp_path / "main") as store:
        store.add_remote("origin", url)
        commit(store, "out", big=Random(1).randbytes(300_000), small=b"small")
        store.approve("out", by="bob@example.org")
        store.push()
        transport = open_transport(url)
        for item in list(transport.list("packs/")):
            transport.delete([item.key])
        assert not store.fsck_remote().ok
        assert store.heal_remote().whole
        transport.delete(["root"])
        assert store.repair_remote(dry_run=True).report.missing == ()
        store.repair_remote()
        assert store.fsck_remote().ok
        assert not store.push().changed
        assert store.heal().whole


def test_depth_and_the_inbox(url: str, tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    with castore.init(tmp_path / "main") as store:
        store.add_remote("origin", url)
        for number in range(4):
            commit(store, "out", a=b"%d" % number)
        store.push()
        transport = open_transport(url)
        made, _ = clone(
            transport, tmp_path / "copy", now=clock, entropy=os.urandom,
            configure=lambda _: None, depth=2,
        )  # fmt: skip
        with castore.Store(made.database, now=clock, entropy=os.urandom) as copy:
            assert [version.number for version in copy.log("out")] == [4, 3]
            copy.approve("out", by="bob@example.org")
            [note] = notes_about(copy, copy.resolve("out").version.id)
            put_waiting(transport, note, copy.reader.payload(note, Kind.NOTE))
        assert [found.id for found in store.fetch().waiting] == [note]
        assert store.push().notes == 1
        assert waiting(transport) == []
        assert store.gate("out", require=["approved"]).passed
        assert store.remote("origin") == KnownRemote(url)
