"""Power cuts, replayed: the calls of a worker are recorded, and disks built that they may leave."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import castore
from castore.errors import StoreNotFound
from tests.harness.children import forked
from tests.harness.disk import Call, Disk, Kind, read_calls
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import Ledger, erased, judge, judge_copy, whole
from tests.harness.mutants import (
    copy_in_place,
    free_pages_kept,
    log_before_commit,
    no_folder_sync,
    unsynced,
)
from tests.harness.shim import mark, record, watch
from tests.harness.work import WEIGHTS, Worker

STEPS = 12
IMAGES = 24
_PLANTS = {
    "no-sync": lambda: unsynced(sync=False),
    "no-meta-sync": lambda: unsynced(metasync=False),
    "no-folder-sync": no_folder_sync,
    "log-before-commit": log_before_commit,
    "copy-in-place": copy_in_place,
    "free-pages-kept": free_pages_kept,
}


class Images(Harness):
    """A worker of all verbs from the making of its store on, and disks as cuts may leave them."""

    name = "images"
    shows = "what was acknowledged survives any subset of unsynced writes, torn and reordered"
    share = 14.0
    shim = True
    mutants = {
        "no-sync": "LMDB does not flush",
        "no-meta-sync": "LMDB does not flush its meta page",
        "no-folder-sync": "no folder is flushed after a rename",
        "log-before-commit": "an operation is noted in heads.log before it is committed",
        "copy-in-place": "a backup is written where it will stay",
        "free-pages-kept": "a purge does not clear the pages it freed",
    }

    def round(self, scene: Scene) -> int:
        """One worker, and some cuts at random moments of what it did."""
        place, log = scene.folder / "place", scene.folder / "log"
        place.mkdir()
        seed = scene.dice.getrandbits(32)
        ended = forked(lambda: _work(scene.mutant, place, log, seed))
        if ended.error:
            raise Lost(f"no cut yet: {ended.text}")
        calls = list(read_calls(log))
        cuts = [*sorted(scene.dice.choices(range(len(calls)), k=IMAGES - 1)), len(calls)]
        disk, heard, made = Disk(place), Said(), 0
        for number, cut in enumerate(cuts):
            for call in calls[made:cut]:
                disk.make(call)
                heard.hear(call)
            made = cut
            self._look(scene, disk, heard, f"cut {number} after call {cut} of {len(calls)}")
        return len(cuts)

    def _look(self, scene: Scene, disk: Disk, heard: Said, where: str) -> None:
        image = scene.folder / "image"
        disk.image(image, scene.dice)
        looked = forked(lambda: _judge(image, heard))
        if looked.error:
            raise Lost(f"{where}: {looked.text}")
        shutil.rmtree(image)


class Said:
    """What the worker had said by a moment."""

    def __init__(self) -> None:
        self.made = False
        self.ledger = Ledger()

    def hear(self, call: Call) -> None:
        """Take in what a call says, if it does."""
        if call.kind is not Kind.MARK:
            return
        line = json.loads(call.data)
        if line["says"] == "made":
            self.made = True
        else:
            self.ledger.hear(line)


def _work(mutant: str, place: Path, log: Path, seed: int) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if mutant:
        _PLANTS[mutant]()
    watch(place)
    record(descriptor)
    dice = random.Random(seed)
    weights = {**WEIGHTS, "backup": 4, "purge": 8}
    with castore.init(place) as store:
        mark(b'{"says": "made"}')
        worker = Worker(store, "w", dice, mark, weights=weights, copies=place)
        for _ in range(dice.randint(2, STEPS)):
            worker.step()
    record(-1)


def _judge(place: Path, said: Said) -> None:
    try:
        store = castore.open(place)
    except StoreNotFound:
        if said.made:
            raise
        store = castore.init(place)
    erased(place / ".cas" / "data.mdb", said.ledger)
    with store:
        judge(store, said.ledger)
        whole(store)
        with store.session("after") as session:
            session.write("a", "all goes on")
            session.commit()
        whole(store, "after one more version: ")
    copy = place / "w-copy"
    if said.ledger.copied is not None or copy.exists():
        with castore.open(copy) as store:
            judge_copy(store, said.ledger)
            whole(store, "backup: ")


HARNESS = Images()
