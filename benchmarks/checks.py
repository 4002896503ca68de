"""Checks: `fsck --full` of big and small files, beside one thread of BLAKE3 over the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from blake3 import blake3

from benchmarks.measure import Run, measure, middle
from benchmarks.report import Row
from benchmarks.stage import Stage

_BIG_BYTES: Final = 96 << 20
_SMALL: Final = 5_000
_SMALL_BYTES: Final = 4_000
_MIB: Final = 1 << 20


def full_checks(stage: Stage) -> list[Row]:
    """One big file that does not compress, and a folder of small ones."""
    return [
        _checked(stage, "one file of 96 MiB", _write_big, _BIG_BYTES),
        _checked(stage, f"{_SMALL:,} small files", _write_small, _SMALL * _SMALL_BYTES),
    ]


def _checked(stage: Stage, name: str, write: Callable[[Path], None], size: int) -> Row:
    with stage.store("check") as store:
        write(store.folder.parent / "out")
        store.commit("out", cwd=store.folder.parent)
        data = bytes(size)
        hashing: list[Run] = []
        checking: list[Run] = []
        for _ in range(stage.times):
            hashing.append(measure(lambda: blake3(data).digest(), watch=False))
            checking.append(measure(lambda: store.fsck(full=True), watch=False))
    speeds = [size / _MIB / run.cpu for run in checking]
    return Row(
        name=f"fsck --full, {name}",
        unit="MiB/CPU s",
        value=middle(speeds),
        low=min(speeds),
        high=max(speeds),
        runs=len(speeds),
        limit=middle([size / _MIB / run.cpu for run in hashing]),
        limit_name="BLAKE3, one thread",
        cpu=middle([run.cpu for run in checking]),
    )


def _write_big(out: Path) -> None:
    out.mkdir()
    (out / "big").write_bytes(random.Random(1).randbytes(_BIG_BYTES))


def _write_small(out: Path) -> None:
    out = out / "small"
    out.mkdir(parents=True)
    dice = random.Random(1)
    for number in range(_SMALL):
        (out / f"{number}.txt").write_bytes(dice.randbytes(_SMALL_BYTES // 2).hex().encode())
