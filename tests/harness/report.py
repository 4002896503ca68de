"""What harnesses found, as a table for the end of a test run and as lines of a page that lasts."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.harness.frame import Result

PAGE = Path(__file__).parents[2] / "docs" / "reliability-report.md"
_HEAD = ("harness", "rounds", "cases", "losses", "mutants caught", "seed", "seconds")


def table(results: Sequence[Result]) -> list[str]:
    """One line a harness, and below it the command that repeats each loss."""
    names = list(dict.fromkeys(result.name for result in results))
    rows = [_HEAD, *(_row(name, [r for r in results if r.name == name]) for name in names)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for result in results:
        if result.skipped:
            lines.append(f"{result.name}: skipped, {result.skipped}")
        elif not result.mutant:
            lines.extend(f"lost; repeat: {result.command(loss.round)}" for loss in result.losses)
    return lines


def _row(name: str, results: Sequence[Result]) -> tuple[str, ...]:
    real = [result for result in results if not result.mutant]
    mutants = [result for result in results if result.mutant and not result.skipped]
    skipped = all(result.skipped for result in results)
    return (
        name,
        "skipped" if skipped else str(sum(result.rounds for result in real)),
        str(sum(result.cases for result in real)),
        str(sum(len(result.losses) for result in real)),
        f"{sum(result.caught for result in mutants)} of {len(mutants)}",
        " ".join(dict.fromkeys(str(result.seed) for result in real)),
        f"{sum(result.seconds for result in results):.0f}",
    )


def machine() -> str:
    """What it ran on, without a name: processors, memory, kernel, file system library."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"


def append(result: Result, page: Path = PAGE) -> None:
    """Add a line about what really ran."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    found = f"{len(result.losses)} losses" if result.losses else "nothing lost"
    cells = (
        date,
        result.name,
        str(result.seed),
        f"{result.rounds:,}",
        f"{result.cases:,}",
        _minutes(result.seconds),
        found,
        machine(),
    )
    with page.open("a", encoding="utf-8") as file:
        file.write("| " + " | ".join(cells) + " |\n")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
