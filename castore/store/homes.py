"""Versions by look-up rows, newest first, and the branch at which each of them is at home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from castore.database.ancestry import Step, find_ancestor
from castore.database.indexes import Index, Value, time_bytes
from castore.database.meeting import meet
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.refs import HEADS, TAGS
from castore.store.store import Store
from castore.store.version import Version

# Steps from version to version that are kept for the next.
_STEPS: Final = 4_096


def versions_under(
    store: Store,
    rows: Sequence[tuple[Index, Value]],
    *,
    since: int = 0,
    until: int | None = None,
) -> Iterator[Id]:
    """The versions that rows of every index named lead to, newest first; hints, not compared.

    `since` and `until` are microseconds UTC, both included. Each batch is read in a transaction of
    its own, so versions that appear meanwhile may be left out.
    """
    below: bytes | None = b"" if until is None else time_bytes(until + 1)
    while below is not None:
        found, below = store.database.read(partial(meet, rows=rows, below=below, since=since))
        yield from found


class Homes:
    """Finds the branch that each of many versions is at home at; quickest for newest first.

    That is a branch that holds it, its own first, also where only a tag does. Incomplete sets,
    losers of a race and what was given up have none: they are no versions that people look for.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # For each branch its tip, and the version last found below that: the next is not far.
        self._last: dict[str, tuple[Id, Version]] = {}
        # Where a jump went too far for one version, it often is the way to the next.
        self._steps: dict[Id, Step] = {}

    def of(self, version: Version) -> str | None:
        """The branch of a version, None if it has none."""
        return self.of_all([version])[0]

    def of_all(self, versions: Sequence[Version]) -> list[str | None]:
        """The branch of each of some versions, all in one view of the store."""
        return self._store.database.read(
            lambda tables: [
                self._find(tables, version) if version.manifest.complete else None
                for version in versions
            ]
        )

    def _find(self, tables: Reading, version: Version) -> str | None:
        own = version.manifest.branch
        tip = tables.ref(HEADS + own)
        if tip is not None and self._is_on(tables, own, tip, version):
            self._last[own] = tip, version
            return own
        for ref, tip in tables.refs(HEADS):
            if self._descends(tables, tip, version):
                return ref.removeprefix(HEADS)
        for _, tagged in tables.refs(TAGS):
            if self._descends(tables, tagged, version):
                return own
        return None

    def _is_on(self, tables: Reading, branch: str, tip: Id, version: Version) -> bool:
        known, last = self._last.get(branch, (None, version))
        near = known == tip and last.number >= version.number
        return (near and self._descends(tables, last.id, version)) or self._descends(
            tables, tip, version
        )

    def _descends(self, tables: Reading, tip: Id, version: Version) -> bool:
        """Whether this version is `tip` or one of its first parents."""
        if len(self._steps) > _STEPS:
            self._steps.clear()
        return find_ancestor(tip, version.number, partial(self._step, tables)) == version.id

    def _step(self, tables: Reading, id: Id) -> Step | None:
        step = self._steps.get(id) or tables.step(id)
        if step is not None:
            self._steps[id] = step
        return step
