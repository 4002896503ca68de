"""A store to work on, and child processes for what could end in a signal."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from castore.database.environment import Database
from tests.database.material import make_database

Child = Callable[..., str]

_PRELUDE = """
import os, sys, time, threading, random
from pathlib import Path
from castore.database.environment import Database
from castore.errors import CastoreError
from tests.database.material import *
HOME = Path(sys.argv[1])
DATA = HOME / "data.mdb"
def attempt(fn):
    try:
        print("ok", fn(), flush=True)
    except CastoreError as error:
        print(type(error).__name__, error.code, error.message, flush=True)
"""


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
            [sys.executable, "-c", _PRELUDE + textwrap.dedent(code), str(home), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
        return done.stdout

    return run
