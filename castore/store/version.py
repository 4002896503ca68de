"""A version as people speak of it: a manifest, its id, and the branch it was found on."""

from __future__ import annotations

from typing import Final

from castore.content.layouts import layout_size
from castore.content.reader import ObjectReader
from castore.database.reading import Reading
from castore.model.ids import Id, Kind, short
from castore.model.limits import KIB
from castore.model.manifest import Manifest
from castore.model.values import frozen

_SPEC_BYTES: Final = 256 * KIB


@frozen
class Version:
    """One immutable version; `branch` is the branch it was reached by, else that of its commit."""

    id: Id
    manifest: Manifest
    branch: str

    def __repr__(self) -> str:
        return f"<Version {self.label} {self.short}>"

    @property
    def number(self) -> int:
        """Its place along first parents: 1 for the first."""
        return self.manifest.number

    @property
    def label(self) -> str:
        """`branch@vN`, or for a partial `partial/<run>/<branch>`."""
        if not self.manifest.complete:
            return f"partial/{self.manifest.run}/{self.branch}"
        return f"{self.branch}@v{self.manifest.number}"

    @property
    def short(self) -> str:
        """The first 12 hex digits of its id."""
        return short(self.id)

    @property
    def set_id(self) -> Id:
        """The id of its set: equal for equal outputs."""
        return self.manifest.set


def version_in(tables: Reading, id: Id, branch: str = "") -> Version:
    """The version with this id, in the view of the store in which its id was found.

    A view that is taken later may lack it: a collector may run beside. Raises as Store.version.
    """
    manifest = ObjectReader(tables.load).manifest(id)
    return Version(id, manifest, branch or manifest.branch)


def spec_text(reader: ObjectReader, source: Id) -> bytes:
    """The bytes of a spec as committed; raises ObjectNotFound, CorruptObject."""
    root = reader.layout_root(source)
    if root is None:
        return reader.payload(source, Kind.CHUNK)
    return reader.read(source, layout_size(root), _SPEC_BYTES)
