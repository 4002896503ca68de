"""A bucket in memory: for tests and simulations; it ends with the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from threading import Lock

from castore.errors import InvalidInput, RemoteMoved
from castore.remote.transport import Got, KeyAbsent, Listed, check_key, check_prefix


class MemoryTransport:
    """A `Transport` whose objects are a dict; two of them share nothing, whatever their URLs."""

    def __init__(self, url: str = "memory://bucket") -> None:
        self._url = url
        self._objects: dict[str, Got] = {}
        self._tags = count(1)
        self._lock = Lock()

    @property
    def url(self) -> str:
        """As given."""
        return self._url

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        """See `Transport.get`."""
        check_key(key)
        if start < 0 or (length is not None and length < 0):
            raise InvalidInput(f"{start}, {length}: no part of an object")
        with self._lock:
            got = self._objects.get(key)
        if got is None:
            raise KeyAbsent(f"{self._url} has no {key!r}")
        end = None if length is None else start + length
        return got if (start, end) == (0, None) else got._replace(data=got.data[start:end])

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """See `Transport.put`."""
        check_key(key)
        with self._lock:
            if if_absent and key in self._objects:
                raise RemoteMoved(f"{self._url} has {key!r} already")
            return self._store(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See `Transport.replace`."""
        check_key(key)
        with self._lock:
            there = self._objects.get(key)
            if there is None or there.etag != etag:
                raise RemoteMoved(f"{self._url}: {key!r} is another since it was read")
            return self._store(key, data)

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `Transport.list`; as it is when the first is asked for."""
        check_prefix(prefix)
        with self._lock:
            found = [
                Listed(key, len(got.data))
                for key, got in self._objects.items()
                if key.startswith(prefix)
            ]
        return iter(found)

    def delete(self, keys: Sequence[str]) -> None:
        """See `Transport.delete`."""
        for key in keys:
            check_key(key)
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)

    def close(self) -> None:
        """Nothing is held; what is stored stays for whoever has this object."""

    def _store(self, key: str, data: bytes) -> str:
        etag = str(next(self._tags))
        self._objects[key] = Got(bytes(data), etag)
        return etag
