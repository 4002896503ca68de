"""The n-th system call that changes a file fails, falls short, or is its process' last."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import castore
from castore.errors import CastoreError, StoreFull
from tests.harness.children import forked
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import Ledger, judge, judge_copy, ledger, whole
from tests.harness.mutants import failure_acknowledged, failure_unnamed
from tests.harness.shim import Call, How, arm, count, disarm, hits, watch
from tests.harness.work import Worker

STEPS = 8
ERRORS = (errno.EIO, errno.ENOSPC)
# Nothing can be wrong about a call that is to be made again, if it is made again.
AGAIN = (Call.WRITE, Call.SYNC, Call.OPEN, Call.TRUNCATE)
_PLANTS = {
    "failure-acknowledged": failure_acknowledged,
    "failure-unnamed": failure_unnamed,
}


class Fault(NamedTuple):
    """Which call goes wrong, and how."""

    call: Call
    at: int
    error: int
    how: How

    def __str__(self) -> str:
        error = errno.errorcode.get(self.error, "")
        return f"{self.call.name} {self.at} {self.how.name} {error}"


class Syscall(Harness):
    """One worker of all verbs, in which one system call goes wrong, once or from then on."""

    name = "syscall"
    shows = "a failed system call is a named error, loses nothing and leaves a store that opens"
    share = 12.0
    shim = True
    mutants = {
        "failure-acknowledged": "a commit that LMDB could not save is acknowledged",
        "failure-unnamed": "what LMDB says of a failed commit is raised as it is",
    }

    def prepare(self, seed: int, folder: Path) -> object:
        """A store that was worked on, and how often a worker makes each call."""
        start = folder / "start"
        start.mkdir()
        ended = forked(lambda: _fill(start, seed))
        assert not ended.error, ended.text
        counts = forked(lambda: _count(folder, start, seed))
        assert not counts.error, counts.text
        return start, counts.value

    def round(self, scene: Scene) -> int:
        """One fault."""
        start, counts = scene.material
        fault = _choose(scene.dice, counts)
        place = scene.folder / "place"
        fresh = scene.dice.random() < 0.1
        if fresh:
            place.mkdir()
        else:
            shutil.copytree(start, place)
        said = scene.folder / "said"
        seed, reopen = scene.dice.getrandbits(32), scene.dice.random() < 0.5
        ended = forked(lambda: _work(scene.mutant, place, said, seed, fault, reopen))
        meant = ended.error == "SIGKILL" and fault.how in (How.KILL, How.KILL_HALF)
        if ended.error and not meant:
            raise Lost(f"{fault}: {ended.text}")
        heard = ledger(said.read_text("ascii").splitlines(keepends=True))
        looked = forked(lambda: _look(place, heard))
        if looked.error:
            raise Lost(f"{fault}: {looked.text}")
        return int(bool(ended.error) or bool(ended.value))


def _choose(dice: random.Random, counts: dict[Call, int]) -> Fault:
    call = dice.choice([call for call in counts if counts[call]])
    hows = [How.ONCE, How.STICKY, How.KILL]
    if call is Call.WRITE:
        hows += [How.SHORT, How.KILL_HALF]
    how = dice.choice(hows)
    errors = ERRORS + ((errno.EINTR,) if how is How.ONCE and call in AGAIN else ())
    if call is Call.MAP:
        errors = (errno.ENOMEM,)
    return Fault(call, dice.randint(1, counts[call]), dice.choice(errors), how)


def _fill(root: Path, seed: int) -> None:
    with castore.init(root) as store:
        worker = Worker(store, "old", random.Random(seed), lambda line: None, copies=root)
        for _ in range(25):
            worker.step()


def _count(folder: Path, start: Path, seed: int) -> dict[Call, int]:
    place = folder / "counted"
    shutil.copytree(start, place)
    watch(place)
    arm(Call.ANY, 0, 0, How.ONCE)
    _steps(place, seed, lambda line: None, reopen=True)
    return {call: count(call) for call in Call if call is not Call.ANY}


def _work(mutant: str, place: Path, said: Path, seed: int, fault: Fault, reopen: bool) -> int:
    """Work under a fault; how often it struck."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if mutant:
        _PLANTS[mutant]()
    watch(place)
    arm(*fault)
    _steps(place, seed, lambda line: os.write(descriptor, line), reopen=reopen)
    disarm()
    return hits()


def _steps(place: Path, seed: int, tell: object, *, reopen: bool) -> None:
    """Some verbs, each with an outcome: done, or an error of castore's own."""
    dice = random.Random(seed)
    store = None
    worker: Worker | None = None
    for _ in range(STEPS):
        try:
            if store is None:
                store = castore.init(place)
            if worker is None:
                worker = Worker(store, "new", dice, tell, copies=place)  # type: ignore[arg-type]
            worker.store = store
            worker.step()
        except CastoreError as error:
            if worker is not None:
                # An error that says that nothing was saved is taken at its word.
                told = isinstance(error, StoreFull) and "nothing of this write" in error.message
                worker.failed(undone=told)
        if reopen and store is not None:
            store.close()
            store = None
    if store is not None:
        store.close()


def _look(place: Path, heard: Ledger) -> None:
    # A store whose making was cut short can be made again.
    with castore.init(place) as store:
        judge(store, heard)
        with store.session("after") as session:
            session.write("a", "all goes on")
            session.commit()
        whole(store)
    copy = place / "new-copy"
    if copy.exists():
        with castore.open(copy) as store:
            judge_copy(store, heard)
            whole(store, "backup: ")
        with castore.open(place) as store, contextlib.suppress(castore.errors.Conflict):
            store.backup(copy)


HARNESS = Syscall()
