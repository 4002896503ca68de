"""The work folder as a commit would take it, hashed and not stored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from castore.content.folder_walk import FolderWalk, Page
from castore.content.folders import IGNORE_FILE, FolderScan, listed_names
from castore.content.globs import match_glob, split_glob
from castore.content.intake import FileMemory
from castore.content.leaves import Run, Taken
from castore.content.segments import reader_of_file
from castore.content.sink import FileCache
from castore.content.sources import changed, opened, refusal, same
from castore.content.stamps import (
    Remembered,
    cache_key,
    choose,
    each_id,
    each_stamp,
    pack_stamps,
    stamp_of,
)
from castore.content.trees import build_tree
from castore.errors import NotFound
from castore.model.artifact_set import Content, FileContent, TreeContent
from castore.model.ids import Id, content_id_of
from castore.store.gather import Input

_READ_BYTES: Final = 1 << 20


class WorkHasher:
    """Gives the content of files and folders as a commit would store it, from the cache or hashed.

    The pages of folders are kept in memory. `progress` is told the bytes dealt with.
    """

    def __init__(
        self,
        cache: FileCache,
        *,
        links: str = "refuse",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        memory = FileMemory(cache)
        self.now = time.time_ns
        self.recall = memory.recall
        self._memory = memory
        self._links = links
        self._progress = progress
        self._pages: dict[Id, Callable[[], bytes]] = {}
        self._rows: list[tuple[bytes, Remembered]] = []
        self._hashed: set[Id] = set()
        self._buffer = memoryview(bytearray(_READ_BYTES))

    def content(self, given: Input) -> Content:
        """The content of a file, a folder, or the files below a folder that match a glob.

        Raises InvalidInput, InvalidName and NotFound as a commit would.
        """
        if given.glob:
            place, pattern = split_glob(given.glob)
            root = given.path / place
            if not root.is_dir():
                return self.empty()
            return self._folder(root, match_glob(pattern))
        if given.path.is_dir():
            return self._folder(given.path, None)
        return self._file(os.path.abspath(given.path))

    def page_reader(self, read_page: Callable[[Id], bytes]) -> Callable[[Id], bytes]:
        """Pages of hashed folders from memory, others by `read_page`."""

        def read(id: Id) -> bytes:
            page = self._pages.get(id)
            return page() if page is not None else read_page(id)

        return read

    def keep_stored(self, keep: Callable[[Iterable[Id]], set[Id]]) -> None:
        """Put what was hashed into the cache, of the digests that `keep` gives back.

        Without pages of trees, which may not be stored.
        """
        hashed = keep(self._hashed)
        for key, row in self._rows:
            digests = each_id(row.digests)
            if not hashed.isdisjoint(digests):
                stored = keep(digests)
                self._memory.remember(key, choose(row, [id in stored for id in digests]))
        self._rows, self._hashed = [], set()

    def _folder(self, root: Path, only: Callable[[str], bool] | None) -> TreeContent:
        scan = FolderScan(os.path.abspath(root), self._links)
        return FolderWalk(scan, only, self).run()

    def empty(self) -> TreeContent:
        """The folder without any files."""
        built = build_tree([])
        self.add_pages([("", id, payload) for id, payload in built.pages])
        return TreeContent(built.root, 0)

    def add_pages(self, pages: Sequence[Page]) -> None:
        """Keep these pages in memory."""
        self._pages.update((id, partial(bytes, payload)) for _, id, payload in pages)

    def rely_on_page(self, id: Id, payload: Callable[[], bytes]) -> None:
        """Keep a page that need not be made unless it is asked for."""
        self._pages[id] = payload

    def rely_on_files(self, run: Run, digests: list[Id]) -> None:  # noqa: ARG002
        """Take the digests that are remembered."""
        self._tell(run.size())

    def read(self, runs: Sequence[Run]) -> list[Taken]:
        """Hash the files of these runs."""
        taken = []
        for run in runs:
            digests: list[Id] = []
            changed: dict[int, tuple[int, int]] = {}
            for path, stamp in zip(run.paths(), each_stamp(run.stamps), strict=True):
                content, now = self._hash(path)
                if now != stamp:
                    changed[len(digests)] = (content.size, content.mode)
                digests.append(content.digest)
                self._tell(content.size)
            taken.append(Taken(digests, changed))
        return taken

    def remember(self, key: bytes, row: Remembered) -> None:
        """Keep what was hashed until it is known which of it is stored."""
        self._rows.append((key, row))

    def _file(self, path: str) -> FileContent:
        started = self.now()
        try:
            found = os.stat(path)
        except OSError as error:
            raise refusal(error, path) from None
        key, stamp = cache_key(found, path), pack_stamps([stamp_of(found)])
        digest = self._memory.recall_file(key, stamp)
        if digest is not None:
            self._tell(found.st_size)
            return FileContent(digest, found.st_size, found.st_mode >> 6 & 1)
        content, now = self._hash(path)
        if now == stamp:
            self.remember(key, Remembered(started, b"", stamp, content.digest))
        self._tell(content.size)
        return content

    def _tell(self, size: int) -> None:
        if self._progress is not None:
            self._progress(size)

    def _hash(self, path: str) -> tuple[FileContent, bytes]:
        """The content of a file, and its stamp when it was opened."""
        with opened(path) as (descriptor, found):
            digest, size = content_id_of(self._pieces(descriptor, found.st_size + 1))
            if size != found.st_size or not same(found, os.fstat(descriptor)):
                raise changed(path)
        self._hashed.add(digest)
        stamp = pack_stamps([stamp_of(found)])
        return FileContent(digest, size, found.st_mode >> 6 & 1), stamp

    def _pieces(self, descriptor: int, limit: int) -> Iterator[memoryview]:
        read = reader_of_file(descriptor, limit)
        while count := read(self._buffer):
            yield self._buffer[:count]


def folder_names(folder: Path) -> list[str]:
    """The top-level names of a folder that a commit would take, links included, sorted.

    Raises NotFound, InvalidInput.
    """
    if not folder.is_dir():
        raise NotFound(f"{str(folder)!r} is no folder")
    scan = FolderScan(os.path.abspath(folder), "skip")
    listing, _ = scan.take(scan.root, "", scan.rules, 0)
    return [name for name in listed_names(listing) if name != IGNORE_FILE]
