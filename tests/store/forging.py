"""Buckets put together by hand: every name fits its bytes, and what they say may be a lie."""

from __future__ import annotations

import json
from collections.abc import Sequence
from struct import Struct
from typing import Any

import zstandard

from castore.content.blocks import Codec, Member, block_head
from castore.content.reader import ObjectReader
from castore.model.edges import edges
from castore.model.encoding import decode, encode
from castore.model.ids import Id, Kind, object_id
from castore.remote.index import Indexed, IndexWriter, PackName, Spot
from castore.remote.keys import IDENTITY, ROOT, index_key, pack_key
from castore.remote.memory import MemoryTransport
from castore.remote.pack import HEADER, MAGIC, pack_id
from castore.remote.root import IndexName, Root, encode_root, seal_notes
from castore.store.store import Store

UPLOAD = b"u" * 16
UUID = b"b" * 16
_SIZE = Struct("<I")


def closure(store: Store, *starts: Id) -> dict[Id, tuple[Kind, bytes]]:
    """Every object that these need, those that are named weakly too, by id."""
    reader = ObjectReader(store.database.load)
    found: dict[Id, tuple[Kind, bytes]] = {}
    stack = list(starts)
    while stack:
        id = stack.pop()
        if id not in found:
            found[id] = reader.object(id)
            stack += [edge.target for edge in edges(*found[id])]
    return found


def changed(payload: bytes, **fields: Any) -> bytes:
    """An object with other fields, canonical."""
    return encode({**decode(payload, limit=1 << 24), **fields})


class Forge:
    """Takes blocks and what an index is to tell of them, then makes a bucket of one pack."""

    def __init__(self, project: bytes) -> None:
        self.transport = MemoryTransport()
        self._project = project
        self._pack = bytearray(HEADER.pack(MAGIC, 1, 1, 0, 0, b"n" * 16))
        self._blocks = 0
        self._spots: list[tuple[Spot, list[Indexed]]] = []

    def objects(self, found: dict[Id, tuple[Kind, bytes]]) -> None:
        """Objects, each in a block of its own, told of as they are."""
        for id, (kind, payload) in found.items():
            self.object(kind, payload, id)

    def object(self, kind: Kind, payload: bytes, id: Id = b"", **said: Any) -> Id:
        """An object in a raw block, under its id or another; its id."""
        id = id or object_id(kind, payload)
        self.block(Codec.RAW, [Member(id, kind, len(payload))], payload, **said)
        return id

    def block(
        self,
        codec: Codec,
        members: Sequence[Member],
        frame: bytes,
        *,
        bases: tuple[Id, ...] = (),
        depth: int = 0,
        **said: Any,
    ) -> None:
        """A block of any kind; `said` is what the index tells instead of what is so."""
        metadata = members[0].kind is not Kind.CHUNK
        head = block_head(codec, metadata, depth, bases, members, frame)
        self._pack += _SIZE.pack(len(head) + len(frame))
        spot = Spot(
            PackName(UPLOAD, bytes(32)),
            len(self._pack),
            len(head) + len(frame),
            sum(member.size for member in members),
            codec,
            int(metadata),
            depth,
            bases,
            len(members),
        )
        self._pack += head + frame
        self._blocks += 1
        self.tell(spot, [Indexed(m.id, 0, n, m.kind, m.size) for n, m in enumerate(members)], said)

    def tell(self, spot: Spot, members: list[Indexed], said: dict[str, Any]) -> None:
        """What the index tells of a block; keys of `said` with `each_` are of its members."""
        each = {key[5:]: value for key, value in said.items() if key.startswith("each_")}
        rest = {key: value for key, value in said.items() if not key.startswith("each_")}
        self._spots.append((spot._replace(**rest), [m._replace(**each) for m in members]))

    def bucket(self, refs: dict[str, Id], **said: Any) -> MemoryTransport:
        """The bucket, with these refs; `said` are other fields of its root."""
        data = bytes(self._pack) + _SIZE.pack(0) + _SIZE.pack(self._blocks)
        pack = PackName(UPLOAD, pack_id(data))
        self.transport.put(pack_key(*pack), data)
        writer = IndexWriter()
        for spot, members in self._spots:
            writer.add_spot(spot._replace(pack=pack), members)
        id, index = writer.finish(b"i" * 16)
        self.transport.put(index_key(UPLOAD, id), index)
        notes = {m.id for _, members in self._spots for m in members if m.kind is Kind.NOTE}
        root = Root(
            self._project,
            UUID,
            serial=7,
            refs=refs,
            indexes=(IndexName(UPLOAD, id, self._blocks, len(self._spots), len(index)),),
            notes=seal_notes(notes),
        )
        for key, value in said.items():
            object.__setattr__(root, key, value)
        self.put_root(encode_root(root, _no_page))
        return self.transport

    def put_root(self, data: bytes) -> None:
        """A root of any bytes, and who the bucket is."""
        self.transport.put(ROOT, data)
        self.transport.put(IDENTITY, identity(self._project))


def identity(project: bytes, **more: Any) -> bytes:
    """What `castore.json` holds."""
    said = {"castore": 1, "project": project.hex(), "uuid": UUID.hex(), **more}
    return json.dumps(said).encode()


def packed(data: bytes, *, sized: bool = True) -> bytes:
    """A frame of zstd, that tells its size or not."""
    return zstandard.ZstdCompressor(write_content_size=sized).compress(data)


def _no_page(_id: Id, _data: bytes) -> bytes:
    raise AssertionError("too many rows for a root without pages")
