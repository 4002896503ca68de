"""Collection under fire: killed at random moments, and in a loop beside committing processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import castore
from castore.errors import CastoreError
from castore.store import collect_sweep
from castore.store.branches import delete_branch
from castore.store.verify import fsck

ROUNDS = int(os.environ.get("CASTORE_GC_KILL_ROUNDS", "25"))
SECONDS = float(os.environ.get("CASTORE_GC_SECONDS", "6"))
COLLECT = """
import sys
from pathlib import Path
import castore
from castore.store import collect_sweep
collect_sweep.SLICE_BYTES = 300_000
store = castore.open(Path(sys.argv[1]))
print("begin", flush=True)
print(store.gc(grace=0).freed, flush=True)
"""
COMMIT = """
import random, sys
from pathlib import Path
import castore
from castore.store.branches import delete_branch
root, me, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
dice = random.Random(seed)
# All processes commit some of the same contents, so that each finds what another left dying.
pool = [random.Random(n).randbytes(3000 + 7000 * (n % 5)) for n in range(40)]
store = castore.open(root)
print("begin", flush=True)
for round in range(100_000):
    with store.session(f"{me}-{round % 3}") as session:
        wanted = {f"f{n}": pool[n] for n in dice.sample(range(len(pool)), 8)}
        for name, data in wanted.items():
            session.write(name, data)
            if dice.random() < 0.2:
                session._supply.make_durable()
        version = session.commit()
    for name, data in wanted.items():
        assert store.read_bytes(f"{version.id.hex()}:{name}") == data, name
    if dice.random() < 0.7:
        delete_branch(store, f"{me}-{round % 3}", by=me)
    print(round, flush=True)
"""


def seeded() -> random.Random:
    """Dice whose seed is printed; CASTORE_SEED repeats a run."""
    seed = int(os.environ.get("CASTORE_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"CASTORE_SEED={seed}")
    return random.Random(seed)


def fill(store: castore.Store, root: Path, dice: random.Random) -> None:
    """A branch to keep, and one that shares half of its files with it, to delete."""
    out = root / "out"
    (out / "deep").mkdir(parents=True, exist_ok=True)
    for number in range(60):
        (out / "deep" / f"{number}").write_bytes(dice.randbytes(dice.randrange(100, 40_000)))
    (out / "big").write_bytes(dice.randbytes(2_000_000))
    store.commit("out", cwd=root, name="keep")
    for number in range(30):
        (out / "deep" / f"{number}").write_bytes(dice.randbytes(dice.randrange(100, 40_000)))
    (out / "big").write_bytes(dice.randbytes(3_000_000))
    store.commit("out", cwd=root, name="drop")
    delete_branch(store, "drop", by="test")


def test_a_collection_killed_anywhere_leaves_a_whole_store(tmp_path: Path) -> None:
    dice = seeded()
    castore.init(tmp_path).close()
    killed, typical = 0, 0.5
    for round in range(ROUNDS):
        with castore.open(tmp_path) as store:
            fill(store, tmp_path, dice)
            kept = store.read_bytes("keep:deep/45")
        process = subprocess.Popen(
            [sys.executable, "-c", COLLECT, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        time.sleep(dice.random() * typical * 1.1)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
        process.wait()
        process.stdout.close()
        if said:
            # Towards kills that come in time about as often as not, however fast this machine is.
            typical *= 0.6
        else:
            typical *= 1.2
            killed += 1
        with castore.open(tmp_path) as store:
            report = fsck(store, full=True)
            assert not report.findings, report.findings
            assert store.read_bytes("keep:deep/45") == kept
            if round % 2:
                store.gc(grace=0)
                assert store.gc(grace=0, dry_run=True).freed == 0
                report = fsck(store, full=True)
                assert not report.findings, report.findings
    assert killed > ROUNDS // 4, f"only {killed} of {ROUNDS} rounds were cut short"
    print(f"gc killed: {ROUNDS} rounds, {killed} cut short, every store whole")


def beside(tmp_path: Path, seconds: float, dice: random.Random) -> tuple[int, int, int]:
    """Collect in a loop beside three processes that commit: collections, commits, deaths."""
    with castore.init(tmp_path) as store:
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", COMMIT, str(tmp_path), f"w{n}", str(dice.getrandbits(32))],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for n in range(3)
        ]
        collections = commits = failed = 0
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "begin\n"
            end = time.monotonic() + seconds
            while time.monotonic() < end and all(worker.poll() is None for worker in workers):
                store.gc(grace=0)
                collections += 1
        finally:
            for worker in workers:
                failed += worker.poll() is not None
                worker.terminate()
                commits += len(worker.communicate()[0].splitlines())
        return collections, commits, failed


def test_a_loop_of_collections_beside_commits(tmp_path: Path) -> None:
    collections, commits, failed = beside(tmp_path, SECONDS, seeded())
    assert not failed
    assert collections >= 5
    assert commits >= 20
    with castore.open(tmp_path) as store:
        report = fsck(store, full=True)
        assert not report.findings, report.findings
        for branch in store.branches():
            for artifact in store.artifacts(branch.branch):
                store.read_bytes(f"{branch.branch}:{artifact.artifact.name}")
    print(f"gc beside commits: {collections} collections, {commits} commits, 0 lost")


def test_without_marking_again_the_loop_loses_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness of the test before sees a collector that does not look again."""
    monkeypatch.setattr(collect_sweep, "mark_again", False)
    dice = seeded()
    for attempt in range(10):
        place = tmp_path / str(attempt)
        place.mkdir()
        try:
            _, _, failed = beside(place, SECONDS, dice)
            with castore.open(place) as store:
                if failed or fsck(store, full=True).findings:
                    return
        except CastoreError:
            return
    raise AssertionError("a collector that does not mark again was not caught")


def test_a_long_stream_is_committed_beside_collections(tmp_path: Path) -> None:
    """Batches of a session are kept from the first on, however often is collected meanwhile."""
    size = int(os.environ.get("CASTORE_GC_STREAM", str(200 << 20)))
    castore.init(tmp_path).close()
    code = (
        "import random, sys\nfrom pathlib import Path\nimport castore\n"
        "store = castore.open(Path(sys.argv[1]))\n"
        "dice = random.Random(7)\n"
        "with store.session('stream') as session:\n"
        "    pieces = (dice.randbytes(1 << 20) for _ in range(int(sys.argv[2]) >> 20))\n"
        "    session.add('data', pieces)\n"
        "    session.commit()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(size)])
    collections = 0
    with castore.open(tmp_path) as store:
        while process.poll() is None:
            store.gc(grace=0)
            collections += 1
        assert process.returncode == 0
        assert collections > 2
        dice = random.Random(7)
        with store.open("stream:data") as stream:
            for _ in range(size >> 20):
                assert stream.read(1 << 20) == dice.randbytes(1 << 20)
        report = fsck(store)
        assert not report.findings, report.findings
    print(f"{size >> 20} MiB committed beside {collections} collections")
