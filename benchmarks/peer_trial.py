"""One trial: a tool takes in all versions of a corpus, gives the last one back, and is measured."""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import math
import os
import shutil
import statistics
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.corpora import MIB
from benchmarks.measure import settle
from benchmarks.peer_corpora import Corpus, Stock, a_small_file, edit
from benchmarks.peer_process import Command, OutOfTime, Usage, run, run_all
from benchmarks.peer_tools import Castore, Place, Tool

UNITS: Final = {
    "first": "s",
    "unchanged": "s",
    "later": "s",
    "restore": "s",
    "pack": "s",
    "one file": "ms",
    "one file, library": "ms",
    "stored": "MB",
    "memory": "MB",
    "cpu": "s",
}
_MEASURES: Final = (
    "first", "unchanged", "later", "stored", "restore", "memory", "cpu", "one file",
)  # fmt: skip
_PACKED: Final = ("pack", "stored", "restore")
_COMMITS_OF_ONE: Final = 5
# What the machine has at hand before each thing measured: for the tool, and three times the files.
_MEMORY_LEAST: Final = 256 * MIB
_MEMORY_MOST: Final = 3072 * MIB
# Of linux/fs.h: folders made in one that has the flag lie apart from each other.
_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
_TOP: Final = 0x00020000


class Different(RuntimeError):
    """What a tool gave back is not what it took in."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of a tool, or of a tool after packing, in the unit of UNITS; and its cost.

    With `over` it was not reached within so many minutes, and the value is 0.
    """

    label: str
    measure: str
    value: float
    usage: Usage = Usage()
    over: float = 0.0


def warm(tool: Tool) -> None:
    """Everything once with two small files: programs are in the page cache, Python is compiled."""
    with _begun(tool) as place:
        (place.folder / "below").mkdir(parents=True)
        for name in ("a.txt", "below/b.txt"):
            (place.folder / name).write_text(name)
        _run(tool, tool.begin())
        _commit(tool)
        _restore(tool)


def trial(tool: Tool, corpus: Corpus, stock: Stock, minutes: float = math.inf) -> list[Figure]:
    """All measures, in a new place that is removed after.

    What is not reached within `minutes` that its commands take by the clock, counted anew for each
    packing, is told as such, and so is what would have come after; there is no packing then.
    Raises CommandFailed, CannotDownload, and Different if what was restored is not what was stored.
    """
    with _begun(tool):
        found = _within(tool, minutes, tool.name, _MEASURES, _figures(tool, corpus, stock))
        if not any(figure.over for figure in found):
            for label, words in tool.packings.items():
                found += _within(tool, minutes, label, _PACKED, _packed(tool, label, words))
        return found


def _within(
    tool: Tool,
    minutes: float,
    label: str,
    measures: Sequence[str],
    figures: Iterator[Figure],
) -> list[Figure]:
    """The figures reached in that time, and those that were not."""
    tool.place.left = 60 * minutes
    found: list[Figure] = []
    try:
        # One by one: what was there before the time was over counts.
        for figure in figures:
            found.append(figure)
    except OutOfTime:
        known = {figure.measure for figure in found}
        found += [Figure(label, name, 0, over=minutes) for name in measures if name not in known]
    return found


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _figures(tool: Tool, corpus: Corpus, stock: Stock) -> Iterator[Figure]:
    versions = corpus.play(stock, tool.place.folder)
    next(versions)
    if tool.place.settled:
        tool.place.settled = min(_MEMORY_MOST, _MEMORY_LEAST + 3 * size_of(tool.place.folder))
    _run(tool, tool.begin())
    first = _commit(tool)
    yield _seconds(tool.name, "first", first)
    unchanged = _commit(tool)
    yield _seconds(tool.name, "unchanged", unchanged)
    later = sum((_commit(tool) for _ in versions), Usage())
    yield _seconds(tool.name, "later", later)
    yield _stored(tool.name, tool)
    restored = _restore(tool)
    yield _seconds(tool.name, "restore", restored)
    work = first + unchanged + later + restored
    yield Figure(tool.name, "memory", work.memory / 1e6)
    yield Figure(tool.name, "cpu", work.cpu)
    yield from _small_commits(tool)


def _packed(tool: Tool, label: str, words: Sequence[str]) -> Iterator[Figure]:
    yield _seconds(label, "pack", _run(tool, [[*tool.program.command, *words]]))
    yield _stored(label, tool)
    yield _seconds(label, "restore", _restore(tool))


def _small_commits(tool: Tool) -> Iterator[Figure]:
    """One small file edited and stored, by command, and by a process that has the store open."""
    path = a_small_file(tool.place.folder)
    commits = []
    for turn in range(_COMMITS_OF_ONE):
        edit(path, turn)
        commits.append(_commit(tool))
    yield _milliseconds(tool.name, "one file", commits)
    if isinstance(tool, Castore):
        said: list[str] = []
        command = tool.library(_COMMITS_OF_ONE)
        place = tool.place
        used = run(command, place.work, tool.environment(), said, seconds=place.left)
        seconds = statistics.median(map(float, said[0].split()))
        memory = Usage(memory=used.memory)
        yield Figure(tool.name, "one file, library", 1000 * seconds, memory)


@contextlib.contextmanager
def _begun(tool: Tool) -> Iterator[Place]:
    """The place of the tool, empty, removed after."""
    place = tool.place
    shutil.rmtree(place.root, ignore_errors=True)
    place.number = 0
    place.left = math.inf
    place.root.mkdir(parents=True)
    _spread(place.root.parent)
    _spread(place.root)
    for folder in (place.work, place.aside):
        folder.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place.root, ignore_errors=True)


def _spread(folder: Path) -> None:
    """Have the folders in this one lie apart, where the file system knows how.

    On ext4 without a journal who makes files where many were just removed pays up to twenty times
    the CPU for each (measured). Removing what one tool wrote must not cost the next.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            flags = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)))[0]
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _TOP))
    finally:
        os.close(descriptor)


def _run(tool: Tool, commands: Sequence[Command]) -> Usage:
    return _run_in(tool, tool.place.work, commands)


def _run_in(tool: Tool, folder: Path, commands: Sequence[Command]) -> Usage:
    place = tool.place
    if place.settled:
        settle(place.root, place.settled)
    settled = bool(place.settled)
    used = run_all(commands, folder, tool.environment(), settled=settled, seconds=place.left)
    place.left -= used.wall
    return used


def _commit(tool: Tool) -> Usage:
    """Store what is in the folder as the next version."""
    tool.place.number += 1
    return _run(tool, tool.commit())


def _restore(tool: Tool) -> Usage:
    """The last version into an empty folder, compared byte by byte with what was stored."""
    place = tool.place
    shutil.rmtree(place.back, ignore_errors=True)
    place.back.mkdir()
    tool.prepare_restore()
    used = _run_in(tool, place.back, tool.restore())
    _compare(place.folder, place.back / place.folder.name, tool.name)
    shutil.rmtree(place.back)
    return used


def _compare(stored: Path, restored: Path, name: str) -> None:
    def files(folder: Path) -> list[str]:
        found = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
        return sorted(str(path.relative_to(folder)) for path in found)

    wanted, found = files(stored), files(restored)
    if wanted != found:
        odd = sorted({*wanted} ^ {*found})
        raise Different(f"{name}: {len(odd)} files lost or added by a restore, as {odd[0]}")
    for path in wanted:
        if not filecmp.cmp(stored / path, restored / path, shallow=False):
            raise Different(f"{name}: {path} is not as it was stored")


def _stored(label: str, tool: Tool) -> Figure:
    return Figure(label, "stored", size_of(tool.kept()) / 1e6)


def _seconds(label: str, measure: str, used: Usage) -> Figure:
    return Figure(label, measure, used.wall, used)


def _milliseconds(label: str, measure: str, runs: list[Usage]) -> Figure:
    wall = statistics.median(run.wall for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    sync = statistics.median(run.sync for run in runs)
    return Figure(label, measure, 1000 * wall, Usage(wall, cpu, max(r.memory for r in runs), sync))
