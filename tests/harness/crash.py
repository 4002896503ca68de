"""A writer that dies at one exact step of a transaction, again and again, against a ledger.

The steps lie between and inside writes: before a transaction begins, when its changes are made and
not committed, when it is durable and `heads.log` does not know, when that has the line.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import castore
from castore.database import environment
from castore.database.engine import Engine
from castore.errors import Locked, NotFound
from tests.harness.children import forked
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import Ledger, judge, ledger, whole
from tests.harness.mutants import ref_before_objects
from tests.harness.work import WEIGHTS, Worker

LIVES = 6
STEPS = ("before", "inside", "committed", "noted")
# A life ends at one of its first writes: each verb is one to some of them.
_WRITES = 24
# A copy of the store is the business of the harness that kills at any moment.
_WEIGHTS = {**WEIGHTS, "backup": 0}


class Crash(Harness):
    """One writer lives again and again on a store that its last life left in the middle."""

    name = "crash"
    shows = "at each step of a transaction a crash leaves all of it or nothing, and the log knows"
    share = 3.0
    mutants = {
        "ref-before-objects": "a branch names a version that comes in the next transaction",
    }

    def round(self, scene: Scene) -> int:
        """One store, some lives of its writer, each ended at a step of its own."""
        castore.init(scene.folder).close()
        if scene.mutant:
            ref_before_objects()
        lives: dict[str, Path] = {}
        for life in range(LIVES):
            name, step = f"c{life}", scene.dice.choice(STEPS)
            lives[name] = scene.folder / f"{name}.said"
            count, seed = scene.dice.randrange(1, _WRITES), scene.dice.getrandbits(32)
            live = lambda: _live(scene.folder, name, lives[name], seed, step, count)  # noqa: E731, B023
            ended = forked(live, self.limit)
            if ended.error != "SIGKILL":
                raise Lost(f"life {life} ended by itself: {ended.text}")
            heard = [ledger(_lines(path)) for path in lives.values()]
            ended = forked(lambda: _look(scene.folder, heard), self.limit)  # noqa: B023
            if ended.error:
                raise Lost(f"life {life}, dead at write {count}, {step}: {ended.text}")
        return LIVES


def _live(root: Path, me: str, said: Path, seed: int, step: str, count: int) -> None:
    """Work until the write with this number comes to this step."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with castore.open(root) as store:
        _die_at(step, count)
        dice = random.Random(seed)
        worker = Worker(
            store, me, dice, lambda line: os.write(descriptor, line), weights=_WEIGHTS, copies=root
        )
        while True:
            try:
                worker.step()
            except (NotFound, Locked):
                # What was given up cannot be had back, which undoing says.
                worker.say("failed", "")


def _die_at(step: str, count: int) -> None:
    """Let this process be killed at a step of its write number `count`."""
    seen = 0
    write, note = Engine.write, environment.append_head

    def reached(here: str) -> None:
        if seen >= count and here == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def writing(self: Engine, fn: Callable[..., Any], **options: Any) -> Any:
        nonlocal seen
        seen += 1
        reached("before")

        def inside(*given: Any) -> Any:
            result = fn(*given)
            reached("inside")
            return result

        result = write(self, inside, **options)
        reached("committed")
        return result

    def noting(*given: Any) -> None:
        note(*given)
        reached("noted")

    Engine.write = writing  # type: ignore[method-assign, assignment]
    environment.append_head = noting  # type: ignore[attr-defined]


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines(keepends=True) if path.exists() else []


def _look(root: Path, heard: list[Ledger]) -> None:
    with castore.open(root) as store:
        for one in heard:
            judge(store, one)
        whole(store)


HARNESS = Crash()
