"""Sending: blocks are put into packs, and packs into the bucket, some on their way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

from castore.content.blocks import Block, decode_block
from castore.errors import CastoreError
from castore.model.ids import Id
from castore.model.limits import PACK_FULL_BYTES
from castore.remote.index import IndexWriter, PackName
from castore.remote.keys import pack_key
from castore.remote.pack import NONCE_BYTES, PackType, PackWriter
from castore.remote.transport import Transport
from castore.remote.waiting import result_of

_THREADS: Final = 3
_FLYING: Final = 3

_Sent: TypeAlias = tuple[Id, IndexWriter, int]
Arrived: TypeAlias = Callable[[Id, IndexWriter, int], None]
"""Told of a pack that is in the bucket: its id, the index of it alone, and its bytes."""


class _Filling(NamedTuple):
    """A pack being filled, and the blocks in it with what of them is indexed."""

    pack: PackWriter
    blocks: list[tuple[int, int, Block, Sequence[int]]]


class PackQueue:
    """Takes blocks, sends packs under an upload; holds at most five packs in memory.

    `arrived` is called in the thread that adds, in the order of packs, soon after. Leaving it
    without an exception waits for all; with one, what has arrived by then is told of all the same.
    """

    def __init__(
        self,
        transport: Transport,
        upload: bytes,
        entropy: Callable[[int], bytes],
        arrived: Arrived,
    ) -> None:
        self._transport = transport
        self._upload = upload
        self._entropy = entropy
        self._arrived = arrived
        self._filling: dict[PackType, _Filling] = {}
        self._flying: deque[Future[_Sent]] = deque()
        self._pool = ThreadPoolExecutor(_THREADS)

    def add(self, data: bytes, alive: Sequence[int]) -> None:
        """Send a block, of which these slots are indexed; raises CorruptObject."""
        while self._flying and self._flying[0].done():
            self._land()
        block = decode_block(data, "a block to send")
        type = PackType.META if block.metadata else PackType.DATA
        filling = self._filling.get(type)
        if filling is None:
            nonce = self._entropy(NONCE_BYTES)
            filling = self._filling[type] = _Filling(PackWriter(type, nonce), [])
        offset = filling.pack.add(data)
        filling.blocks.append((offset, len(data), block._replace(frame=b""), alive))
        if filling.pack.size >= PACK_FULL_BYTES:
            self._fly(type)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                for type in list(self._filling):
                    self._fly(type)
                while self._flying:
                    self._land()
        except BaseException as failure:
            error = failure
            raise
        finally:
            if isinstance(error, KeyboardInterrupt):
                # Nobody waits for an answer that may take minutes.
                self._transport.close()
            self._pool.shutdown(wait=True, cancel_futures=True)
            if error is not None:
                self._tell_arrived()

    def _fly(self, type: PackType) -> None:
        """Begin to send a pack that is full, or the last."""
        filling = self._filling.pop(type)
        while len(self._flying) >= _FLYING:
            self._land()
        # It is on its way before it is sent: an interrupt may come right after.
        future: Future[_Sent] = Future()
        self._flying.append(future)
        self._pool.submit(self._put, filling, future)

    def _put(self, filling: _Filling, future: Future[_Sent]) -> None:
        try:
            future.set_result(self._send(filling))
        except BaseException as error:
            future.set_exception(error)

    def _send(self, filling: _Filling) -> _Sent:
        id, data = filling.pack.finish()
        self._transport.put(pack_key(self._upload, id), data)
        writer = IndexWriter()
        for offset, size, block, alive in filling.blocks:
            writer.add_block(PackName(self._upload, id), offset, size, block, alive)
        return id, writer, len(data)

    def _land(self) -> None:
        """Wait for the oldest pack on its way, and tell that it has arrived."""
        # It stays among those on their way until that is told: an interrupt may come before.
        self._arrived(*result_of(self._flying[0]))
        self._flying.popleft()

    def _tell_arrived(self) -> None:
        """Tell of packs that arrived although sending failed, so that they need not go again."""
        with suppress(CastoreError, OSError):
            for future in self._flying:
                if future.done() and future.exception() is None:
                    self._arrived(*future.result())
