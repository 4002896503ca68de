"""Bundles put together by hand, for tests: what no castore would write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from castore.content.blocks import decode_block
from castore.content.delta_encoder import encode_plain
from castore.content.encoder import encode_metadata
from castore.model.artifact_set import Artifact, ArtifactSet, Content, encode_set
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.manifest import Manifest, encode_manifest
from castore.remote.bundle import BundleHead, BundleWriter, Needed, PartType
from castore.remote.index import Index, IndexWriter, PackName
from castore.remote.pack import PackType, PackWriter
from castore.remote.root import IndexName, Root, seal_notes

UUID = b"u" * 16
Object = tuple[Kind, Id, bytes]


def chunk(data: bytes) -> Object:
    """A chunk of content."""
    return Kind.CHUNK, content_id(data), data


def set_of(content: Content) -> Object:
    """A set of one artifact."""
    data = encode_set(ArtifactSet((Artifact("a", "document", "text", "a", content),)))
    return Kind.SET, object_id(Kind.SET, data), data


def like(manifest: Manifest, set: Id, **changed: object) -> Object:
    """A manifest like another, of another set."""
    data = encode_manifest(replace(manifest, set=set, **changed))  # type: ignore[arg-type]
    return Kind.MANIFEST, object_id(Kind.MANIFEST, data), data


def write(
    path: Path,
    project: bytes,
    objects: Sequence[Object],
    refs: Mapping[str, Id],
    *,
    needs: Sequence[Needed] = (),
    blocks: Sequence[bytes] = (),
    twice: bool = False,
    change: Callable[[Root], Root] = lambda root: root,
) -> Path:
    """A bundle of these objects and blocks; with `twice` its pack is in it two times."""
    made = [b.data for b in encode_plain([(i, d) for k, i, d in objects if k is Kind.CHUNK])]
    made += [b.data for b in encode_metadata([o for o in objects if o[0] is not Kind.CHUNK])]
    pack = PackWriter(PackType.DATA, os.urandom(16))
    found = [(pack.add(data), data) for data in [*made, *blocks]]
    pack_id, pack_data = pack.finish()
    index = IndexWriter()
    for offset, data in found:
        block = decode_block(data, "test")._replace(frame=b"")
        slots = range(len(block.members))
        index.add_block(PackName(UUID, pack_id), offset, len(data), block, slots)
    index_id, index_data = index.finish(bytes(16))
    read = Index(index_data, index_id)
    name = IndexName(UUID, index_id, read.blocks_count, read.members_count, len(index_data))
    notes = seal_notes([id for kind, id, _ in objects if kind is Kind.NOTE])
    root = change(Root(project, UUID, refs=dict(refs), indexes=(name,), notes=notes))
    with path.open("wb") as file:
        writer = BundleWriter(file, UUID)
        for _ in range(1 + twice):
            writer.add(PartType.PACK, pack_id, pack_data)
        writer.add(PartType.INDEX, index_id, index_data)
        writer.finish(BundleHead(1, "", tuple(needs), root))
    return path
