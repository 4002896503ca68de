"""One atomic artifact set in the making, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from castore.aio.bridge import given
from castore.model.artifact_set import Artifact
from castore.store.intent import AnyTip
from castore.store.pinning import Pin
from castore.store.report import CommitReport
from castore.store.session import Session
from castore.store.sources import Used
from castore.store.staging import Given
from castore.store.version import Version

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


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
        with given(content) as plain:
            return await self._call(
                self.session.add, name, plain, path=path, type=type, format=format, title=title
            )

    async def write(self, name: str, data: str | bytes, **declared: str) -> Artifact:
        """Stage text (as UTF-8) or bytes as an artifact."""
        return await self._call(self.session.write, name, data, **declared)

    async def use(self, reference: str, *, artifact: str = "", pin: Pin | None = None) -> Used:
        """Record a source that is read through castore; what comes back reads it, blocking."""
        return await self._call(self.session.use, reference, artifact=artifact, pin=pin)

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
