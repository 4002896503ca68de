"""The transport: all that castore asks of a bucket, in five verbs.

Keys are relative to the bucket's prefix: segments of `[a-z0-9._-]` that begin with a letter or
digit, joined by `/`; no key is the folder of another. What else lies there is not castore's, and is
not listed. A transport that adds something (retries, faults, counts) is a transport around a
transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from castore.errors import CorruptObject, InvalidInput, NotFound

KEY_BYTES: Final = 512
_SEGMENT: Final = r"[a-z0-9][a-z0-9._-]*"
_KEY: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")


class KeyAbsent(NotFound):
    """A bucket has no object under this key."""


class Gone(CorruptObject):
    """What a root leads to is not there.

    A collector may have removed it since that root was read: then the root is another now.
    """


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

    A conditional write that meets its very own bytes may count as done, since that is how a write
    looks whose answer was lost: let no two writers write the same. RemoteMoved tells what is there
    now; where something on the way repeats requests, our write may have been there in between.
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
        """Give back what it holds; it is not used after.

        Called while others wait for an answer, it has them get a RemoteError.
        """


def is_key(text: str) -> bool:
    """Whether an object may have this name: else it is not castore's, and is passed over."""
    return len(text) <= KEY_BYTES and _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """`key` if an object may have this name; raises InvalidInput otherwise."""
    if not is_key(key):
        raise InvalidInput(
            f"key {key[:80]!r}: 1 to {KEY_BYTES} of a-z 0-9 . _ - in segments separated by '/', "
            "each beginning with a letter or digit"
        )
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` if keys may be listed by it: empty, or a key and `/`; raises InvalidInput."""
    if prefix and not (prefix.endswith("/") and is_key(prefix[:-1])):
        raise InvalidInput(f"prefix {prefix[:80]!r}: must be empty, or a key followed by '/'")
    return prefix
