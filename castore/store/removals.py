"""Removals: how it is told that a version was forgotten or content was purged."""

from __future__ import annotations

from typing import Any

from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.errors import ObjectNotFound
from castore.store.moments import format_minute, format_moment
from castore.store.version import Version


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
