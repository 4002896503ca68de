"""Versions by look-up rows, newest first, and the branch at which each of them is at home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from castore.database.indexes import Index, Value, time_bytes
from castore.database.meeting import meet
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.refs import HEADS, TAGS
from castore.store.store import Store
from castore.store.version import Version


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

    def of(self, version: Version) -> str | None:
        """The branch of a version, None if it has none."""
        if not version.manifest.complete:
            return None
        return self._store.database.read(partial(self._find, version=version))

    def _find(self, tables: Reading, version: Version) -> str | None:
        own = version.manifest.branch
        tip = tables.ref(HEADS + own)
        if tip is not None and self._is_on(tables, own, tip, version):
            self._last[own] = tip, version
            return own
        for ref, tip in tables.refs(HEADS):
            if _descends(tables, tip, version):
                return ref.removeprefix(HEADS)
        for _, tagged in tables.refs(TAGS):
            if _descends(tables, tagged, version):
                return own
        return None

    def _is_on(self, tables: Reading, branch: str, tip: Id, version: Version) -> bool:
        known, last = self._last.get(branch, (None, version))
        near = known == tip and last.number >= version.number
        return (near and _descends(tables, last.id, version)) or _descends(tables, tip, version)


def _descends(tables: Reading, tip: Id, version: Version) -> bool:
    """Whether this version is `tip` or one of its first parents."""
    return tables.ancestor(tip, version.number) == version.id
