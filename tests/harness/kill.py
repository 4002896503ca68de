"""kill -9 at random moments of every verb that writes, with several writers on one store."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import castore
from castore.errors import Locked
from tests.harness.children import Fork, forked
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import Ledger, judge, judge_copy, ledger, whole
from tests.harness.mutants import ack_before_commit, copy_in_place, ref_before_objects
from tests.harness.work import WEIGHTS, Worker

WRITERS = 3
LIVES = 4


class Kill(Harness):
    """Writers of all verbs are killed again and again; after each time all is there."""

    name = "kill"
    shows = "what was acknowledged survives kill -9 at any moment of any verb"
    share = 10.0
    mutants = {
        "ack-before-commit": "a version is acknowledged before its transaction is",
        "ref-before-objects": "a branch names a version that comes in the next transaction",
        "copy-in-place": "a backup is written where it will stay",
    }

    def round(self, scene: Scene) -> int:
        """One store, some lives of its writers, each ended by kill -9."""
        castore.init(scene.folder).close()
        if scene.mutant:
            _PLANTS[scene.mutant]()
        lives: dict[str, Path] = {}
        for life in range(LIVES):
            # A worker that lives again has other branches, so that what the last said stays true.
            names = {f"w{life}{n}": scene.folder / f"w{life}{n}.said" for n in range(WRITERS)}
            lives |= names
            self._kill(scene, names)
            said = {name: ledger(_lines(path)) for name, path in lives.items()}
            ended = forked(lambda said=said: _look(scene.folder, said))  # type: ignore[misc]
            if ended.error:
                raise Lost(f"after life {life}: {ended.text}")
        return LIVES * WRITERS

    def _kill(self, scene: Scene, names: dict[str, Path]) -> None:
        seeds = {name: scene.dice.getrandbits(32) for name in names}
        forks = [
            Fork(lambda n=name, p=path: _work(scene.folder, n, seeds[n], p), self.limit)  # type: ignore[misc]
            for name, path in names.items()
        ]
        time.sleep(scene.dice.uniform(0.02, 0.25))
        for name, fork in zip(names, forks, strict=True):
            ended = fork.kill()
            if ended.error != "SIGKILL":
                raise Lost(f"{name} ended by itself: {ended.text}")


def _work(root: Path, me: str, seed: int, said: Path) -> None:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # One purge or repack waits for another, and one backup of a folder at a time.
    weights = WEIGHTS if me.endswith("0") else {**WEIGHTS, "purge": 0, "repack": 0}
    dice = random.Random(seed)
    with castore.open(root) as store:
        worker = Worker(
            store, me, dice, lambda line: os.write(descriptor, line), weights=weights, copies=root
        )
        while True:
            try:
                worker.step()
            except Locked:
                # A collection beside many writers may give up, and says so.
                worker.failed(undone=True)


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines(keepends=True) if path.exists() else []


def _look(root: Path, said: dict[str, Ledger]) -> None:
    with castore.open(root) as store:
        for heard in said.values():
            judge(store, heard)
        whole(store)
    for name, heard in said.items():
        # A backup that is there is whole, also if nobody was told.
        place = root / f"{name}-copy"
        if heard.copied is not None or place.exists():
            with castore.open(place) as copy:
                if copy.folder == root / ".cas":
                    raise Lost(f"{place.name} holds no store")
                judge_copy(copy, heard)
                whole(copy, "backup: ")


_PLANTS = {
    "ack-before-commit": ack_before_commit,
    "ref-before-objects": ref_before_objects,
    "copy-in-place": copy_in_place,
}
HARNESS = Kill()
