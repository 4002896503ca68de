"""Figures of peers as rows, each beside the best peer for that measure, and as a table a corpus."""

from __future__ import annotations

import datetime
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.peer_trial import UNITS, Figure
from benchmarks.report import Row, json_line, read_row

COLUMNS: Final = (
    "first", "unchanged", "later", "restore", "pack", "stored", "one file", "memory", "cpu",
)  # fmt: skip
_NAME: Final = 20
_WIDTH: Final = 9
_SHORTER: Final = {"unchanged": "again", "one file": "one file"}


def rows_of(figures: Iterable[Figure], detail: Mapping[str, Any]) -> list[Row]:
    """A row for each label and measure: the median over the rounds; no limits yet."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault((figure.label, figure.measure), []).append(figure)
    return [_row(label, measure, each, detail) for (label, measure), each in found.items()]


def _row(label: str, measure: str, figures: list[Figure], detail: Mapping[str, Any]) -> Row:
    values = [figure.value for figure in figures]
    costs = any(figure.usage.cpu for figure in figures)
    sync = round(statistics.median(figure.usage.sync for figure in figures), 4)
    own = {"tool": label, "measure": measure, **({"sync": sync} if costs else {})}
    return Row(
        name=f"{detail['corpus']}: {measure}, {label}",
        unit=UNITS[measure],
        value=round(statistics.median(values), 4),
        low=round(min(values), 4),
        high=round(max(values), 4),
        runs=len(values),
        judged="ratio",
        less_is_better=True,
        cpu=round(statistics.median(f.usage.cpu for f in figures), 4) if costs else -1.0,
        memory=max(figure.usage.memory for figure in figures),
        detail={**detail, **own},
    )


def key(row: Row) -> tuple[str, str, str]:
    """What a row is about: corpus, tool, measure."""
    return row.detail["corpus"], row.detail["tool"], row.detail["measure"]


def against_best(rows: Iterable[Row]) -> list[Row]:
    """The rows with the best peer for each measure as their limit.

    `ratio` is what the best peer takes as a share of the value: 1 for that peer, above 1 where
    castore takes less than each of them. The best of those that fsync stands in `detail`.
    """
    rows = list(rows)
    found = []
    for row in rows:
        rivals = [
            other
            for other in rows
            if other.detail["peer"]
            and other.detail["corpus"] == row.detail["corpus"]
            and other.detail["measure"] == _measured(row)
        ]
        best = min(rivals, key=lambda other: other.value, default=None)
        synced = [other for other in rivals if other.detail["durable"]]
        durable = min(synced, key=lambda other: other.value, default=None)
        detail = {k: v for k, v in row.detail.items() if not k.startswith("durable_")}
        if durable is not None:
            detail |= {"durable_best": durable.detail["tool"], "durable_limit": durable.value}
        limit = best.value if best else 0.0
        name = best.detail["tool"] if best else ""
        found.append(replace(row, limit=limit, limit_name=name, detail=detail))
    return found


def _measured(row: Row) -> str:
    """Commits through the library are compared with the commands of the peers, which have none."""
    return str(row.detail["measure"]).removesuffix(", library")


def merge(file: Path, rows: Iterable[Row]) -> list[Row]:
    """Put rows into a file, in the place of older ones of the same; all rows of the file."""
    known = {key(row): row for row in read(file)}
    known |= {key(row): row for row in rows}
    merged = against_best(known.values())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json_line(row) + "\n" for row in merged))
    return merged


def read(file: Path) -> list[Row]:
    """The rows of such a file, none if there is no file."""
    return [read_row(line) for line in file.read_text().splitlines()] if file.exists() else []


def tables(rows: list[Row], corpora: Iterable[str]) -> str:
    """A table for each corpus, 100 columns wide at most."""
    return "\n\n".join(
        "\n".join(line.rstrip() for line in _table([r for r in rows if r.detail["corpus"] == name]))
        for name in corpora
        if any(row.detail["corpus"] == name for row in rows)
    )


def _table(rows: list[Row]) -> Iterator[str]:
    known = {(row.detail["tool"], row.detail["measure"]): row for row in rows}
    yield f"{rows[0].detail['corpus']}: {rows[0].detail['title']}"
    yield _line("", [_SHORTER.get(name, name) for name in COLUMNS])
    yield _line("", [UNITS[name] for name in COLUMNS])
    in_order = sorted(rows, key=lambda row: bool(row.detail["peer"]))
    for tool in dict.fromkeys(row.detail["tool"] for row in in_order):
        cells = (known.get((tool, measure)) for measure in COLUMNS)
        yield _line(tool, ["" if row is None else _short(row.value) for row in cells])
    ours = {row.detail["measure"]: row for row in rows if not row.detail["peer"]}
    if not ours:
        return
    compared = [ours.get(measure) for measure in COLUMNS]
    yield _line("best peer ÷ castore", ["" if r is None else _times(r.limit, r) for r in compared])
    yield _line("  of those that sync", ["" if r is None else _times(_durable(r), r)
                                         for r in compared])  # fmt: skip
    library = ours.get("one file, library")
    if library is not None:
        told = f"castore, one file through the library: {_short(library.value)} ms"
        yield f"{told}; best peer ÷ that: {_times(library.limit, library) or '–'}"


def _durable(row: Row) -> float:
    return float(row.detail.get("durable_limit", 0))


def _times(limit: float, row: Row) -> str:
    return f"×{limit / row.value:.2f}" if limit and row.value else ""


def _line(name: str, cells: Iterable[str]) -> str:
    return f"{name:{_NAME}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1_000 else f"{value:.3g}"


def machine(folder: Path) -> str:
    """Processor, memory, kernel, and the kind of file system the folder is on."""
    said = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in said if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    kernel = os.uname()
    return (
        f"{model}, {os.cpu_count()} cores, {memory} GiB, {kernel.sysname} {kernel.release}"
        f" {kernel.machine}, {_file_system(folder)}"
    )


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _file_system(folder: Path) -> str:
    """By the longest mount point above the folder."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    real = folder.resolve()
    above = [(len(at), kind) for _, at, kind, *_ in mounts if real.is_relative_to(at)]
    return max(above)[1] if above else "?"
