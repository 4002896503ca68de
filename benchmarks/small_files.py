"""Many small files: taken in, known again by their stat results, and one folder with ten edits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import castore
from benchmarks.corpora import SMALL_FILES, small_files
from benchmarks.measure import Runs, repeat
from benchmarks.report import Row
from benchmarks.stage import Stage

_EDITS: Final = 10
_KIB: Final = 1024


def ingest_small(stage: Stage) -> list[Row]:
    """100,000 new files of 1 to 8 KB in folders, durable, against reading them."""
    folder = small_files(stage.cache)

    def run() -> None:
        with stage.store("small") as store:
            _commit(store, folder)

    ours, raw = repeat(run, lambda: _read(folder), times=stage.times, before=stage.settle)
    name = "scandir, stat, open, read, close"
    return [_row("ingest 100,000 files of 1–8 KB", ours, raw, name, 20_000, 35_000)]


def unchanged(stage: Stage) -> list[Row]:
    """100,000 files none of which changed, against the stat pass."""
    folder = small_files(stage.cache)
    with stage.store("unchanged") as store:
        _commit(store, folder)
        ours, raw = repeat(
            lambda: _commit(store, folder),
            lambda: _stat(folder),
            times=stage.times,
            before=stage.settle,
        )
    name = "scandir, stat"
    return [_row("re-commit 100,000 unchanged files", ours, raw, name, 80_000, 140_000)]


def ten_edits(stage: Stage) -> list[Row]:
    """A folder artifact of 100,000 files with ten changed: time beyond the stat pass, and bytes."""
    rows: list[Row] = []
    for flat in (True, False):
        source = small_files(stage.cache, "flat" if flat else "small", flat=flat)
        folder = stage.scratch("edited") / "files"
        shutil.copytree(source, folder, copy_function=os.link)
        rows += _ten_edits(stage, folder, "one folder" if flat else "100 folders")
    return rows


def _ten_edits(stage: Stage, folder: Path, shape: str) -> list[Row]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = files[:: len(files) // _EDITS][:_EDITS]
    # 100,000 paths would count as memory of the commits.
    files.clear()
    turn = 0
    added: list[dict[str, int]] = []

    def edit() -> None:
        nonlocal turn
        turn += 1
        # Every second call: then comes the commit of edits, and after it that of none.
        for path in chosen if turn % 2 else ():
            # A new file, since the corpus is linked here.
            data = path.read_bytes()[:4000] + f"\nedit {turn}\n".encode()
            path.unlink()
            path.write_bytes(data)
        stage.settle()

    with stage.store("edits") as store:
        _commit(store, folder)

        def commit() -> None:
            before = _sizes(store)
            _commit(store, folder)
            after = _sizes(store)
            added.append({name: after[name] - before[name] for name in after})

        ours, raw = repeat(commit, lambda: _commit(store, folder), times=stage.times, before=edit)
    added = added[1:]
    low, high = ours.spread
    figures = sorted(row["blocks"] + row["lookup"] for row in added)
    middle = figures[len(figures) // 2]
    return [
        Row(
            name=f"10 of 100,000 changed, {shape}",
            unit="s",
            value=ours.wall,
            low=low,
            high=high,
            runs=len(ours.runs),
            limit=raw.wall,
            limit_name="commit of the same, nothing changed",
            judged="ratio",
            at_least=0.5,
            less_is_better=True,
            cpu=ours.cpu,
            memory=ours.memory,
        ),
        Row(
            name="  bytes added by that",
            unit="KiB",
            value=middle / _KIB,
            low=figures[0] / _KIB,
            high=figures[-1] / _KIB,
            runs=len(figures),
            at_least=200,
            less_is_better=True,
            detail={"tables": added[len(added) // 2]},
        ),
    ]


def _sizes(store: castore.Store) -> dict[str, int]:
    """Bytes of blocks stored, and of the rows of look-up."""

    def count(tables: Any) -> dict[str, int]:
        rows = sum(len(key) + len(value) for key, value in tables.lookup_rows())
        return {"blocks": sum(i.stored for _, i in tables.block_infos()), "lookup": rows}

    return store.database.read(count)


def _commit(store: castore.Store, folder: Path) -> castore.Version:
    with store.session("files") as session:
        session.add("files", folder)
        return session.commit()


def _walk(folder: Path, visit: Callable[[os.DirEntry[str]], None]) -> None:
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    visit(entry)


def _stat(folder: Path) -> None:
    _walk(folder, lambda entry: entry.stat(follow_symlinks=False) and None)


def _read(folder: Path) -> None:
    def read(entry: os.DirEntry[str]) -> None:
        size = entry.stat(follow_symlinks=False).st_size
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        os.read(descriptor, size + 1)
        os.close(descriptor)

    _walk(folder, read)


def _row(name: str, ours: Runs, raw: Runs, limit: str, at_least: int, aim: int) -> Row:
    low, high = ours.spread
    return Row(
        name=name,
        unit="files/s",
        value=SMALL_FILES / ours.wall,
        low=SMALL_FILES / high,
        high=SMALL_FILES / low,
        runs=len(ours.runs),
        limit=SMALL_FILES / raw.wall,
        limit_name=limit,
        at_least=at_least,
        aim=aim,
        cpu=ours.cpu,
        memory=ours.memory,
        detail={"limit_cpu": raw.cpu},
    )
