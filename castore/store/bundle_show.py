"""What a bundle tells of itself: its refs, the versions in it, what it begins after, its size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castore.content.reader import ObjectReader
from castore.model.ids import Id, Kind
from castore.model.manifest import Manifest
from castore.remote.bundle import BundleFile, Needed
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.store.moments import format_moment


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """A bundle: `bytes` in the file, `content_bytes` of what they unpack to.

    `versions` are those in it, newest first; a ref may name one that it begins after, which is not.
    """

    path: Path
    id: Id
    project: bytes
    at: int
    by: str
    refs: dict[str, Id]
    needs: tuple[Needed, ...]
    versions: tuple[tuple[Id, Manifest], ...]
    notes: int
    objects: int
    bytes: int
    content_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The bundle as `--json` prints it."""
        return {
            "bundle": str(self.path),
            "id": self.id.hex(),
            "project": self.project.hex(),
            "at": format_moment(self.at),
            "by": self.by or None,
            "refs": {ref: id.hex() for ref, id in sorted(self.refs.items())},
            "needs": [{"id": id.hex(), "label": label} for id, label in self.needs],
            "versions": [
                {
                    "id": id.hex(),
                    "branch": manifest.branch,
                    "number": manifest.number,
                    "at": format_moment(manifest.at),
                    "message": manifest.message or None,
                }
                for id, manifest in self.versions
            ],
            "notes": self.notes,
            "objects": self.objects,
            "bytes": self.bytes,
            "content_bytes": self.content_bytes,
        }


def read_bundle(path: str | os.PathLike[str]) -> BundleInfo:
    """What a bundle holds; of content nothing is read.

    Raises InvalidInput where the file cannot be read, CorruptObject, UnsupportedFormat.
    """
    with BundleFile(Path(path)) as bundle:
        catalogue = bundle.catalogue()
        reader = ObjectReader(FarObjects(catalogue, BlockFetcher(bundle)).load)
        versions = [(id, reader.manifest(id)) for id in catalogue.ids_of(Kind.MANIFEST)]
        versions.sort(key=lambda found: (found[1].at, found[1].number, found[0]), reverse=True)
        root = bundle.head.root
        indexes = catalogue.indexes
        return BundleInfo(
            bundle.path,
            bundle.id,
            root.project,
            bundle.head.at,
            bundle.head.by,
            dict(root.refs),
            bundle.head.needs,
            tuple(versions),
            notes=root.notes.notes,
            objects=sum(index.members_count for index in indexes),
            bytes=bundle.size,
            content_bytes=sum(
                index.block(row).raw for index in indexes for row in range(index.blocks_count)
            ),
        )
