"""A cluster of processes ingests into a real S3 server, and whoever dies there costs a retry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from distributed import Client, LocalCluster

import castore
from castore.dask import commit_parts
from castore.remote.collect import ROUNDS_KEPT, collect_bucket
from castore.remote.urls import open_transport
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests import servers
from tests.store.syncing import sound

EXAMPLE = Path(__file__).parents[2] / "docs/examples/cluster/ingest.py"
PARTS = {f"part-{n}": n for n in range(8)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """SeaweedFS, with what it needs in the environment of this process and its children."""
    with (
        servers.seaweed(tmp_path_factory.mktemp("seaweed")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in server.environ.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def client(server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A cluster of two processes."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def url(server: servers.Server, request: pytest.FixtureRequest) -> str:
    return f"s3://{server.bucket}/{request.node.name.replace('_', '-')}"


def content(number: int) -> bytes:
    return f"{number}\n".encode() * 60_000


def made(folder: Path, number: int) -> bytes:
    """Content of a part; each time it is made leaves a file."""
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return content(number)


def stuck(folder: Path, number: int) -> Iterator[bytes]:
    """As `made`, but whoever first makes part 5 stops half-way, and tells its pid."""
    yield made(folder, number)[:70_000]
    place = folder / "pid"
    if number == 5 and not place.exists():
        place.with_suffix(".new").write_text(str(os.getpid()))
        place.with_suffix(".new").rename(place)
        time.sleep(600)
    yield content(number)[70_000:]


def collecting(url: str, folder: Path, number: int) -> bytes:
    """As `made`, but the first part 7 has the bucket collected until all is given up."""
    place = folder / "collected"
    if number == 7 and not place.exists():
        place.touch()
        with castore.open(url, caches=folder / "beside") as store:
            transport = open_transport(url)
            known = connect(store, "origin", transport)
            for _ in range(ROUNDS_KEPT + 1):
                collect_bucket(known.bucket, known, store.entropy)
            transport.close()
    return made(folder, number)


def times(folder: Path) -> dict[int, int]:
    """How often each part was made."""
    found = [int(path.name.split("-")[0]) for path in folder.glob("?-*")]
    return {number: found.count(number) for number in set(found)}


def check(url: str, caches: Path, version: castore.Version) -> None:
    """One version, whole, with every part once."""
    with castore.open(url, caches=caches) as store:
        assert [found.id for found in store.log("data")] == [version.id]
        assert [a.artifact.name for a in store.artifacts("data")] == list(PARTS)
        for name, number in PARTS.items():
            assert store.read_bytes(f"data:{name}") == content(number)
        transport = open_transport(url)
        known = connect(store, "origin", transport)
        assert known.bucket.read().root.uploads == {}
        assert verify_bucket(known.bucket, known).as_json()["findings"] == []
        transport.close()
        sound(store)


def test_a_cluster_commits_one_version(client: Client, url: str, tmp_path: Path) -> None:
    make = partial(made, tmp_path)
    version = commit_parts(client, url, "data", PARTS, make, caches=tmp_path / "caches")
    assert times(tmp_path) == dict.fromkeys(PARTS.values(), 1)
    check(url, tmp_path / "look", version)


def test_a_worker_that_is_killed_costs_a_retry(client: Client, url: str, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill() -> None:
        place = tmp_path / "pid"
        while not place.exists():
            time.sleep(0.02)
        killed.append(int(place.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    make = partial(stuck, tmp_path)
    version = commit_parts(client, url, "data", PARTS, make, caches=tmp_path / "caches")
    killer.join()
    assert killed != [os.getpid()]
    assert times(tmp_path)[5] == 2
    check(url, tmp_path / "look", version)


def test_an_upload_that_was_given_up_has_all_staged_again(
    client: Client, url: str, tmp_path: Path
) -> None:
    make = partial(collecting, url, tmp_path)
    version = commit_parts(client, url, "data", PARTS, make, caches=tmp_path / "caches")
    assert max(times(tmp_path).values()) == 2
    check(url, tmp_path / "look", version)


def test_a_part_that_fails_commits_nothing(client: Client, url: str, tmp_path: Path) -> None:
    def fail(number: int) -> bytes:
        if number == 3:
            raise ZeroDivisionError("part 3")
        return content(number)

    with pytest.raises(ZeroDivisionError, match="part 3"):
        commit_parts(client, url, "data", PARTS, fail, caches=tmp_path / "caches")
    with castore.open(url, caches=tmp_path / "look") as store:
        assert store.branches() == []


def test_a_store_in_a_folder_takes_parts_too(client: Client, tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        futures = {name: client.submit(content, number) for name, number in PARTS.items()}
        commit_parts(client, tmp_path, "data", futures, message="from futures")
        assert store.read_bytes("data:part-7") == content(7)
        assert [version.manifest.message for version in store.log("data")] == ["from futures"]


def test_the_example_runs(client: Client, url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE, url, tmp_path / "caches", client.scheduler.address],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[3])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("6 partitions\n")
    with castore.open(url, caches=tmp_path / "look") as store:
        assert store.read_bytes("readings:day-5.csv").count(b"\n") == 1441
