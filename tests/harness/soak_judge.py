"""What a soak measures of a store and of those who work on it, and what it may not find."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import castore
from castore.database.datafile import MetaPage
from castore.database.engine import open_environment
from castore.database.pages import free_pages

# Of the data file against what is alive, and of memory and descriptors between two quarters.
FILE_TIMES = 3.0
DRIFT = 0.05
# From outside a drift can be told only once all is warm, and of many samples.
WARM_SECONDS = 600.0
_MEMORY_NOISE = 1 << 20
_READER_SECONDS = 60.0


class Process(NamedTuple):
    """One process at a moment: its anonymous memory in bytes, and its open descriptors."""

    pid: int
    anonymous: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment, in seconds from the start: the data file, pages in use of it, readers, processes.

    `used` is 0 where it was not counted. A reader is (pid, thread, transaction), `gone` those of
    them whose process is.
    """

    at: float
    file: int
    used: int
    readers: frozenset[str]
    gone: frozenset[str]
    processes: dict[str, Process] = field(default_factory=dict)


@dataclass(slots=True)
class Soaked:
    """What a soak did and found."""

    seed: int
    seconds: float
    done: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    ended: int = 0
    acknowledged: int = 0
    samples: list[Sample] = field(default_factory=list)
    alive: int = 0
    file: int = 0
    findings: list[str] = field(default_factory=list)


def look(root: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Every reader under way, and those of them that are nobody's; for a forked process."""
    folder = root / ".cas"
    size = (folder / "data.mdb").stat().st_size
    environment = open_environment(
        folder, map_size=1 << 40, readonly=True, create=False, least=size
    )
    rows = [line.split() for line in environment.readers().splitlines()]
    environment.close()
    mine = str(os.getpid())
    under_way = [row for row in rows if len(row) == 3 and row[2].isdigit() and row[0] != mine]
    readers = frozenset(" ".join(row) for row in under_way)
    gone = frozenset(" ".join(row) for row in under_way if not Path(f"/proc/{row[0]}").exists())
    return readers, gone


def used_bytes(root: Path) -> int:
    """Bytes of the pages of the data file that are not free; for a forked process."""

    def count(path: str, meta: MetaPage) -> int:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            free = sum(free_pages(descriptor, meta, path))
        finally:
            os.close(descriptor)
        return (meta.last_page + 1 - free) * meta.page_size

    with castore.open(root) as store:
        return store.database._engine.pinned(count)


def process(pid: int) -> Process | None:
    """What a process takes; None if it is gone."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        for line in status.splitlines():
            if line.startswith("RssAnon:"):
                anonymous = int(line.split()[1]) * 1024
                return Process(pid, anonymous, len(os.listdir(f"/proc/{pid}/fd")))
    return None


def judge_samples(samples: Sequence[Sample], seconds: float) -> list[str]:
    """Every promise that the samples break."""
    drifted = _drifted(samples, seconds) if seconds >= WARM_SECONDS else ()
    return [*_stale(samples, seconds), *drifted]


def _stale(samples: Sequence[Sample], seconds: float) -> Iterable[str]:
    """Readers of one transaction that are there for too long."""
    longest = min(_READER_SECONDS, seconds / 3)
    # More than that between two samples means that all processes were stopped.
    usual = 3 * seconds / max(len(samples), 1)
    ages: dict[str, float] = {}
    told = set()
    for before, sample in pairwise(samples):
        passed = min(sample.at - before.at, usual)
        ages = {row: ages.get(row, -passed) + passed for row in sample.readers}
        for row, age in ages.items():
            if age > longest and row not in told:
                told.add(row)
                whose = "of a process that is gone" if row in sample.gone else "under way"
                yield f"the reader {row} was {whose} for {age:.0f} s"


def _drifted(samples: Sequence[Sample], seconds: float) -> Iterable[str]:
    """What grew in processes that lived through the second half."""
    for name, (third, fourth) in quarters(samples, seconds).items():
        opened = [usual_descriptors(quarter) for quarter in (third, fourth)]
        if opened[1] > opened[0] * (1 + DRIFT):
            yield f"{name}: {opened[0]} descriptors were open, then {opened[1]}"
        middle = [median(one.anonymous for one in quarter) for quarter in (third, fourth)]
        grown = middle[1] - middle[0]
        if grown > max(DRIFT * middle[0], _MEMORY_NOISE):
            yield f"{name}: anonymous memory was {middle[0]:,.0f} bytes, then {middle[1]:,.0f}"


def quarters(
    samples: Sequence[Sample], seconds: float
) -> dict[str, tuple[list[Process], list[Process]]]:
    """Of each process that lived through the second half, its third and its fourth quarter."""
    found = {}
    third = [one for one in samples if seconds / 2 <= one.at < seconds * 3 / 4]
    fourth = [one for one in samples if seconds * 3 / 4 <= one.at < seconds]
    for name in samples[-1].processes if samples else ():
        there = [
            [one.processes[name] for one in quarter if name in one.processes]
            for quarter in (third, fourth)
        ]
        pids = {one.pid for quarter in there for one in quarter}
        if len(pids) == 1 and all(there):
            found[name] = there[0], there[1]
    return found


def usual_descriptors(processes: Sequence[Process]) -> int:
    """How many were open in three quarters of all moments: the store is closed in some."""
    return sorted(one.descriptors for one in processes)[len(processes) // 4]


def judge_rest(name: str, rest: Counter[tuple[int, int]]) -> list[str]:
    """Whether a process has more descriptors open between its verbs in the last quarter.

    `rest` counts how often it was which quarter, from 0 on, and how many were open.
    """
    opened = []
    for quarter in (2, 3):
        counts = sorted(n for (at, n), times in rest.items() if at == quarter for _ in range(times))
        if not counts:
            return []
        opened.append(counts[len(counts) // 2])
    if opened[1] <= opened[0] * (1 + DRIFT):
        return []
    return [f"{name}: {opened[0]} descriptors were open between its verbs, then {opened[1]}"]


def judge_size(file: int, alive: int) -> list[str]:
    """Whether the data file is too large for what is alive in it."""
    if file <= FILE_TIMES * alive:
        return []
    return [f"the data file has {file:,} bytes, and {alive:,} are alive: {file / alive:.1f} times"]
