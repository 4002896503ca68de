"""Files that are compared with their digests while their chunks pass, so that they need no reading.

What passes was compared with the ids of chunks; what is open is whether the chunk list that came
for a file is that file's. Chunks of a file that come in another order, or lie here already, leave
it to whoever reads it as a whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from blake3 import blake3

from castore.content.layouts import iter_parts
from castore.errors import CastoreError, CorruptObject
from castore.model.ids import Id
from castore.model.pages import Part

Place: TypeAlias = tuple[int, int, int, int]
"""Where a chunk passes: depth, number of its pack, offset, slot. They grow while chunks pass."""

# How many files are open at once: each keeps a page of its chunk list.
_OPEN: Final = 256


class Passing(NamedTuple):
    """A chunk that passes."""

    place: Place
    id: Id
    data: bytes | memoryview


class _File(NamedTuple):
    digest: Id
    parts: Iterator[Part]
    hasher: blake3


class _Awaited(NamedTuple):
    place: Place
    size: int
    file: _File


class PassingFiles:
    """Compares files with their digests; `unread` are those left to be read as a whole.

    `read_root` and `read_page` give pages of chunk lists, None for what is no file of several
    chunks; `place_of` tells where a chunk will pass, if it will; `passed` is told of each file that
    was right. What is wrong is raised, or with `lenient` left to be read, so that the reader tells.
    """

    def __init__(
        self,
        read_root: Callable[[Id], bytes | None],
        read_page: Callable[[Id], bytes],
        files: Iterable[Id],
        place_of: Callable[[Id], Place | None],
        *,
        passed: Callable[[Id], None] = lambda _: None,
        lenient: bool = False,
    ) -> None:
        self._read_root = read_root
        self._read_page = read_page
        self._place_of = place_of
        self._passed = passed
        self._lenient = lenient
        self._later = deque(files)
        self._open: dict[Id, list[_Awaited]] = {}
        self._opened = 0
        self.unread: list[Id] = []

    def see(self, chunks: Sequence[Passing]) -> None:
        """Chunks that pass, in their order; raises CorruptObject for a false chunk list."""
        if not chunks:
            return
        ahead = {id: place for place, id, _ in reversed(chunks)}
        start = chunks[0].place
        self._drop(start)
        while self._later and self._opened < _OPEN:
            self._begin(self._later.popleft(), ahead, start)
        for place, id, data in chunks:
            for _, size, file in self._open.pop(id, ()):
                self._opened -= 1
                file.hasher.update(data)
                self._go_on(file, ahead, place, right=len(data) == size)

    def finish(self) -> list[Id]:
        """The files that have not passed."""
        left = [waits.file.digest for waiting in self._open.values() for waits in waiting]
        return [*self.unread, *left, *self._later]

    def _begin(self, digest: Id, ahead: Mapping[Id, Place], start: Place) -> None:
        root = self._read_root(digest)
        if root is not None:
            parts = iter_parts(self._read_page, root)
            self._go_on(_File(digest, parts, blake3()), ahead, (*start[:3], -1))

    def _go_on(
        self, file: _File, ahead: Mapping[Id, Place], now: Place, *, right: bool = True
    ) -> None:
        """Wait for the next chunk of a file; it is false where the last one was not `right`."""
        try:
            if not right:
                raise false_chunk_list(file.digest)
            waits = self._await(file, ahead, now)
        except CastoreError:
            if not self._lenient:
                raise
            waits = False
        if not waits:
            self.unread.append(file.digest)

    def _await(self, file: _File, ahead: Mapping[Id, Place], now: Place) -> bool:
        """Wait for the next chunk of a file, or compare its digest after the last.

        False if the next chunk does not pass any more. `ahead` are the places of what passes now.
        """
        part = next(file.parts, None)
        if part is None:
            if file.hasher.digest() != file.digest:
                raise false_chunk_list(file.digest)
            self._passed(file.digest)
            return True
        place = ahead.get(part.id) or self._place_of(part.id)
        if place is None or place <= now:
            return False
        self._open.setdefault(part.id, []).append(_Awaited(place, part.size, file))
        self._opened += 1
        return True

    def _drop(self, now: Place) -> None:
        """Give up files whose next chunk should have passed."""
        if self._opened < _OPEN or not self._later:
            return
        for id, waiting in list(self._open.items()):
            if any(waits.place < now for waits in waiting):
                del self._open[id]
                self._opened -= len(waiting)
                self.unread += [waits.file.digest for waits in waiting]


def false_chunk_list(digest: Id) -> CorruptObject:
    """What to raise where the chunk list that came for a file is another file's."""
    return CorruptObject(
        f"the chunk list of {digest.hex()} that came is of another file",
        id=digest.hex(),
        where="layout",
    )
