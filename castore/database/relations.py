"""Rows of `lookup` that follow from two objects, a version and its set, while both are stored.

Whichever of them comes second brings the rows, whichever goes first takes them away.
"""

from __future__ import annotations

from collections.abc import Sequence

from castore.content.reader import ObjectReader
from castore.database import derive
from castore.database.indexes import MEMBERS_SINCE, Index
from castore.database.reading import Reading
from castore.errors import CastoreError
from castore.model.artifact_set import ArtifactSet, decode_set
from castore.model.ids import Id, Kind
from castore.model.manifest import Manifest, decode_manifest

Payload = tuple[Kind, Id, bytes]


def rows_of(
    reading: Reading, payloads: Sequence[Payload]
) -> tuple[set[bytes], list[tuple[int, Id, Id | None]]]:
    """Every key but JUMP that new objects give rise to, with each other and with what is stored.

    And of each version among them its number, its id and its first parent.
    """
    indexes = reading.indexes()
    keys: set[bytes] = set()
    versions: list[tuple[int, Id, Id | None]] = []
    sets = {id: decode_set(payload) for kind, id, payload in payloads if kind is Kind.SET}
    for kind, id, payload in payloads:
        if kind is Kind.MANIFEST:
            manifest = decode_manifest(payload)
            keys |= derive.manifest_keys(id, manifest, indexes)
            members = sets.get(manifest.set) if indexes >= MEMBERS_SINCE else None
            if members is not None:
                keys |= derive.member_keys(id, manifest.at, members)
            else:
                keys |= rows_of_version(reading, id, manifest)
            versions.append((manifest.number, id, next(iter(manifest.parents), None)))
        elif kind is Kind.SET:
            keys |= derive.set_keys(id, sets[id], indexes)
            keys |= rows_of_set(reading, id, sets[id])
        else:
            keys |= derive.lookup_keys(kind, id, payload, indexes)
    return keys, versions


def rows_of_version(reading: Reading, id: Id, manifest: Manifest) -> set[bytes]:
    """The keys a version has for what is in its set; none if that is absent or damaged."""
    if reading.indexes() < MEMBERS_SINCE or not reading.present((manifest.set,)):
        return set()
    try:
        return derive.member_keys(id, manifest.at, ObjectReader(reading.load).set(manifest.set))
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
            keys |= derive.member_keys(version, at, members)
    return keys
