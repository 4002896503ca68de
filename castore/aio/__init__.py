"""The library for asyncio: the verbs of an open store as coroutines, over the same core.

Nothing here does more than call that core in threads, so that the event loop goes on meanwhile:

    from castore import aio

    async with aio.open(".") as store:
        async with store.session("report", agent="writer@7") as session:
            await session.add("report", "out/report.md")
            await session.add("answer", response.aiter_bytes())
            version = await session.commit("October numbers")
        async for version in store.log("report"):
            ...

A session has a thread of its own, because one thread at a time may fill it and its calls must not
overtake each other; everything else runs in the threads of the loop. Each transaction begins and
ends within one call, so no lock is ever held across an await. A coroutine that is cancelled stops
waiting, while the call it began goes on to its end: a commit that was cancelled may have been made,
which `operation` in the context, used again, tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from castore.aio.session import AsyncSession
from castore.aio.store import AsyncStore
from castore.store import library_opening
from castore.store.library import Store

__all__ = ["AsyncSession", "AsyncStore", "init", "open"]


@contextlib.asynccontextmanager
async def open(where: str | os.PathLike[str] = ".") -> AsyncIterator[AsyncStore]:
    """Open the store at `where`, for `async with`; closed at the end. As `castore.open`."""
    async with _opened(partial(library_opening.open, where)) as store:
        yield store


@contextlib.asynccontextmanager
async def init(folder: str | os.PathLike[str] = ".") -> AsyncIterator[AsyncStore]:
    """Make the store `folder/.cas` if it is not there yet, and open it, for `async with`."""
    async with _opened(partial(library_opening.init, Path(folder))) as store:
        yield store


@contextlib.asynccontextmanager
async def _opened(begin: Callable[[], Store]) -> AsyncIterator[AsyncStore]:
    store = AsyncStore(await asyncio.to_thread(begin))
    try:
        yield store
    finally:
        await asyncio.shield(store.close())
