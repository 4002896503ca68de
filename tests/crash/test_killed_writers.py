"""Writers of many processes killed at random while others go on and a collector runs in a loop."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from collections import defaultdict
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import castore
from castore.store.stages import staged_sessions
from tests.store.gcscene import closed

COMMITS = int(os.environ.get("CASTORE_KILLED_COMMITS", "400"))
WRITERS = 8
BRANCHES = 4
LIMIT = float(os.environ.get("CASTORE_KILLED_SECONDS", "240"))
# A new process is a fork of one that has loaded castore and opened nothing.
SERVER = multiprocessing.get_context("forkserver")
POOL = [random.Random(number).randbytes(2000 + 9000 * (number % 4)) for number in range(24)]


class Told(NamedTuple):
    """What a writer said about a version after its commit returned."""

    writer: str
    round: int
    branch: str
    number: int
    id: str


class Enough(Exception):
    """A session is left before its commit."""


def write(folder: str, writer: str, seed: int, acks: str) -> None:
    """Commit until killed, and after each commit say so; now and then give a session up."""
    dice = random.Random(seed)
    with castore.open(folder) as store, open(acks, "a", encoding="ascii") as file:
        for round in itertools.count():
            if dice.random() < 0.2:
                try:
                    with store.session("given-up", run=f"{writer}-{round}") as session:
                        session.write("spare", dice.choice(POOL))
                        raise Enough
                except Enough:
                    pass
            spare = dice.choice(POOL)
            with store.session(f"b{dice.randrange(BRANCHES)}") as session:
                session.write("one", f"{writer} {round}")
                session.add("two", store.stage(f"{writer} {round}".encode() * 300))
                session.write("spare", spare)
                version = session.commit(f"{writer} {round}")
            told = (writer, round, version.branch, version.number, version.id.hex())
            file.write(" ".join(map(str, told)) + "\n")
            file.flush()


def collect(folder: str) -> None:
    """Collect until killed: nothing is kept for the log, and what the dead staged is given up."""
    with castore.open(folder) as store:
        while True:
            store.gc(grace=0, expire_partials=0)


def told_in(folder: Path) -> list[Told]:
    """Everything that was acknowledged; a line that was not ended was not said."""
    found = []
    for path in sorted(folder.iterdir()):
        for line in path.read_text(encoding="ascii").splitlines(keepends=True):
            if line.endswith("\n"):
                writer, round, branch, number, id = line.split()
                found.append(Told(writer, int(round), branch, int(number), id))
    return found


class Crowd:
    """Processes that are killed and replaced."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self.root, self.dice = root, dice
        self.acks = root / "acks"
        self.acks.mkdir()
        self.lives = itertools.count()
        self.kills = 0
        self.writers = [self.writer() for _ in range(WRITERS)]
        self.collector = self.start(collect)

    def start(self, work: object, *arguments: object) -> BaseProcess:
        process = SERVER.Process(target=work, args=(str(self.root), *arguments), daemon=True)  # type: ignore[arg-type]
        process.start()
        return process

    def writer(self) -> BaseProcess:
        name = f"w{next(self.lives)}"
        return self.start(write, name, self.dice.getrandbits(32), str(self.acks / name))

    def kill(self, process: BaseProcess) -> None:
        assert process.pid is not None
        assert process.exitcode is None, f"{process} ended by itself: {process.exitcode}"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.kills += 1

    def strike(self) -> None:
        """Kill one of them, and let another take its place."""
        at = self.dice.randrange(WRITERS)
        if self.dice.random() < 0.15:
            self.kill(self.collector)
            self.collector = self.start(collect)
        else:
            self.kill(self.writers[at])
            self.writers[at] = self.writer()

    def end(self) -> None:
        for process in (*self.writers, self.collector):
            self.kill(process)


def test_killed_writers_lose_nothing_beside_collections(tmp_path: Path) -> None:
    seed = int(os.environ.get("CASTORE_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"CASTORE_SEED={seed}")
    dice = random.Random(seed)
    SERVER.set_forkserver_preload(["castore", __name__])
    with castore.init(tmp_path) as store:
        staged = store.stage(b"staged before all")
        with store.session("kept") as session:
            session.add("early", b"begun before all" * 5000)
            session.add("staged", staged)
            session._supply.make_durable()
            crowd = Crowd(tmp_path, dice)
            began = time.monotonic()
            try:
                next_kill = 8
                while (done := len(told_in(crowd.acks))) < COMMITS:
                    assert time.monotonic() - began < LIMIT, f"only {done}"
                    time.sleep(0.1 * dice.random())
                    if done >= next_kill:
                        crowd.strike()
                        next_kill = done + dice.randrange(4, 28)
            finally:
                crowd.end()
            session.commit("what a process that lives has staged is kept")
        store.gc(grace=0, expire_partials=0)
        assert staged_sessions(store) == [], "what the dead staged is given up"
        closed(store)
        judge(store, told_in(crowd.acks))
        collections = sum(entry.op == "gc" for entry in store.operations())
    assert crowd.kills > 2 * WRITERS
    assert collections
    print(f"{COMMITS} commits, {crowd.kills} kills, {collections} collections, 0 lost")


def judge(store: castore.Store, told: list[Told]) -> None:
    """Each told of is there once, each branch is one line, and all of it reads back."""
    found = []
    for tip in store.branches():
        history = list(store.log(tip.branch))
        assert [v.number for v in history] == list(range(len(history), 0, -1))
        for child, parent in pairwise(history):
            assert child.manifest.parents == (parent.id,)
        assert not history[-1].manifest.parents
        if tip.branch == "kept":
            assert store.read_bytes("kept:early") == b"begun before all" * 5000
            assert store.read_bytes("kept:staged") == b"staged before all"
            continue
        for version in history:
            writer, round = version.manifest.message.split()
            found.append(Told(writer, int(round), tip.branch, version.number, version.id.hex()))
            name = version.id.hex()
            assert store.read_bytes(f"{name}:one") == f"{writer} {round}".encode()
            assert store.read_bytes(f"{name}:two") == f"{writer} {round}".encode() * 300
            assert store.read_bytes(f"{name}:spare") in POOL
    assert len(set(told)) == len(told) >= COMMITS
    assert len({(one.writer, one.round) for one in found}) == len(found), "nothing is there twice"
    assert set(told) <= set(found), "what was acknowledged is there"
    # A writer says one thing after the other, so only the last may be what nobody heard of.
    rounds = defaultdict(list)
    for one in told:
        rounds[one.writer].append(one.round)
    for one in set(found) - set(told):
        assert one.round == len(rounds[one.writer]), f"{one} was followed by others and not told"
    assert all(heard == list(range(len(heard))) for heard in rounds.values())
    report = store.fsck(full=True)
    assert report.ok, list(report.lines())
