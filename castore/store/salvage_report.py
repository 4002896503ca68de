"""What a salvage copied, what is damaged, and what of it is lost for good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castore.store.verify_report import Finding


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What went from the damaged store `source` to the store `folder`, and what could not.

    `blocks`, `objects` and `bytes` (as stored) are those copied now, `operations` and `refs` those
    that were carried over now. `damage` tells what is wrong in the source, by place; `lost` what
    cannot be had any more: objects with the artifacts and versions they belong to, refs, entries
    of the operation log. `more` counts what does not fit in `lost`.
    """

    source: Path
    folder: Path
    created: bool
    blocks: int
    objects: int
    bytes: int
    operations: int
    refs: int
    damage: tuple[str, ...]
    lost: tuple[Finding, ...]
    more: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is lost."""
        return not self.lost

    @property
    def changed(self) -> bool:
        """Whether there was anything to copy."""
        return self.created or bool(self.blocks or self.refs)

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "source": str(self.source),
            "salvaged": str(self.folder),
            "created": self.created,
            "changed": self.changed,
            "whole": self.whole,
            "blocks": self.blocks,
            "objects": self.objects,
            "bytes": self.bytes,
            "operations": self.operations,
            "refs": self.refs,
            "damage": list(self.damage),
            "lost": [finding.as_json() for finding in self.lost],
            "more": self.more,
        }
