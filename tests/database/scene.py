"""What the code of a child process has at hand: `from tests.database.scene import *`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

from castore.database.environment import Database
from castore.errors import CastoreError
from tests.database.material import chunks, commit, make_database, put

__all__ = [
    "DATA",
    "HOME",
    "CastoreError",
    "Database",
    "Path",
    "attempt",
    "chunks",
    "commit",
    "make_database",
    "os",
    "other",
    "put",
    "random",
    "sys",
    "threading",
    "time",
]

ROOT = Path(__file__).parents[2]
HOME = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
DATA = HOME / "data.mdb"


def script(code: str) -> list[str]:
    """The beginning of a command line that runs code in this scene."""
    whole = "from tests.database.scene import *\n" + textwrap.dedent(code)
    return [sys.executable, "-c", whole]


def attempt(fn: Callable[[], object]) -> None:
    """Print what comes of it."""
    try:
        print("ok", fn(), flush=True)
    except CastoreError as error:
        print(type(error).__name__, error.code, error.message, flush=True)


def other(code: str) -> subprocess.Popen[bytes]:
    """Another process on the same store, once it has printed a line."""
    process = subprocess.Popen(
        [*script(code), str(HOME)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process
