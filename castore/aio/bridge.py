"""Between the event loop and threads: lazy iterators outwards, pieces that arrive inwards."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from itertools import islice
from typing import Final, TypeVar

from castore.store.staging import Given

Item = TypeVar("Item")

_AT_ONCE: Final = 64


async def each(begin: Callable[[], Iterator[Item]], at_once: int = _AT_ONCE) -> AsyncIterator[Item]:
    """The items of a lazy iterator, some at a time from a thread, more as they are wanted."""
    items = await asyncio.to_thread(begin)
    wanted = 1
    while batch := await asyncio.to_thread(_some, items, wanted):
        for item in batch:
            yield item
        wanted = at_once


def _some(items: Iterator[Item], count: int) -> list[Item]:
    return list(islice(items, count))


class _Pieces:
    """What an async iterable gives, for a thread that cannot await."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = aiter(source)
        self._lock = threading.Lock()
        self._given_up = False
        self._awaited: Future[bytes | None] | None = None

    def give_up(self) -> None:
        """End with an error, also while a piece is awaited: nobody waits for the thread any more.

        The source is cancelled in the piece that it was about to give.
        """
        with self._lock:
            self._given_up = True
            if self._awaited is not None:
                self._awaited.cancel()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._ask().result()
            except CancelledError:
                raise asyncio.CancelledError from None
            if piece is None:
                return
            yield piece

    def _ask(self) -> Future[bytes | None]:
        with self._lock:
            if self._given_up:
                raise asyncio.CancelledError
            self._awaited = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            return self._awaited

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return None


@contextlib.contextmanager
def given(content: Given | AsyncIterable[bytes]) -> Iterator[Given]:
    """Content as the core takes it; left by an exception, a thread that still reads it ends."""
    if not isinstance(content, AsyncIterable):
        yield content
        return
    pieces = _Pieces(content)
    try:
        yield pieces
    except BaseException:
        pieces.give_up()
        raise
