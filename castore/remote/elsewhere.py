"""Elsewhere: bytes at a URI that castore did not write, asked about or read some at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from castore.errors import (
    CastoreError,
    InvalidInput,
    PermissionDenied,
    RemoteError,
    RemoteUnavailable,
)
from castore.remote.address import SCHEMES
from castore.remote.objects import ObjectTransport
from castore.remote.transport import KeyAbsent

READABLE: Final = ("file", "http", "https", *SCHEMES)
"""The schemes of what can be read."""
_PIECE: Final = 1 << 20
# O_NONBLOCK: opening a fifo that nobody writes to must not wait.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_SILENCE: Final = 30
_IMPATIENT: Final = 5
_NO_HEAD: Final = (403, 405, 501)


class Reached(NamedTuple):
    """What is at a URI: its size or -1, the tag that the server gives it or "", its bytes."""

    size: int
    etag: str
    pieces: Iterator[bytes]


def look_at(uri: str, proxies: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The size, -1 if it is not told, and the tag of what is at a URI; nothing is read.

    Raises as `reach`.
    """
    scheme = _scheme(uri)
    if scheme == "file":
        with _file(uri) as found:
            return found.size, found.etag
    if scheme in SCHEMES:
        transport, key = _object(uri)
        try:
            return transport.about(key)
        except KeyAbsent as error:
            raise RemoteError(error.message, fix="see that the address is right") from None
        finally:
            transport.close()
    with _http(uri, proxies or {}, "HEAD", _IMPATIENT) as found:
        return found.size, found.etag


@contextmanager
def reach(uri: str, proxies: Mapping[str, str] | None = None) -> Iterator[Reached]:
    """What is at a URI, to be read: `file:`, `http:`, `https:`, `s3:`, `gs:` or `az:`.

    `proxies` maps a scheme to a proxy's URL; credentials of object stores come as for a remote.
    No redirect leads from https: to http:. Raises RemoteUnavailable, PermissionDenied, RemoteError
    also while it is read; InvalidInput for another scheme.
    """
    scheme = _scheme(uri)
    if scheme == "file":
        with _file(uri) as found:
            yield found
    elif scheme in SCHEMES:
        transport, key = _object(uri)
        try:
            size, etag = transport.about(key)
            yield Reached(size, etag, transport.pieces(key))
        except KeyAbsent as error:
            raise RemoteError(error.message, fix="see that the address is right") from None
        finally:
            transport.close()
    else:
        with _http(uri, proxies or {}, "GET", _SILENCE) as found:
            yield found


def _scheme(uri: str) -> str:
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:
        raise InvalidInput(f"{uri[:200]!r} is no URI: {error}") from None
    if scheme not in READABLE:
        raise InvalidInput(
            f"{uri[:200]!r}: castore cannot read {scheme or 'a place without a scheme'!r}",
            fix=f"use {', '.join(READABLE)}",
        )
    return scheme


@contextmanager
def _file(uri: str) -> Iterator[Reached]:
    try:
        descriptor = os.open(unquote(urlsplit(uri).path), _READ)
    except (OSError, ValueError) as error:
        raise RemoteUnavailable(f"{uri}: {getattr(error, 'strerror', None) or error}") from None
    with ExitStack() as opened:
        opened.callback(os.close, descriptor)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise RemoteUnavailable(f"{uri}: is not a file")
        file = opened.enter_context(open(descriptor, "rb", closefd=False))
        yield Reached(found.st_size, "", _pieces(file, uri))


def _object(uri: str) -> tuple[ObjectTransport, str]:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise InvalidInput(f"{uri[:200]!r} names no object", fix=f"{scheme}://BUCKET/KEY")
    return ObjectTransport(scheme, bucket), key


@contextmanager
def _http(uri: str, proxies: Mapping[str, str], method: str, seconds: int) -> Iterator[Reached]:
    # Loaded where something is asked: they take longer than a whole commit.
    import http.client
    import urllib.error

    try:
        with _answer(uri, proxies, method, seconds) as answer:
            if uri.startswith("https:") and not answer.url.startswith("https:"):
                raise RemoteError(f"{uri}: leads to an address that is not https:")
            said = answer.headers.get("Content-Length", "")
            plain = answer.headers.get("Content-Encoding", "identity") == "identity"
            size = int(said) if said.isdigit() and plain else -1
            etag = answer.headers.get("ETag", "")[:256]
            yield Reached(size, etag, _counted(answer, uri, size))
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(uri, error.code) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise RemoteUnavailable(f"{uri}: {reason}") from None


def _answer(uri: str, proxies: Mapping[str, str], method: str, seconds: int) -> Any:
    import urllib.error
    import urllib.request

    # Of the usual handlers those that are needed: no redirect leads to another scheme than these.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(dict(proxies)),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": "castore", "Accept-Encoding": "identity"}
    request = urllib.request.Request(uri, headers=headers, method=method)  # noqa: S310
    try:
        return opener.open(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        if method != "HEAD" or error.code not in _NO_HEAD:
            raise
        error.close()
    # Some servers know no HEAD: the answer is not read then.
    return _answer(uri, proxies, "GET", seconds)


def _pieces(file: IO[bytes], uri: str) -> Iterator[bytes]:
    try:
        while piece := file.read(_PIECE):
            yield piece
    except OSError as error:
        raise RemoteUnavailable(f"{uri}: {error.strerror or error}") from None


def _counted(answer: IO[bytes], uri: str, size: int) -> Iterator[bytes]:
    """The pieces of an answer; raises RemoteUnavailable for one that ends too early."""
    read = 0
    for piece in _pieces(answer, uri):
        read += len(piece)
        yield piece
    if read < size:
        raise RemoteUnavailable(f"{uri}: ended after {read} of {size} bytes")


def _refused(uri: str, status: int) -> CastoreError:
    if status in (401, 403):
        return PermissionDenied(f"{uri}: refused ({status})", fix="see that everybody may read it")
    kind = RemoteUnavailable if status >= 500 or status == 429 else RemoteError
    return kind(f"{uri}: answered with {status}", fix="see that the address is right")
