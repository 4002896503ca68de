"""A store to work on, and child processes for what could end in a signal."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from castore.database.environment import Database
from tests.database.material import make_database
from tests.database.scene import ROOT, script

Child = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the store of a test lies."""
    return tmp_path / ".cas"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    """An empty store."""
    made = make_database(home)
    yield made
    made.close()


@pytest.fixture
def child(home: Path) -> Child:
    """Run code in a process of its own; its output, once it ended by itself and without a fault."""

    def run(code: str, *arguments: str, timeout: float = 60) -> str:
        done = subprocess.run(
            [*script(code), str(home), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
        )
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
        return done.stdout

    return run
