"""The probe: whether a bucket honours what castore's safety rests on; some servers only say so."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from castore.errors import (
    CastoreError,
    OutcomeUnknown,
    PermissionDenied,
    RemoteError,
    RemoteMoved,
    RemoteUnavailable,
)
from castore.remote.transport import KeyAbsent, Transport

PROBES: Final = "probe/"
_ABSENT: Final = ".absent"


def probe(transport: Transport) -> None:
    """Create, replace, read, list and delete a scratch object below `probe/`.

    It stays where its writer may not delete. Raises RemoteError naming what the bucket does not
    honour, and whatever the transport raises.
    """
    key = f"{PROBES}{os.urandom(16).hex()}"
    try:
        _probe(transport, key)
    except (OutcomeUnknown, RemoteUnavailable):
        # Nor would it be reached for this.
        raise
    except Exception:
        with suppress(CastoreError):
            transport.delete([key, key + _ABSENT])
        raise


def _probe(transport: Transport, key: str) -> None:
    first, second, third = (f"{number} {os.urandom(16).hex()}".encode() for number in range(3))
    created = transport.put(key, first, if_absent=True)
    _must_hold(transport, key, first, created)
    _must_conflict(
        transport,
        # A tag such as the server gives them: some take no other.
        lambda: transport.replace(key + _ABSENT, third, created),
        "a write over an object that is not there (If-Match)",
    )
    _must_conflict(
        transport,
        lambda: transport.put(key, second, if_absent=True),
        "a second creation of one object (If-None-Match: *)",
    )
    _must_hold(transport, key, first, created)
    replaced = transport.replace(key, second, created)
    _must_hold(transport, key, second, replaced)
    _must_conflict(
        transport,
        lambda: transport.replace(key, third, created),
        "a write over an object that was replaced since (If-Match)",
    )
    _must_hold(transport, key, second, replaced)
    if transport.get(key, 2, 5).data != second[2:7]:
        raise _refused(transport, "gives other bytes than the part asked for (Range)")
    if key not in {found.key for found in transport.list(PROBES)}:
        raise _refused(transport, "does not list an object just written")
    try:
        transport.delete([key])
    except PermissionDenied:
        # Who may not delete can share all the same, and leaves this one object.
        return
    with suppress(KeyAbsent):
        transport.get(key)
        raise _refused(transport, "still serves an object just deleted")


def _must_conflict(transport: Transport, write: Callable[[], str], what: str) -> None:
    try:
        write()
    except RemoteMoved:
        return
    raise _refused(transport, f"lets through {what}: writers would lose each other's versions")


def _must_hold(transport: Transport, key: str, data: bytes, etag: str) -> None:
    if transport.get(key) != (data, etag):
        raise _refused(transport, "does not serve what was just written")


def _refused(transport: Transport, what: str) -> RemoteError:
    return RemoteError(
        f"{transport.url}: this bucket {what}",
        fix="use a server with conditional writes (docs/remote.md, Servers)",
    )
