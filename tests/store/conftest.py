"""Fixtures of the store room: a real store in a temporary folder, with a clock that advances."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import castore

START = 1_790_000_000_000_000


def ticking(start: int = START, step: int = 1_000_000) -> Callable[[], int]:
    """A clock that advances one second each time it is read."""
    ticks = itertools.count(start, step)
    return lambda: next(ticks)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """A new store below `tmp_path`."""
    with castore.init(tmp_path, now=ticking()) as made:
        yield made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with a small set of outputs."""
    folder = tmp_path / "out"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "report.md").write_text("# Report\n\nAll is well.\n")
    (folder / "metrics.json").write_text('{"rows": 3, "ok": true}\n')
    (folder / "data" / "a.csv").write_text("id,value\n1,2\n2,3\n")
    (folder / "data" / "deep" / "run.sh").write_text("#!/bin/sh\necho hi\n")
    (folder / "data" / "deep" / "run.sh").chmod(0o755)
    return folder
