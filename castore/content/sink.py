"""Where ingested blocks go, and where stat results are remembered: what content needs from below.

A batch is the unit of durability: a sink writes all of it or nothing. Objects a batch relies on
were stored before; a collector may have removed them since they were looked up, so the sink checks
them in the transaction that writes the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from castore.content.blocks import Member
from castore.model.ids import Id, Kind


class EncodedBlock(NamedTuple):
    """A block as it is stored, with what an index needs to know about it."""

    data: bytes
    members: tuple[Member, ...]
    raw_size: int
    bases: tuple[Id, ...]


class Batch:
    """What is written at once: new blocks, and the ids of stored objects they rely on.

    `indexed` holds the payloads of the new trees, sets, manifests and notes in `blocks`, from which
    look-up rows are derived.
    """

    __slots__ = ("blocks", "indexed", "relied")

    def __init__(
        self,
        blocks: Iterable[EncodedBlock] = (),
        relied: Iterable[Id] = (),
        indexed: Iterable[tuple[Kind, Id, bytes]] = (),
    ) -> None:
        self.blocks = list(blocks)
        self.relied = set(relied)
        self.indexed = list(indexed)

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
