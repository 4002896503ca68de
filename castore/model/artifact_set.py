"""A set: the artifacts of one production as pure content, without time, agent or parent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from castore.errors import CorruptObject, InvalidInput
from castore.model.encoding import decode, encode
from castore.model.fields import Fields, plain, storable
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import NAME_BYTES, PATH_BYTES, SET_ARTIFACTS, SET_BYTES
from castore.model.names import check_stored_path, nested_paths
from castore.model.values import frozen, made


@frozen
class FileContent:
    """A stored file: BLAKE3 of its bytes, 1 if its owner may execute it, its size in bytes."""

    digest: Id
    size: int
    mode: int = 0


@frozen
class TreeContent:
    """A stored folder: the id of its root tree page and the bytes of all files below."""

    id: Id
    size: int


@frozen
class ExternalContent:
    """Bytes that live elsewhere: their BLAKE3 or b"", their size or -1, where unknown."""

    digest: Id = b""
    size: int = -1


Content: TypeAlias = FileContent | TreeContent | ExternalContent


@frozen
class Artifact:
    """One named, typed output; `path` is its place below the base, relative, with `/`."""

    name: str
    type: str
    format: str
    path: str
    content: Content


@frozen
class ArtifactSet:
    """The artifacts of one production, sorted by name."""

    artifacts: tuple[Artifact, ...]
    ext: Mapping[str, bytes] = made(default_factory=dict)

    @property
    def id(self) -> Id:
        """The set id: the same outputs have the same one."""
        return object_id(Kind.SET, encode_set(self))

    def get(self, name: str) -> Artifact | None:
        """The artifact of this name, or None."""
        return next((artifact for artifact in self.artifacts if artifact.name == name), None)


def make_set(artifacts: Iterable[Artifact]) -> ArtifactSet:
    """A set of these artifacts in stored order; raises InvalidInput for clashing names, places."""
    # Code points order as their UTF-8 bytes do.
    ordered = tuple(sorted(artifacts, key=lambda artifact: artifact.name))
    names = [artifact.name for artifact in ordered]
    for name, following in itertools.pairwise(names):
        if name == following:
            raise InvalidInput(f"artifact {name!r} was given twice")
    if len(ordered) > SET_ARTIFACTS:
        raise InvalidInput(f"{len(ordered)} artifacts; a set holds at most {SET_ARTIFACTS}")
    clash = nested_paths(artifact.path for artifact in ordered)
    if clash:
        raise InvalidInput(f"places {clash[0]!r} and {clash[1]!r} are equal or nested")
    return ArtifactSet(ordered)


def encode_set(value: ArtifactSet) -> bytes:
    """The canonical bytes of a set; raises InvalidInput for one that `decode_set` would refuse."""
    rows = [
        {
            "content": _content_map(artifact.content),
            "format": artifact.format,
            "name": artifact.name,
            "path": artifact.path,
            "type": artifact.type,
        }
        for artifact in value.artifacts
    ]
    payload = encode({"artifacts": rows, "ext": plain(value.ext)})
    return storable(payload, decode_set)


def decode_set(payload: bytes) -> ArtifactSet:
    """The set encoded by `payload`; raises CorruptObject."""
    fields = Fields(decode(payload, limit=SET_BYTES, what="set"), "set", ("artifacts", "ext"))
    artifacts = fields.items("artifacts", _read_artifact, SET_ARTIFACTS, sort=False)
    names = [artifact.name.encode() for artifact in artifacts]
    if any(a >= b for a, b in itertools.pairwise(names)):
        raise CorruptObject("set: artifacts not sorted by name, or with duplicates")
    if nested_paths(artifact.path for artifact in artifacts):
        raise CorruptObject("set: places are equal or nested")
    return ArtifactSet(artifacts, fields.ext())


def _content_map(content: Content) -> dict[str, Any]:
    if isinstance(content, FileContent):
        return {
            "digest": content.digest,
            "kind": "file",
            "mode": content.mode,
            "size": content.size,
        }
    if isinstance(content, TreeContent):
        return {"id": content.id, "kind": "tree", "size": content.size}
    return {"digest": content.digest, "kind": "external", "size": content.size}


def _read_artifact(value: Any, what: str) -> Artifact:
    fields = Fields(value, what, ("content", "format", "name", "path", "type"))
    name = fields.text("name", NAME_BYTES)
    path = fields.text("path", PATH_BYTES)
    if not name:
        raise fields.fail("name", "empty")
    check_stored_path(path, what)
    return Artifact(
        name=name,
        type=fields.text("type", NAME_BYTES),
        format=fields.text("format", NAME_BYTES),
        path=path,
        content=_read_content(fields.raw("content"), f"{what}: content"),
    )


def _read_content(value: Any, what: str) -> Content:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "file":
        fields = Fields(value, what, ("digest", "kind", "mode", "size"))
        return FileContent(
            fields.id("digest"), fields.integer("size", 0), fields.integer("mode", 0, 1)
        )
    if kind == "tree":
        fields = Fields(value, what, ("id", "kind", "size"))
        return TreeContent(fields.id("id"), fields.integer("size", 0))
    if kind == "external":
        fields = Fields(value, what, ("digest", "kind", "size"))
        return ExternalContent(fields.id_or_empty("digest"), fields.integer("size", -1))
    raise CorruptObject(f"{what}: unknown kind")
