"""Ingest: paths, streams, bytes and folders become stored objects through a sink.

One ingestor serves one session, and one thread. That thread alone talks to the sink and the cache;
big inputs get a thread that reads ahead and workers that encode.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Final, TypeAlias

from blake3 import blake3

from castore.content.chains import Chains
from castore.content.changes import Change, Changes
from castore.content.chunker import Chunker
from castore.content.earlier import EarlierFolder
from castore.content.folder_walk import FolderWalk
from castore.content.folders import FolderScan, Ignore, skipped_notices
from castore.content.intake import WHOLE_BYTES, FileMemory, StoringIntake
from castore.content.layouts import build_layout
from castore.content.matching import FindFile, Following, Matcher
from castore.content.packer import Packer
from castore.content.relied import Relied
from castore.content.secret_guard import SecretGuard
from castore.content.segments import (
    BUFFER_BYTES,
    Buffers,
    Cut,
    ReadAhead,
    ReadInto,
    cut_segments,
    cut_whole,
    end_chunks,
    hash_open,
    hash_segments,
    reader_of,
    reader_of_file,
)
from castore.content.sink import Batch, FileCache, Sink
from castore.content.sources import changed, opened, read_whole, same
from castore.content.stamps import Remembered, Stamp, cache_key, pack_stamps, stamp_of
from castore.content.tally import Tally
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.limits import CHUNK_MAX, CHUNK_MIN, MIB, SMALL_OBJECT_BYTES
from castore.model.pages import Part

__all__ = ["Ingestor", "Tally"]

_NOTHING: Final[frozenset[Id]] = frozenset()

Path: TypeAlias = str | os.PathLike[str]


class Ingestor:
    """Stores content and objects; a context that flushes unless it is left by an exception.

    What `add_…` returned is durable after `flush`. `cache` spares reading unchanged files;
    `workers` is the number of encoding threads (0: none; None: as many as pay), used for big
    inputs only; `progress` is called with the bytes dealt with since its last call; `notices`
    gathers what people should be told, such as links that were skipped. With `chains` of the same
    store, what changed of a file becomes a delta of the one that `earlier` finds, if it is asked.
    A `guard` sees all text before it is stored; once it refuses, nothing more is written.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        cache: FileCache | None = None,
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        chains: Chains | None = None,
        guard: SecretGuard | None = None,
    ) -> None:
        self._sink = sink = sink if guard is None else guard.over(sink)
        self._guard = guard
        self._matcher = Matcher(chains) if chains is not None else None
        self._memory = FileMemory(cache)
        self._progress = progress or (lambda _: None)
        self._now_ns = now_ns
        self._threads = workers != 0
        changes = Changes(chains) if chains is not None else None
        self._packer = Packer(sink, workers, self._restore, changes)
        self._buffers = Buffers()
        self._cutter: Chunker | None = None
        self.notices: list[str] = []

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
            self.close()

    def close(self) -> None:
        """Stop the workers; what was not flushed is dropped."""
        self._packer.close()

    def add_path(
        self, path: Path, *, follow: bool = True, earlier: FindFile | None = None
    ) -> FileContent:
        """Store the file at `path`; a link is followed unless `follow` is false.

        Raises NotFound, and InvalidInput for what is no regular file or changes while it is read.
        """
        return self._add_file(os.path.abspath(os.fspath(path)), follow, earlier)

    def add_stream(
        self, pieces: Iterable[bytes | memoryview], earlier: FindFile | None = None
    ) -> FileContent:
        """Store the joined pieces as one file; each chunk takes some 160 bytes until its end."""
        cuts = self._cut(reader_of(pieces), self._buffers.take)
        return self._store_segments(cuts, self._buffers.give, earlier)

    def add_bytes(self, data: bytes, earlier: FindFile | None = None) -> FileContent:
        """Store `data` as one file."""
        if len(data) > WHOLE_BYTES:
            view = memoryview(data)
            return self.add_stream(
                [view[at : at + MIB] for at in range(0, len(data), MIB)], earlier
            )
        return FileContent(self._store_one(data, earlier), len(data))

    def add_folder(
        self,
        folder: Path,
        *,
        links: str = "refuse",
        ignore: Ignore | None = None,
        only: Callable[[str], bool] | None = None,
        earlier: EarlierFolder | None = None,
    ) -> TreeContent:
        """Store the folder with everything below it that is not ignored.

        `links` is "refuse", "skip" or "follow" (what a link inside leads to is taken in its
        place); `ignore` is applied beside the `.casignore` files found. With `only`, files whose
        path below the folder it refuses are left out, and folders without any as well. What changed
        is stored as deltas of `earlier`. Raises as castore.content.folders says, and NotFound.
        """
        root = os.path.abspath(os.fspath(folder))
        scan = FolderScan(root, links, ignore)
        intake = StoringIntake(
            self._packer,
            self._memory,
            add_file=self._add_found,
            store=self._store_whole,
            progress=self._progress,
            now=self._now_ns,
            root=root,
            earlier=earlier,
        )
        self._packer.begin_folder()
        try:
            content = FolderWalk(scan, only, intake).run()
        finally:
            self._packer.end_folder()
        self.notices += skipped_notices(scan.skipped)
        return content

    def add_object(self, kind: Kind, payload: bytes) -> Id:
        """Store a structured object by its canonical bytes and return its id."""
        id = object_id(kind, payload)
        self._packer.add_objects([(kind, id, payload)])
        return id

    def flush(self) -> None:
        """Make everything added so far durable."""
        self._packer.flush()

    def pending(self) -> Batch:
        """What is not durable yet, as one batch that the caller writes, and then calls `settle`."""
        return self._packer.pending()

    def settle(self) -> None:
        """Take note that the batch that `pending` gave was written."""
        self._packer.settle()

    def _add_file(self, path: str, follow: bool, earlier: FindFile | None) -> FileContent:
        """Store a file given by itself, unless it is remembered."""
        started = self._now_ns()
        with opened(path, follow=follow) as (descriptor, found):
            key, stamp = cache_key(found, path), pack_stamps([stamp_of(found)])
            digest = self._memory.recall_file(key, stamp)
            if digest is not None:
                again = Relied(digest, Kind.CHUNK, b"", path)
                self._packer.rely_on((digest,), found.st_size, lambda: (again,))
                self.tally.files += 1
                self.tally.cached_files += 1
                self._progress(found.st_size)
            else:
                digest = self._read_open(descriptor, path, found, earlier)
                if not same(found, os.fstat(descriptor)):
                    raise changed(path)
                self._memory.remember(key, Remembered(started, b"", stamp, digest))
        return FileContent(digest, found.st_size, found.st_mode >> 6 & 1)

    def _add_found(self, path: str, earlier: FindFile | None) -> tuple[FileContent, Stamp]:
        """Store a file that a walk found and could not read in one piece."""
        with opened(path, follow=False) as (descriptor, found):
            digest = self._read_open(descriptor, path, found, earlier)
            if not same(found, os.fstat(descriptor)):
                raise changed(path)
        return FileContent(digest, found.st_size, found.st_mode >> 6 & 1), stamp_of(found)

    def _read_open(
        self, descriptor: int, path: str, found: os.stat_result, earlier: FindFile | None
    ) -> Id:
        size = found.st_size
        if size <= WHOLE_BYTES:
            return self._store_one(read_whole(descriptor, path, size), earlier, path)
        if self._looks_known(descriptor, size):
            digest, read = hash_open(descriptor, size)
            if read == size and self._packer.known((digest,)):
                again = Relied(digest, Kind.CHUNK, b"", path)
                self._packer.rely_on((digest,), size, lambda: (again,))
                self.tally.files += 1
                self._progress(size)
                return digest
            os.lseek(descriptor, 0, os.SEEK_SET)
        content = self._read_segments(descriptor, path, size, earlier)
        if content.size != size:
            raise changed(path)
        return content.digest

    def _read_segments(
        self, descriptor: int, path: str, size: int, earlier: FindFile | None
    ) -> FileContent:
        read = reader_of_file(descriptor, size + 1)
        if not self._threads:
            cuts = self._cut(read, self._buffers.take)
            return self._store_segments(cuts, self._buffers.give, earlier, path)
        with ReadAhead(partial(self._cut, read)) as ahead:
            return self._store_segments(ahead, ahead.give, earlier, path)

    def _cut(self, read: ReadInto, take: Callable[[], bytearray]) -> Iterator[Cut]:
        return cut_segments(read, self._chunker, take)

    def _store_segments(
        self,
        cuts: Iterable[Cut],
        give: Callable[[bytearray], None],
        earlier: FindFile | None,
        path: str = "",
    ) -> FileContent:
        """Store the file that was cut so."""
        hasher, packer = blake3(), self._packer
        parts: list[Part] = []
        watch = self._guard.begin(path) if self._guard is not None else None
        following = Following(self._matcher, earlier, packer.add_change, packer.under_way)
        try:
            for chunks, data, buffer, size, lying in hash_segments(cuts, hasher, packer.turn):
                ids = [id for id, _ in chunks]
                known = packer.known(ids)
                refused = watch is not None and watch.look(data, known=known.issuperset(ids))
                stay = [] if refused else following.take(chunks, known, parts)
                parts.extend([Part(id, len(data)) for id, data in chunks])
                packer.add_chunks(stay, known, BUFFER_BYTES, partial(give, buffer), lying)
                if size:
                    self._progress(size)
            following.end()
        finally:
            packer.catch_up()
        return self._finish(hasher, parts)

    def _finish(self, hasher: blake3, parts: list[Part]) -> FileContent:
        """Store the layout of a file whose chunks were stored, if it has more than one."""
        digest = hasher.digest()
        size = sum([part.size for part in parts])
        if not parts:
            self._packer.add_chunks([(digest, b"")], self._packer.known((digest,)))
        elif len(parts) > 1:
            self._add_layout(digest, parts)
        self.tally.files += 1
        return FileContent(digest, size)

    def _add_layout(self, digest: Id, parts: list[Part]) -> None:
        root, inner = build_layout(parts)
        pages = [(Kind.LAYOUT, id, payload) for id, payload in inner]
        self._packer.add_objects([*pages, (Kind.LAYOUT, digest, root)])

    def _store_one(self, data: bytes, earlier: FindFile | None, path: str = "") -> Id:
        digest = content_id(data)
        find = None if earlier is None else lambda _: earlier()
        self._store_whole([(digest, data)], find, (path,))
        self._progress(len(data))
        return digest

    def _store_whole(
        self,
        files: Sequence[tuple[Id, bytes]],
        earlier: Callable[[int], FileContent | None] | None,
        paths: Sequence[str],
    ) -> None:
        """Store files that are in memory, in one look-up; `earlier` is asked by their places."""
        packer, matcher = self._packer, self._matcher
        known = packer.known([digest for digest, _ in files])
        if self._guard is not None:
            self._guard.look(files, known, paths)
            if self._guard.refused:
                return
        self.tally.files += len(files)
        small: list[tuple[Id, bytes]] = []
        for at, file in enumerate(files):
            digest, data = file
            if digest in known:
                packer.rely_on_bytes(digest, data)
                continue
            if earlier is not None and matcher is not None and data:
                before = earlier(at) if not packer.under_way(digest) else None
                if before is not None and self._store_changed(digest, data, before):
                    continue
            if len(data) < SMALL_OBJECT_BYTES:
                small.append(file)
            else:
                self._store_medium(digest, data)
        packer.add_small(small)

    def _store_changed(self, digest: Id, data: bytes, before: FileContent) -> bool:
        """Store a file as a change of what was before; False where that is no base for it."""
        packer, matcher = self._packer, self._matcher
        assert matcher is not None
        # One chunk where that is possible: the pieces of a delta need not be found again.
        chunks = [(digest, data)]
        if len(data) > CHUNK_MAX:
            chunks = [(id, bytes(one)) for id, one in cut_whole(digest, data, self._chunker)]
        change = matcher.match(chunks, before)
        if change is None:
            return False
        if len(chunks) == 1:
            packer.add_change(change)
            return True
        known = packer.known([id for id, _ in chunks])
        packer.add_chunks([chunk for chunk in chunks if chunk[0] in known], known)
        packer.add_change(Change([c for c in chunks if c[0] not in known], change.bases))
        self._add_layout(digest, [Part(id, len(piece)) for id, piece in chunks])
        return True

    def _store_medium(self, digest: Id, data: bytes) -> None:
        packer = self._packer
        if packer.under_way(digest):
            packer.rely_on_bytes(digest, data)
            return
        chunks = (
            [(digest, data)] if len(data) <= CHUNK_MIN else cut_whole(digest, data, self._chunker)
        )
        if len(chunks) == 1:
            packer.add_chunks(chunks, _NOTHING, weight=len(data))
            return
        packer.add_chunks(chunks, packer.known([id for id, _ in chunks]), weight=len(data))
        self._add_layout(digest, [Part(id, len(piece)) for id, piece in chunks])

    def _looks_known(self, descriptor: int, size: int) -> bool:
        """Whether the first and the last chunk are stored: then hashing the file first may pay."""
        chunks = end_chunks(descriptor, size, self._chunker)
        return len(chunks) == 2 and len(self._packer.known(chunks)) == 2

    def _restore(self, vanished: list[Relied]) -> None:
        """Store again what was removed after it was found, from memory or from its file."""
        with Ingestor(self._sink, guard=self._guard) as again:
            for id, kind, payload, path in vanished:
                if kind is not Kind.CHUNK:
                    again._packer.add_objects([(kind, id, payload)])
                    continue
                content = again.add_path(path) if path else again.add_bytes(payload)
                if content.digest != id:
                    raise changed(path)
        tally, added = self.tally, again.tally
        tally.stored_bytes += added.stored_bytes
        tally.new_bytes += added.new_bytes
        tally.known_bytes -= added.new_bytes

    @property
    def _chunker(self) -> Chunker:
        if self._cutter is None:
            self._cutter = Chunker()
        return self._cutter
