"""Ingest: paths, streams, bytes and folders become stored objects through a sink.

One ingestor serves one session, and one thread. That thread alone talks to the sink and the cache;
big inputs get a thread that reads ahead and workers that encode.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, TypeAlias

from blake3 import blake3

from castore.content.chunker import Chunker
from castore.content.folder_walk import FolderWalk
from castore.content.folders import FolderScan, Found, Ignore
from castore.content.layouts import build_layout
from castore.content.packer import Chunk, Packer, Relied, Tally
from castore.content.segments import (
    BUFFER_BYTES,
    Buffers,
    ReadAhead,
    Segment,
    cut_segments,
    cut_whole,
    reader_of,
)
from castore.content.sink import FileCache, FileStamp, Sink
from castore.content.sources import changed, opened, read_small, read_whole, same, settled, stamp_of
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.limits import KIB, MIB
from castore.model.pages import Part

__all__ = ["Ingestor", "Tally"]

# Files up to this size are read in one piece.
WHOLE_BYTES: Final = 4 * MIB
_GROUP_BYTES: Final = 4 * MIB
_SAMPLE_BYTES: Final = 1 * MIB
_REMEMBERED: Final = 16 * KIB

Path: TypeAlias = str | os.PathLike[str]


class Ingestor:
    """Stores content and objects; a context that flushes unless it is left by an exception.

    What `add_…` returned is durable after `flush`. `cache` spares reading unchanged files;
    `workers` is the number of encoding threads (0: none; None: as many as pay), used for big
    inputs only; `progress` is called with the bytes dealt with since its last call.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        cache: FileCache | None = None,
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sink = sink
        self._cache = cache
        self._progress = progress or _silent
        self._now_ns = now_ns
        self._threads = workers != 0
        self._packer = Packer(sink, workers, self._restore)
        self._buffers = Buffers()
        self._cutter: Chunker | None = None
        self._remembered: list[tuple[FileStamp, Id]] = []

    @property
    def tally(self) -> Tally:
        """What was stored and recognised so far."""
        return self._packer.tally

    def __enter__(self) -> Ingestor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._packer.close()

    def add_path(self, path: Path, *, follow: bool = True) -> FileContent:
        """Store the file at `path`; a link is followed unless `follow` is false.

        Raises NotFound, and InvalidInput for what is no regular file or changes while it is read.
        """
        text = os.path.abspath(os.fspath(path))
        started = self._now_ns()
        with opened(text, follow=follow) as (descriptor, found):
            stamp = stamp_of(text, found)
            known = self._cache.lookup((stamp,))[0] if self._cache else None
            if known is not None:
                self._take_cached(known, text, found.st_size)
                digest = known
            else:
                digest = self._read_open(descriptor, text, found)
                self.remember(stamp, digest, started)
        self._progress(found.st_size)
        return FileContent(digest, found.st_size, found.st_mode >> 6 & 1)

    def add_stream(self, pieces: Iterable[bytes | memoryview]) -> FileContent:
        """Store the joined pieces as one file, of any size, in bounded memory."""
        hasher = blake3()
        read = reader_of(pieces)
        segments = cut_segments(read, hasher, self._chunker, self._buffers.take)
        parts = self._store_segments(segments, self._buffers.give, self._progress)
        return self._finish_file(hasher.digest(), parts)

    def add_bytes(self, data: bytes) -> FileContent:
        """Store `data` as one file."""
        if len(data) > WHOLE_BYTES:
            view = memoryview(data)
            return self.add_stream(
                view[at : at + MIB] for at in range(0, len(data), MIB)
            )
        digest = content_id(data)
        self._store_whole([(digest, data)])
        self._progress(len(data))
        return FileContent(digest, len(data))

    def add_folder(
        self,
        folder: Path,
        *,
        links: str = "refuse",
        ignore: Ignore | None = None,
        only: Callable[[str], bool] | None = None,
    ) -> TreeContent:
        """Store the folder with everything below it that is not ignored.

        `links` is "refuse", "skip" or "follow-inside" (what a link inside leads to is taken in its
        place); `ignore` is applied beside the `.casignore` files found. With `only`, files whose
        path below the folder it refuses are left out, and folders without any as well.
        Raises NotFound, and InvalidInput or InvalidName as castore.content.folders says.
        """
        root = os.path.abspath(os.fspath(folder))
        return FolderWalk(self, FolderScan(root, links, ignore), only).run()

    def add_object(self, kind: Kind, payload: bytes) -> Id:
        """Store a structured object by its canonical bytes and return its id."""
        id = object_id(kind, payload)
        self._packer.add_object(kind, id, payload)
        return id

    def flush(self) -> None:
        """Make everything added so far durable."""
        self._packer.flush()
        self._remember_now()

    def add_files(self, files: Sequence[Found]) -> list[Id]:
        """Store many files found by a scan; their digests, in order. For folders."""
        started = self._now_ns()
        digests: list[Id | None] = [None] * len(files)
        stamps: list[FileStamp] = []
        if self._cache is not None:
            stamps = [stamp_of(path, found) for _, path, found in files]
            digests = self._cache.lookup(stamps)
        group: list[tuple[Id, bytes]] = []
        group_bytes = total = 0
        for index, (_, path, found) in enumerate(files):
            total += found.st_size
            digest = digests[index]
            if digest is not None:
                self._take_cached(digest, path, found.st_size)
                continue
            small = found.st_size <= WHOLE_BYTES
            data = read_small(path, found, follow=False) if small else None
            if data is None:
                digest = self._read_again(path)
            else:
                digest = content_id(data)
                group.append((digest, data))
                group_bytes += len(data)
                if group_bytes >= _GROUP_BYTES:
                    self._store_whole(group)
                    group, group_bytes = [], 0
            digests[index] = digest
            if stamps:
                self.remember(stamps[index], digest, started)
        self._store_whole(group)
        self._progress(total)
        return [digest for digest in digests if digest is not None]
