"""Audits by source: what was made from a version, from any of a branch, or from elsewhere."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Final, NamedTuple

from castore.database.indexes import Index, Value, time_bytes
from castore.database.meeting import in_all
from castore.database.reading import Reading
from castore.errors import InvalidInput
from castore.model.ids import Id, parse_id
from castore.model.limits import ID_BYTES
from castore.model.manifest import Source
from castore.model.refs import HEADS
from castore.model.values import frozen
from castore.store.selectors import parse_selector, resolve
from castore.store.store import Store
from castore.store.version import Version

# Versions of a branch that one view of the store goes back over.
_STEPS: Final = 10_000
# Rows that one walk over a branch gathers, and so may hold.
_ROWS: Final = 4_096
_AT: Final = slice(0, 8)
_ID: Final = slice(8, None)
_LAST: Final = b"\xff" * 8


class Rows(NamedTuple):
    """The rows of `lookup` that lead to what was made from one thing, and what a source must be."""

    value: Value
    is_it: Callable[[Source], bool]


@frozen
class Line:
    """The versions of a branch along first parents, of which any may be the source.

    With `artifact` the source is it or a whole version.
    """

    store: Store
    tip: Id
    artifact: str = ""

    def is_it(self, source: Source) -> bool:
        """Whether a source is one of these versions."""
        if not source.target or (self.artifact and self.artifact != source.target_artifact != ""):
            return False
        return self.holds(source.target)

    def holds(self, id: Id) -> bool:
        """Whether the version with this id is one of these."""
        return self.store.database.read(partial(self._holds, id=id))

    def users(
        self, rows: Sequence[tuple[Index, Value]], since: int, until: int | None
    ) -> Iterator[Id]:
        """What was made from any of them and has all of `rows`, newest first; hints, not compared.

        Every version of the branch is asked for its users, some 100,000 a second; where these are
        more than a few thousand the branch is walked again for each few thousand of them, so what
        is held in memory is bounded. Times are microseconds UTC, both included.
        """
        below = _LAST * 5 if until is None else time_bytes(until + 1)
        while True:
            found = self._newest(rows, time_bytes(since), below)
            yield from (tail[_ID] for tail in found)
            if len(found) < _ROWS:
                return
            below = found[-1]

    def _newest(
        self, rows: Sequence[tuple[Index, Value]], since: bytes, below: bytes
    ) -> list[bytes]:
        """The newest ends of rows before `below`, each once, newest first."""
        found: set[bytes] = set()
        heap: list[bytes] = []
        id: Id | None = self.tip
        while id is not None:
            after = max(since, heap[0]) if len(heap) == _ROWS else since
            read = partial(_of_line, id=id, rows=rows, after=after, below=below)
            tails, id = self.store.database.read(read)
            for tail in tails - found:
                heapq.heappush(heap, tail)
                found.add(tail)
                if len(heap) > _ROWS:
                    found.discard(heapq.heappop(heap))
        return sorted(heap, reverse=True)

    def _holds(self, tables: Reading, id: Id) -> bool:
        step = tables.step(id)
        return step is not None and tables.ancestor(self.tip, step.number) == id


def source_of(store: Store, what: str) -> Rows | Line:
    """What a source is named by: a branch, a version, an artifact of one, a URI, a digest.

    Raises RefNotFound, Ambiguous, InvalidInput.
    """
    if "://" in what or what.startswith("file:"):
        return Rows(what, lambda source: source.uri == what)
    if len(what) == 2 * ID_BYTES and not what.strip("0123456789abcdef"):
        id = parse_id(what)
        return Rows(id, lambda source: id in (source.target, source.digest))
    selector = parse_selector(what)
    if selector.path:
        raise InvalidInput(f"{what!r}: a source is a version or an artifact, not a file in one")
    if not selector.at and not selector.back:
        tip = store.database.read(lambda tables: tables.ref(HEADS + selector.name))
        if tip is not None:
            return Line(store, tip, selector.artifact)
    resolved = resolve(store, what)
    target = resolved.version.id
    name = resolved.artifact.name if resolved.artifact else ""
    return Rows(
        target,
        lambda source: (
            source.target == target and (not name or source.target_artifact in ("", name))
        ),
    )


def made_from(source: Rows | Line, version: Version) -> bool:
    """Whether one of the sources of a version is this: sets have all those of their artifacts."""
    return any(map(source.is_it, version.manifest.sources))


def _of_line(
    tables: Reading, id: Id, rows: Sequence[tuple[Index, Value]], after: bytes, below: bytes
) -> tuple[set[bytes], Id | None]:
    """The ends of rows from `after` to `below` of versions back from `id`, and where to go on.

    Of those that have all of `rows` too, the newest are kept.
    """
    found: set[bytes] = set()
    waiting: list[bytes] = []

    def keep() -> None:
        """Take over what waits and has all rows; there is never more than needed."""
        nonlocal found
        found.update(in_all(tables, rows, waiting))
        waiting.clear()
        if len(found) > 2 * _ROWS:
            found = set(heapq.nlargest(_ROWS, found))

    until = None if below[_AT] == _LAST else int.from_bytes(below[_AT]) + 1
    here: Id | None = id
    for _ in range(_STEPS):
        if here is None:
            break
        tails = (
            time_bytes(at) + user for at, user in tables.lookup(Index.SOURCE, here, until=until)
        )
        for tail in takewhile(lambda tail: tail >= after, tails):
            if tail < below:
                waiting.append(tail)
            if len(waiting) >= _ROWS:
                keep()
        step = tables.step(here)
        here = step.parent or None if step is not None else None
    keep()
    return found, here
