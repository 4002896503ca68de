"""Tombstones: who purged content, when and why; it never becomes part of a version again."""

from __future__ import annotations

from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import InvalidInput
from castore.model.artifact_set import ArtifactSet, FileContent, TreeContent
from castore.model.ids import Id, short
from castore.store.removals import purged_ids, removal_record, removal_text


def refuse_purged(tables: Reading, members: ArtifactSet) -> None:
    """Raise InvalidInput if a file in a set, at any depth, was purged from this store."""
    if not tables.purges():
        return
    tainted: frozenset[Id] | None = None
    for artifact in members.artifacts:
        content = artifact.content
        if isinstance(content, FileContent):
            row = tables.object_row(content.digest)
            if row is not None and row.state is State.PURGED:
                raise refusal(tables, content.digest, f"artifact {artifact.name!r}")
        elif isinstance(content, TreeContent):
            if tainted is None:
                tainted = purged_ids(tables)
            if content.id in tainted:
                raise refusal(tables, b"", f"something in folder {artifact.name!r}")


def purged_in(tables: Reading, members: ArtifactSet, artifact: str = "") -> list[str]:
    """What of a set, or of one artifact of it, was purged: for each such artifact in words."""
    gone = purged_ids(tables)
    found = []
    for member in members.artifacts if gone else ():
        if artifact not in ("", member.name):
            continue
        if isinstance(member.content, FileContent) and member.content.digest in gone:
            removal = tables.purged(member.content.digest)
            when = f" on {removal_text(removal)}" if removal else ""
            found.append(f"artifact {member.name!r} was purged{when}")
        elif isinstance(member.content, TreeContent) and member.content.id in gone:
            found.append(f"something in folder {member.name!r} was purged")
    return found


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
