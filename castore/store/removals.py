"""Removals: how it is told that a version was forgotten or content was purged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.database.writing import Writing
from castore.errors import ObjectNotFound
from castore.model.ids import Id, Kind
from castore.store.moments import format_minute, format_moment
from castore.store.version import Version

FORGET: Final = "forget"
"""The operation that cuts versions from their sets; its detail lists their ids as `versions`."""
PURGE: Final = "purge"
"""The operation, and the operation id by which all of its kind are found; `files` it made go."""
PURGE_END: Final = "purge-end"
"""The operation that ends a purge, when no byte of it is left in the data file."""


def record_forgotten(
    tables: Writing, ids: Sequence[Id], *, at: int, by: str, why: str
) -> Operation:
    """Cut these versions from their sets, none of which is so yet; gives the entry of the log."""
    record = tables.append_operation(FORGET, at=at, by=by, why=why, detail={"versions": list(ids)})
    removal = Removal(at, by, why, str(record.sequence))
    for id in ids:
        tables.forget(id, removal)
    return record


def removal_record(removal: Removal) -> dict[str, Any]:
    """A removal as `--json` prints it; `operation` is its number in the log."""
    return {
        "at": format_moment(removal.at),
        "by": removal.by or None,
        "why": removal.why or None,
        "operation": int(removal.op) if removal.op.isdigit() else None,
    }


def removal_text(removal: Removal) -> str:
    """When, by whom, why and by which operation, on one line."""
    why = f": {removal.why}" if removal.why else ""
    operation = f" (operation {removal.op})" if removal.op else ""
    return f"{format_minute(removal.at)}Z by {removal.by or 'unknown'}{operation}{why}"


def forgotten_error(tables: Reading, version: Version, removal: Removal) -> ObjectNotFound:
    """The error for whoever asks for the content of a forgotten version."""
    there = removal.op and tables.present((version.set_id,))
    return ObjectNotFound(
        f"{version.label} ({version.short}) was forgotten on {removal_text(removal)}",
        fix=f"cas op undo {removal.op}" if there else "restore it from a backup",
        id=version.id.hex(),
        forgotten=removal_record(removal),
    )


def climb(tables: Reading, ids: Iterable[Id]) -> tuple[set[Id], set[Id], set[Id]]:
    """The folder pages, sets and manifests above these contents, as far as tables tell."""
    pages: set[Id] = set()
    sets: set[Id] = set()
    manifests: set[Id] = set()
    level = list(ids)
    while level:
        for holder, kind in tables.containers(level.pop()):
            if kind is Kind.TREE and holder not in pages:
                pages.add(holder)
                level.append(holder)
            elif kind is Kind.SET and holder not in sets:
                sets.add(holder)
                level.append(holder)
            elif kind is Kind.MANIFEST:
                manifests.add(holder)
    return pages, sets, manifests


def purged_ids(tables: Reading) -> frozenset[Id]:
    """The files that were ever purged, and every folder page that has one of them in it."""
    if not tables.purges():
        return frozenset()
    files = list(_purged_files(tables))
    return frozenset(files) | climb(tables, files)[0]


def _purged_files(tables: Reading) -> Iterator[Id]:
    """The digests of all files that were ever purged."""
    for operation in tables.operations_by_id(PURGE):
        if operation.op == PURGE:
            yield from operation.detail.get("files", ())
