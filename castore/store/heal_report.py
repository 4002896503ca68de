"""What healing did, and what is still wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from castore.store.verify_report import Finding, FsckReport


@dataclass(frozen=True, slots=True)
class HealReport:
    """What healing did, or with `dry_run` would do, and what is wrong after it.

    `place` is what was healed, the store's folder or a bucket's URL, by way of `remote`. `objects`
    were put in anew, of so many raw `bytes`. `left` is what the last check found.
    """

    place: str
    remote: str
    objects: int
    bytes: int
    left: tuple[Finding, ...]
    more: int
    dry_run: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong any more."""
        return not self.left

    @property
    def fix(self) -> str:
        """What helps against what is left; "" for nothing."""
        return FsckReport(True, self.left, self.more).fix

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "place": self.place,
            "remote": self.remote,
            "objects": self.objects,
            "bytes": self.bytes,
            "whole": self.whole,
            "left": [finding.as_json() for finding in self.left],
            "more": self.more,
            "dry_run": self.dry_run,
        }
