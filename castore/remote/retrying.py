"""Retries: a transport around a transport that tries again what may well work a moment later."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from castore.errors import OutcomeUnknown, RemoteError, RemoteMoved, RemoteUnavailable
from castore.remote.transport import Got, KeyAbsent, Listed, Transport

Answer = TypeVar("Answer")


class Backoff(NamedTuple):
    """How often to try, and the longest pauses between: each twice the one before, in seconds."""

    tries: int = 6
    first: float = 0.2
    most: float = 5.0


DEFAULT: Final = Backoff()


def draw() -> float:
    """A random number from 0 to 1."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


class RetryingTransport:
    """A `Transport` whose requests are made again while the server is unavailable.

    Conflicts, refusals and absent keys are answers, and are given back at once. A conditional write
    in doubt is made again, which its condition makes safe; if that meets a conflict and our very
    bytes are there, it was done, and else OutcomeUnknown is raised. Pauses are drawn at random from
    half to the whole of those of `backoff`.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        backoff: Backoff = DEFAULT,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = draw,
    ) -> None:
        self._inner = inner
        self._backoff = backoff
        self._sleep = sleep
        self._chance = chance

    @property
    def url(self) -> str:
        """Where the inner one is."""
        return self._inner.url

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        """See `Transport.get`."""
        return self._again(lambda: self._inner.get(key, start, length))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """See `Transport.put`."""
        if not if_absent:
            return self._again(lambda: self._inner.put(key, data))
        return self._conditional(lambda: self._inner.put(key, data, if_absent=True), key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See `Transport.replace`."""
        return self._conditional(lambda: self._inner.replace(key, data, etag), key, data)

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `Transport.list`; begun again where it broke off, and each key once."""
        seen: set[str] = set()
        for pause in self._pauses():
            try:
                for found in self._inner.list(prefix):
                    if found.key not in seen:
                        seen.add(found.key)
                        yield found
            except RemoteUnavailable:
                if pause is None:
                    raise
                self._sleep(pause)
            else:
                return

    def delete(self, keys: Sequence[str]) -> None:
        """See `Transport.delete`."""
        self._again(lambda: self._inner.delete(keys))

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()

    def _pauses(self) -> Iterator[float | None]:
        """For each try the pause behind it, None behind the last."""
        longest = self._backoff.first
        for _ in range(self._backoff.tries - 1):
            yield longest * (0.5 + 0.5 * self._chance())
            longest = min(2 * longest, self._backoff.most)
        yield None

    def _again(self, request: Callable[[], Answer]) -> Answer:
        """Make a request that may well be made twice, until it is answered."""
        for pause in self._pauses():
            try:
                return request()
            except (RemoteUnavailable, OutcomeUnknown):
                if pause is None:
                    raise
                self._sleep(pause)
        raise AssertionError

    def _conditional(self, write: Callable[[], str], key: str, data: bytes) -> str:
        """Make a write that has a condition, until it is known whether it was done."""
        doubt: OutcomeUnknown | None = None
        for pause in self._pauses():
            try:
                return write()
            except RemoteUnavailable:
                if pause is None:
                    if doubt is None:
                        raise
                    raise doubt from None
            except OutcomeUnknown as error:
                doubt = error
                if pause is None:
                    raise
            except RemoteMoved:
                if doubt is None:
                    raise
                return self._settled(key, data, doubt)
            self._sleep(pause)
        raise AssertionError

    def _settled(self, key: str, data: bytes, doubt: OutcomeUnknown) -> str:
        """The tag of our own write, if it is what the second try met; else raises the doubt.

        It may also have been done and replaced since.
        """
        try:
            got = self.get(key, 0, len(data) + 1)
        except (KeyAbsent, RemoteError):
            raise doubt from None
        if got.data != data:
            raise doubt
        return got.etag
