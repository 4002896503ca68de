"""Cost against size: one file from a kibibyte to a gibibyte, and folders of 10 to 100,000 files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import castore
from benchmarks.corpora import MIB, random_file, small_files
from benchmarks.measure import Runs, measure
from benchmarks.report import Row
from benchmarks.stage import Stage
from castore.model.artifact_set import FileContent

_FILE_BYTES: Final = tuple(1 << shift for shift in (10, 15, 20, 25, 30))
_FOLDER_FILES: Final = (10, 100, 1_000, 10_000, 100_000)


def file_sizes(stage: Stage) -> list[Row]:
    """One new file that does not compress: into a new store, durable, and out again, verified."""
    rows = []
    for size in _FILE_BYTES:
        path = stage.scratch("piece") / "piece.bin"
        _copy(random_file(stage.cache), path, size)
        ways = _in_turns(stage, path, _read_back)
        for series, runs in zip(("commit of a file", "read of a file"), ways, strict=True):
            rows.append(_row(series, "bytes", size, runs))
    return rows


def folder_sizes(stage: Stage) -> list[Row]:
    """A folder of new files of 1 to 8 KB into a new store, and again when nothing changed."""
    source = small_files(stage.cache, "flat", flat=True)
    files = sorted(source.iterdir())
    rows = []
    for count in _FOLDER_FILES:
        folder = stage.scratch("folder")
        for path in files[:count]:
            os.link(path, folder / path.name)
        ways = _in_turns(stage, folder, _commit)
        names = ("commit of a folder", "the same, unchanged")
        for series, runs in zip(names, ways, strict=True):
            rows.append(_row(series, "files", count, runs))
    return rows


def _in_turns(
    stage: Stage, path: Path, again: Callable[[castore.Store, Path], object]
) -> list[Runs]:
    """A first commit into a new store and then `again`, after one turn that does not count."""
    first, second = [], []
    for turn in range(stage.times + 1):
        with stage.store("sizes") as store:
            stage.settle()
            runs = [measure(partial(_commit, store, path))]
            runs.append(measure(partial(again, store, path)))
        if turn:
            first.append(runs[0])
            second.append(runs[1])
    return [Runs(tuple(first)), Runs(tuple(second))]


def _commit(store: castore.Store, path: Path) -> None:
    with store.session("sizes") as session:
        session.add("content", path)
        session.commit()


def _read_back(store: castore.Store, _: Path) -> None:
    content = store.set_of(next(store.log("sizes", limit=1))).artifacts[0].content
    assert isinstance(content, FileContent)
    for _ in store.reader.stream(content.digest, content.size):
        pass


def _copy(source: Path, target: Path, size: int) -> None:
    with target.open("wb") as file:
        for piece in _pieces(source, size):
            file.write(piece)


def _pieces(source: Path, size: int) -> Iterator[bytes]:
    with source.open("rb") as file:
        while size:
            piece = file.read(min(size, MIB))
            yield piece
            size -= len(piece)


def _row(series: str, of: str, size: int, runs: Runs) -> Row:
    low, high = runs.spread
    return Row(
        name=f"{series}, {size} {of}",
        unit="ms",
        value=1000 * runs.wall,
        low=1000 * low,
        high=1000 * high,
        runs=len(runs.runs),
        less_is_better=True,
        cpu=runs.cpu,
        memory=runs.memory,
    )
