"""Pins: versions that stay whatever becomes of branches, tags and the operation log."""

from __future__ import annotations

from dataclasses import dataclass

from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import RefNotFound
from castore.store.presence import require_stored
from castore.store.store import Store
from castore.store.version import Version, version_in


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned version, and why it is pinned."""

    version: Version
    why: str


def list_pins(store: Store) -> list[Pin]:
    """Every pin, in the order of ids."""

    def read(tables: Reading) -> list[Pin]:
        return [Pin(version_in(tables, id), why) for id, why in tables.pins()]

    return store.database.read(read)


def pin(store: Store, version: Version, *, by: str, why: str = "") -> bool:
    """Keep a version and all it needs until it is unpinned; False if it was pinned already.

    The reason of an earlier pin is replaced. Raises ObjectNotFound if the version was collected.
    """
    at = store.now()

    def transact(tables: Writing) -> bool:
        require_stored(tables, version)
        before = dict(tables.pins())
        if before.get(version.id) == why:
            return False
        tables.pin(version.id, why)
        detail = {"id": version.id}
        tables.append_operation("pin", at=at, by=by, why=why, detail=detail)
        return version.id not in before

    return store.database.write(transact)


def unpin(store: Store, version: Version, *, by: str, why: str = "") -> None:
    """End a pin; raises RefNotFound if there is none."""
    at = store.now()

    def transact(tables: Writing) -> None:
        if not tables.unpin(version.id):
            raise RefNotFound(f"{version.label} is not pinned", fix="cas pin")
        tables.append_operation("unpin", at=at, by=by, why=why, detail={"id": version.id})

    store.database.write(transact, urgent=True)
