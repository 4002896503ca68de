"""What a check of a store found: findings, whom they hurt, and counts of what was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from castore.model.ids import Id
from castore.model.names import quoted

FINDINGS: Final = 1_000
"""Findings kept in one report; the rest is counted."""
SALVAGE: Final = "cas salvage DEST"
LOST: Final = "was lost"
_VERSIONS_NAMED: Final = 8
_DERIVED: Final = frozenset({"objects", "blockinfo", "lookup"})


@dataclass(frozen=True, slots=True)
class Hurt:
    """One artifact of one version that a damaged object belongs to; both "" where unknown.

    `path` is the file inside a folder artifact.
    """

    version: Id
    label: str
    artifact: str = ""
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.artifact}/{self.path}" if self.path else self.artifact
        return f"{self.label}:{place}" if place else self.label

    def as_json(self) -> dict[str, Any]:
        """The artifact as data."""
        return {
            "version": self.version.hex(),
            "label": self.label,
            "artifact": self.artifact or None,
            "path": self.path or None,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    `object` is the id it is about, b"" for none; `kind` is chunk, layout, tree, set, manifest,
    note, block, bundle, pack, ref, operation, stage, table, page, heads.log, store or process;
    `where` a place in the store.
    """

    object: Id
    kind: str
    where: str
    detail: str
    hurt: tuple[Hurt, ...] = ()

    def line(self) -> str:
        """The finding on one line."""
        about = f" {self.object.hex()}" if self.object else ""
        where = f" ({self.where})" if self.where else ""
        hurt = f"; hurts {', '.join(map(str, self.hurt))}" if self.hurt else ""
        # An error says what it is about, as a line does.
        detail = self.detail.removeprefix(f"{self.kind}{about}: ")
        return f"{self.kind}{about}{where}: {detail}{hurt}"

    def as_json(self) -> dict[str, Any]:
        """The finding as data."""
        return {
            "object": self.object.hex() or None,
            "kind": self.kind,
            "where": self.where or None,
            "detail": self.detail,
            "hurt": [item.as_json() for item in self.hurt],
        }


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The findings of a check (none: all is well), and how many of what were looked at.

    `more` counts findings beyond FINDINGS; `full` says whether every byte was re-hashed. `helps` is
    what helps where that is known from why the store does not open.
    """

    full: bool
    findings: tuple[Finding, ...]
    more: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    helps: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def fix(self) -> str:
        """What helps: making tables again, restoring, or saving what can be; "" for none."""
        if self.ok or self.helps:
            return self.helps
        if all(f.kind == "table" and f.where in _DERIVED for f in self.findings):
            return "cas reindex"
        return self._without_lost if self.only_lost else SALVAGE

    @property
    def only_lost(self) -> bool:
        """Whether nothing is wrong but that files are not there of which a salvage said so."""
        return not self.more and all(f.detail == LOST and f.hurt for f in self.findings)

    @property
    def _without_lost(self) -> str:
        hurt = dict.fromkeys(quoted(item.label) for f in self.findings for item in f.hurt)
        versions = " ".join(list(hurt)[:_VERSIONS_NAMED])
        return (
            "commit the same files again where you have them; else give up what is left of "
            f"{'those versions' if len(hurt) > 1 else 'that version'}: "
            f"cas forget --force {versions} -m lost"
        )

    def lines(self) -> Iterator[str]:
        """One line for each finding."""
        yield from (finding.line() for finding in self.findings)
        if self.more:
            yield f"… and {self.more} more findings"

    def as_json(self) -> dict[str, Any]:
        """The report as data."""
        return {
            "ok": self.ok,
            "full": self.full,
            "findings": [finding.as_json() for finding in self.findings],
            "more": self.more,
            "fix": self.fix or None,
            "counts": dict(self.counts),
        }


class Findings:
    """Collects findings, each once and at most FINDINGS of them, and counts."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Id, str, str, str], None] = {}
        self.more = 0
        self.counts: dict[str, int] = {}

    def add(self, object: Id, kind: str, where: str, detail: str) -> None:
        """Note one finding."""
        key = (object, kind, where, detail)
        if key in self.kept:
            return
        if len(self.kept) >= FINDINGS:
            self.more += 1
            return
        self.kept[key] = None

    def count(self, what: str, number: int = 1) -> None:
        """Count things looked at."""
        self.counts[what] = self.counts.get(what, 0) + number
