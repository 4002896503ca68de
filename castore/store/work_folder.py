"""The work folder as a commit would take it, hashed and not stored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from castore.content.folder_walk import FolderWalk, Stored
from castore.content.folders import FolderScan, Found
from castore.content.globs import match_glob, split_glob
from castore.content.segments import reader_of_file
from castore.content.sink import FileCache, FileStamp
from castore.content.sources import changed, opened, refusal, same, stamp_of
from castore.content.trees import build_tree
from castore.errors import NotFound
from castore.model.artifact_set import Content, FileContent, TreeContent
from castore.model.ids import Id, Kind, content_id_of
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
        self._cache = cache
        self._links = links
        self._progress = progress
        self._pages: dict[Id, bytes] = {}
        self._read: list[tuple[FileStamp, Id]] = []
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
        path = os.path.abspath(given.path)
        try:
            found = Found(given.path.name, path, os.stat(path))
        except OSError as error:
            raise refusal(error, path) from None
        digest, size, mode = self._add_files([found])[0]
        return FileContent(digest, size, mode)

    def page_reader(self, read_page: Callable[[Id], bytes]) -> Callable[[Id], bytes]:
        """Pages of hashed folders from memory, others by `read_page`."""

        def read(id: Id) -> bytes:
            page = self._pages.get(id)
            return page if page is not None else read_page(id)

        return read

    def remember(self, keep: Callable[[Iterable[Id]], set[Id]]) -> None:
        """Put what was read into the cache, of the digests that `keep` gives back."""
        kept = keep({digest for _, digest in self._read})
        rows = [row for row in self._read if row[1] in kept]
        self._read = []
        if rows:
            self._cache.remember(rows)

    def _folder(self, root: Path, only: Callable[[str], bool] | None) -> TreeContent:
        scan = FolderScan(os.path.abspath(root), self._links)
        return FolderWalk(scan, only, self._add_files, self._add_objects).run()

    def empty(self) -> TreeContent:
        """The folder without any files."""
        built = build_tree([])
        self._pages.update(built.pages)
        return TreeContent(built.root, 0)

    def _add_objects(self, objects: Sequence[tuple[Kind, Id, bytes]]) -> None:
        self._pages.update((id, payload) for _, id, payload in objects)

    def _add_files(self, files: Sequence[Found]) -> list[Stored]:
        stamps = [stamp_of(found.path, found.stat) for found in files]
        stored: list[Stored] = []
        for found, stamp, known in zip(files, stamps, self._cache.lookup(stamps), strict=True):
            digest, size = known, found.stat.st_size
            if digest is None:
                digest, size = self._hash(found.path)
                if size == stamp.size:
                    self._read.append((stamp, digest))
            stored.append((digest, size, found.stat.st_mode >> 6 & 1))
        if self._progress is not None:
            self._progress(sum(size for _, size, _ in stored))
        return stored

    def _hash(self, path: str) -> tuple[Id, int]:
        with opened(path) as (descriptor, found):
            digest, size = content_id_of(self._pieces(descriptor, found.st_size + 1))
            if size != found.st_size or not same(found, os.fstat(descriptor)):
                raise changed(path)
        return digest, size

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
    return sorted(found.name for found in (*listing.files, *listing.folders))
