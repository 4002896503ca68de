"""Processes measured: clock, CPU of the whole tree of processes, peak of its anonymous memory."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

_ANONYMOUS: Final = re.compile(rb"RssAnon:\s+(\d+) kB")
_SOON: Final = 0.004
_LATER: Final = 0.02
_TOLD: Final = 2_000

Command: TypeAlias = Sequence[str]


class CommandFailed(RuntimeError):
    """A command of a tool ended with an exit code other than 0; what it said is the message."""


class OutOfTime(RuntimeError):
    """A command was killed, with all it had started, because its time was over."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What commands took: seconds by the clock, seconds of CPU, peak of RssAnon in bytes.

    CPU is user and system time of the process and of all its children that were waited for. Memory
    is summed over the tree of processes, sampled each 4 ms in the first second and each 20 ms
    after; -1 where no sample fell into the run. `sync` is how long a sync(2) of the whole machine
    took right after, all dirty pages having been written before: what a tool that does not fsync
    has left undone.
    """

    wall: float = 0.0
    cpu: float = 0.0
    memory: int = -1
    sync: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """One after the other: the seconds add up, the higher peak stays."""
        return Usage(
            self.wall + other.wall,
            self.cpu + other.cpu,
            max(self.memory, other.memory),
            self.sync + other.sync,
        )


def run_all(
    commands: Sequence[Command],
    folder: Path,
    environment: Mapping[str, str],
    *,
    settled: bool,
    seconds: float = math.inf,
) -> Usage:
    """Run commands in turn, as one thing to be measured; raises CommandFailed and OutOfTime.

    All together may take so many `seconds` by the clock.
    With `settled` there is a sync(2) before, and one after that is measured apart.
    """
    if settled:
        os.sync()
    used = Usage()
    for command in commands:
        used += run(command, folder, environment, seconds=seconds - used.wall)
    start = time.perf_counter()
    if settled:
        os.sync()
    return used + Usage(sync=time.perf_counter() - start)


def run(
    command: Command,
    folder: Path,
    environment: Mapping[str, str],
    output: list[str] | None = None,
    *,
    seconds: float = math.inf,
) -> Usage:
    """Run one command, for so many seconds at most; what it printed goes to `output`.

    Raises CommandFailed and OutOfTime.
    """
    with tempfile.TemporaryFile() as told:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
        watch = _Watch(process.pid, time.monotonic() + seconds)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            # In a session of its own it hears of no Ctrl-C.
            _kill_group(process.pid)
            raise
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        memory = watch.end()
        told.seek(0)
        said = told.read().decode(errors="replace")
    if watch.late:
        raise OutOfTime(" ".join(command))
    if process.returncode:
        words = " ".join(command)
        raise CommandFailed(f"{words}: exit {process.returncode}\n{said[-_TOLD:]}")
    if output is not None:
        output.append(said)
    return Usage(wall, used.ru_utime + used.ru_stime, memory)


class _Watch:
    """Watches a process and all below it: samples their memory, kills them at the deadline."""

    def __init__(self, pid: int, deadline: float) -> None:
        self.late = False
        self._pid = pid
        self._deadline = deadline
        self._peak = -1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """The highest sum of anonymous memory in bytes, -1 if there was no sample."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        start = time.monotonic()
        while True:
            found = sum(_anonymous(pid) for pid in _tree(self._pid))
            self._peak = max(self._peak, found or -1)
            now = time.monotonic()
            if self._ended.wait(_SOON if now - start < 1 else _LATER):
                return
            if now > self._deadline:
                self.late = True
                _kill_group(self._pid)
                return


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tree(pid: int) -> list[int]:
    """The process and all that descend from it, as far as they are still there."""
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    waiting += map(int, file.read().split())
    return found


def _anonymous(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        found = _ANONYMOUS.search(file.read())
        return int(found[1]) * 1024 if found else 0
    return 0
