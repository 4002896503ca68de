"""Sending: blocks are put into packs, and packs into the bucket, some on their way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

from castore.content.blocks import Block, decode_block
from castore.model.ids import Id
from castore.model.limits import PACK_FULL_BYTES
from castore.remote.index import IndexWriter, PackName
from castore.remote.keys import pack_key
from castore.remote.pack import NONCE_BYTES, PackType, PackWriter
from castore.remote.transport import Transport
from castore.remote.waiting import result_of

_THREADS: Final = 3
_FLYING: Final = 3

Arrived: TypeAlias = Callable[[Id, IndexWriter, int], None]
"""Told of a pack that is in the bucket: its id, the index of it alone, and its bytes."""


class _Filling(NamedTuple):
    """A pack being filled, and the blocks in it with what of them is indexed."""

    pack: PackWriter
    blocks: list[tuple[int, int, Block, Sequence[int]]]


class PackQueue:
    """Takes blocks, sends packs under an upload; holds at most five packs in memory.

    `arrived` is called in the thread that adds, in the order of packs. Leaving it without an
    exception waits for all.
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
        self._flying: deque[Future[tuple[Id, IndexWriter, int]]] = deque()
        self._pool = ThreadPoolExecutor(_THREADS)

    def add(self, data: bytes, alive: Sequence[int]) -> None:
        """Send a block, of which these slots are indexed; raises CorruptObject."""
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
        except KeyboardInterrupt as interrupt:
            error = interrupt
            raise
        finally:
            if isinstance(error, KeyboardInterrupt):
                # Nobody waits for an answer that may take minutes.
                self._transport.close()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _fly(self, type: PackType) -> None:
        """Begin to send a pack that is full, or the last."""
        filling = self._filling.pop(type)
        while len(self._flying) >= _FLYING:
            self._land()
        self._flying.append(self._pool.submit(self._put, filling))

    def _put(self, filling: _Filling) -> tuple[Id, IndexWriter, int]:
        id, data = filling.pack.finish()
        self._transport.put(pack_key(self._upload, id), data)
        writer = IndexWriter()
        for offset, size, block, alive in filling.blocks:
            writer.add_block(PackName(self._upload, id), offset, size, block, alive)
        return id, writer, len(data)

    def _land(self) -> None:
        """Wait for the oldest pack on its way, and tell that it has arrived."""
        self._arrived(*result_of(self._flying.popleft()))
