"""What a collection found and did, in objects and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from castore.store.collect_judge import Judgement

COPIES: Final = "second copy"
UNREACHED: Final = "unreachable"
FORGOTTEN: Final = "forgotten"
EXPIRED: Final = "expired partial"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why objects are dead, how many, and their bytes before compression."""

    name: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did, or with `dry_run` would do.

    `dead` bytes are of dead objects, before compression; `kept` of them stay for now, in blocks
    that are still half alive. `freed` is what blocks take less afterwards, as stored: space in the
    file that is used again. `slices` counts write transactions, of which the biggest touched about
    `largest` bytes of pages. `expired` are the (run, branch) of the incomplete sets given up,
    `cached_files` the rows of the file cache dropped.
    """

    dry_run: bool
    alive: int
    dead: int
    kept: int
    freed: int
    reasons: tuple[Reason, ...]
    dropped_blocks: int
    rewritten_blocks: int
    expired: tuple[tuple[str, str], ...]
    cached_files: int
    slices: int
    largest: int
    file: int

    def as_json(self) -> dict[str, Any]:
        """The report as data."""
        return {
            "dry_run": self.dry_run,
            "alive_objects": self.alive,
            "dead_objects": sum(reason.objects for reason in self.reasons),
            "dead_bytes": self.dead,
            "kept_bytes": self.kept,
            "freed_bytes": self.freed,
            "reasons": [
                {"reason": reason.name, "objects": reason.objects, "bytes": reason.bytes}
                for reason in self.reasons
            ],
            "dropped_blocks": self.dropped_blocks,
            "rewritten_blocks": self.rewritten_blocks,
            "expired": [{"run": run, "branch": branch} for run, branch in self.expired],
            "cached_files": self.cached_files,
            "slices": self.slices,
            "largest_slice_bytes": self.largest,
            "file_bytes": self.file,
        }


@dataclass(slots=True)
class Tally:
    """The sums of a collection under way; `reason` tells why the object at a place is dead."""

    reason: Callable[[int, int], str]
    dead: int = 0
    kept: int = 0
    freed: int = 0
    dropped_blocks: int = 0
    rewritten_blocks: int = 0
    slices: int = 0
    largest: int = 0
    reasons: dict[str, list[int]] = field(default_factory=dict)

    def add(self, found: Judgement) -> None:
        """Count what was found in a block and what becomes of it."""
        for dead in found.dead:
            self._count(self.reason(found.number, dead.slot), dead.size)
        if found.copied:
            self._count(COPIES, found.copied)
        size = sum(dead.size for dead in found.dead) + found.copied
        self.dead += size
        self.freed += found.freed
        if not found.changed:
            self.kept += size
        elif found.blocks:
            self.rewritten_blocks += 1
        else:
            self.dropped_blocks += 1

    def add_slice(self, cost: int) -> None:
        """Count a write transaction that touched about `cost` bytes of pages."""
        self.slices += 1
        self.largest = max(self.largest, cost)

    def _count(self, reason: str, size: int) -> None:
        counts = self.reasons.setdefault(reason, [0, 0])
        counts[0] += 1
        counts[1] += size
