"""Power cuts for real: a file system of its own that is shut down under its writers."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import castore
from tests.harness.children import Fork, forked
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import Ledger, judge, ledger, whole
from tests.harness.mutants import ack_before_commit, unsynced
from tests.harness.work import WEIGHTS, Worker

# FS_IOC_SHUTDOWN, and to flush nothing, not even the journal (linux/fs.h, fs/ext4/ext4.h).
_SHUTDOWN = 0x8004587D
_NO_FLUSH = struct.pack("I", 2)
_CLONE_NEWNS = 0x00020000
_BYTES = 64 << 20
_NEEDED = ("mkfs.ext4", "losetup", "mount", "umount")
CUTS = 3
_PLANTS = {
    "no-sync": lambda: unsynced(sync=False),
    "ack-before-commit": ack_before_commit,
}


class PowerCut(Harness):
    """A worker on an ext4 of its own, which is cut off from its disk at a random moment."""

    name = "powercut"
    shows = "what was acknowledged is there after an ext4 was cut off and mounted again"
    share = 8.0
    mutants = {
        "no-sync": "LMDB does not flush",
        "ack-before-commit": "a version is acknowledged before its transaction is",
    }

    def unavailable(self) -> str:
        if os.geteuid() != 0:
            return "it needs root, to mount a file system"
        absent = [name for name in _NEEDED if shutil.which(name) is None]
        if absent:
            return f"there is no {', '.join(absent)}"
        ended = forked(_try)
        return "" if not ended.error else "an ext4 cannot be mounted and cut off here"

    def round(self, scene: Scene) -> int:
        """One file system, cut off a few times."""
        if scene.mutant:
            _PLANTS[scene.mutant]()
        _apart()
        image, mounted = scene.folder / "image", scene.folder / "mounted"
        _make(image, mounted)
        with _mounted(image, mounted):
            castore.init(mounted).close()
        lives: dict[str, Path] = {}
        for cut in range(CUTS):
            name = f"w{cut}"
            lives[name] = scene.folder / name
            with _mounted(image, mounted):
                self._cut(scene, mounted, name, lives[name])
            said = [ledger(_lines(path)) for path in lives.values()]
            with _mounted(image, mounted):
                looked = forked(lambda said=said: _look(mounted, said))  # type: ignore[misc]
            if looked.error:
                raise Lost(f"after cut {cut}: {looked.text}")
        return CUTS

    def _cut(self, scene: Scene, mounted: Path, name: str, said: Path) -> None:
        seed = scene.dice.getrandbits(32)
        writer = Fork(lambda: _work(mounted, name, seed, said), self.limit)
        time.sleep(scene.dice.uniform(0.02, 0.4))
        shut_down(mounted)
        # Whatever is acknowledged from here on was not saved.
        time.sleep(0.01)
        ended = writer.kill()
        if ended.error != "SIGKILL":
            raise Lost(f"{name} ended by itself: {ended.text}")


def shut_down(mounted: Path) -> None:
    """Cut a file system off: what was not flushed is gone."""
    descriptor = os.open(mounted, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, _NO_FLUSH)
    finally:
        os.close(descriptor)


def _apart() -> None:
    """Let what this process mounts end with it, however it ends."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def _make(image: Path, mounted: Path) -> None:
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)


@contextlib.contextmanager
def _mounted(image: Path, mounted: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield
    finally:
        _unmount(mounted)


def _unmount(mounted: Path) -> None:
    for _ in range(50):
        done = subprocess.run(["umount", str(mounted)], capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.02)
    subprocess.run(["umount", "-l", str(mounted)], check=False)


def _try() -> None:
    _apart()
    with tempfile.TemporaryDirectory() as folder:
        image, mounted = Path(folder) / "image", Path(folder) / "mounted"
        _make(image, mounted)
        with _mounted(image, mounted):
            shut_down(mounted)


def _work(root: Path, me: str, seed: int, said: Path) -> None:
    """Work until killed; once the file system is gone, everything fails."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    weights = {**WEIGHTS, "commit": 20, "backup": 0}
    with contextlib.suppress(Exception), castore.open(root) as store:
        worker = Worker(
            store,
            me,
            random.Random(seed),
            lambda line: os.write(descriptor, line),
            weights=weights,
        )
        while True:
            worker.step()
    time.sleep(3600)


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines(keepends=True) if path.exists() else []


def _look(root: Path, said: list[Ledger]) -> None:
    with castore.open(root) as store:
        for heard in said:
            judge(store, heard)
        whole(store)


HARNESS = PowerCut()
