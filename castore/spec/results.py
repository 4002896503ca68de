"""What checking an artifact came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: passed, failed or skipped; `detail` says why, `line` counts from 1.

    A check that failed in several places gives one of these for each.
    """

    check: str
    result: str
    detail: str = ""
    line: int | None = None
