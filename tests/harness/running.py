"""Running a harness: rounds in forked processes, as many at once as there are processors."""

from __future__ import annotations

import os
import pkgutil
import select
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

import castore
from tests.harness.children import SLICE, Ended, Fork
from tests.harness.frame import Harness, Loss, Result, Scene

# A run that goes wrong every time is ended early.
LOSSES_MAX = 20
_MEMORY = "/dev/shm"


@dataclass(frozen=True, slots=True)
class Budget:
    """When to end: after so many seconds or rounds, whichever comes first."""

    seconds: float
    rounds: int | None = None


def run(
    harness: Harness,
    seed: int,
    budget: Budget,
    *,
    mutant: str = "",
    first: int = 0,
    jobs: int = 0,
    scratch: str | None = None,
) -> Result:
    """Run rounds from `first` on; with a mutant only until it is caught.

    What goes wrong is reported, never raised. `scratch` is the folder for their files, by default
    one in memory: no fault here needs a disk, and flushing one takes longer than all else.
    """
    if mutant and mutant not in harness.mutants:
        raise ValueError(f"{harness.name} has no mutant {mutant!r}: {sorted(harness.mutants)}")
    why = harness.unavailable()
    if why:
        return Result(harness.name, seed, mutant, next=first, skipped=why)
    warm()
    place = Path(tempfile.mkdtemp(prefix=f"harness-{harness.name}-", dir=scratch or memory()))
    try:
        return _Runner(harness, seed, budget, mutant, place, jobs).run(first)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def warm() -> None:
    """Import all that a round may, so that no forked process has to."""
    import mimetypes
    import shlex
    import uuid

    import pyfastcdc
    import zstandard

    assert all((mimetypes, shlex, uuid, pyfastcdc, zstandard))
    for module in pkgutil.walk_packages(castore.__path__, "castore."):
        if ".cli" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)


def memory() -> str | None:
    """A folder for files in memory, where there is one."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None


class _Runner:
    def __init__(
        self, harness: Harness, seed: int, budget: Budget, mutant: str, place: Path, jobs: int
    ) -> None:
        self.harness, self.seed, self.budget, self.mutant = harness, seed, budget, mutant
        self.place = place
        self.jobs = jobs or os.cpu_count() or 1
        self.cases = 0
        self.done = 0
        self.losses: list[Loss] = []
        self.flying: dict[int, tuple[int, Fork, Path]] = {}

    def run(self, first: int) -> Result:
        began = time.monotonic()
        prepared = self.place / "prepared"
        prepared.mkdir()
        self.material = self.harness.prepare(self.seed, prepared)
        number = first
        try:
            while True:
                more = self._more(began, number - first)
                if not more and not self.flying:
                    break
                if more and len(self.flying) < self.jobs:
                    self._start(number)
                    number += 1
                else:
                    self._wait()
        finally:
            for _, fork, _ in self.flying.values():
                fork.reap()
        self.losses.sort(key=lambda loss: loss.round)
        return Result(
            self.harness.name,
            self.seed,
            self.mutant,
            rounds=self.done,
            cases=self.cases,
            next=number,
            seconds=round(time.monotonic() - began, 1),
            losses=self.losses,
        )

    def _more(self, began: float, started: int) -> bool:
        if len(self.losses) >= (1 if self.mutant else LOSSES_MAX):
            return False
        if self.budget.rounds is not None and started >= self.budget.rounds:
            return False
        # At least one round, however slow the machine is.
        return not started or time.monotonic() - began < self.budget.seconds

    def _start(self, number: int) -> None:
        folder = self.place / f"{number}"
        folder.mkdir()
        scene = Scene(
            seed=self.seed,
            round=number,
            folder=folder,
            dice=Random(f"{self.harness.name} {self.seed} {number}"),
            mutant=self.mutant,
            material=self.material,
        )
        fork = Fork(lambda: self.harness.round(scene), self.harness.limit, group=True)
        self.flying[fork.ended] = number, fork, folder

    def _wait(self) -> None:
        ready = select.select(list(self.flying), [], [], SLICE)[0]
        for ended, (number, fork, folder) in list(self.flying.items()):
            if ended in ready or fork.left <= 0:
                del self.flying[ended]
                self._count(number, fork.reap())
                shutil.rmtree(folder, ignore_errors=True)

    def _count(self, number: int, ended: Ended) -> None:
        self.done += 1
        if ended.error:
            self.cases += 1
            self.losses.append(Loss(number, ended.text, broken=not ended.promised))
        else:
            self.cases += int(ended.value)
