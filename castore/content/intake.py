"""Taking in the files a walk finds: those remembered are relied on, the others read and stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

from castore.content.earlier import EarlierFolder
from castore.content.folder_walk import Page
from castore.content.leaves import Run, Taken
from castore.content.matching import FindFile
from castore.content.packer import Packer
from castore.content.relied import Relied
from castore.content.sink import FileCache
from castore.content.sources import folder_of, read_small
from castore.content.stamps import (
    SIZE,
    Remembered,
    Stamp,
    keep_settled,
    read_remembered,
    read_stamps,
)
from castore.model.artifact_set import FileContent
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import MIB

# Files up to this size are read in one piece.
WHOLE_BYTES: Final = 4 * MIB
_GROUP_BYTES: Final = 4 * MIB

AddFile: TypeAlias = Callable[[str, FindFile | None], tuple[FileContent, Stamp]]
"""Stores the file at a path in whatever way, and tells the stamp it had."""

FindAt: TypeAlias = Callable[[int], FileContent | None]
StoreAll: TypeAlias = Callable[[Sequence[tuple[Id, bytes]], FindAt | None, Sequence[str]], None]
"""Stores files in memory; the second finds what the file at a place was before; their paths."""


class FileMemory:
    """Rows of a cache, taken apart; without a cache nothing is ever remembered."""

    def __init__(self, cache: FileCache | None) -> None:
        self._cache = cache

    def recall(self, keys: Sequence[bytes]) -> list[Remembered | None]:
        """What is remembered under each of these keys."""
        if self._cache is None:
            return [None] * len(keys)
        return [read_remembered(row) if row else None for row in self._cache.lookup(keys)]

    def recall_file(self, key: bytes, stamp: bytes) -> Id | None:
        """The digest of a file given by itself, if it has this stamp still."""
        row = self.recall((key,))[0]
        return row.digests if row is not None and row.stamps == stamp else None

    def remember(self, key: bytes, row: Remembered) -> None:
        """Remember this under the key, but for files that may have changed unseen."""
        if self._cache is not None:
            kept = keep_settled(row)
            if kept.digests:
                self._cache.remember([(key, kept.pack())])


class StoringIntake:
    """Stores what a walk of `root` finds by way of a packer; changes as deltas of `earlier`."""

    def __init__(
        self,
        packer: Packer,
        memory: FileMemory,
        *,
        add_file: AddFile,
        store: StoreAll,
        progress: Callable[[int], None],
        now: Callable[[], int],
        root: str = "",
        earlier: EarlierFolder | None = None,
    ) -> None:
        self.now = now
        self.recall = memory.recall
        self.remember = memory.remember
        self._packer = packer
        self._earlier = earlier
        self._add_file = add_file
        self._store = store
        self._progress = progress
        # What was read and is to be stored together, as (digest, bytes).
        self._group: list[tuple[Id, bytes]] = []
        self._paths: list[str] = []
        self._group_bytes = 0
        self._below = len(root.rstrip("/")) + 1

    def rely_on_files(self, run: Run, digests: list[Id]) -> None:
        """Take these files as stored; a file that is not after all is read when that shows."""
        size = run.size()
        self._packer.rely_on(digests, size, partial(_again, run, digests))
        tally = self._packer.tally
        tally.files += len(digests)
        tally.cached_files += len(digests)
        self._progress(size)

    def add_pages(self, pages: Sequence[Page]) -> None:
        """Store pages, each after those it points to."""
        earlier = self._earlier
        objects = [(Kind.TREE, id, payload) for _, id, payload in pages]
        if earlier is None:
            self._packer.add_objects(objects)
            return
        folders = {id: folder for folder, id, _ in pages}
        self._packer.add_objects(
            objects, lambda id, payload: earlier.base_of(folders[id], id, payload)
        )

    def rely_on_page(self, id: Id, payload: Callable[[], bytes]) -> None:
        """Take a page as stored; `payload` makes it again should it not be."""
        self._packer.rely_on((id,), 0, lambda: iter((Relied(id, Kind.TREE, payload(), ""),)))

    def read(self, runs: Sequence[Run]) -> list[Taken]:
        """Store the files of these runs, small ones together."""
        taken = [self._read(run) for run in runs]
        self._flush()
        return taken

    def _read(self, run: Run) -> Taken:
        digests: list[Id] = []
        changed: dict[int, tuple[int, int]] = {}
        with folder_of(run.folder, len(run.names), elsewhere=bool(run.elsewhere)) as folder:
            places = run.paths() if folder is None else run.names
            files = iter(zip(places, read_stamps(run.stamps), strict=True))
            above = "" if folder is None else f"{run.folder}/"
            while len(digests) < len(places):
                start = len(digests)
                other = self._read_small(files, folder, digests)
                self._paths += [above + place for place in places[start : len(digests)]]
                if other is not None:
                    path, stamp = above + other[0], other[1]
                    before = partial(self._before, path, stamp[SIZE])
                    content, now = self._add_file(path, before)
                    if now != stamp:
                        changed[len(digests)] = (content.size, content.mode)
                    digests.append(content.digest)
                if self._group_bytes >= _GROUP_BYTES:
                    self._flush()
        return Taken(digests, changed)

    def _read_small(
        self, files: Iterator[tuple[str, Stamp]], folder: int | None, digests: list[Id]
    ) -> tuple[str, Stamp] | None:
        """Read files until a group is full; the first that is not read so ends it, and is given."""
        group, size = self._group, self._group_bytes
        with self._packer.turn:
            for place, stamp in files:
                length = stamp[SIZE]
                data = read_small(place, stamp, folder) if length <= WHOLE_BYTES else None
                if data is None:
                    self._group_bytes = size
                    return place, stamp
                digest = content_id(data)
                digests.append(digest)
                group.append((digest, data))
                size += length
                if size >= _GROUP_BYTES:
                    break
        self._group_bytes = size
        return None

    def _flush(self) -> None:
        group, paths, size = self._group, self._paths, self._group_bytes
        self._group, self._paths, self._group_bytes = [], [], 0
        if group:
            find: FindAt | None = None
            if self._earlier is not None:
                find = lambda at: self._before(paths[at], len(group[at][1]))  # noqa: E731
            self._store(group, find, paths)
            self._progress(size)

    def _before(self, path: str, size: int) -> FileContent | None:
        """What the file at this path was before."""
        if self._earlier is None:
            return None
        return self._earlier.file_at(path[self._below :], size)


def _again(run: Run, digests: list[Id]) -> Iterator[Relied]:
    for path, digest in zip(run.paths(), digests, strict=True):
        yield Relied(digest, Kind.CHUNK, b"", path)
