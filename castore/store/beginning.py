"""Beginning: what a selector, a URI, a digest or a place on disk means to a walk over lineage."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.errors import InvalidInput, RefNotFound
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id, Kind, parse_id
from castore.model.names import quoted
from castore.model.refs import HEADS
from castore.store.recognition import as_path, content_at, recognise_set
from castore.store.selectors import parse_selector, resolve
from castore.store.store import Store
from castore.store.walk import Node


def whole_branch(store: Store, what: str | os.PathLike[str]) -> Node | None:
    """The node of a branch, where nothing tells which of its versions is meant."""
    if as_path(what) is not None or "://" in str(what):
        return None
    try:
        selector = parse_selector(str(what))
    except InvalidInput:
        return None
    if selector.at or selector.back or selector.path:
        return None
    if store.database.read(lambda tables: tables.ref(HEADS + selector.name)) is None:
        return None
    resolve(store, selector.text)
    return Node(selector.text, artifact=selector.artifact, branch=selector.name)


def begin_of(store: Store, what: str | os.PathLike[str]) -> Node:
    """The node that a selector, a URI, a digest or a place means; raises RefNotFound."""
    path = as_path(what)
    if path is not None:
        return _on_disk(store, path)
    what = str(what)
    if "://" in what or what.startswith("file:"):
        return Node(what, uri=what)
    if len(what) == 64 and not what.strip("0123456789abcdef"):
        id = parse_id(what)
        row = store.database.read(lambda tables: tables.object_row(id))
        if row is None or row.kind is not Kind.MANIFEST:
            if row is None and not store.database.read(partial(_is_named, id)):
                raise RefNotFound(f"no version, content or source is {what}", fix="cas log")
            return Node(what, digest=id)
    try:
        resolved = resolve(store, what)
    except (RefNotFound, InvalidInput):
        # A name of nothing that is stored, but of something that lies here.
        if not os.path.lexists(what):
            raise
        return _on_disk(store, Path(what))
    version, artifact = resolved.version, resolved.artifact
    if artifact is None:
        return Node(version.id.hex(), version)
    return Node(f"{version.id.hex()}:{artifact.name}", version, artifact.name)


def _on_disk(store: Store, path: Path) -> Node:
    """The node of a file or folder: its content, the source it was by its name, or a version."""
    content = content_at(path)
    digest = content.id if isinstance(content, TreeContent) else content.digest
    if store.database.read(partial(_is_named, digest)):
        return Node(digest.hex(), digest=digest, size=content.size)
    if isinstance(content, TreeContent):
        newest = recognise_set(store, path).versions[0]
        return Node(newest.id.hex(), newest)
    uri = Path(os.path.abspath(path)).as_uri()
    if store.database.read(partial(_is_named, uri)):
        return Node(uri, uri=uri)
    raise RefNotFound(
        f"no version holds the bytes of {str(path)!r}, and none was made from it",
        fix=f"cas find {quoted(path.name)}",
        digest=digest.hex(),
    )


def _is_named(value: Id | str, tables: Reading) -> bool:
    """Whether a source names this digest or URI, or a set or folder holds this content."""
    if next(tables.lookup(Index.SOURCE, value), None):
        return True
    return isinstance(value, bytes) and next(tables.containers(value), None) is not None
