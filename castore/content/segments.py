"""Reading big inputs: segments of 2 MiB in buffers used again, cut as they come, then hashed.

Sources are read, never mapped: a mapped file that is truncated kills the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeAlias

from blake3 import blake3

from castore.content.chunker import Chunker
from castore.content.sink import Lying, Turn
from castore.model.ids import Id, content_id
from castore.model.limits import CHUNK_MAX, CHUNK_MIN, KIB, MIB

SEGMENT_BYTES: Final = 2 * MIB
# Left free at the front of a buffer, so that a block's head fits before any chunk in it.
_HEAD_BYTES: Final = 4 * KIB
BUFFER_BYTES: Final = _HEAD_BYTES + SEGMENT_BYTES + CHUNK_MAX
# Segments read ahead: what waits to be encoded or written holds buffers of its own.
AHEAD: Final = 4
_SAMPLE_BYTES: Final = 1 * MIB

ReadInto: TypeAlias = Callable[[memoryview], int]
"""Fills the front of a view and returns how many bytes; 0 at the end, never before."""


class Cut(NamedTuple):
    """Bytes read into `buffer`: chunks from `first` to each of `ends`, new from `start` on."""

    buffer: bytearray
    first: int
    start: int
    filled: int
    ends: list[int]


class Segment(NamedTuple):
    """Some consecutive chunks as (id, bytes in `buffer`); `size` new bytes were read for it.

    `data` is all of them, one after the other; `lying` tells where in `buffer` each of them is.
    """

    chunks: list[tuple[Id, memoryview]]
    data: memoryview
    buffer: bytearray
    size: int
    lying: Lying


class Buffers:
    """Buffers that are taken, given back and used again; one thread takes, any may give."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        """A buffer of BUFFER_BYTES with any content."""
        return self._free.pop() if self._free else bytearray(BUFFER_BYTES)

    def give(self, buffer: bytearray) -> None:
        """Let `buffer` be used again; nothing may refer to its bytes any more."""
        self._free.append(buffer)


def cut_segments(read: ReadInto, chunker: Chunker, take: Callable[[], bytearray]) -> Iterator[Cut]:
    """An input, cut segment by segment.

    The last segment may be empty. A buffer belongs to whoever got the segment.
    """
    rest = b""
    final = False
    while not final:
        buffer = take()
        view = memoryview(buffer)
        filled = start = _HEAD_BYTES + len(rest)
        view[_HEAD_BYTES:start] = rest
        while filled < len(view):
            count = read(view[filled:])
            if not count:
                final = True
                break
            filled += count
        ends = [_HEAD_BYTES + end for end in chunker.ends(view[_HEAD_BYTES:filled], final=final)]
        rest = bytes(view[ends[-1] if ends else _HEAD_BYTES : filled])
        yield Cut(buffer, _HEAD_BYTES, start, filled, ends)


def hash_segments(cuts: Iterable[Cut], hasher: blake3, turn: Turn) -> Iterator[Segment]:
    """The chunks of each segment; `hasher` gets all bytes of the input in the same pass.

    `turn` is held while the chunks of one are hashed.
    """
    for buffer, first, start, filled, ends in cuts:
        view, at = memoryview(buffer), first
        hasher.update(view[start:filled])
        chunks = []
        starts: dict[Id, int] = {}
        with turn:
            for end in ends:
                piece = view[at:end]
                id = content_id(piece)
                chunks.append((id, piece))
                starts.setdefault(id, at)
                at = end
        yield Segment(chunks, view[first:at], buffer, filled - start, Lying(view, starts))


def cut_whole(digest: Id, data: bytes, chunker: Chunker) -> list[tuple[Id, bytes | memoryview]]:
    """The chunks of a whole file in memory, at least one: an empty file is one empty chunk."""
    ends = chunker.ends(data, final=True) if len(data) > CHUNK_MIN else ()
    if len(ends) <= 1:
        return [(digest, data)]
    view = memoryview(data)
    pieces = [view[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    return [(content_id(piece), piece) for piece in pieces]


def reader_of(pieces: Iterable[bytes | memoryview]) -> ReadInto:
    """Reading into views from an iterable of pieces of any size."""
    source = iter(pieces)
    rest = memoryview(b"")

    def read(target: memoryview) -> int:
        nonlocal rest
        while not len(rest):
            piece = next(source, None)
            if piece is None:
                return 0
            rest = memoryview(piece).cast("B")
        count = min(len(rest), len(target))
        target[:count] = rest[:count]
        rest = rest[count:]
        return count

    return read


def reader_of_file(descriptor: int, limit: int) -> ReadInto:
    """Reading into views from an open file, which ends for us after `limit` bytes.

    Without a limit a log that grows as fast as it is read would never end.
    """
    left = limit

    def read(target: memoryview) -> int:
        nonlocal left
        if not left:
            return 0
        count = os.readv(descriptor, [target[:left]])
        left -= count
        return count

    return read


def hash_open(descriptor: int, size: int) -> tuple[Id, int]:
    """The digest of an open file and its bytes, of which at most `size` + 1 are read."""
    hasher = blake3()
    view = memoryview(bytearray(MIB))
    read = reader_of_file(descriptor, size + 1)
    total = 0
    while count := read(view):
        hasher.update(view[:count])
        total += count
    return Id(hasher.digest()), total


def end_chunks(descriptor: int, size: int, chunker: Chunker) -> list[Id]:
    """The ids of the first and the last chunk of an open file of some MiB; none if not found."""
    head = os.pread(descriptor, CHUNK_MAX, 0)
    tail = os.pread(descriptor, _SAMPLE_BYTES, size - _SAMPLE_BYTES)
    head_ends = chunker.ends(head, final=False)
    tail_ends = [0, *chunker.ends(tail, final=True)]
    if not head_ends or len(tail_ends) < 2:
        return []
    return [content_id(head[: head_ends[0]]), content_id(tail[tail_ends[-2] :])]


class _Stopped(Exception):
    """The reading thread is told to end."""


class ReadAhead:
    """Segments read and cut by a thread of their own while the caller deals with others.

    Used as a context; leaving it ends the thread, however far it is. What reading raises is raised
    by the iteration.
    """

    def __init__(self, cut: Callable[[Callable[[], bytearray]], Iterator[Cut]]) -> None:
        self._cut = cut
        self._free = Buffers()
        self._ready: SimpleQueue[Cut | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="castore-read", daemon=True)

    def give(self, buffer: bytearray) -> None:
        """Let `buffer` be used again."""
        self._free.give(buffer)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._room.release()
        self._thread.join()

    def __iter__(self) -> Iterator[Cut]:
        while True:
            item: Any = self._ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._room.release()
            yield item

    def _take(self) -> bytearray:
        self._room.acquire()
        if self._stopped:
            raise _Stopped
        return self._free.take()

    def _run(self) -> None:
        try:
            for segment in self._cut(self._take):
                self._ready.put(segment)
            self._ready.put(None)
        except _Stopped:
            pass
        except BaseException as error:
            self._ready.put(error)
