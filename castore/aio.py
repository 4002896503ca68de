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
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from castore.database.operations import Operation
from castore.model.artifact_set import Artifact
from castore.model.fields import MetaValue
from castore.store import library
from castore.store.backup import BackupReport
from castore.store.checkout import Checkout
from castore.store.context import Context
from castore.store.diff import SetDiff
from castore.store.find import Found
from castore.store.library import Store
from castore.store.listing import ListedArtifact, ListedEntry, named_file
from castore.store.partials import Partial
from castore.store.selectors import Resolved
from castore.store.session import AnyTip, CommitReport, Session
from castore.store.staging import Given, Staged
from castore.store.stats import StoreStats
from castore.store.undo import Undone
from castore.store.verify import FsckReport
from castore.store.version import Version

__all__ = ["AsyncSession", "AsyncStore", "init", "open"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")

_AT_ONCE: Final = 64
_PIECES: Final = 8


class AsyncStore:
    """An open store for asyncio; `store` is the one it wraps, for what has no coroutine here.

    Methods are those of `castore.Store` and raise what they raise.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def run(
        self,
        verb: Callable[Concatenate[Store, Parameters], Result],
        *args: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """What any function of a store returns, called in a thread: `run(castore.Store.tags)`."""
        return await asyncio.to_thread(verb, self.store, *args, **options)

    async def close(self) -> None:
        """Release the store; further use raises."""
        await self.run(Store.close)

    def session(
        self,
        name: str = "",
        *,
        spec: str | os.PathLike[str] | None = None,
        agent: str = "",
        author: str = "",
        run: str = "",
        sources: Sequence[str] = (),
        only: Sequence[str] = (),
        meta: Mapping[str, MetaValue] | None = None,
        context: Context | None = None,
        resume: str = "",
        links: str = "refuse",
        progress: Callable[[int], None] | None = None,
    ) -> AsyncSession:
        """One atomic set, as `Store.session`, for `async with`; `progress` is called in a thread.

        What is wrong with the arguments is raised on entering.
        """
        return AsyncSession(
            lambda: self.store.session(
                name, spec=spec, agent=agent, author=author, run=run, sources=sources, only=only,
                meta=meta, context=context, resume=resume, links=links, progress=progress
            )
        )  # fmt: skip

    async def stage(
        self, content: Given | AsyncIterable[bytes], *, links: str = "refuse"
    ) -> Staged:
        """Make content durable for a session elsewhere to take."""
        with _given(content) as given:
            return await self.run(Store.stage, given, links=links)

    async def commit(self, *paths: str, **options: Any) -> CommitReport:
        """Commit files and folders in one call; options are the fields of `CommitRequest`."""
        return await asyncio.to_thread(partial(self.store.commit, *paths, **options))

    async def resolve(self, selector: str) -> Resolved:
        """The version, and artifact if it names one, that a selector means."""
        return await self.run(Store.resolve, selector)

    def log(
        self, rev: str = "", *, limit: int | None = None, **filters: str
    ) -> AsyncIterator[Version]:
        """Versions newest first, of `rev` or of all branches."""
        return _each(lambda: self.store.log(rev, limit=limit, **filters))

    async def read_bytes(self, selector: str) -> bytes:
        """All bytes of one file; compared with its digest as a whole."""
        return await self.run(Store.read_bytes, selector)

    def stream(self, selector: str) -> AsyncIterator[bytes]:
        """The bytes of one file in pieces, each verified, the whole before the last one."""

        def pieces() -> Iterator[bytes]:
            file = named_file(self.store, self.store.resolve(selector))
            return self.store.reader.stream(file.digest, file.size)

        return _each(pieces, _PIECES)

    async def artifacts(self, selector: str) -> list[ListedArtifact]:
        """The artifacts of a version, by name, each with the version that made it."""
        return await self.run(Store.artifacts, selector)

    def files(self, selector: str, *, recursive: bool = True) -> AsyncIterator[ListedEntry]:
        """What a version, a folder artifact or a folder in one holds."""
        return _each(lambda: self.store.files(selector, recursive=recursive))

    async def checkout(
        self,
        selector: str,
        destination: str | os.PathLike[str] | None = None,
        *,
        artifacts: Sequence[str] = (),
        force: bool = False,
    ) -> Checkout:
        """Write a version's artifacts below a folder, verified."""
        return await self.run(
            Store.checkout, selector, destination, artifacts=artifacts, force=force
        )

    async def diff(self, new: str, old: str = "") -> SetDiff:
        """What `new` changed against `old`, or against its first parent."""
        return await self.run(Store.diff, new, old)

    def find(
        self, name: str = "", *, digest: str = "", type: str = "", format: str = ""
    ) -> AsyncIterator[Found]:
        """Artifacts by glob of the name, content digest, type or format, newest version first."""
        return _each(lambda: self.store.find(name, digest=digest, type=type, format=format))

    async def stats(self) -> StoreStats:
        """Logical, unique and stored bytes."""
        return await self.run(Store.stats)

    async def fsck(self, *, full: bool = False) -> FsckReport:
        """Look for damage: refs and closures, with `full` every stored byte as well."""
        return await self.run(Store.fsck, full=full)

    async def record(self, version: Version, *, artifacts: bool = True) -> dict[str, Any]:
        """A version as `--json` prints it."""
        return await self.run(Store.record, version, artifacts=artifacts)

    async def branches(self) -> list[Version]:
        """The tip of every branch."""
        return await self.run(Store.branches)

    async def tag(self, name: str, selector: str, *, by: str = "") -> Version:
        """Name a version for ever, and give it back."""
        return await self.run(Store.tag, name, selector, by=by)

    async def tags(self) -> list[tuple[str, Version]]:
        """Every tag and its version."""
        return await self.run(Store.tags)

    async def partials(self) -> list[Partial]:
        """Every incomplete set that can be resumed or discarded."""
        return await self.run(Store.partials)

    def operations(self, limit: int | None = None) -> AsyncIterator[Operation]:
        """The operation log, newest first."""
        return _each(lambda: self.store.operations(limit))

    async def undo(
        self, sequence: int | None = None, *, by: str = "", why: str = "", dry_run: bool = False
    ) -> Undone:
        """Take back the ref moves of an operation."""
        return await self.run(Store.undo, sequence, by=by, why=why, dry_run=dry_run)

    async def backup(
        self,
        destination: str | os.PathLike[str],
        *,
        compact: bool = False,
        dry_run: bool = False,
    ) -> BackupReport:
        """Copy the live store to a folder, verified, or add to a copy what is new."""
        return await self.run(Store.backup, destination, compact=compact, dry_run=dry_run)


class AsyncSession:
    """One atomic artifact set in the making; an async context manager over a `castore.Session`.

    Calls run one after the other in one thread, whoever awaits them. Leaving by an exception keeps
    what is staged and re-raises.
    """

    def __init__(self, begin: Callable[[], Session]) -> None:
        self._begin = begin
        self._session: Session | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="castore-session")

    async def __aenter__(self) -> Self:
        try:
            self._session = await self._call(self._begin)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await asyncio.shield(self._call(self.session.__exit__, kind, error, trace))
        finally:
            self._thread.shutdown(wait=False)

    @property
    def session(self) -> Session:
        """The session that is wrapped; raises RuntimeError before `async with` has begun it."""
        if self._session is None:
            raise RuntimeError("begin the session with `async with`")
        return self._session

    @property
    def report(self) -> CommitReport | None:
        """What the commit did, once it is made."""
        return self.session.report

    async def add(
        self,
        name: str,
        content: Given | AsyncIterable[bytes],
        *,
        path: str = "",
        type: str = "",
        format: str = "",
        title: str = "",
    ) -> Artifact:
        """Stage an artifact, as `Session.add`; also pieces of bytes that arrive asynchronously."""
        with _given(content) as given:
            return await self._call(
                self.session.add, name, given, path=path, type=type, format=format, title=title
            )

    async def write(self, name: str, data: str | bytes, **declared: str) -> Artifact:
        """Stage text (as UTF-8) or bytes as an artifact."""
        return await self._call(self.session.write, name, data, **declared)

    async def use(self, selector: str, *, artifact: str = "") -> Resolved:
        """Record a version or an artifact of one as a source that was read; resolve it."""
        return await self._call(self.session.use, selector, artifact=artifact)

    async def commit(
        self,
        message: str = "",
        *,
        expect: Version | AnyTip | None = AnyTip.TIP,
        if_changed: bool = False,
        partial: bool = False,
    ) -> Version:
        """Publish the set as the next version of its branch, all or nothing."""
        return await self._call(
            self.session.commit, message, expect=expect, if_changed=if_changed, partial=partial
        )

    async def _call(
        self,
        verb: Callable[Parameters, Result],
        *args: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(verb, *args, **options))


@contextlib.asynccontextmanager
async def open(where: str | os.PathLike[str] = ".") -> AsyncIterator[AsyncStore]:
    """Open the store at `where`, for `async with`; closed at the end. As `castore.open`."""
    async with _opened(partial(library.open, where)) as store:
        yield store


@contextlib.asynccontextmanager
async def init(folder: str | os.PathLike[str] = ".") -> AsyncIterator[AsyncStore]:
    """Make the store `folder/.cas` if it is not there yet, and open it, for `async with`."""
    async with _opened(partial(library.init, Path(folder))) as store:
        yield store


@contextlib.asynccontextmanager
async def _opened(begin: Callable[[], Store]) -> AsyncIterator[AsyncStore]:
    store = AsyncStore(await asyncio.to_thread(begin))
    try:
        yield store
    finally:
        await asyncio.shield(store.close())


async def _each(
    begin: Callable[[], Iterator[Item]], at_once: int = _AT_ONCE
) -> AsyncIterator[Item]:
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
        self._given_up = False

    def give_up(self) -> None:
        """End with an error at the next piece: nobody waits for the thread any more."""
        self._given_up = True

    def __iter__(self) -> Iterator[bytes]:
        while True:
            if self._given_up:
                raise asyncio.CancelledError
            piece = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if piece is None:
                return
            yield piece

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return None


@contextlib.contextmanager
def _given(content: Given | AsyncIterable[bytes]) -> Iterator[Given]:
    if not isinstance(content, AsyncIterable):
        yield content
        return
    pieces = _Pieces(content)
    try:
        yield pieces
    except BaseException:
        pieces.give_up()
        raise
