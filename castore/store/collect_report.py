"""What a collection found and did, in objects and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

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


_Counts: TypeAlias = dict[str, list[int]]


@dataclass(slots=True)
class Tally:
    """The sums of a collection under way, over all its attempts."""

    freed: int = 0
    dropped_blocks: int = 0
    rewritten_blocks: int = 0
    slices: int = 0
    largest: int = 0
    _why: Callable[[int, int], str] = lambda _block, _slot: UNREACHED
    _went: _Counts = field(default_factory=dict)
    _stays: _Counts = field(default_factory=dict)

    def begin(self, why: Callable[[int, int], str]) -> None:
        """An attempt begins, which finds again what stays; `why` tells why something is dead."""
        self._why = why
        self._stays = {}

    @property
    def dead(self) -> int:
        """The bytes found dead, before compression."""
        return self.kept + sum(size for _, size in self._went.values())

    @property
    def kept(self) -> int:
        """The dead bytes that stay for now."""
        return sum(size for _, size in self._stays.values())

    def reasons(self) -> tuple[Reason, ...]:
        """What is dead by reason, in order of their names."""
        sums: _Counts = {}
        for counts in (self._went, self._stays):
            for name, (objects, size) in counts.items():
                _count(sums, name, objects, size)
        return tuple([Reason(name, *sums[name]) for name in sorted(sums)])

    def add(self, found: Judgement) -> None:
        """Count what was found in a block and what becomes of it."""
        counts = self._went if found.changed else self._stays
        for dead in found.dead:
            _count(counts, self._why(found.number, dead.slot), 1, dead.size)
        if found.copied:
            _count(counts, COPIES, 1, found.copied)
        self.freed += found.freed
        if not found.changed:
            return
        if found.blocks:
            self.rewritten_blocks += 1
        else:
            self.dropped_blocks += 1

    def add_slice(self, cost: int) -> None:
        """Count a write transaction that touched about `cost` bytes of pages."""
        self.slices += 1
        self.largest = max(self.largest, cost)


def _count(counts: _Counts, reason: str, objects: int, size: int) -> None:
    found = counts.setdefault(reason, [0, 0])
    found[0] += objects
    found[1] += size
