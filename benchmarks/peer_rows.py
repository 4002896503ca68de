"""Figures of peers as rows of a file: each with all its rounds, beside the best peers for it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.peer_trial import UNITS, Figure
from benchmarks.report import Row, json_line, read_row

GROUPS: Final = ("", "durable", "deduplicates")
"""All peers; those that sync; those that share chunks between files: kinds of rivals."""
_MADE_BY: Final = ("version", "machine", "title")
_ROUND: Final = ("value", "cpu", "sync", "memory")

Round: TypeAlias = list[float] | None


def rows_of(figures: Iterable[Figure], detail: Mapping[str, Any]) -> list[Row]:
    """A row for each label and measure of a cell: the median over the rounds; no limits yet."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault((figure.label, figure.measure), []).append(figure)
    rows = []
    for (label, measure), each in found.items():
        over = max(figure.over for figure in each)
        own = {"tool": label, "measure": measure, "over": over}
        rows.append(_row({**detail, **own}, [_round(figure) for figure in each]))
    return rows


def _round(figure: Figure) -> Round:
    used = figure.usage
    cpu = round(used.cpu, 4) if used.cpu else -1.0
    if figure.over:
        return None
    return [round(figure.value, 4), cpu, round(used.sync, 4), used.memory]


def _row(detail: Mapping[str, Any], rounds: Sequence[Round]) -> Row:
    """One round that did not end makes the row one that has no value."""
    reached = [each for each in rounds if each is not None]
    whole = reached if len(reached) == len(rounds) else [[0.0, -1.0, 0.0, -1]]
    value, cpu, sync, memory = zip(*whole, strict=True)
    measure = detail["measure"]
    return Row(
        name=f"{detail['corpus']}: {measure}, {detail['tool']}",
        unit=UNITS[measure],
        value=round(statistics.median(value), 4),
        low=min(value),
        high=max(value),
        runs=len(reached),
        judged="ratio",
        less_is_better=True,
        cpu=round(statistics.median(cpu), 4),
        memory=int(max(memory)),
        detail={**detail, "sync": round(statistics.median(sync), 4), "rounds": list(rounds)},
    )


def key(row: Row) -> tuple[str, str, str]:
    """What a row is about: corpus, tool, measure."""
    return row.detail["corpus"], row.detail["tool"], row.detail["measure"]


def rounds_of(rows: Iterable[Row], detail: Mapping[str, Any], minutes: float) -> int:
    """How many rounds there are of a cell, made by the same version on the same machine.

    None if a measure of it was not reached in less time than `minutes`.
    """
    own = [row for row in rows if _is_of(row, detail)]
    if any(row.detail[name] != detail[name] for row in own for name in _MADE_BY):
        return 0
    if any(row.detail["over"] and row.detail["over"] < minutes for row in own):
        return 0
    return max((len(row.detail["rounds"]) for row in own), default=0)


def put(
    rows: Iterable[Row], new: Iterable[Row], detail: Mapping[str, Any], *, fresh: bool
) -> list[Row]:
    """The rows with those of one more round of a cell, `fresh` for the first; limits anew."""
    known = {key(row): row for row in rows if not (fresh and _is_of(row, detail))}
    for row in new:
        old = known.get(key(row))
        if old is not None:
            over = max(old.detail["over"], row.detail["over"])
            rounds = [*old.detail["rounds"], *row.detail["rounds"]]
            row = _row({**row.detail, "over": over}, rounds)
        known[key(row)] = row
    return against_best(known.values())


def _is_of(row: Row, detail: Mapping[str, Any]) -> bool:
    """Whether a row is of the cell that `detail` tells of."""
    return bool(row.detail["corpus"] == detail["corpus"] and row.detail["cell"] == detail["cell"])


def against_best(rows: Iterable[Row]) -> list[Row]:
    """The rows with the best peer for each measure as their limit.

    `ratio` is what the best peer takes as a share of the value: 1 for that peer, above 1 where
    castore takes less than each of them. The best of each other group stands in `detail`.
    """
    rows = list(rows)
    found = []
    for row in rows:
        detail = dict(row.detail)
        for group in GROUPS[1:]:
            best = _best(rows, row, group)
            detail[f"{group}_best"] = best.detail["tool"] if best else ""
            detail[f"{group}_limit"] = best.value if best else 0.0
        best = _best(rows, row, "")
        limit = best.value if best else 0.0
        name = best.detail["tool"] if best else ""
        found.append(replace(row, limit=limit, limit_name=name, detail=detail))
    return found


def _best(rows: Sequence[Row], row: Row, group: str) -> Row | None:
    """The peer of a group that takes least of what the row tells of."""
    # Commits through the library are compared with the commands of the peers, which have none.
    measure = str(row.detail["measure"]).removesuffix(", library")
    corpus = row.detail["corpus"]
    rivals = [
        other
        for other in rows
        if other.detail["peer"]
        and not other.detail["over"]
        and other.detail["corpus"] == corpus
        and other.detail["measure"] == measure
        and (not group or other.detail[group])
    ]
    return min(rivals, key=lambda other: other.value, default=None)


def best_of(row: Row, group: str) -> tuple[str, float]:
    """The best peer of a group and what it takes; "" and 0 if none was measured."""
    if not group:
        return row.limit_name, row.limit
    return row.detail[f"{group}_best"], row.detail[f"{group}_limit"]


def read(file: Path | None) -> list[Row]:
    """The rows of such a file, none if there is no file."""
    if file is None or not file.exists():
        return []
    return [read_row(line) for line in file.read_text().splitlines()]


def write(file: Path, rows: Iterable[Row]) -> None:
    """Replace the file by these rows, at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    under_way = file.with_name(file.name + ".new")
    under_way.write_text("".join(json_line(row) + "\n" for row in rows))
    os.replace(under_way, file)
