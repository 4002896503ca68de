"""Measuring: wall and CPU seconds and anonymous memory of a call, warmed and repeated."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

_SETTLE_BYTES = 2 << 30
_PIECE_BYTES = 2 << 20
_SAMPLER = """
import re, select, sys
peak = 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    with open(f"/proc/{sys.argv[1]}/status", "rb") as status:
        peak = max(peak, int(re.search(rb"RssAnon:\\s+(\\d+) kB", status.read())[1]) * 1024)
print(peak)
"""
# Of the CPU time of a round the host may have taken this share from a virtual machine.
_STOLEN_SHARE = 0.01
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_ANONYMOUS = re.compile(rb"RssAnon:\s+(\d+) kB")


@dataclass(frozen=True, slots=True)
class Run:
    """One call: seconds by the clock, seconds of CPU over all threads, peak of RssAnon in bytes.

    `stolen` are seconds of CPU that the host took from this machine meanwhile.
    """

    wall: float
    cpu: float
    memory: int
    stolen: float = 0.0


@dataclass(frozen=True, slots=True)
class Runs:
    """Several calls of the same thing; `left_out` more were disturbed by the host."""

    runs: tuple[Run, ...]
    left_out: int = 0

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Median seconds of CPU."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def memory(self) -> int:
        """The highest peak of anonymous memory, in bytes."""
        return max(run.memory for run in self.runs)

    @property
    def stolen(self) -> float:
        """Seconds of CPU that the host took from the machine, of all runs."""
        return sum(run.stolen for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and most seconds."""
        walls = [run.wall for run in self.runs]
        return min(walls), max(walls)


def anonymous_bytes() -> int:
    """Anonymous memory of this process: mapped pages of a store are cache, and count in RSS."""
    found = _ANONYMOUS.search(Path("/proc/self/status").read_bytes())
    return int(found[1]) * 1024 if found else 0


def measure(work: Callable[[], object], *, watch: bool = True) -> Run:
    """Run `work` once; memory is sampled every 20 ms by another process unless `watch` is false.

    A thread that samples would wait for the interpreter lock, and others for it.
    """
    with _watching() if watch else nullcontext() as sampler:
        stolen, wall, cpu = _stolen(), time.perf_counter(), time.process_time()
        work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        stolen = _stolen() - stolen
        peak = anonymous_bytes()
        if sampler is not None:
            peak = max(peak, int(sampler.communicate(b"\n")[0]))
    return Run(wall, cpu, peak, stolen)


def _stolen() -> float:
    """Seconds of CPU that the host took since this machine started."""
    with open("/proc/stat", "rb") as file:
        return int(file.readline().split()[8]) * _TICK


@contextmanager
def _watching() -> Iterator[subprocess.Popen[bytes]]:
    """A process that gives the peak of this one's anonymous memory when it is written to."""
    command = [sys.executable, "-I", "-c", _SAMPLER, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sampler:
        time.sleep(0.1)
        yield sampler


def repeat(
    *works: Callable[[], object],
    times: int,
    warm: int = 1,
    before: Callable[[], object] | None = None,
    watch: bool = True,
) -> list[Runs]:
    """Measure each of `works` `times` times, in turns, so that a change of load hits all alike.

    `warm` rounds come first and do not count; `before` is called, unmeasured, before each call.
    A round from which the host took CPU time is measured again, twice `times` rounds at most; those
    it took least from are kept.
    """

    def round_of() -> list[Run]:
        found = []
        for work in works:
            if before is not None:
                before()
            found.append(measure(work, watch=watch))
        return found

    for _ in range(warm):
        round_of()
    rounds: list[list[Run]] = []
    while len(rounds) < 2 * times and sum(map(_undisturbed, rounds)) < times:
        rounds.append(round_of())
    left_out = len(rounds) - times
    rounds.sort(key=_disturbance)
    return [Runs(tuple(runs), left_out) for runs in zip(*rounds[:times], strict=True)]


def _disturbance(runs: Sequence[Run]) -> float:
    """The largest share of a run's time that the host took from one processor."""
    return max([run.stolen / run.wall for run in runs], default=0.0)


def _undisturbed(runs: Sequence[Run]) -> bool:
    return _disturbance(runs) <= _STOLEN_SHARE


def settle(folder: Path, size: int = _SETTLE_BYTES) -> None:
    """Let earlier writes reach the disk, and have the machine own memory for the next ones.

    A virtual machine gives memory that it does not use back to its host, and to get it again takes
    up to three seconds a GiB. So that neither what is measured nor its limit pays for that, `size`
    bytes are written to a file in `folder` before, and removed.
    """
    os.sync()
    path = folder / "settle.bin"
    piece = bytes(_PIECE_BYTES)
    with path.open("wb", buffering=0) as file:
        for _ in range(size // len(piece)):
            file.write(piece)
    path.unlink()


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
