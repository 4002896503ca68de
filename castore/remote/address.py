"""Addresses: where a bucket is, as its URL says; taken apart and checked, nothing opened."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from castore.errors import InvalidInput

SCHEMES: Final = ("s3", "gs", "az")
"""The schemes of object stores; `file` is beside them."""

URL_BYTES: Final = 1_024
_FORMS: Final = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER"
_BUCKET: Final = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9._=-]*"
_PREFIX_BYTES: Final = 400
_NETLOC: Final = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_PATH: Final = r"(/[A-Za-z0-9._-]+)*/?"
_REGION: Final = r"[a-z0-9][a-z0-9-]{0,39}"


class Address(NamedTuple):
    """Where a bucket is: `bucket` and `prefix` of an object store, or `folder` of files."""

    scheme: str
    bucket: str = ""
    prefix: str = ""
    folder: Path = Path()

    @property
    def url(self) -> str:
        """The one URL of this address, without a `/` at its end."""
        if self.scheme == "file":
            return self.folder.as_uri()
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def parse_url(url: str) -> Address:
    """The address that a URL names; raises InvalidInput, whose words hold no credentials."""
    parts = _split(url, "URL")
    if parts.scheme == "file":
        return _file(parts)
    if parts.scheme not in SCHEMES:
        named = f"scheme {parts.scheme!r}" if parts.scheme else "a URL without a scheme"
        hint = "; an endpoint is an option of its own" if parts.scheme.startswith("http") else ""
        raise InvalidInput(f"{named} is none of a bucket{hint}", fix=f"use {_FORMS}")
    if not re.fullmatch(_BUCKET, parts.netloc):
        raise InvalidInput(
            f"{parts.netloc[:80]!r} is no name of a bucket: 3 to 63 of a-z 0-9 . _ -",
            fix=f"use {_FORMS}",
        )
    prefix = parts.path.removeprefix("/").removesuffix("/")
    segments = prefix.split("/") if prefix else []
    if len(prefix) > _PREFIX_BYTES or not all(re.fullmatch(_SEGMENT, one) for one in segments):
        raise InvalidInput(
            f"prefix {prefix[:80]!r}: letters, digits and . _ = - in segments between single '/', "
            f"each beginning with a letter or digit; {_PREFIX_BYTES} bytes at the most"
        )
    return Address(parts.scheme, parts.netloc, prefix)


def check_endpoint(address: Address, endpoint: str) -> None:
    """Raise InvalidInput for an endpoint that is none, or is none of this address."""
    if not endpoint:
        return
    if address.scheme == "file":
        raise InvalidInput("a folder has no endpoint", fix="leave --endpoint out")
    parts = _split(endpoint, "endpoint")
    found = re.fullmatch(_NETLOC, parts.netloc)
    port = int(found["port"] or 1) if found else 0
    web = parts.scheme in ("http", "https") and re.fullmatch(_PATH, parts.path)
    if not (web and 0 < port < 65_536):
        raise InvalidInput(
            f"{endpoint[:80]!r} is no endpoint", fix="use https://HOST or https://HOST:PORT"
        )


def check_region(address: Address, region: str) -> None:
    """Raise InvalidInput for a region that is none, or is none of this address."""
    if region and address.scheme != "s3":
        raise InvalidInput(f"{address.scheme}:// has no region", fix="leave --region out")
    if region and not re.fullmatch(_REGION, region):
        raise InvalidInput(f"{region[:80]!r} is no region", fix="--region eu-central-1")


def same_place(a: str, b: str) -> bool:
    """Whether two URLs name one place, as they are written; raises InvalidInput."""
    return parse_url(a) == parse_url(b)


def _split(url: str, what: str) -> SplitResult:
    """The parts of a URL that holds nothing secret: the text is not shown before that is sure."""
    if len(url.encode("utf-8", "replace")) > URL_BYTES or not url.isprintable():
        raise InvalidInput(f"the {what} has more than {URL_BYTES} bytes, or unprintable ones")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidInput(f"the {what} cannot be taken apart", fix=f"use {_FORMS}") from None
    if "@" in parts.netloc:
        raise InvalidInput(
            f"the {what} holds credentials, which would be kept where others read them",
            fix="leave out what stands before '@', and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (docs/remote.md, Credentials)",
        )
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise InvalidInput(
            f"the {what} has a part behind '?' or '#', which castore does not read",
            fix="leave it out; an endpoint and a region are options of their own",
        )
    return parts


def _file(parts: SplitResult) -> Address:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or not path.isprintable():
        raise InvalidInput(
            f"file URL {path[:80]!r}: an absolute path of this machine",
            fix="use file:///FOLDER, with three '/'",
        )
    return Address("file", folder=Path(os.path.normpath(path)))
