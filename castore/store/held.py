"""Held: external artifacts whose bytes a store has, as if they were declared stored."""

from __future__ import annotations

from castore.content.layouts import layout_size
from castore.database.reading import Reading
from castore.database.tables import State
from castore.model.artifact_set import Artifact, ExternalContent, FileContent
from castore.model.ids import Kind
from castore.store.store import Store


def held_file(store: Store, content: ExternalContent) -> FileContent | None:
    """The file that an external artifact is, if its digest is known and its bytes are here."""
    if not content.digest:
        return None

    def look(tables: Reading) -> Kind | None:
        row = tables.object_row(content.digest)
        here = row is not None and row.state is State.STORED
        return row.kind if here and row is not None else None

    kind = store.database.read(look)
    if kind not in (Kind.CHUNK, Kind.LAYOUT):
        return None
    root = store.reader.layout_root(content.digest)
    size = layout_size(root) if root else len(store.reader.payload(content.digest, Kind.CHUNK))
    return FileContent(content.digest, size, 0)


def as_held(store: Store, artifact: Artifact) -> Artifact:
    """An artifact as a stored one, if it is external and its bytes are here."""
    if not isinstance(artifact.content, ExternalContent):
        return artifact
    found = held_file(store, artifact.content)
    if found is None:
        return artifact
    return Artifact(artifact.name, artifact.type, artifact.format, artifact.path, found)
