"""Rows of `lookup` that follow from two objects, a version and its set, while both are stored.

Whichever of them comes second brings the rows, whichever goes first takes them away.
"""

from __future__ import annotations

from castore.content.reader import ObjectReader
from castore.database.derive import member_keys
from castore.database.indexes import MEMBERS_SINCE, Index
from castore.database.reading import Reading
from castore.errors import CastoreError
from castore.model.artifact_set import ArtifactSet
from castore.model.ids import Id
from castore.model.manifest import Manifest


def rows_of_version(reading: Reading, id: Id, manifest: Manifest) -> set[bytes]:
    """The keys a version has for what is in its set; none if that is absent or damaged."""
    if reading.indexes() < MEMBERS_SINCE or not reading.present((manifest.set,)):
        return set()
    try:
        return member_keys(id, manifest.at, ObjectReader(reading.load).set(manifest.set))
    except CastoreError:
        return set()


def rows_of_set(reading: Reading, id: Id, members: ArtifactSet) -> set[bytes]:
    """The keys that the stored versions of a set have for what is in it."""
    if reading.indexes() < MEMBERS_SINCE:
        return set()
    keys: set[bytes] = set()
    reader = ObjectReader(reading.load)
    for at, version in reading.lookup(Index.IN_MANIFEST, id):
        try:
            manifest = reader.manifest(version)
        except CastoreError:
            continue
        if manifest.set == id:
            keys |= member_keys(version, at, members)
    return keys
