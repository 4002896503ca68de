"""Reading many files at once: rows and blocks of some come from one view of the store.

What comes is compared file by file: a file as a whole proves its chunks, which are compared one by
one only to tell what is wrong. Files of some size are decoded by threads, ahead of the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeAlias

from castore.content.kept import Decoded
from castore.content.layouts import iter_parts, layout_size
from castore.content.reader import AHEAD_ABOVE, ObjectReader, false_layout
from castore.content.runs import Piece, compared, pieces_of, runs_of
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.errors import CastoreError
from castore.model.ids import Id, content_id, content_id_of
from castore.model.limits import BLOCK_RAW_BYTES, KIB, MIB
from castore.model.pages import Part

BATCH_FILES: Final = 512
BATCH_BYTES: Final = 2 * MIB
"""Files that are read at once, and their bytes; one may lie on either side of that."""
_BLOCK_BYTES: Final = 8 * MIB
# Where files are smaller, handing over the interpreter lock takes longer than threads save.
_THREADS_ABOVE: Final = 32 * KIB
_THREADS: Final = 2
_AHEAD: Final = 3
# A stretch of a big file ends with a block, once it has so many bytes.
_STRETCH_BYTES: Final = MIB
_STRETCH_CHUNKS: Final = 256

File: TypeAlias = tuple[Id, int]
Pieces: TypeAlias = Iterable[Piece]


class _Lying(NamedTuple):
    """Where a file that is one chunk lies, and the bytes of that block."""

    number: int
    slot: int
    block: bytes


class Prefetch:
    """Gives the pieces of files, verified, some of them ahead; to be closed after use.

    Whatever is wrong, or takes much to read, is left to the reader, which tells what it is.
    """

    def __init__(self, database: Database, reader: ObjectReader) -> None:
        self._database = database
        self._reader = reader
        self._pool: Any = None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def read(self, files: Iterable[File]) -> Iterator[Pieces]:
        """The pieces of each file, given as digest and size, in order.

        Each must be used up before the next is asked for, and all of it thrown away if this raises:
        the last piece of a file is handed out only if the whole is right. `files` are taken ahead.
        Raises ObjectNotFound, TypeMismatch, CorruptObject, also while the pieces are taken.
        """
        waiting: deque[tuple[Sequence[File], Callable[[], Sequence[Pieces | None]]]] = deque()
        for group in _grouped(files):
            waiting.append((group, self._begun(group)))
            if len(waiting) > _AHEAD:
                yield from self._given(*waiting.popleft())
        while waiting:
            yield from self._given(*waiting.popleft())

    def _begun(self, files: Sequence[File]) -> Callable[[], Sequence[Pieces | None]]:
        """What gives the pieces of these, from a thread where that pays."""
        first, size = files[0]
        if size >= AHEAD_ABOVE:
            return lambda: [self._big(first, size)]
        if sum([size for _, size in files]) < _THREADS_ABOVE * len(files):
            return partial(self._files, files)
        result: Callable[[], Sequence[Pieces | None]] = self._submit(self._files, files).result
        return result

    def _given(
        self, files: Sequence[File], found: Callable[[], Sequence[Pieces | None]]
    ) -> Iterator[Pieces]:
        for (id, size), pieces in zip(files, found(), strict=True):
            yield self._reader.stream(id, size) if pieces is None else pieces

    def _submit(self, do: Callable[..., Any], *given: object) -> Any:
        if self._pool is None:
            # Loaded for files of some size only: it takes longer than writing a few small ones.
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="castore-decode")
        return self._pool.submit(do, *given)

    def _files(self, files: Sequence[File]) -> list[Pieces | None]:
        """The pieces of each of these, compared with its digest; None for what is not right."""
        given: list[Pieces | None] = []
        number, decoded = -1, None
        while len(given) < len(files):
            rest = files[len(given) :]
            found = self._database.read(partial(_fetch, ids=[id for id, _ in rest]))
            for (id, size), lying in zip(rest, found, strict=False):
                try:
                    if lying is None:
                        given.append(self._whole(id, size))
                        continue
                    if lying.number != number or decoded is None:
                        decoded = self._reader.block(lying.number, lying.block)
                        number = lying.number
                    given.append(_chunk(id, size, lying, decoded))
                except CastoreError:
                    given.append(None)
        return given

    def _whole(self, id: Id, size: int) -> Pieces | None:
        """The pieces of a file that has a layout."""
        root = self._reader.layout_root(id)
        if root is None or layout_size(root) != size:
            return None
        pieces = self._stretch(list(iter_parts(self._reader.layout_page, root)))
        if pieces is None:
            return None
        return pieces if content_id_of(pieces) == (id, size) else None

    def _big(self, id: Id, size: int) -> Iterator[Piece]:
        """The pieces of a file that is not held as a whole; it is compared as they are taken."""
        root = self._reader.layout_root(id)
        if root is None or layout_size(root) != size:
            yield from self._reader.stream(id, size)
            return
        stretches = self._stretches(iter_parts(self._reader.layout_page, root))
        pieces = chain.from_iterable(stretches)
        yield from compared(pieces, id, size, partial(self._wrong, id, size))

    def _wrong(self, id: Id, size: int) -> None:
        """Raise what is wrong with a file."""
        deque(self._reader.stream(id, size), maxlen=0)
        raise false_layout(id)

    def _stretches(self, parts: Iterator[Part]) -> Iterator[Pieces]:
        """The bytes of these chunks in order, decoded by threads."""
        waiting: deque[tuple[list[Part], Any]] = deque()
        for stretch in self._cut(parts):
            waiting.append((stretch, self._submit(self._stretch, stretch)))
            if len(waiting) > _AHEAD:
                yield self._compared(*waiting.popleft())
        while waiting:
            yield self._compared(*waiting.popleft())

    def _compared(self, parts: list[Part], task: Any) -> Pieces:
        """What a thread gave; if that is nothing the chunks one by one, each compared."""
        pieces: list[Piece] | None = task.result()
        return map(self._reader.chunk, parts) if pieces is None else pieces

    def _cut(self, parts: Iterator[Part]) -> Iterator[list[Part]]:
        """These in stretches that end where a block does, so that each is decoded once."""
        stretch: list[Part] = []
        size, last = 0, -1
        while some := list(islice(parts, BATCH_FILES)):
            places = self._database.read(partial(_places, parts=some))
            for part, number in zip(some, places, strict=True):
                full = size >= _STRETCH_BYTES and number != last
                if full or size >= BLOCK_RAW_BYTES or len(stretch) >= _STRETCH_CHUNKS:
                    yield stretch
                    stretch, size = [], 0
                stretch.append(part)
                size += part.size
                last = number
        if stretch:
            yield stretch

    def _stretch(self, parts: Sequence[Part]) -> list[Piece] | None:
        """The bytes of these chunks, not compared with their ids; None if something is wrong."""
        runs = self._database.read(partial(runs_of, parts=parts))
        pieces: list[Piece] = []
        try:
            for run in runs or ():
                cut = pieces_of(run, self._reader.block(run.number, run.block))
                if cut is None:
                    return None
                pieces += cut
        except CastoreError:
            return None
        return None if runs is None else pieces


def _grouped(files: Iterable[File]) -> Iterator[list[File]]:
    """Files that are read at once; a big one alone."""
    group: list[File] = []
    size = 0
    for file in files:
        if group and (file[1] >= AHEAD_ABOVE or size >= BATCH_BYTES or len(group) >= BATCH_FILES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file[1]
    if group:
        yield group


def _chunk(id: Id, size: int, lying: _Lying, decoded: Decoded) -> Pieces | None:
    """A file that is one chunk, compared with its digest."""
    data = decoded.member(lying.slot, id)
    good = data is not None and len(data) == size and content_id(data) == id
    return (data,) if data is not None and good else None


def _fetch(tables: Reading, ids: Sequence[Id]) -> list[_Lying | None]:
    """The first of these files, up to 8 MiB of blocks; None for one that is no chunk."""
    found: list[_Lying | None] = []
    blocks: dict[int, bytes] = {}
    size = 0
    for id in ids:
        if size >= _BLOCK_BYTES:
            break
        lying = tables.lying(id, blocks)
        if lying is None:
            found.append(None)
            continue
        number, slot, data = lying
        if number not in blocks:
            blocks[number] = data
            size += len(data)
        found.append(_Lying(number, slot, blocks[number]))
    return found


def _places(tables: Reading, parts: Sequence[Part]) -> list[int]:
    """The number of the block of each chunk, -1 for none."""
    places = [tables.place(part.id) for part in parts]
    return [-1 if place is None else place[0] for place in places]
