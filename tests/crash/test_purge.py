"""Forgetting and purging killed at random moments: the store is whole, a second run completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import castore
from castore.errors import ObjectNotFound
from castore.store.purge import ALL
from castore.store.verify import fsck
from tests.crash.test_collect import seeded
from tests.store.gcscene import commit

ROUNDS = int(os.environ.get("CASTORE_PURGE_KILL_ROUNDS", "12"))
WORK = """
import sys
from pathlib import Path
import castore
store = castore.open(Path(sys.argv[1]))
branch, number = sys.argv[2], int(sys.argv[3])
print("begin", flush=True)
if number % 4 == 0:
    store.forget(rules=castore.Rules(last=1), name=branch)
    print("done", flush=True)
else:
    store.purge(f"{branch}@v1:big", f"{branch}@v1:small", reason="x", include=["all"])
    print("done", flush=True)
"""


def test_killed_anywhere_the_store_is_whole_and_a_second_run_completes(tmp_path: Path) -> None:
    dice = seeded()
    castore.init(tmp_path).close()
    killed = 0
    # How long a forget and a purge take here.
    typical = {True: 0.05, False: 0.3}
    for round in range(ROUNDS):
        branch = f"b{round}"
        big, small = dice.randbytes(dice.randrange(10_000, 2_500_000)), dice.randbytes(1_500)
        with castore.open(tmp_path) as store:
            for n in range(3):
                commit(
                    store, branch, big=big if n < 2 else b"new", small=small, own=f"{n}".encode()
                )
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path), branch, str(round)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        forgets = round % 4 == 0
        time.sleep(dice.random() * typical[forgets] * 0.8)
        process.send_signal(signal.SIGKILL)
        if process.stdout.read():
            # Towards kills that come in time about as often as not, however fast this machine is.
            typical[forgets] *= 0.5
        else:
            typical[forgets] *= 1.2
            killed += 1
        process.wait()
        process.stdout.close()
        with castore.open(tmp_path) as store:
            report = fsck(store, full=True)
            assert not report.findings, report.findings
            assert store.read_bytes(f"{branch}:own") == b"2"
            if forgets:
                store.forget(rules=castore.Rules(last=1), name=branch)
                store.gc(grace=0)
                assert len(list(store.log(branch))) == 3
            else:
                whole_or_gone(store, branch, big)
                store.purge(f"{branch}@v1:big", f"{branch}@v1:small", reason="x", include=[ALL])
                file = (tmp_path / ".cas" / "data.mdb").read_bytes()
                for data in (big, small):
                    step = max(1, len(data) // 20)
                    assert not any(
                        data[at : at + 24] in file for at in range(0, len(data) - 24, step)
                    )
            report = fsck(store, full=True)
            assert not report.findings, report.findings
    assert killed > ROUNDS // 6, f"only {killed} of {ROUNDS} rounds were cut short"
    print(f"forget and purge killed: {ROUNDS} rounds, {killed} cut short, every store whole")


def whole_or_gone(store: castore.Store, branch: str, big: bytes) -> None:
    """A purge happens at one moment: before it all is there, and after it nothing is served."""
    answers = []
    for version in ("v1", "v2"):
        try:
            assert store.read_bytes(f"{branch}@{version}:big") == big
            answers.append(True)
        except ObjectNotFound:
            answers.append(False)
    assert len(set(answers)) == 1
