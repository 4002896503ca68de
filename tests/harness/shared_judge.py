"""What a bucket must be after whatever was done to it, found without the code that reads buckets.

Blocks are looked at once: nothing in a bucket changes under its key. What must hold again after
each schedule is that everything a ref needs is named by an index that root lists, in a pack that is
there, and that deltas have their bases there, less deep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from castore.content.blocks import Block, decode_block
from castore.content.deltas import StoredObject, raw_bytes
from castore.content.layouts import iter_parts
from castore.errors import CastoreError
from castore.model.artifact_set import FileContent, decode_set
from castore.model.edges import Strength, edges
from castore.model.ids import Id, Kind, object_id
from castore.model.manifest import decode_manifest
from castore.remote.index import Spot
from castore.remote.keys import pack_key
from castore.remote.root import Root, seal_notes
from tests.harness.frame import Lost
from tests.harness.shared_bucket import SharedBucket

Place = tuple[str, int]


class Found(NamedTuple):
    """An object as an index tells of it."""

    place: Place
    slot: int
    kind: Kind
    spot: Spot


class BucketJudge:
    """Looks at a bucket; keeps what it decoded."""

    def __init__(self, bucket: SharedBucket) -> None:
        self._bucket = bucket
        self._blocks: dict[Place, tuple[Block, list[bytes]]] = {}
        self._below: dict[Id, list[tuple[Id, bool]]] = {}
        self._parents: dict[Id, tuple[Id, ...]] = {}
        self._known: dict[Id, Found] = {}

    def look(self) -> None:
        """Raises Lost for anything that does not hold."""
        root = self._bucket.root
        self._known = {}
        for name in root.indexes:
            index = self._bucket.index(name.upload, name.id)
            if index is None:
                raise Lost(f"index {name.id.hex()[:8]} is gone")
            for member in index.members():
                spot = index.block(member.block)
                place = pack_key(*spot.pack), spot.offset
                known = self._known.get(member.id)
                if known is None or spot.depth < known.spot.depth:
                    self._known[member.id] = Found(place, member.slot, member.kind, spot)
        notes = {id for id, found in self._known.items() if found.kind is Kind.NOTE}
        if seal_notes(notes) != root.notes:
            raise Lost(f"root {root.serial} tells of other notes than its {len(notes)}")
        starts = [*root.refs.values(), *notes]
        self._closure(starts, root)

    def notes(self) -> set[Id]:
        """The notes that were there when it looked."""
        return {id for id, found in self._known.items() if found.kind is Kind.NOTE}

    def ancestors(self, id: Id) -> set[Id]:
        """A version and all that come before it."""
        seen: set[Id] = set()
        stack = [id]
        while stack:
            one = stack.pop()
            if one in seen or one not in self._known:
                continue
            seen.add(one)
            if one not in self._parents:
                self._parents[one] = decode_manifest(self._payload(one)).parents
            stack += self._parents[one]
        return seen

    def file(self, version: Id, name: str) -> bytes:
        """The bytes of an artifact as they lie in the bucket."""
        members = decode_set(self._payload(decode_manifest(self._payload(version)).set))
        content = next(a.content for a in members.artifacts if a.name == name)
        assert isinstance(content, FileContent)
        return b"".join(self._pieces(content.digest))

    def _pieces(self, digest: Id) -> Iterator[bytes]:
        if self._known[digest].kind is Kind.CHUNK:
            yield self._payload(digest)
            return
        for part in iter_parts(self._payload, self._payload(digest)):
            yield self._payload(part.id)

    def _closure(self, starts: list[Id], root: Root) -> None:
        seen: set[Id] = set()
        stack = list(starts)
        while stack:
            id = stack.pop()
            if id in seen or id in root.purged:
                continue
            seen.add(id)
            found = self._known.get(id)
            if found is None:
                raise Lost(f"{id.hex()[:12]}, which a ref needs, is in no index")
            if found.place[0] not in self._bucket.plain._objects:
                raise Lost(f"{id.hex()[:12]}, which a ref needs, is in a pack that is gone")
            for base in found.spot.bases:
                rest = self._known.get(base)
                if rest is None or rest.spot.depth >= found.spot.depth:
                    raise Lost(f"{id.hex()[:12]} rests on {base.hex()[:12]}, which is gone")
                stack.append(base)
            cut = id in root.forgotten
            stack += [target for target, is_set in self._needs(id) if not (cut and is_set)]

    def _needs(self, id: Id) -> list[tuple[Id, bool]]:
        kept = self._below.get(id)
        if kept is None:
            kind, payload = self._known[id].kind, self._payload(id)
            kept = self._below[id] = [
                (edge.target, kind is Kind.MANIFEST and edge.kind is Kind.SET)
                for edge in edges(kind, payload)
                if edge.strength is not Strength.WEAK
            ]
        return kept

    def _payload(self, id: Id) -> bytes:
        """The bytes of an object, compared with its id."""
        found = self._known[id]
        block, payloads = self._decoded(found)
        member = block.members[found.slot]
        if (member.id, member.kind) != (id, found.kind):
            raise Lost(f"an index tells of {id.hex()[:12]} where another is")
        return payloads[found.slot]

    def _decoded(self, found: Found) -> tuple[Block, list[bytes]]:
        kept = self._blocks.get(found.place)
        if kept is not None:
            return kept
        key, at = found.place
        got = self._bucket.plain._objects.get(key)
        if got is None:
            raise Lost(f"{key} is gone")
        where = f"{key} at {at}"
        try:
            block = decode_block(got.data[at : at + found.spot.stored], where)
            raw = raw_bytes(block, self._load, where)
        except CastoreError as error:
            raise Lost(f"{where} cannot be decoded: {error}") from error
        payloads = []
        for slot, member in enumerate(block.members):
            start, end = block.span(slot)
            payload = raw[start:end]
            # The root page of a file has the digest of the file.
            if member.kind is not Kind.LAYOUT and object_id(member.kind, payload) != member.id:
                raise Lost(f"{where}: other bytes than those of {member.id.hex()[:12]}")
            payloads.append(payload)
        self._blocks[found.place] = block, payloads
        return block, payloads

    def _load(self, id: Id) -> StoredObject:
        found = self._known[id]
        key, at = found.place
        data = self._bucket.plain._objects[key].data[at : at + found.spot.stored]
        return StoredObject(found.kind, hash(found.place) & 0xFFFFFFFF, found.slot, data)
