"""URLs of buckets, opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from castore.remote.address import check_endpoint, check_region, parse_url, same_place
from castore.remote.files import FileTransport
from castore.remote.objects import ObjectTransport
from castore.remote.retrying import RetryingTransport
from castore.remote.transport import Transport

__all__ = ["open_transport", "same_place"]

_ACCOUNT: Final = r"https://([a-z0-9]{3,24})\.(?:blob|dfs)\."


def open_transport(
    url: str,
    *,
    endpoint: str = "",
    region: str = "",
    options: Mapping[str, str] | None = None,
) -> Transport:
    """A transport to the bucket at `url`; nothing is asked of it yet.

    `endpoint` (http or https) and `region` are for object stores; `options` are obstore's own and
    may hold credentials. Requests that fail are made again. Raises InvalidInput, RemoteError where
    obstore is not installed.
    """
    address = parse_url(url)
    check_endpoint(address, endpoint)
    check_region(address, region)
    if address.scheme == "file":
        return FileTransport(address.folder)
    settings = dict(options or {})
    account = re.match(_ACCOUNT, endpoint)
    if address.scheme == "az" and account:
        settings.setdefault("account_name", account[1])
    return RetryingTransport(
        ObjectTransport(
            address.scheme,
            address.bucket,
            address.prefix,
            endpoint=endpoint.rstrip("/"),
            region=region,
            options=settings,
        )
    )
