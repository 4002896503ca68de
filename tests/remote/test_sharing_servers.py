"""Sharing through real servers: racing pushes, killed ones, and a collector beside them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import castore
from castore.errors import RemoteError
from castore.remote.urls import open_transport
from castore.store.sync import collect_remote
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests import servers
from tests.store.syncing import commit, copy_of, refs, sound

ROOT = Path(__file__).parents[2]
ORIGIN = "origin"


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
    return f"s3://{seaweed.bucket}/{request.node.name.split('[')[0].replace('_', '-')}"


def begun(url: str, folder: Path) -> castore.Store:
    """A store with one version, which is in the bucket."""
    folder.mkdir()
    store = castore.init(folder)
    commit(store, "out", who=b"first")
    push(store, ORIGIN, open_transport(url))
    return store


def pusher(folder: Path, url: str, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.remote.pusher", str(folder), url, name, str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("count", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_each_of_racing_pushes_lands_exactly_once(url: str, tmp_path: Path, count: int) -> None:
    with begun(url, tmp_path / "main") as store:
        transport = open_transport(url)
        for name in "abcd":
            copy_of(transport, tmp_path / name).close()
        running = [pusher(tmp_path / name, url, name, count) for name in "abcd"]
        acknowledged: list[str] = []
        for process in running:
            out, err = process.communicate(timeout=250)
            assert process.returncode == 0, err.decode()
            acknowledged += out.decode().split()
        pull(store, ORIGIN, transport)
        sets = [version.set_id.hex() for version in store.log("out")]
        assert len(acknowledged) == 4 * count
        assert sorted(acknowledged) == sorted(sets[:-1])
        known = connect(store, ORIGIN, transport)
        assert verify_bucket(known.bucket, known).as_json()["findings"] == []
        sound(store)


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_a_push_that_is_killed_hurts_nothing_and_is_gone_on_with(
    url: str, tmp_path: Path, rounds: int
) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with begun(url, tmp_path / "main") as store:
        transport = open_transport(url)
        with copy_of(transport, tmp_path / "a"):
            pass
        for number in range(rounds):
            process = pusher(tmp_path / "a", url, f"round{number}", 3)
            time.sleep(chance.uniform(0.25, 1.2))
            process.kill()
            out, _ = process.communicate(timeout=60)
            pull(store, ORIGIN, transport)
            sets = {version.set_id.hex() for version in store.log("out")}
            assert set(out.decode().split()) <= sets, f"seed {seed}, round {number}"
        with castore.open(tmp_path / "a") as resumed:
            push(resumed, ORIGIN, transport)
            pull(store, ORIGIN, transport)
            assert refs(store) == refs(resumed), f"seed {seed}"
            sound(resumed)
        known = connect(store, ORIGIN, transport)
        assert verify_bucket(known.bucket, known).as_json()["findings"] == [], f"seed {seed}"


def test_a_collector_beside_pushes_takes_nothing_that_is_needed(url: str, tmp_path: Path) -> None:
    with begun(url, tmp_path / "main") as store:
        store.add_remote(ORIGIN, url)
        transport = open_transport(url)
        for name in "ab":
            copy_of(transport, tmp_path / name).close()
        running = [pusher(tmp_path / name, url, name, 5) for name in "ab"]
        rounds = 0
        while any(process.poll() is None for process in running):
            collect_remote(store)
            rounds += 1
        for process in running:
            assert process.wait() == 0, process.communicate()[1].decode()
            process.communicate()
        assert rounds > 1
        pull(store, ORIGIN, transport)
        assert len(list(store.log("out"))) == 11
        collect_remote(store)
        known = connect(store, ORIGIN, transport)
        assert verify_bucket(known.bucket, known).as_json()["findings"] == []
        with copy_of(transport, tmp_path / "last") as last:
            assert refs(last) == refs(store)
            sound(last)


def test_a_bucket_that_is_a_store_is_given_back_with_it(url: str, tmp_path: Path) -> None:
    with castore.open(url, caches=tmp_path / "caches") as store:
        made = commit(store, "out", a=b"one")
        assert store.behind is not None
        transport = store.behind.close.__self__._transport
        assert transport.get("root").data
    with pytest.raises(RemoteError, match="closed"):
        transport.get("root")
    with castore.open(url, caches=tmp_path / "others") as other:
        assert other.resolve("out").version.id == made.id
        assert other.read_bytes("out:a") == b"one"
