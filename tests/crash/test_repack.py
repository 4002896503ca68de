"""Repacking under fire: killed at random moments, and beside commits, collections and fsck."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import castore
from castore.errors import Locked
from castore.store.branches import delete_branch
from castore.store.verify import fsck
from tests.crash.test_collect import seeded
from tests.store.repackscene import commit, text, unchanged, without_deltas

ROUNDS = int(os.environ.get("CASTORE_REPACK_KILL_ROUNDS", "12"))
SECONDS = float(os.environ.get("CASTORE_REPACK_SECONDS", "5"))
REPACK = """
import sys, time
from pathlib import Path
import castore
from castore.store import repack as repacking
repacking._PENDING_BYTES = 50_000
store = castore.open(Path(sys.argv[1]))
print("begin", flush=True)
begun = time.monotonic()
store.repack()
print(time.monotonic() - begun, flush=True)
"""


def test_a_repack_killed_anywhere_leaves_a_whole_store(tmp_path: Path) -> None:
    dice = seeded()
    killed, typical, versions = 0, 0.1, 0
    castore.init(tmp_path).close()
    for _ in range(ROUNDS):
        with castore.open(tmp_path) as store, without_deltas():
            for _ in range(3):
                commit(store, tmp_path, versions)
                versions += 1
        process = subprocess.Popen(
            [sys.executable, "-c", REPACK, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        time.sleep(dice.random() * typical)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
        process.wait()
        process.stdout.close()
        if said:
            typical = float(said)
        else:
            killed += 1
        with castore.open(tmp_path) as store:
            report = fsck(store, full=True)
            assert not report.findings, report.findings
    with castore.open(tmp_path) as store:
        store.repack()
        assert store.repack(dry_run=True).freed == 0
        unchanged(store, versions)
        report = fsck(store, full=True)
        assert not report.findings, report.findings
    assert killed >= ROUNDS // 4, f"only {killed} of {ROUNDS} rounds were cut short"
    print(f"repack killed: {ROUNDS} rounds, {killed} cut short, every store whole")


class Beside:
    """Threads that run until `stop`; what one of them raised is raised by `join`."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.failed: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, step: Callable[[], None]) -> None:
        """Call `step` over and over."""

        def run() -> None:
            try:
                while not self.stop.is_set():
                    step()
            except BaseException as error:
                self.failed.append(error)
                self.stop.set()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def join(self) -> None:
        """End all of them."""
        self.stop.set()
        for thread in self._threads:
            thread.join()
        if self.failed:
            raise self.failed[0]


def test_beside_commits_collections_and_readers(tmp_path: Path) -> None:
    dice = seeded()
    counts = dict.fromkeys(("repacks", "freed", "collections", "commits", "reads", "checks"), 0)
    with castore.init(tmp_path) as store, castore.open(tmp_path) as other:
        with without_deltas():
            for version in range(4):
                commit(store, tmp_path, version)

        def committing() -> None:
            # Of what is committed here, some is plain, some rests on what a repack moves.
            branch = f"side-{counts['commits'] % 3}"
            first = dice.randrange(50)
            for version in range(first, first + 3):
                data = text(version, 1500)
                with other.session(branch) as session:
                    session.write("report", data)
                    if dice.random() < 0.3:
                        session._supply.make_durable()
                    made = session.commit()
                assert other.read_bytes(f"{made.id.hex()}:report") == data
                counts["commits"] += 1
            if dice.random() < 0.5:
                delete_branch(other, branch, by="test")

        def collecting() -> None:
            # Repacks may get in between each time it begins again.
            with contextlib.suppress(Locked):
                other.gc(grace=0)
                counts["collections"] += 1
            time.sleep(0.05)

        def reading() -> None:
            unchanged(other, 4)
            counts["reads"] += 1

        def checking() -> None:
            report = fsck(other, full=True)
            assert not report.findings, report.findings
            counts["checks"] += 1
            time.sleep(0.1)

        beside = Beside()
        for step in (committing, collecting, reading, checking):
            beside.start(step)
        end = time.monotonic() + SECONDS
        number = 0
        while time.monotonic() < end and not beside.stop.is_set():
            with without_deltas():
                for version in range(3):
                    commit_text(store, f"fresh-{number % 4}", number + version)
            counts["freed"] += store.repack().freed
            counts["repacks"] += 1
            number += 1
        beside.join()
        assert min(counts.values()) > 0, counts
        unchanged(store, 4)
        report = fsck(store, full=True)
        assert not report.findings, report.findings
    print(f"repack beside others: {counts}")


def commit_text(store: castore.Store, branch: str, version: int) -> None:
    """A version of one artifact that shares what the others make."""
    with store.session(branch) as session:
        session.write("report", text(version, 1500))
        session.commit()
