"""The soak: processes of mixed load on one store for long, with faults, and what it does to them.

`python -m tests.harness.soak --minutes 60 [--seed N] [--report]`. A seed repeats what each worker
does, not who comes first. As a harness it is a soak of some seconds, on a store of its own.
"""

from __future__ import annotations

import argparse
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import castore
from castore.store.branches import delete_branch
from castore.store.tags import delete_tag
from tests.harness import soak_report
from tests.harness.children import Ended, Fork, forked
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import Ledger, judge, judge_copy, ledger, whole
from tests.harness.running import warm
from tests.harness.shim import build, loaded, preloaded
from tests.harness.soak_judge import (
    WARM_SECONDS,
    Sample,
    Soaked,
    judge_rest,
    judge_samples,
    judge_size,
    look,
    process,
    used_bytes,
)
from tests.harness.soak_work import MUTANTS, Life, Lived, Place, live

PROCESSES = 4
SHORT = 4.0
# Those of them that a fault may end.
_MORTAL = 2
_FINDINGS_MAX = 20
_SAMPLES = 720
_COUNTED = 12
# A verb that is not done after this long hangs: a collection waits for others five minutes at most.
_HANG = 400.0
_JUDGE = 600.0
_SMALL = 32 << 20


@dataclass(slots=True)
class _Worker:
    """The life that a slot has now; it said nothing more than `size` for `quiet` seconds."""

    place: Place
    fork: Fork
    mortal: bool
    size: int = 0
    quiet: float = 0.0


class _Run:
    def __init__(self, folder: Path, seed: int, seconds: float, mutant: str) -> None:
        self.folder, self.seed, self.seconds, self.mutant = folder, seed, seconds, mutant
        self.root = Place(folder, "").root
        self.root.mkdir()
        self.soaked = Soaked(seed, seconds)
        self.began = time.monotonic()
        self.slots: dict[int, _Worker] = {}

    def run(self, tell: Callable[[Soaked], None]) -> Soaked:
        castore.init(self.root).close()
        for slot in range(PROCESSES):
            self._start(slot)
        every = max(self.seconds / _SAMPLES, 0.25)
        due = 0.0
        try:
            while self._at < self.seconds and len(self.soaked.findings) < _FINDINGS_MAX:
                if self._at >= due:
                    self._sample()
                    due = self._at + every
                    tell(self.soaked)
                self._watch(min(0.5, max(0.0, due - self._at)))
        finally:
            self._end()
        self._judge()
        return self.soaked

    @property
    def _at(self) -> float:
        return time.monotonic() - self.began

    def _start(self, slot: int) -> None:
        number = self.soaked.lives
        self.soaked.lives += 1
        mortal = slot >= PROCESSES - _MORTAL
        place = Place(self.folder, f"s{slot}l{number}")
        life = Life(
            f"{self.seed} {place.me}", self.began, self.seconds, slot == 0, mortal, self.mutant
        )
        fork = Fork(lambda: live(place, life), self.seconds + _HANG, group=True)
        self.slots[slot] = _Worker(place, fork, mortal)

    def _watch(self, wait: float) -> None:
        """Start anew whoever ended."""
        began = self._at
        ready = select.select([one.fork.ended for one in self.slots.values()], [], [], wait)[0]
        for slot, worker in list(self.slots.items()):
            size = worker.place.said.stat().st_size if worker.place.said.exists() else 0
            # More than that at once means that this process was stopped, and with it all.
            worker.quiet += min(self._at - began, 1.0)
            if size != worker.size:
                worker.size, worker.quiet = size, 0.0
            hangs = worker.quiet > _HANG
            if worker.fork.ended in ready or hangs or worker.fork.left <= 0:
                del self.slots[slot]
                self._ended(worker, worker.fork.reap())
                if self._at < self.seconds:
                    self._start(slot)

    def _ended(self, worker: _Worker, ended: Ended) -> None:
        """Count what a life did; one that was ended by a fault is judged, and cleared away."""
        if not ended.error:
            lived: Lived = ended.value
            self.soaked.done.update(lived.done)
            self.soaked.findings += judge_rest(worker.place.me, lived.rest)
            return
        if ended.error == "SIGKILL" and worker.mortal and worker.place.faults.exists():
            self.soaked.ended += 1
            looked = forked(lambda: _bury(worker.place), _JUDGE)
            if looked.error:
                self._found(f"{worker.place.me}, after it was killed: {looked.text}")
                return
            self.soaked.acknowledged += looked.value
            return
        self._found(f"{worker.place.me} ended: {ended.text}")

    def _found(self, text: str) -> None:
        self.soaked.findings.append(f"after {self._at:.0f} s: {text}")

    def _sample(self) -> None:
        counted = len(self.soaked.samples) % _COUNTED == 0
        looked = forked(lambda: look(self.root))
        used = forked(lambda: used_bytes(self.root)) if counted else Ended(0)
        for ended in (looked, used):
            if ended.error:
                self._found(f"while it was measured: {ended.text}")
                return
        processes = {
            f"worker {slot}": found
            for slot, worker in self.slots.items()
            if (found := process(worker.fork.pid))
        }
        size = (self.root / ".cas" / "data.mdb").stat().st_size
        self.soaked.samples.append(Sample(self._at, size, used.value, *looked.value, processes))

    def _end(self) -> None:
        for worker in self.slots.values():
            until = time.monotonic() + _HANG
            while time.monotonic() < until:
                if select.select([worker.fork.ended], [], [], 0.5)[0]:
                    break
            self._ended(worker, worker.fork.reap())

    def _judge(self) -> None:
        """What must hold at the end."""
        soaked = self.soaked
        soaked.findings += judge_samples(soaked.samples, self.seconds)
        lives = [worker.place for worker in self.slots.values() if worker.place.said.exists()]
        looked = forked(lambda: _look(self.root, lives), _JUDGE)
        if looked.error:
            self._found(f"at the end: {looked.text}")
            return
        acknowledged, soaked.file, soaked.alive = looked.value
        soaked.acknowledged += acknowledged
        if soaked.file > _SMALL or self.seconds >= WARM_SECONDS:
            soaked.findings += judge_size(soaked.file, soaked.alive)


def _heard(place: Place) -> Ledger:
    return ledger(place.said.read_text("ascii").splitlines(keepends=True))


def _bury(place: Place) -> int:
    """Judge a life that was ended, and let go of what it made; how much was acknowledged to it."""
    heard = _heard(place) if place.said.exists() else Ledger()
    with castore.open(place.root) as store:
        judge(store, heard)
        _judge_copy(place, heard)
        for tip in store.branches():
            if tip.branch.startswith(f"{place.me}-"):
                delete_branch(store, tip.branch, by=place.me)
        for name, _ in store.tags():
            if name.startswith(f"{place.me}-"):
                delete_tag(store, name, by=place.me)
    for folder in (place.copy, place.root / f"{place.me}-out"):
        shutil.rmtree(folder, ignore_errors=True)
    place.said.unlink(missing_ok=True)
    place.faults.unlink()
    return heard.acknowledged


def _judge_copy(place: Place, heard: Ledger) -> None:
    if heard.copied is not None or place.copy.exists():
        with castore.open(place.copy) as copy:
            if copy.folder == place.root / ".cas":
                raise Lost(f"{place.copy.name} holds no store")
            judge_copy(copy, heard)
            whole(copy, "backup: ")


def _look(root: Path, lives: list[Place]) -> tuple[int, int, int]:
    """Judge all at the end; what was acknowledged, the data file, and what of it is alive."""
    acknowledged = 0
    with castore.open(root) as store:
        for place in lives:
            heard = _heard(place)
            acknowledged += heard.acknowledged
            judge(store, heard)
            _judge_copy(place, heard)
        whole(store)
        file = store.database.file_bytes()
        store.gc(grace=0)
        whole(store, "after gc: ")
        for place in lives:
            judge(store, _heard(place))
        store.backup(root / "alive", compact=True)
    readers, _ = look(root)
    if readers:
        raise Lost(f"readers are left: {', '.join(sorted(readers))}")
    with castore.open(root / "alive") as copy:
        alive = copy.database.file_bytes()
    shutil.rmtree(root / "alive")
    return acknowledged, file, alive


def soak(
    folder: Path,
    seed: int,
    seconds: float,
    *,
    mutant: str = "",
    tell: Callable[[Soaked], None] = lambda soaked: None,
) -> Soaked:
    """Work on a new store in `folder` for so long, and judge it; `tell` hears after each sample."""
    return _Run(folder, seed, seconds, mutant).run(tell)


class Soak(Harness):
    """A soak of some seconds."""

    name = "soak"
    shows = "under mixed load and faults nothing is lost, left open or hung"
    share = 4.0
    shim = True
    mutants = {name: what for name, (what, _) in MUTANTS.items()}

    def round(self, scene: Scene) -> int:
        """One store."""
        soaked = soak(scene.folder, scene.dice.getrandbits(32), SHORT, mutant=scene.mutant)
        if soaked.findings:
            raise Lost("\n".join(soaked.findings))
        return soaked.acknowledged


def main(arguments: list[str]) -> int:
    """Soak for as long as the arguments say; 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="let workers do the same as with this seed")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS])
    parser.add_argument("--scratch", help="where to put the store; by default a temporary folder")
    parser.add_argument("--report", action="store_true", help="add what was found to the page")
    given = parser.parse_args(arguments)
    if not loaded():
        with tempfile.TemporaryDirectory() as folder:
            environment = preloaded(build(Path(folder)))
            again = [sys.executable, "-m", "tests.harness.soak", *arguments]
            return subprocess.run(again, env=environment, check=False).returncode
    seed = given.seed if given.seed is not None else secrets.randbits(32)
    print(f"seed {seed}", flush=True)
    warm()
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=given.scratch))
    soaked = soak(folder, seed, given.minutes * 60, mutant=given.mutant, tell=_progress())
    if soaked.findings and not given.mutant:
        print(f"the store stays in {folder}")
    else:
        shutil.rmtree(folder)
    print(*soak_report.text(soaked), sep="\n")
    if given.report:
        soak_report.append(soaked)
    return int(bool(soaked.findings) != bool(given.mutant))


def _progress() -> Callable[[Soaked], None]:
    """Says each minute how far it is, and at once what was found."""
    said = {"minute": 0, "findings": 0}

    def tell(soaked: Soaked) -> None:
        for finding in soaked.findings[said["findings"] :]:
            print(finding, flush=True)
        said["findings"] = len(soaked.findings)
        last = soaked.samples[-1] if soaked.samples else None
        if last and last.at // 60 > said["minute"]:
            said["minute"] = int(last.at // 60)
            memory = ", ".join(
                f"{one.anonymous / 1e6:.0f} MB {one.descriptors} fds"
                for _, one in sorted(last.processes.items())
            )
            print(
                f"{said['minute']} min: {soaked.lives} lives, {soaked.ended} ended by faults, "
                f"file {last.file / 1e6:.1f} MB; {memory}",
                flush=True,
            )

    return tell


HARNESS = Soak()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
