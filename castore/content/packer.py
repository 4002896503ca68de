"""Packing: objects go into blocks, blocks into batches, batches to the sink, in that order.

Blocks wait in a queue while workers encode them and leave it in the order they came, and a block
with metadata never enters it before the content it may point to. So whatever batch is written
last, everything below what it holds is in it or in one before.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from castore.content.changes import Change, Changes
from castore.content.delta_encoder import Base, encode_on_bases
from castore.content.encoder import encode_chunks, encode_solids
from castore.content.relied import Gathered, Relied, Restore, gathering, write_again
from castore.content.sink import Batch, EncodedBlock, Lying, Sink, Turn
from castore.content.tally import Tally
from castore.errors import Unavailable
from castore.model.ids import Id, Kind
from castore.model.limits import (
    BATCH_BYTES,
    BLOCK_MEMBERS,
    CHUNK_MIN,
    KIB,
    MIB,
    SOLID_BLOCK_BYTES,
)

Chunk: TypeAlias = tuple[Id, bytes | memoryview]
FindBase: TypeAlias = Callable[[Id, bytes], Base | None]

# Below this much new content threads cost more than they bring.
THREADS_ABOVE: Final = 4 * MIB
IN_FLIGHT_BYTES: Final = 8 * MIB
_SOLIDS_BYTES: Final = 2 * MIB
_KEPT_BYTES: Final = 32 * MIB - 64 * KIB
_METADATA_BLOCK_BYTES: Final = 64 * KIB
_RELIED_IDS: Final = 128 * KIB
_INDEXED: Final = frozenset((Kind.TREE, Kind.SET, Kind.MANIFEST, Kind.NOTE))
_PAGES: Final = frozenset((Kind.TREE, Kind.LAYOUT))


class _Job(NamedTuple):
    blocks: Future[list[EncodedBlock]] | list[EncodedBlock]
    weight: int = 0
    done: Callable[[], None] | None = None
    indexed: Sequence[tuple[Kind, Id, bytes]] = ()


class Packer:
    """Gathers what one session stores; used by one thread.

    `restore` is given what vanished, and must have stored it again when it returns. Batches of a
    big input are written by a thread, one at a time, while the next is gathered: until `catch_up`
    nobody else may write to the sink or change what it will write.
    """

    def __init__(
        self, sink: Sink, workers: int | None, restore: Restore, changes: Changes | None = None
    ) -> None:
        self.tally = Tally()
        self._sink = sink
        self._workers = min(2, os.cpu_count() or 1) if workers is None else workers
        self._restore = restore
        self._changes = changes
        self._pool: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._written: tuple[Future[set[Id]], Gathered] | None = None
        self._beside = False
        self._queue: deque[_Job] = deque()
        self._in_flight = 0
        self._encoded = 0
        self._pending: set[Id] = set()
        self._folder = False
        self._solid: list[tuple[Id, bytes]] = []
        self._solid_bytes = 0
        self._closed: list[list[tuple[Id, bytes]]] = []
        self._closed_bytes = 0
        self._pages: list[tuple[Kind, Id, bytes]] = []
        self._plain: list[tuple[Kind, Id, bytes]] = []
        self._bases: dict[Id, Base] = {}
        self._metadata_bytes = {True: 0, False: 0}
        self.turn = Turn()
        self._open = gathering(self.turn)
        self._open_bytes = 0

    def known(self, ids: Sequence[Id]) -> set[Id]:
        """Those of `ids` that the sink has; the ones under way here are not looked up."""
        unknown = [id for id in ids if id not in self._pending]
        return self._sink.known(unknown) if unknown else set()

    def under_way(self, id: Id) -> bool:
        """Whether this object was added and is not written yet."""
        return id in self._pending

    def add_chunks(
        self,
        chunks: Iterable[Chunk],
        known: Set[Id],
        weight: int = 0,
        done: Callable[[], None] | None = None,
        lying: Lying | None = None,
    ) -> None:
        """Store the chunks that are neither under way nor in `known`.

        `done` is called when their memory, `weight` bytes, may be used for something else; until
        then it may be written to where `lying` says.
        """
        pending, tally = self._pending, self.tally
        big: list[Chunk] = []
        raw = 0
        for chunk in chunks:
            id, data = chunk
            size = len(data)
            if id in pending:
                tally.known_bytes += size
                continue
            if id in known:
                tally.known_bytes += size
                self._rely(Relied(id, Kind.CHUNK, bytes(data), ""), size)
                continue
            pending.add(id)
            tally.new_bytes += size
            # An empty chunk lies alone: a copy in a solid block would show in no count of bytes.
            if 0 < size < CHUNK_MIN:
                self._solid.append((id, bytes(data)))
                self._solid_bytes += size
                if self._solid_bytes >= SOLID_BLOCK_BYTES or len(self._solid) >= BLOCK_MEMBERS:
                    self._close_solid()
            else:
                big.append(chunk)
                raw += size
        if big:
            held = weight or raw
            encode = partial(encode_chunks, big, held=held, lying=lying, trusted=True)
            self._run(encode, raw, held, done)
        elif done is not None:
            done()

    def add_change(self, change: Change) -> None:
        """Store the chunks of a change that are not under way; none is stored before."""
        assert self._changes is not None
        new = change.without(self._pending)
        self._pending.update([id for id, _ in new.chunks])
        self.tally.new_bytes += new.raw
        self.tally.known_bytes += change.raw - new.raw
        for encode, raw in self._changes.add(new) if new.chunks else ():
            self._run(encode, raw, raw, None)

    def add_objects(
        self, objects: Sequence[tuple[Kind, Id, bytes]], base_of: FindBase | None = None
    ) -> None:
        """Store structured objects that are not there yet; each after those it points to.

        `base_of` is asked for a base of each that is new and a page.
        """
        known = self.known([id for _, id, _ in objects])
        for kind, id, payload in objects:
            if id in self._pending:
                continue
            if id in known:
                self._rely(Relied(id, kind, payload, ""), len(payload))
                continue
            self._pending.add(id)
            pages = kind in _PAGES
            base = base_of(id, payload) if pages and base_of is not None else None
            if base is not None:
                self._bases[id] = base
            (self._pages if pages else self._plain).append((kind, id, payload))
            self._metadata_bytes[pages] += len(payload)
            if self._metadata_bytes[pages] >= _METADATA_BLOCK_BYTES:
                self._close_metadata(pages)

    def rely_on(self, ids: Sequence[Id], size: int, again: Callable[[], Iterable[Relied]]) -> None:
        """Take these as stored, `size` bytes of content in all.

        If some turn out not to be when the batch is written, `again` tells how to make them.
        """
        self.tally.known_bytes += size
        new = set(ids)
        if self._pending:
            new = new.difference(self._pending)
        self._open.batch.relied |= new
        self._open.more.append(again)
        if len(self._open.batch.relied) >= _RELIED_IDS:
            self._write()

    def rely_on_bytes(self, digest: Id, data: bytes) -> None:
        """Take a file with these bytes as stored: `known` said so."""
        self.tally.known_bytes += len(data)
        if digest not in self._pending:
            self._rely(Relied(digest, Kind.CHUNK, data, ""), len(data))

    def pending(self) -> Batch:
        """What is not written yet, as one batch, for a caller that writes it itself.

        After that it must call `settle`, or `flush` if the batch was not written after all.
        """
        self._close_metadata(False)
        while self._queue:
            self._collect()
        self.catch_up()
        return self._open.batch

    def settle(self) -> None:
        """Take note that the batch that `pending` gave was written."""
        self._settle(self._hand_over())

    def catch_up(self) -> None:
        """End a big input: wait for the batch that is being written, if any; raises as `flush`."""
        self._beside = False
        if self._written is None:
            return
        future, gathered = self._written
        try:
            vanished = future.result()
            self._written = None
            if vanished:
                write_again(self._sink, gathered, vanished, self._restore)
        except Exception:
            self._written = None
            self._take_back(gathered)
            raise
        self._settle(gathered)

    def flush(self) -> None:
        """Make everything added so far durable."""
        self.pending()
        self._write()
        if self._pending:
            raise Unavailable(
                f"{len(self._pending)} objects were lost when this session was interrupted",
                fix="begin again in a new session",
            )

    def close(self) -> None:
        """Stop the workers; what was not flushed is dropped."""
        self._queue.clear()
        pools = [pool for pool in (self._pool, self._writer) if pool is not None]
        self._pool = self._writer = self._written = None
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def add_small(self, files: Sequence[tuple[Id, bytes]]) -> None:
        """Store chunks below SMALL_OBJECT_BYTES that are not stored, each once."""
        pending, solid, size = self._pending, self._solid, self._solid_bytes
        new = known = 0
        try:
            for chunk in files:
                id, data = chunk
                if id in pending:
                    known += len(data)
                    continue
                pending.add(id)
                solid.append(chunk)
                new += len(data)
                size += len(data)
                if size >= SOLID_BLOCK_BYTES or len(solid) >= BLOCK_MEMBERS:
                    self._solid_bytes = size
                    self._close_solid()
                    solid, size = self._solid, 0
            self._solid_bytes = size
        finally:
            self.tally.new_bytes += new
            self.tally.known_bytes += known

    def begin_folder(self) -> None:
        """Write batches beside what is gathered next, until `end_folder`."""
        self._folder = self._workers > 0

    def end_folder(self) -> None:
        """Wait for the batch that is being written, if any; raises as `flush`."""
        self._folder = False
        self.catch_up()

    def _close_solid(self) -> None:
        """Put the open block of small chunks among those that are encoded together."""
        if self._solid:
            self._closed.append(self._solid)
            self._closed_bytes += self._solid_bytes
            self._solid, self._solid_bytes = [], 0
        if self._closed_bytes >= _SOLIDS_BYTES:
            self._submit_solids()

    def _submit_solids(self) -> None:
        # Many in one call: each hand-over of the interpreter lock keeps the reader waiting.
        groups, raw = self._closed, self._closed_bytes
        self._closed, self._closed_bytes = [], 0
        if groups:
            self._run(partial(encode_solids, groups), raw, raw, None)

    def _close_metadata(self, pages: bool) -> None:
        """Queue the open block of pages, or of the rest, behind all that it may point to."""
        if pages:
            self._close_solid()
            self._submit_solids()
            for encode, raw in self._changes.close() if self._changes is not None else ():
                self._run(encode, raw, raw, None)
            objects, self._pages = self._pages, []
        else:
            self._close_metadata(True)
            objects, self._plain = self._plain, []
        self._metadata_bytes[pages] = 0
        for start in range(0, len(objects), BLOCK_MEMBERS):
            part = objects[start : start + BLOCK_MEMBERS]
            indexed = [item for item in part if item[0] in _INDEXED]
            self._enqueue(_Job(encode_on_bases(part, self._bases), indexed=indexed))

    def _run(
        self,
        encode: Callable[[], list[EncodedBlock]],
        raw: int,
        weight: int,
        done: Callable[[], None] | None,
    ) -> None:
        """Queue what `encode` gives of `raw` bytes, called by a worker where that pays."""
        self._encoded += raw
        if self._workers == 0 or self._encoded < THREADS_ABOVE:
            self._enqueue(_Job(encode(), weight, done))
            return
        self._beside = done is not None
        if self._pool is None:
            # glibc keeps freed memory for the next batch once it saw a block of this size freed.
            bytearray(_KEPT_BYTES)
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="castore-encode")
        self._enqueue(_Job(self._pool.submit(encode), weight, done))

    def _enqueue(self, job: _Job) -> None:
        self._queue.append(job)
        self._in_flight += job.weight
        while self._queue and (
            self._in_flight > IN_FLIGHT_BYTES or isinstance(self._queue[0].blocks, list)
        ):
            self._collect()

    def _collect(self) -> None:
        """Move the oldest job's blocks to the batch, waiting for it; write a full batch."""
        job = self._queue[0]
        blocks = job.blocks if isinstance(job.blocks, list) else job.blocks.result()
        self._open.batch.blocks.extend(blocks)
        self._open.batch.indexed.extend(job.indexed)
        self._queue.popleft()
        self._in_flight -= job.weight
        if job.done is not None:
            if any(isinstance(block.frame, memoryview) for block in blocks):
                self._open.held.append(job.done)
            else:
                job.done()
        self._open_bytes += sum([block.size + len(block.again) for block in blocks])
        self._open_bytes += sum([len(payload) for _, _, payload in job.indexed])
        if self._open_bytes >= BATCH_BYTES:
            self._write()

    def _rely(self, relied: Relied, held: int) -> None:
        self._open.batch.relied.add(relied.id)
        self._open.relied[relied.id] = relied
        self._open_bytes += held
        if self._open_bytes >= BATCH_BYTES or len(self._open.batch.relied) >= _RELIED_IDS:
            self._write()

    def _write(self) -> None:
        """Write the batch; while a big input comes, beside what is gathered next."""
        if not (self._open.batch.blocks or self._open.batch.relied):
            return
        if not (self._beside or self._folder):
            write_again(self._sink, self._open, self._sink.write(self._open.batch), self._restore)
            self.settle()
            return
        beside = self._beside
        self.catch_up()
        self._beside = beside
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="castore-write")
        gathered = self._hand_over()
        self._written = self._writer.submit(self._sink.write, gathered.batch), gathered

    def _hand_over(self) -> Gathered:
        """The batch, for whoever writes it; another is begun."""
        gathered, self._open = self._open, gathering(self.turn)
        self._open_bytes = 0
        return gathered

    def _take_back(self, gathered: Gathered) -> None:
        """Put a batch that could not be written before what was gathered since."""
        gathered.extend(self._open)
        self._open, self._open_bytes = gathered, self._open_bytes + BATCH_BYTES

    def _settle(self, gathered: Gathered) -> None:
        """Take note that a batch was written."""
        for done in gathered.held:
            done()
        for block in gathered.batch.blocks:
            self.tally.stored_bytes += block.size
            self._pending.difference_update([member.id for member in block.members])
