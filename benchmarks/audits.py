"""Audits: the first 100 versions of single criteria and of several, among 1,000,000."""

from __future__ import annotations

import time
from typing import Any, Final

import castore
from benchmarks.history import BRANCH, SIZES, histories
from benchmarks.measure import middle
from benchmarks.report import Row
from benchmarks.stage import Stage
from castore.database.indexes import INDEXES_VERSION

_ROWS: Final = 100
_TIMES: Final = 15
# The histories have 50 agents, 20 authors, one spec and, in every version, three artifacts.
CASES: Final[dict[str, dict[str, str]]] = {
    "all": {},
    "agent": {"agent": "writer-3"},
    "agent@version": {"agent": "writer-3@50"},
    "author": {"author": "person-7@example.com"},
    "run": {"run": "run-500000"},
    "spec@version": {"spec": f"{BRANCH}@1"},
    "type": {"type": "report"},
    "format": {"format": "json"},
    "source": {"source": f"{BRANCH}@v50000"},
    "a week": {"since": "2024-06-03", "until": "2024-06-09"},
    "agent, a month": {"agent": "writer-3", "since": "2024-06-01", "until": "2024-06-30"},
    "agent, author": {"agent": "writer-3", "author": "person-3@example.com"},
    "agent, author: none": {"agent": "writer-3", "author": "person-7@example.com"},
    "author, run": {"author": "person-7@example.com", "run": "run-500007"},
    "five": {
        "agent": "writer-3", "author": "person-3@example.com", "spec": f"{BRANCH}@1",
        "type": "report", "format": "text",
    },
}  # fmt: skip


def audits(stage: Stage) -> list[Row]:
    """Each of CASES, the records of its rows included, against the log of as many versions."""
    with castore.open(histories(stage.cache)[SIZES[-1]]) as store:
        if store.database.read(lambda tables: tables.indexes()) < INDEXES_VERSION:
            store.reindex()
        log, _ = _timed(lambda: _told(store, store.log(limit=_ROWS)))
        rows = []
        for name, criteria in CASES.items():
            found: list[int] = []

            def ask(criteria: dict[str, str] = criteria, found: list[int] = found) -> None:
                found.append(_told(store, store.audit(limit=_ROWS, **criteria)))

            seconds, cpu = _timed(ask)
            rows.append(
                Row(
                    name=f"audit by {name}, {found[-1]} rows",
                    unit="ms",
                    value=1000 * middle(seconds),
                    low=1000 * min(seconds),
                    high=1000 * max(seconds),
                    runs=len(seconds),
                    limit=1000 * middle(log),
                    limit_name=f"the log of {_ROWS}",
                    at_least=100,
                    aim=30,
                    less_is_better=True,
                    cpu=cpu,
                )
            )
    return rows


def _told(store: castore.Store, versions: Any) -> int:
    """How many versions there are, each made a record as the audit shows it."""
    return sum(1 for version in versions if store.record(version, artifacts=False))


def _timed(work: Any) -> tuple[list[float], float]:
    """Seconds of each call, after one that warms, and seconds of CPU a call."""
    work()
    found = []
    cpu = time.process_time()
    for _ in range(_TIMES):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found, (time.process_time() - cpu) / _TIMES
