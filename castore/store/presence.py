"""Presence: a version that was read a moment ago must still be there when something names it."""

from __future__ import annotations

from castore.database.reading import Reading
from castore.errors import ObjectNotFound
from castore.store.version import Version


def require_stored(tables: Reading, version: Version) -> None:
    """Raise ObjectNotFound if a version was collected since it was read.

    Called in the transaction that makes a root of it: from then on the collector keeps it.
    """
    if not tables.present((version.id,)):
        raise ObjectNotFound(
            f"{version.label} ({version.id.hex()}) was removed by a collection meanwhile",
            id=version.id.hex(),
        )
