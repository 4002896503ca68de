"""What checking an artifact came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from castore.spec.formats.source import FAILED


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: passed, failed or skipped; `detail` says why, `line` counts from 1.

    A check that failed in several places gives one of these for each.
    """

    check: str
    result: str
    detail: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A check that an artifact failed."""

    artifact: str
    check: str
    detail: str
    line: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The fault as it stands in `IncompleteSet.faults`."""
        return {
            "artifact": self.artifact,
            "check": self.check,
            "detail": self.detail,
            "line": self.line,
        }


def faults_of(artifact: str, results: Iterable[CheckResult]) -> list[Fault]:
    """The failed ones among these results."""
    return [
        Fault(artifact, result.check, result.detail, result.line)
        for result in results
        if result.result == FAILED
    ]
