"""Reporting: one row a promise, as JSON lines and as a table of at most 100 columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

_NAMES: Final = 34


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: median, least and most; what the raw limit reached; what was promised.

    `judged` says what is compared with `at_least` and `aim`: the value itself, or its ratio to
    the limit. `less_is_better` turns the comparison. Memory is in bytes, -1 where not measured.
    `case`, `machine` and `date` are noted by whoever runs the cases.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    runs: int
    limit: float = 0.0
    limit_name: str = ""
    judged: str = "value"
    at_least: float | None = None
    aim: float | None = None
    less_is_better: bool = False
    cpu: float = -1.0
    memory: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)
    case: str = ""
    machine: str = ""
    date: str = ""

    @property
    def ratio(self) -> float:
        """The value as a share of the raw limit, which for times is what the limit would take."""
        if not self.limit or not self.value:
            return 0.0
        return self.limit / self.value if self.less_is_better else self.value / self.limit

    @property
    def judgement(self) -> float:
        """What is compared with the promise."""
        return self.ratio if self.judged == "ratio" else self.value

    @property
    def verdict(self) -> str:
        """`aim`, `ok` (at least) or `MISSED`; empty where nothing was promised."""
        if self.at_least is None:
            return ""
        less = self.less_is_better and self.judged == "value"
        if self.aim is not None and _reaches(self.judgement, self.aim, less):
            return "aim"
        return "ok" if _reaches(self.judgement, self.at_least, less) else "MISSED"


def json_line(row: Row) -> str:
    """The row as one line of JSON."""
    record = asdict(row) | {"ratio": round(row.ratio, 3), "verdict": row.verdict}
    return json.dumps(record, sort_keys=True)


def read_row(line: str) -> Row:
    """The row of such a line."""
    record = json.loads(line)
    record.pop("ratio")
    record.pop("verdict")
    return Row(**record)


def table(rows: Iterable[Row]) -> str:
    """All rows as text, 100 columns wide at most."""
    lines = [
        f"{'':{_NAMES}} {'median (min–max)':>21} {'unit':7} {'limit':>7} {'ratio':>5}"
        f" {'≥':>5} {'aim':>5} {'':6}",
    ]
    lines += [_line(row) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _line(row: Row) -> str:
    spread = f"{_short(row.value)} ({_short(row.low)}–{_short(row.high)})"
    limit = _short(row.limit) if row.limit else ""
    ratio = f"{row.ratio:.2f}" if row.limit else ""
    times = "×" if row.judged == "ratio" else ""
    promised = "" if row.at_least is None else times + _short(row.at_least)
    aim = "" if row.aim is None else times + _short(row.aim)
    return (
        f"{row.name:{_NAMES}} {spread:>21} {row.unit:7} {limit:>7} {ratio:>5}"
        f" {promised:>5} {aim:>5} {row.verdict:6}"
    )


def costs(rows: Iterable[Row]) -> str:
    """CPU, memory and the limits of the rows that have them."""
    lines = [f"{'':{_NAMES}} {'CPU s':>8} {'RssAnon':>9}  the limit"]
    for row in rows:
        cpu = f"{row.cpu:.3f}" if row.cpu >= 0 else ""
        memory = f"{row.memory / 1e6:.0f} MB" if row.memory >= 0 else ""
        lines.append(f"{row.name:{_NAMES}} {cpu:>8} {memory:>9}  {row.limit_name}".rstrip())
    return "\n".join(lines)


def _reaches(value: float, wanted: float, less: bool) -> bool:
    return value <= wanted if less else value >= wanted


def _short(value: float) -> str:
    if value >= 100_000:
        return f"{value / 1000:.0f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
