"""A census of a bucket: what it holds and what that takes, without reading a pack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from castore.model.ids import Kind
from castore.model.refs import HEADS, TAGS
from castore.remote.index import Catalogue
from castore.remote.keys import INDEXES, LISTS, PACKS
from castore.remote.root import Root
from castore.remote.transport import Transport


@dataclass(frozen=True, slots=True)
class BucketStats:
    """What a bucket holds.

    `raw` are the bytes of all objects before compression, `packs_bytes` what packs take, `bytes`
    that with indexes and lists. `uploads` are pushes under way or given up.
    """

    branches: int
    tags: int
    versions: int
    notes: int
    objects: int
    raw: int
    packs: int
    packs_bytes: int
    bytes: int
    indexes: int
    uploads: int
    collections: int

    def as_json(self) -> dict[str, Any]:
        """The figures as `--json` prints them."""
        return {name: getattr(self, name) for name in self.__slots__}


def take_census(root: Root, catalogue: Catalogue, transport: Transport) -> BucketStats:
    """Count what a root leads to and what lies in the bucket; raises CorruptObject, RemoteError."""
    versions = objects = raw = 0
    for index in catalogue.indexes:
        for member in index.members():
            objects += 1
            raw += member.size
            versions += member.kind is Kind.MANIFEST
    packs = [item.size for item in transport.list(PACKS)]
    others = sum(item.size for prefix in (INDEXES, LISTS) for item in transport.list(prefix))
    return BucketStats(
        branches=sum(ref.startswith(HEADS) for ref in root.refs),
        tags=sum(ref.startswith(TAGS) for ref in root.refs),
        versions=versions,
        notes=root.notes.notes,
        objects=objects,
        raw=raw,
        packs=len(packs),
        packs_bytes=sum(packs),
        bytes=sum(packs) + others,
        indexes=len(root.indexes),
        uploads=len(root.uploads),
        collections=root.gc_round,
    )
