"""Buckets under the contract: in memory, in a folder, and on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from castore.remote.files import FileTransport
from castore.remote.memory import MemoryTransport
from castore.remote.urls import open_transport
from tests import servers
from tests.gcs import GoogleServer
from tests.gcs import gcs as running_gcs
from tests.remote.places import Place

_numbers = count(1)


@pytest.fixture(scope="session")
def moto() -> Iterator[servers.Server]:
    """A server inside this process, for wide races and faults."""
    with servers.moto() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A real server that checks signatures."""
    with servers.seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.AzureServer]:
    """The emulator of Azure's blobs, where somebody has installed it."""
    program = servers.azurite_program()
    if program is None:
        pytest.skip("no Azurite: npm install --prefix .azurite azurite@3.35.0")
    with servers.azurite(program, tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GoogleServer]:
    """What Google's documentation says of its storage."""
    with running_gcs() as server:
        yield server


@pytest.fixture(params=["memory", "file", "moto", "seaweed", "gcs", "azurite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty bucket of each kind."""
    if request.param == "memory":
        bucket = MemoryTransport()
        return Place(lambda: bucket)
    if request.param == "file":
        return Place(lambda: FileTransport(tmp_path / "bucket"))
    server = request.getfixturevalue(request.param)
    url = f"{server.scheme}://{server.bucket}/Tests/{next(_numbers)}"
    return Place(
        lambda: open_transport(url, endpoint=server.endpoint, options=server.options),
        writers=4 if request.param == "seaweed" else 16,
    )
