"""Tombstones: who purged content, when and why; it never becomes part of a version again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import InvalidInput
from castore.model.artifact_set import ArtifactSet, FileContent, TreeContent
from castore.model.ids import Id, short
from castore.store.purge_reach import climb
from castore.store.removals import removal_record, removal_text

PURGE: Final = "purge"
"""The operation, and the operation id by which all of its kind are found; `files` it made go."""


def refuse_purged(tables: Reading, members: ArtifactSet) -> None:
    """Raise InvalidInput if a file in a set, at any depth, was purged from this store."""
    if not tables.purges():
        return
    tainted: set[Id] | None = None
    for artifact in members.artifacts:
        content = artifact.content
        if isinstance(content, FileContent):
            row = tables.object_row(content.digest)
            if row is not None and row.state is State.PURGED:
                raise refusal(tables, content.digest, f"artifact {artifact.name!r}")
        elif isinstance(content, TreeContent):
            if tainted is None:
                tainted = climb(tables, purged_files(tables))[0]
            if content.id in tainted:
                raise refusal(tables, b"", f"something in folder {artifact.name!r}")


def purged_files(tables: Reading) -> Iterator[Id]:
    """The digests of all files that were ever purged."""
    for operation in tables.operations_by_id(PURGE):
        if operation.op == PURGE:
            yield from operation.detail.get("files", ())


def refusal(tables: Reading, id: Id, what: str) -> InvalidInput:
    """The error for content that may not come back; `id` is b"" where it is not known."""
    removal = tables.purged(id) if id else None
    told = f" on {removal_text(removal)}" if removal else ""
    digest = f" ({short(id)})" if id else ""
    return InvalidInput(
        f"{what}{digest} was purged from this store{told}; it may not come back",
        fix="leave it out, or give other content",
        id=id.hex() or None,
        purged=removal_record(removal) if removal else None,
    )
