"""The transport: all that castore asks of a bucket, in five verbs.

Keys are relative to the bucket's prefix: segments of `[a-z0-9._-]`, joined by `/`. A transport that
adds something (retries, faults, counts) is a transport around a transport.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from castore.errors import NotFound


class KeyAbsent(NotFound):
    """A bucket has no object under this key."""


class Got(NamedTuple):
    """Bytes of an object and the tag of the version that they are from."""

    data: bytes
    etag: str


class Listed(NamedTuple):
    """A key, and the size of its object in bytes."""

    key: str
    size: int


class Transport(Protocol):
    """Access to one bucket below one prefix; its methods may be called from several threads.

    Every method may raise RemoteUnavailable (the server was not reached or answered with a fault; a
    write did not happen), PermissionDenied, RemoteError, and ForkedProcess in a forked child of the
    process that made it. Writes raise OutcomeUnknown where they may have happened or not.
    """

    @property
    def url(self) -> str:
        """Where the bucket is, as given, without credentials."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        """An object's bytes from `start` on, at most `length` of them.

        Fewer where it ends before, none where it ends before `start`. Raises KeyAbsent.
        """

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """Store an object whole or not at all; its tag.

        With `if_absent`, RemoteMoved is raised where the key has an object already.
        """

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Store an object in place of the one with this tag; the new tag.

        Raises RemoteMoved where the key has another object, or none.
        """

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every key that begins with `prefix` (empty, or ending in `/`), in no order."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; one that is not there is no error."""

    def close(self) -> None:
        """Give back what it holds; it is not used after."""
