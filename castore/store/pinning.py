"""Pinning: reading what lies elsewhere once, for its size and digest; nothing of it is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urlsplit

from castore.content.sources import changed, opened, same
from castore.errors import (
    CastoreError,
    InvalidInput,
    PermissionDenied,
    RemoteError,
    RemoteUnavailable,
)
from castore.model.ids import Id, content_id_of

Pin = Callable[[str], tuple[Id, int]]
"""What reads the bytes at an `https:` URI once, and tells their digest and size."""

PIN_BYTES: Final = 16 << 30
"""The most that is read of one `https:` URI."""
PIN_SECONDS: Final = 600
"""How long reading one `https:` URI may take in all."""
_SILENCE: Final = 30
_READ: Final = 1 << 20


def digest_file(path: Path) -> tuple[Id, int]:
    """The BLAKE3 and size of a regular file; raises InvalidInput, NotFound, or if it changes."""
    with opened(str(path)) as (descriptor, before):
        found = content_id_of(iter(lambda: os.read(descriptor, _READ), b""))
        if not same(before, os.fstat(descriptor)):
            raise changed(str(path))
    return found


def uri_path(uri: str, folder: Path = Path()) -> Path | None:
    """The local path of a `file:` URI, a relative one from `folder`, or None for any other."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(os.path.abspath(folder / unquote(parts.path)))


def pin_https(
    uri: str,
    *,
    proxies: Mapping[str, str] | None = None,
    context: Any = None,
    limit: int = PIN_BYTES,
) -> tuple[Id, int]:
    """The BLAKE3 and size of what an `https:` URI answers with, redirects to `https:` followed.

    `proxies` maps a scheme to a proxy's URL; `context` is an `ssl.SSLContext`, by default one that
    trusts what the system trusts. At most `limit` bytes and PIN_SECONDS. Raises RemoteUnavailable,
    PermissionDenied, RemoteError, InvalidInput for another scheme.
    """
    # Loaded where something is fetched: they take longer than a whole commit.
    import http.client
    import urllib.error
    import urllib.request

    if urlsplit(uri).scheme != "https":
        raise InvalidInput(f"{uri!r}: only https: can be read to pin it")
    # Of the usual handlers those that are needed: no redirect leads to another scheme.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(dict(proxies or {})),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": "castore", "Accept-Encoding": "identity"}
    request = urllib.request.Request(uri, headers=headers)  # noqa: S310  # https, as checked
    try:
        with opener.open(request, timeout=_SILENCE) as answer:
            said = answer.headers.get("Content-Length", "")
            digest, size = content_id_of(_bounded(answer, uri, limit))
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(uri, error.code) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RemoteUnavailable(f"{uri}: {reason}", fix="leave out --pin") from None
    if said.isdigit() and int(said) != size:
        raise RemoteUnavailable(f"{uri}: ended after {size} of {said} bytes")
    return digest, size


def _bounded(answer: IO[bytes], uri: str, limit: int) -> Iterator[bytes]:
    """The pieces of an answer; raises RemoteError for one without end."""
    end = time.monotonic() + PIN_SECONDS
    size = 0
    while piece := answer.read(_READ):
        size += len(piece)
        if size > limit or time.monotonic() > end:
            raise RemoteError(
                f"{uri}: more than {limit} bytes, or {PIN_SECONDS} seconds: it was not pinned",
                fix="leave out --pin",
            )
        yield piece


def _refused(uri: str, status: int) -> CastoreError:
    if status in (401, 403):
        return PermissionDenied(f"{uri}: refused ({status})", fix="leave out --pin")
    kind = RemoteUnavailable if status >= 500 or status == 429 else RemoteError
    return kind(f"{uri}: answered with {status}", fix="leave out --pin")
