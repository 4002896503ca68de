"""Matching: which chunks of an earlier file stood where the new ones of a later file stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from itertools import islice
from typing import Final, TypeAlias

from castore.content.chains import UNFIT, Chains
from castore.content.changes import Change
from castore.model.artifact_set import FileContent
from castore.model.ids import Id
from castore.model.limits import (
    BLOCK_BASES,
    BLOCK_RAW_BYTES,
    CHUNK_MAX,
    DICTIONARY_BYTES,
    KIB,
    MIB,
)
from castore.model.pages import Part

Chunk: TypeAlias = tuple[Id, bytes | memoryview]
FindFile: TypeAlias = Callable[[], FileContent | None]
"""Finds the file that a new one is likely to be much like."""

# What is so much bigger or smaller has little in common, or costs more to read than it saves.
_TIMES: Final = 8
_BYTES: Final = 64 * KIB
# What is gathered of a bigger file before it is encoded, where nothing of the one before turns up.
_PIECE_BYTES: Final = 4 * MIB
# How far what stood there before may have moved.
_SLACK_BYTES: Final = MIB
_NEAR_BYTES: Final = 256 * KIB
# Of a file before, so many chunks are known, 4 GiB; what lies behind finds no bases.
_MOST_PARTS: Final = 1 << 16


class Matcher:
    """Finds bases for what is new of files; for one thread."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    def follow(
        self, before: FileContent, begun: Sequence[Part], add: Callable[[Change], None]
    ) -> Follower | None:
        """What compares the rest of a bigger file, after what has `begun` it, as it comes."""
        try:
            old = list(islice(self._chains.parts(before), _MOST_PARTS))
        except UNFIT:
            return None
        return Follower(old, before.size <= DICTIONARY_BYTES, begun, add)

    def match(self, chunks: Sequence[tuple[Id, bytes]], before: FileContent) -> Change | None:
        """The chunks of a whole file that the file before had not, on those it had instead."""
        size = sum([len(data) for _, data in chunks])
        if before.size > _TIMES * size + _BYTES or size > _TIMES * before.size + _BYTES:
            return None
        try:
            old = list(islice(self._chains.parts(before), BLOCK_BASES + 1))
        except UNFIT:
            return None
        had = {part.id for part in old}
        new = [chunk for chunk in chunks if chunk[0] not in had]
        have = {id for id, _ in chunks}
        bases = [part for part in old if part.id not in have]
        if not new or not bases or len(bases) > BLOCK_BASES:
            return None
        return Change(new, bases) if _size(bases) <= DICTIONARY_BYTES else None


class Follower:
    """Compares the chunks of a big file, as they come, with those of the file before.

    New chunks are held back, 8 MiB at most, until one comes that the other file has too: then they
    go with what stood in the other between that one and the last such one. A file that was at most
    8 MiB is the base as a whole, but for what stayed. For one thread.
    """

    def __init__(
        self, old: Sequence[Part], whole: bool, begun: Sequence[Part], add: Callable[[Change], None]
    ) -> None:
        self._old = old
        self._add = add
        self._whole = whole
        self._piece = BLOCK_RAW_BYTES - CHUNK_MAX if self._whole else _PIECE_BYTES
        # Where each chunk stands, the first place as such: few stand at more than one.
        self._places: dict[Id, int] = {}
        self._more: dict[Id, list[int]] = {}
        for at, part in enumerate(old):
            if self._places.setdefault(part.id, at) != at:
                self._more.setdefault(part.id, [self._places[part.id]]).append(at)
        self._used: set[int] = set()
        self._matched = {part.id for part in begun} if whole else set()
        # Where in the file before the next bytes are expected.
        self._cursor = self._places.get(begun[-1].id, -1) + 1 if begun else 0
        self._held: list[tuple[Id, bytes]] = []
        self._raw = 0

    def take(
        self, chunks: Sequence[Chunk], known: Set[Id], under_way: Callable[[Id], bool]
    ) -> list[Chunk]:
        """Take the chunks that are neither known nor under way, and give back the others."""
        others: list[Chunk] = []
        for chunk in chunks:
            id, data = chunk
            if id in known or under_way(id):
                self._stays(id)
                others.append(chunk)
                continue
            self._held.append((id, bytes(data)))
            self._raw += len(data)
            if self._raw >= self._piece:
                self._flush(None)
        return others

    def end(self) -> None:
        """Store what is held back."""
        if self._held:
            self._flush(len(self._old))

    def _stays(self, id: Id) -> None:
        """Take note of a chunk that is stored already."""
        at = self._places.get(id)
        if at is None:
            return
        if self._whole:
            self._matched.add(id)
            self._cursor = at + 1
            return
        if id in self._more:
            expected = _behind(self._old, self._cursor, self._raw)
            at = min(self._more[id], key=lambda place: abs(place - expected))
        # One that stands there more often than before, as padding does, tells nothing of the place.
        if at in self._used:
            return
        self._used.add(at)
        if self._held:
            self._flush(at)
        self._cursor = at + 1

    def _flush(self, until: int | None) -> None:
        """Give on what is held; `until` is where in the file before the next chunk stands."""
        old = self._old
        if self._whole:
            bases = [part for part in old if part.id not in self._matched]
        elif until is None:
            start = _before(old, self._cursor, _SLACK_BYTES)
            ahead = _behind(old, self._cursor, self._raw)
            bases = list(old[start : _behind(old, ahead, _SLACK_BYTES)])
            self._cursor = ahead
        elif until > self._cursor and _size(old[self._cursor : until]) <= self._raw + 2 * MIB:
            bases = list(old[self._cursor : until])
        else:
            # Much was taken out, or sections changed places: what stood at either end.
            reach = self._raw + _NEAR_BYTES
            bases = list(old[self._cursor : _behind(old, self._cursor, reach)])
            bases += old[_before(old, until, reach) : until]
        self._add(Change(self._held, _bounded(bases)))
        self._held, self._raw = [], 0


class Following:
    """The comparison of one big file with the one that `earlier` finds, once something is new.

    Without a matcher or `earlier` there is none. `add` and `under_way` are those of a packer.
    """

    def __init__(
        self,
        matcher: Matcher | None,
        earlier: FindFile | None,
        add: Callable[[Change], None],
        under_way: Callable[[Id], bool],
    ) -> None:
        self._matcher = matcher
        self._earlier = earlier
        self._add = add
        self._under_way = under_way
        self._follower: Follower | None = None

    def take(
        self, chunks: Sequence[Chunk], known: Set[Id], begun: Sequence[Part]
    ) -> Sequence[Chunk]:
        """Take what is new in the place of something; what is left is to be stored as ever."""
        if self._earlier is not None and self._matcher is not None and len(known) < len(chunks):
            before, self._earlier = self._earlier(), None
            if before is not None:
                self._follower = self._matcher.follow(before, begun, self._add)
        if self._follower is None:
            return chunks
        return self._follower.take(chunks, known, self._under_way)

    def end(self) -> None:
        """Store what is held back."""
        if self._follower is not None:
            self._follower.end()


def _behind(parts: Sequence[Part], at: int, size: int) -> int:
    """The place so many bytes behind another one, at the end at most."""
    while at < len(parts) and size > 0:
        size -= parts[at].size
        at += 1
    return at


def _before(parts: Sequence[Part], at: int, size: int) -> int:
    while at > 0 and size > 0:
        at -= 1
        size -= parts[at].size
    return at


def _bounded(parts: Sequence[Part]) -> list[Part]:
    """Those of these, each once, that one delta may have as bases."""
    bases = list(dict.fromkeys(parts))[:BLOCK_BASES]
    while _size(bases) > DICTIONARY_BYTES:
        bases.pop()
    return bases


def _size(parts: Iterable[Part]) -> int:
    return sum([part.size for part in parts])
