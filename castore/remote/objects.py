"""A bucket of an object store: `s3://`, `gs://` and `az://`, by obstore (extra `castore[s3]`).

obstore reads the variables of the clouds (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, …) and finds the
credentials of instances by itself; castore passes on what it is given and looks at none of it.

Each call is one attempt, but for what settles its outcome: with obstore's own retries a write that
was applied and whose answer was lost comes back as a conflict with itself. So they are off,
`castore.remote.retrying` is there for that, and after a conflict or a doubt the object is read: if
it holds our very bytes, the write was ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from threading import Event, Lock
from typing import Any, Final, TypeVar

from castore.errors import (
    ForkedProcess,
    InvalidInput,
    OutcomeUnknown,
    PermissionDenied,
    RemoteError,
    RemoteMoved,
    RemoteUnavailable,
)
from castore.remote.faults import Fault, Kind, read_fault
from castore.remote.transport import Got, KeyAbsent, Listed, check_key, check_prefix, is_key
from castore.remote.variables import check_variables
from castore.remote.waiting import GivenUp, wait_for

_STORES: Final = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
Answer = TypeVar("Answer")

_PAGE: Final = 1_000
_SMALL: Final = 1 << 20
# A server that says nothing is given up; one that takes 32 MiB slowly is not.
_QUICK: Final = {"connect_timeout": "10s", "timeout": "60s"}
_SLOW: Final = {"connect_timeout": "10s", "timeout": "20m"}
_READING: Final = {"connect_timeout": "10s", "timeout": "60m", "read_timeout": "30s"}
_ONCE: Final = {"max_retries": 0, "retry_timeout": timedelta(minutes=3)}

# Elsewhere it takes AWS_ALLOW_HTTP=true to send requests that everybody can read.
_LOOPBACK: Final = ("http://127.0.0.1", "http://localhost", "http://[::1]")

# The process that has used obstore: its threads are not there in one forked from it, which would
# wait for them for ever, with a new client too.
_user = 0


class ObjectTransport:
    """A `Transport` over a bucket of S3, or what speaks like it, Google's or Azure's.

    `options` are obstore's own, such as `access_key_id`; they win over the environment and are
    never shown. A tag is the ETag, for Google the generation.
    """

    def __init__(
        self,
        scheme: str,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        region: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        if scheme not in _STORES:
            raise InvalidInput(f"scheme {scheme!r}: one of {', '.join(_STORES)}")
        self._scheme = scheme
        self._url = f"{scheme}://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = prefix
        self._config = {**_placed(scheme, endpoint, region), **(options or {})}
        check_variables(
            scheme,
            endpoint=any("endpoint" in key or "base_url" in key for key in self._config),
            region=any("region" in key or "account" in key for key in self._config),
        )
        self._stores: dict[str, Any] = {}
        self._guard = Lock()
        self._closed = Event()
        self._obstore = _load()
        self._unforked()

    @property
    def url(self) -> str:
        """The bucket and the prefix in it."""
        return self._url

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        """See `Transport.get`."""
        check_key(key)
        if start < 0 or (length is not None and length < 0):
            raise InvalidInput(f"{start}, {length}: no part of an object")
        if length == 0:
            return Got(b"", self._head(key))
        options: dict[str, Any] = {}
        if length is not None:
            options = {"range": (start, start + length)}
        elif start:
            options = {"range": {"offset": start}}
        store = self._store(_READING)
        try:
            return self._ask(lambda: self._read(store, key, options))
        except BaseException as error:
            fault = self._fault(error)
        if fault.kind is Kind.BEYOND:
            return Got(b"", self._head(key))
        raise self._failed(fault, f"reading {key!r}", key)

    def about(self, path: str) -> tuple[int, str]:
        """The size and the tag of an object of any name, such as castore does not write.

        Raises KeyAbsent.
        """
        store = self._store(_QUICK)
        try:
            found = self._ask(lambda: self._obstore.head(store, path))
        except BaseException as error:
            fault = self._fault(error)
        else:
            return found["size"], self._tag(found)
        raise self._failed(fault, f"reading {path!r}", path)

    def pieces(self, path: str) -> Iterator[bytes]:
        """The bytes of an object of any name, some at a time; raises KeyAbsent."""
        store = self._store(_READING)
        try:
            found = self._ask(lambda: self._obstore.get(store, path))
            stream = iter(found.stream(min_chunk_size=_SMALL))
            while (piece := self._ask(lambda: next(stream, None))) is not None:
                yield bytes(piece)
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                raise
            fault = self._fault(error)
        else:
            return
        raise self._failed(fault, f"reading {path!r}", path)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        """See `Transport.put`."""
        check_key(key)
        try:
            return self._write(key, data, "create" if if_absent else "overwrite")
        except BaseException as error:
            fault = self._fault(error)
        if if_absent and fault.kind in (Kind.MOVED, Kind.UNSURE):
            return self._settle(key, data, fault, "")
        raise self._failed(fault, f"writing {key!r}", writes=True)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """See `Transport.replace`."""
        check_key(key)
        mode = {"version" if self._scheme == "gs" else "e_tag": etag}
        try:
            return self._write(key, data, mode)
        except BaseException as error:
            fault = self._fault(error)
        if fault.kind is Kind.ABSENT:
            raise RemoteMoved(f"{self._url}: {key!r} is gone since it was read")
        if fault.kind in (Kind.MOVED, Kind.UNSURE):
            return self._settle(key, data, fault, etag)
        raise self._failed(fault, f"replacing {key!r}", writes=True)

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `Transport.list`."""
        check_prefix(prefix)
        with self._translated(f"listing {prefix!r}"):
            pages = self._obstore.list(
                self._store(_READING), prefix=prefix or None, chunk_size=_PAGE
            )
        while True:
            self._unforked()
            with self._translated(f"listing {prefix!r}"):
                page = self._ask(lambda: next(pages, None))
            if page is None:
                return
            for found in page:
                if found["path"].startswith(prefix) and is_key(found["path"]):
                    yield Listed(found["path"], found["size"])

    def delete(self, keys: Sequence[str]) -> None:
        """See `Transport.delete`."""
        for key in keys:
            check_key(key)
        store = self._store(_QUICK)
        for at in range(0, len(keys), _PAGE):
            some = list(keys[at : at + _PAGE])
            with self._translated("deleting", writes=True):
                try:
                    self._ask(partial(self._obstore.delete, store, some))
                except FileNotFoundError as error:
                    # Only some stores tell of what was not there, and may have left the others.
                    if read_fault(error).kind is not Kind.ABSENT:
                        raise
                    for key in some:
                        self._delete_one(store, key)

    def close(self) -> None:
        """Let go of the connections; threads that wait for an answer get an error instead."""
        self._closed.set()
        with self._guard:
            self._stores.clear()

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        try:
            return wait_for(request, self._closed)
        except GivenUp:
            raise RemoteError(
                f"{self._url}: closed, with a request under way", fix="open the store anew"
            ) from None

    def _delete_one(self, store: Any, key: str) -> None:
        with suppress(FileNotFoundError):
            self._ask(lambda: self._obstore.delete(store, [key]))

    def _read(self, store: Any, key: str, options: Mapping[str, Any]) -> Got:
        """One object or a part of it, never more bytes than the answer begins with saying."""
        found = self._obstore.get(store, key, options=options)
        start, end = found.range
        left, pieces = end - start, []
        for piece in found.stream(min_chunk_size=_SMALL):
            left -= len(piece)
            if left < 0:
                break
            pieces.append(piece)
        if left:
            raise RemoteError(f"{self._url}: {key!r} comes with another length than was said")
        return Got(b"".join(pieces), self._tag(found.meta))

    def _write(self, key: str, data: bytes, mode: object) -> str:
        """One request, whatever the size: conditions hold for single ones only."""
        store = self._store(_QUICK if len(data) <= _SMALL else _SLOW)
        return self._tag(
            self._ask(lambda: self._obstore.put(store, key, data, mode=mode, use_multipart=False))
        )

    def _head(self, key: str) -> str:
        store = self._store(_READING)
        try:
            return self._tag(self._ask(lambda: self._obstore.head(store, key)))
        except BaseException as error:
            fault = self._fault(error)
        raise self._failed(fault, f"reading {key!r}", key)

    def _settle(self, key: str, data: bytes, fault: Fault, etag: str) -> str:
        """The tag of what a write in doubt has stored, found by reading; `etag` "" is a creation.

        Somebody between here and the server may have repeated the request and been refused.
        """
        what = f"{self._url}: {'replacing' if etag else 'creating'} {key!r}: {fault.message}"
        unknown = OutcomeUnknown(
            f"{what}; it may have been written, or may be yet",
            fix="try again: what is there is looked at first",
        )
        try:
            got: Got | None = self.get(key, 0, len(data) + 1)
        except KeyAbsent:
            got = None
        except RemoteError:
            raise unknown from None
        if got is not None and got.data == data:
            return got.etag
        if fault.kind is Kind.UNSURE:
            raise unknown
        if (got.etag if got else "") == etag:
            # Refused beside another writer who was not first either.
            raise RemoteUnavailable(f"{what}, but nobody has written", fix="try again")
        raise RemoteMoved(what)

    def _tag(self, meta: Mapping[str, Any]) -> str:
        tag = meta.get("version" if self._scheme == "gs" else "e_tag")
        if not tag:
            raise RemoteError(
                f"{self._url}: the server gives objects no tags, so no write can depend on one",
                fix="use another server",
            )
        return str(tag)

    def _store(self, timeouts: Mapping[str, str]) -> Any:
        """The client of these timeouts, made on first use."""
        self._unforked()
        name = timeouts["timeout"]
        with self._guard:
            if name not in self._stores:
                with self._translated("opening"):
                    made = getattr(self._obstore.store, _STORES[self._scheme])
                    self._stores[name] = made(
                        self._bucket,
                        prefix=self._prefix or None,
                        config={**timeouts, **self._config},
                        retry_config=_ONCE,
                    )
            return self._stores[name]

    def _unforked(self) -> None:
        global _user
        _user = _user or os.getpid()
        if _user != os.getpid():
            raise ForkedProcess(
                f"{self._url}: this process was forked from one that had used a bucket, and would "
                "wait for ever",
                fix="begin processes by spawn: multiprocessing.get_context('spawn')",
            )

    @contextmanager
    def _translated(self, what: str, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except RemoteError:
            raise
        except BaseException as error:
            fault = self._fault(error)
        else:
            return
        raise self._failed(fault, what, writes=writes)

    def _fault(self, error: BaseException) -> Fault:
        """The fault that obstore raised; what is no fault of a request goes on."""
        foreign = isinstance(error, (self._obstore.exceptions.BaseError, OSError, ValueError))
        # An error in the library itself, of a type that has no name here.
        if foreign or type(error).__name__ == "PanicException":
            return read_fault(error)
        raise error

    def _failed(
        self, fault: Fault, what: str, key: str = "", *, writes: bool = False
    ) -> RemoteError | KeyAbsent:
        """The error to raise for a fault; with no `key` an absent object is no answer."""
        message = f"{self._url}: {what}: {fault.message}"
        match fault.kind:
            case Kind.ABSENT if key:
                return KeyAbsent(f"{self._url} has no {key!r}")
            case Kind.DENIED:
                return PermissionDenied(message, fix=fault.fix)
            case Kind.UNSURE if writes:
                return OutcomeUnknown(f"{message}; it may be done", fix="try again")
            case Kind.BUSY | Kind.UNSURE:
                return RemoteUnavailable(message, fix=fault.fix)
        return RemoteError(message, fix=fault.fix)


def _placed(scheme: str, endpoint: str, region: str) -> dict[str, str]:
    """An endpoint and a region in the words of obstore."""
    config = {}
    if scheme == "s3":
        # Whatever a variable says: without it there is no replacing.
        config["conditional_put"] = "etag"
        if region:
            config["region"] = region
    if endpoint:
        config["base_url" if scheme == "gs" else "endpoint"] = endpoint
        if scheme == "s3":
            # Else AWS_ENDPOINT_URL_S3 would win over what this bucket was given.
            config["aws_endpoint_url_s3"] = endpoint
        if endpoint.startswith(_LOOPBACK):
            config["allow_http"] = "true"
    return config


def _load() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise RemoteError(
            "buckets of object stores need obstore, which is not installed",
            fix="pip install 'obstore>=0.12'",
        ) from None
    return obstore
