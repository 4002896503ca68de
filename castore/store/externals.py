"""External artifacts: what a version records of bytes that live elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from castore.errors import InvalidInput, NotFound, RemoteError
from castore.model.artifact_set import ExternalContent
from castore.model.ids import Id
from castore.store.pinning import digest_file, uri_path

_PASSWORD: Final = re.compile(r"(//[^/?#@:]*):[^/?#@]*@")
_SECRET_QUERY: Final = re.compile(
    r"(?i)[?&](?:x-amz-signature|x-goog-signature|sig|token|access_token|key)="
)


class Seen(NamedTuple):
    """What was found at a URI: its digest or b"", its size or -1, its tag or ""."""

    digest: Id
    size: int
    etag: str


Ask = Callable[[str], Seen]
"""What finds out of bytes at a URI as much as is wanted; raises RemoteError, InvalidInput."""


class NotAsked(RemoteError):
    """What is elsewhere could not be asked, which a commit survives."""


class Recorded(NamedTuple):
    """What a version says of an external artifact, and what people should know about that."""

    uri: str
    content: ExternalContent
    etag: str
    warnings: tuple[str, ...] = ()


def record_external(
    name: str, uri: str, expected: Id, folder: Path, ask: Ask | None = None
) -> Recorded:
    """What to record of an artifact at a URI; a file is read for its digest, others as `ask` does.

    `expected` is the digest that the spec pins. What cannot be asked is recorded as unknown, with a
    warning, where `ask` raises NotAsked; so is a file that is not there. Raises InvalidInput for a
    URI with a password or where the bytes are others than the spec pins, and what else `ask`
    raises.
    """
    _refuse_credentials(name, uri)
    path = uri_path(uri, folder)
    warnings: tuple[str, ...] = ()
    seen = Seen(b"", -1, "")
    try:
        if path is not None:
            uri = path.as_uri()
            seen = _file(path, uri, ask)
        elif ask is not None:
            seen = ask(uri)
    except NotAsked as error:
        warnings = (unknown(name, error.message),)
    if expected and seen.digest and seen.digest != expected:
        raise InvalidInput(
            f"artifact {name!r}: what is at {uri} is {seen.digest.hex()}, and the spec pins "
            f"{expected.hex()}",
            fix="put the right bytes there, or change `digest:`",
        )
    return Recorded(uri, ExternalContent(seen.digest or expected, seen.size), seen.etag, warnings)


def unknown(name: str, why: str) -> str:
    """The warning for an artifact of which nothing was found out."""
    return f"{name}: nothing was found out of what is there: {why}"


def absent_file(name: str, uri: str) -> list[str]:
    """The warning for a `file:` URI at which nothing is, if it is one; other URIs are not asked."""
    path = uri_path(uri)
    if path is None or os.path.lexists(path):
        return []
    return [unknown(name, f"{path}: no such file or folder")]


def _file(path: Path, uri: str, ask: Ask | None) -> Seen:
    """What a file is; raises NotAsked where there is none, or what `ask` raises then."""
    try:
        return Seen(*digest_file(path), "")
    except NotFound as error:
        with suppress(NotAsked):
            if ask is not None:
                return ask(uri)
        raise NotAsked(error.message) from None


def _refuse_credentials(name: str, uri: str) -> None:
    bare = _PASSWORD.sub(r"\1@", uri)
    if bare != uri or _SECRET_QUERY.search(uri):
        raise InvalidInput(
            f"artifact {name!r}: its address holds a password or a signature, and a version is "
            "kept for ever",
            fix="give the address without it",
        )
