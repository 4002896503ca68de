"""Changes: the new chunks of files that were stored before in another form, gathered into deltas.

A delta block holds the chunks of one file, or those of several small ones, which then share what
they were before as their dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial
from typing import Final, NamedTuple

from castore.content.chains import Bases, Chains
from castore.content.delta_encoder import encode_changed, encode_plain
from castore.content.sink import EncodedBlock
from castore.model.ids import Id
from castore.model.limits import BLOCK_BASES, BLOCK_MEMBERS, BLOCK_RAW_BYTES, KIB, MIB
from castore.model.pages import Part

# Reading one file of a group decodes all of it, and what all of it rests on.
GROUP_BYTES: Final = 128 * KIB
ALONE_BYTES: Final = 32 * KIB
_GROUP_BASE_BYTES: Final = 1 * MIB


class Change(NamedTuple):
    """New chunks of one file, at most BLOCK_RAW_BYTES, and those that were in their place."""

    chunks: Sequence[tuple[Id, bytes]]
    bases: Sequence[Part]

    @property
    def raw(self) -> int:
        """The bytes of its chunks."""
        return sum([len(data) for _, data in self.chunks])

    def without(self, ids: Set[Id]) -> Change:
        """The same without these chunks, and each of the others once."""
        left = {id: data for id, data in self.chunks if id not in ids}
        return Change(list(left.items()), self.bases)


class Job(NamedTuple):
    """What is to be encoded, and its raw bytes."""

    encode: Callable[[], list[EncodedBlock]]
    raw: int


class Changes:
    """What one session has of them; for one thread, but for the jobs it gives out."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._open: list[Change] = []
        self._raw = 0
        self._base_bytes = 0

    def add(self, change: Change) -> Iterable[Job]:
        """Take in a change; what is to be encoded now."""
        raw = change.raw
        below = sum([part.size for part in change.bases])
        if raw >= ALONE_BYTES or below >= _GROUP_BASE_BYTES:
            yield self._job([change], raw)
            return
        chunks = sum([len(change.chunks) for change in self._open]) + len(change.chunks)
        parts = sum([len(change.bases) for change in self._open]) + len(change.bases)
        more = self._base_bytes + below > _GROUP_BASE_BYTES
        if more or chunks > BLOCK_MEMBERS or parts > BLOCK_BASES:
            yield from self.close()
        self._open.append(change)
        self._raw += raw
        self._base_bytes += below
        if self._raw >= GROUP_BYTES:
            yield from self.close()

    def close(self) -> Iterable[Job]:
        """What is to be encoded of what was taken in; nothing is open after that."""
        changes, raw = self._open, self._raw
        self._open, self._raw, self._base_bytes = [], 0, 0
        if changes:
            yield self._job(changes, raw)

    def _job(self, changes: Sequence[Change], raw: int) -> Job:
        chunks = [chunk for change in changes for chunk in change.chunks]
        wanted = [part for change in changes for part in change.bases]
        bases: Bases | None = None
        if raw <= BLOCK_RAW_BYTES:
            bases = self._chains.bases(wanted, raw)
        if bases is None:
            return Job(partial(encode_plain, chunks), raw)
        return Job(partial(encode_changed, chunks, bases, self._chains.payload), raw)
