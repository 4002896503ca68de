"""What an object needs: hard edges hold bytes, history edges may be cut, weak edges only point."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from castore.model.artifact_set import ExternalContent, FileContent, TreeContent, decode_set
from castore.model.ids import Id, Kind
from castore.model.manifest import decode_manifest
from castore.model.note import decode_note
from castore.model.pages import FILE, Branching, Entry, decode_layout, decode_tree


class Strength(Enum):
    """How an edge binds: `hard` always, `history` until the version is forgotten, `weak` never."""

    HARD = "hard"
    HISTORY = "history"
    WEAK = "weak"


class Edge(NamedTuple):
    """One reference from an object; kind None is file content, a chunk or a layout."""

    target: Id
    kind: Kind | None
    strength: Strength


def edges(kind: Kind, payload: bytes) -> Iterator[Edge]:
    """Every edge of an object, in stored order; raises CorruptObject for a malformed payload.

    `Edge.kind` is None for file content, which is a chunk or a layout, whichever is stored.
    """
    if kind is Kind.LAYOUT:
        page = decode_layout(payload)
        below = Kind.LAYOUT if page.level else Kind.CHUNK
        yield from (Edge(part.id, below, Strength.HARD) for part in page.parts)
    elif kind is Kind.TREE:
        for row in decode_tree(payload).entries:
            if isinstance(row, Branching):
                yield Edge(row.id, Kind.TREE, Strength.HARD)
            else:
                yield Edge(row.id, _entry_kind(row), Strength.HARD)
    elif kind is Kind.SET:
        for artifact in decode_set(payload).artifacts:
            content = artifact.content
            if isinstance(content, FileContent):
                yield Edge(content.digest, None, Strength.HARD)
            elif isinstance(content, TreeContent):
                yield Edge(content.id, Kind.TREE, Strength.HARD)
    elif kind is Kind.MANIFEST:
        yield from _manifest_edges(payload)
    elif kind is Kind.NOTE:
        yield from _note_edges(payload)


def needs(kind: Kind, payload: bytes, *, forgotten: bool = False) -> list[Edge]:
    """The edges to what an object needs, in stored order: a `forgotten` version no set any more.

    Raises CorruptObject for a malformed payload.
    """
    return [
        edge
        for edge in edges(kind, payload)
        if edge.strength is not Strength.WEAK and not (forgotten and edge.kind is Kind.SET)
    ]


def held_digests(payload: bytes) -> list[Id]:
    """The digests of the external artifacts of a set, where they are known.

    No edges: what lies elsewhere need not be here. If it is, the set keeps it.
    """
    return [
        artifact.content.digest
        for artifact in decode_set(payload).artifacts
        if isinstance(artifact.content, ExternalContent) and artifact.content.digest
    ]


def _entry_kind(entry: Entry) -> Kind | None:
    return None if entry.kind == FILE else Kind.TREE


def _manifest_edges(payload: bytes) -> Iterator[Edge]:
    manifest = decode_manifest(payload)
    yield Edge(manifest.set, Kind.SET, Strength.HISTORY)
    yield from (Edge(parent, Kind.MANIFEST, Strength.HISTORY) for parent in manifest.parents)
    if manifest.spec.source:
        yield Edge(manifest.spec.source, None, Strength.HARD)
    yield from (Edge(digest, None, Strength.HARD) for _, digest in manifest.spec.files)
    yield from (Edge(digest, None, Strength.HARD) for _, digest, _ in manifest.attachments)
    yield from (Edge(id, Kind.MANIFEST, Strength.WEAK) for _, id in manifest.carried)
    for source in manifest.sources:
        if source.target:
            yield Edge(source.target, Kind.MANIFEST, Strength.WEAK)


def _note_edges(payload: bytes) -> Iterator[Edge]:
    note = decode_note(payload)
    kind = Kind.MANIFEST if note.target_kind == "manifest" else Kind.NOTE
    yield Edge(note.target, kind, Strength.WEAK)
    yield from (Edge(id, Kind.NOTE, Strength.WEAK) for id in (*note.after, *note.replaces))
