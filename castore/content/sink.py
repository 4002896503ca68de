"""Where ingested blocks go, and where stat results are remembered: what content needs from below.

A batch is the unit of durability: a sink writes all of it or nothing. Objects a batch relies on
were stored before; a collector may have removed them since they were looked up, so the sink checks
them in the transaction that writes the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, NamedTuple, Protocol

from castore.content.blocks import Member
from castore.model.ids import Id, Kind

# A source that stands still may not keep who holds the lock of a store waiting for longer.
_TURN_SECONDS: Final = 0.02


class Turn:
    """What one of several threads holds while it takes many small steps.

    Two that do so at once keep the interpreter lock from each other. It guards nothing.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    @contextmanager
    def soon(self) -> Iterator[None]:
        """Hold it if it can be had soon; for who keeps others waiting, go on without it if not."""
        held = self._lock.acquire(timeout=_TURN_SECONDS)
        try:
            yield
        finally:
            if held:
                self._lock.release()


class Lying(NamedTuple):
    """Memory in which chunks lie, and where in it each begins."""

    view: memoryview
    starts: Mapping[Id, int]

    def around(self, id: Id, size: int, room: int) -> memoryview | None:
        """The `size` bytes from where a chunk begins, and `room` before them, if there are."""
        start = self.starts.get(id, 0)
        return self.view[start - room : start + size] if start >= room else None


class EncodedBlock(NamedTuple):
    """A block as it is stored, with what an index needs to know about it.

    It is the bytes of `head` and those of `frame` behind them: what does not compress stays where
    it was read until it is written. What was fetched is `head` as a whole. `around`, if given, ends
    with `frame` and has room for `head` before it. `again` are the raw bytes of a delta of content,
    should it have to be written in full.
    """

    head: bytes | memoryview
    members: tuple[Member, ...]
    raw_size: int
    bases: tuple[Id, ...]
    frame: bytes | memoryview = b""
    again: bytes = b""
    around: memoryview | None = None

    @property
    def size(self) -> int:
        """The stored bytes."""
        return len(self.head) + len(self.frame)

    @property
    def data(self) -> bytes:
        """The block as it is stored, joined anew each time."""
        if not self.frame and isinstance(self.head, bytes):
            return self.head
        return b"".join((self.head, self.frame))

    @contextmanager
    def laid(self) -> Iterator[bytes | memoryview]:
        """What `data` gives, while the context lasts: `head` may lie over what is before `frame`.

        Nobody else may read or write there meanwhile.
        """
        if self.around is None:
            yield self.data if self.frame else self.head
            return
        room = self.around[: len(self.head)]
        before = bytes(room)
        room[:] = self.head
        try:
            yield self.around
        finally:
            room[:] = before


class Batch:
    """What is written at once: new blocks, and the ids of stored objects they rely on.

    `indexed` holds the payloads of the new trees, sets, manifests and notes in `blocks`, from which
    look-up rows are derived. A sink that writes beside a thread that reads holds `turn` while it
    puts what is in it.
    """

    __slots__ = ("blocks", "indexed", "relied", "turn")

    def __init__(
        self,
        blocks: Iterable[EncodedBlock] = (),
        relied: Iterable[Id] = (),
        indexed: Iterable[tuple[Kind, Id, bytes]] = (),
        turn: Turn | None = None,
    ) -> None:
        self.blocks = list(blocks)
        self.relied = set(relied)
        self.indexed = list(indexed)
        self.turn = turn or Turn()

    def needs(self) -> set[Id]:
        """What must be stored already when it is written: what it relies on, bases of deltas."""
        found = set(self.relied)
        for block in self.blocks:
            found.update(block.bases)
        return found - {member.id for block in self.blocks for member in block.members}


class Sink(Protocol):
    """The store as an ingestor sees it.

    `known` is called from the thread of the ingestor; `write` from any, but never twice at a time.
    """

    def known(self, ids: Sequence[Id]) -> set[Id]:
        """Those of `ids` that are stored now, from one view of the store."""
        ...

    def write(self, batch: Batch) -> set[Id]:
        """Make the batch durable; or write nothing and return the relied ids that vanished."""
        ...


class FileCache(Protocol):
    """Rows by key, so that an unchanged file is not read again; see castore.content.stamps.

    It may forget anything at any time, and its rows may name digests that are no longer stored.
    """

    def lookup(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """For each key the row remembered, or None."""
        ...

    def remember(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep these (key, row), replacing older ones of the same keys."""
        ...
