"""kill -9 at random moments of a commit: the branch is the old or the new tip, the work resumes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import castore
from castore.store.partials import list_partials
from castore.store.verify import fsck

ROUNDS = int(os.environ.get("CASTORE_KILL_ROUNDS", "50"))
WORK = """
import sys
from pathlib import Path
import castore
from castore.errors import CastoreError
root, run = Path(sys.argv[1]), sys.argv[2]
store = castore.open(root)
print("begin", flush=True)
context = castore.Context(run=run)
report = store.commit("work", name="work", cwd=root, context=context)
print(report.version.id.hex(), flush=True)
"""


def fill(folder: Path, seed: int) -> None:
    """Two files bigger than a batch, then small ones; all different from every other seed's."""
    dice = random.Random(seed)
    (folder / "part").mkdir(parents=True, exist_ok=True)
    for number in range(40):
        (folder / "part" / f"{number}.txt").write_bytes(dice.randbytes(600))
    for name in ("a.bin", "b.bin"):
        (folder / name).write_bytes(dice.randbytes(64) * 16 + os.urandom(20_000_000))


def test_killed_commits_lose_nothing_and_resume(tmp_path: Path) -> None:
    seed = int(os.environ.get("CASTORE_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"CASTORE_SEED={seed}")
    dice = random.Random(seed)
    castore.init(tmp_path).close()
    work = tmp_path / "work"
    acknowledged: list[str] = []
    killed = resumed = 0
    typical = 0.5
    # The moment that leaves something to resume is short: go on until it was met.
    for round in range(4 * ROUNDS):
        if round >= ROUNDS and resumed:
            break
        fill(work, dice.getrandbits(32))
        run = f"run-{round}"
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path), run], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        started = time.monotonic()
        time.sleep(dice.random() * typical * 1.1)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().strip()
        process.wait()
        process.stdout.close()
        if said:
            acknowledged.append(said)
            typical = max(0.05, 0.7 * typical + 0.3 * (time.monotonic() - started))
        else:
            killed += 1
        with castore.open(tmp_path) as store:
            history = [version.id.hex() for version in store.log()]
            fresh = [id for id in history if id not in acknowledged]
            assert len(fresh) <= 1, "more than one version that nobody was told of"
            assert set(acknowledged) <= set(history)
            acknowledged += fresh
            left = [partial for partial in list_partials(store) if partial.run == run]
            if left and not fresh and not said:
                resumed += 1
                version = store.commit(
                    "work", name="work", cwd=tmp_path, resume=run, message="resumed"
                ).version
                acknowledged.append(version.id.hex())
                assert not [p for p in list_partials(store) if p.run == run]
                assert store.read_bytes("work:a.bin") == (work / "a.bin").read_bytes()
                assert store.read_bytes("work:b.bin") == (work / "b.bin").read_bytes()
    with castore.open(tmp_path) as store:
        report = fsck(store, full=True)
    assert not report.findings, report.findings
    assert killed > ROUNDS // 4, f"only {killed} of {ROUNDS} rounds were cut short"
    assert resumed, "no round left anything to resume"
    print(f"kill -9: {ROUNDS} rounds, {killed} cut short, {resumed} resumed, 0 lost")
