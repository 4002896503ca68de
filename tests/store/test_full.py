"""A full disk: a store keeps enough room that what frees some, and what checks it, still run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FILL = """
import os, random, resource, signal, sys
from pathlib import Path
import castore
from castore.errors import StoreFull

home = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, resource.RLIM_INFINITY))
dice = random.Random(1)
with castore.init(home) as store:
    versions = []
    try:
        while True:
            with store.session("data") as session:
                session.write("bytes", dice.randbytes(400_000))
                versions.append(session.commit())
    except StoreFull as error:
        assert error.retryable and error.code == 75
        print(len(versions))
    assert [v.id for v in store.log("data")] == [v.id for v in reversed(versions)]
    if sys.argv[2] == "others":
        # What is left is taken by another program.
        with open(home / "filler", "wb", buffering=0) as file:
            for size in (1 << 16, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass
    assert store.fsck(full=True).ok
    def attempt(name, work):
        try:
            work()
            print(name, "ok")
        except StoreFull:
            print(name, "full")
    attempt("forget", lambda: store.forget("data~1", "data~2", "data~3", "data~4", "data~5"))
    attempt("gc", lambda: store.gc(grace=0))
    def commit():
        with store.session("data") as session:
            session.write("bytes", b"small")
            session.commit()
    # Pages that a transaction frees are used by the one after the next.
    attempt("settle", lambda: store.gc(grace=0))
    attempt("commit", commit)
    report = store.fsck(full=True)
    assert report.ok, list(report.lines())
    assert store.read_bytes(versions[0].id.hex() + ":bytes")
"""


def run(home: Path, how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(home), how], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (done.stdout, done.stderr[-2000:])
    return done.stdout.splitlines()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 14 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_room_is_kept_below_a_limit_of_file_size(tmp_path: Path) -> None:
    versions, *rest = run(tmp_path, "limit")
    assert 10 < int(versions) < 25
    assert rest == ["forget ok", "gc ok", "settle ok", "commit ok"]


def test_room_is_kept_on_a_small_disk(disk: Path) -> None:
    versions, *rest = run(disk, "disk")
    assert 10 < int(versions) < 30
    assert rest == ["forget ok", "gc ok", "settle ok", "commit ok"]


def test_a_disk_that_others_filled_is_named_and_nothing_is_lost(disk: Path) -> None:
    """Not one byte is free: LMDB may not find the pages it needs, and then nothing changes."""
    versions, *rest = run(disk, "others")
    assert int(versions) > 10
    assert {line.split()[1] for line in rest} <= {"ok", "full"}
