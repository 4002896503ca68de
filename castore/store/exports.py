"""Exports: what a version is in the words of others; the parts that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote

from castore.content.trees import walk_tree
from castore.errors import IncompleteSet, ObjectNotFound
from castore.model.artifact_set import Artifact, ExternalContent, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.manifest import Source
from castore.model.pages import TREE
from castore.store.store import Store
from castore.store.version import Version

URN: Final = "urn:x-castore:"
"""How castore's own things are named where a URI is asked for."""


class ExportedFile(NamedTuple):
    """A file of a version at its place, by its BLAKE3; size in bytes."""

    path: str
    artifact: Artifact
    digest: Id
    size: int


class Maker(NamedTuple):
    """An earlier version that made what a version carries, and the sources of that.

    `version` is None where it is not stored here.
    """

    id: Id
    version: Version | None
    artifacts: tuple[Artifact, ...]
    sources: tuple[Source, ...]


def makers_of(store: Store, version: Version) -> list[Maker]:
    """The makers of the artifacts that a version carries, the earliest first."""
    carried: dict[Id, list[str]] = {}
    for name, id in version.manifest.carried:
        carried.setdefault(id, []).append(name)
    members = store.set_of(version).artifacts if carried else ()
    found = []
    for id, names in carried.items():
        try:
            made = store.version(id)
        except ObjectNotFound:
            made = None
        found.append(
            Maker(
                id,
                made,
                tuple(member for member in members if member.name in names),
                tuple(
                    source
                    for source in (made.manifest.sources if made else ())
                    if source.artifact in ("", *names)
                ),
            )
        )
    return sorted(found, key=lambda one: (one.version.manifest.at if one.version else 0, one.id))


def complete(version: Version) -> Version:
    """The version itself; raises IncompleteSet for one that others would take for the whole."""
    if not version.manifest.complete:
        raise IncompleteSet(
            f"{version.label} is incomplete: only complete versions are exported",
            missing=list(version.manifest.missing),
            failed=list(version.manifest.failed),
        )
    return version


def files_of(store: Store, version: Version) -> Iterator[ExportedFile]:
    """Every file of a version that is stored here, those of folders one by one, by place."""
    for artifact in sorted(store.set_of(version).artifacts, key=lambda found: found.path):
        content = artifact.content
        if isinstance(content, FileContent):
            yield ExportedFile(artifact.path, artifact, content.digest, content.size)
        elif isinstance(content, TreeContent):
            for path, entry in walk_tree(store.reader.tree_page, content.id):
                if entry.kind != TREE:
                    place = f"{artifact.path}/{path.decode()}"
                    yield ExportedFile(place, artifact, entry.id, entry.size)


def externals_of(store: Store, version: Version) -> list[Artifact]:
    """The artifacts whose bytes are elsewhere."""
    members = store.set_of(version).artifacts
    return [found for found in members if isinstance(found.content, ExternalContent)]


def sha256(store: Store, digest: Id, size: int) -> str:
    """SHA-256 of stored content, in hex: all of it is read, and compared with its BLAKE3."""
    found = hashlib.sha256()
    for piece in store.reader.stream(digest, size):
        found.update(piece)
    return found.hexdigest()


def version_uri(id: Id, artifact: str = "") -> str:
    """The URI of a version, or of one artifact of it."""
    return f"{URN}version:{id.hex()}" + (f":{quote(artifact)}" if artifact else "")


def source_uri(source: Source) -> str:
    """The URI of a source: its own, or castore's name for the version or content it is."""
    if source.target:
        return version_uri(source.target, source.target_artifact)
    if source.uri:
        return source.uri
    return f"{URN}content:{source.digest.hex()}" if source.digest else ""
