"""Buckets under the contract: in memory and in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from castore.remote.files import FileTransport
from castore.remote.memory import MemoryTransport
from tests.remote.places import Place


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty bucket of each kind."""
    if request.param == "memory":
        bucket = MemoryTransport()
        return Place(lambda: bucket)
    return Place(lambda: FileTransport(tmp_path / "bucket"))
