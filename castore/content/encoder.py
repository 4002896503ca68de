"""Making blocks: what is encoded is decoded again and compared with its ids before it goes on.

Compressors have written wrong frames before (restic #4523); a store must not find that out when
the source is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from castore.content.blocks import Codec, Member, decode_block, join_block
from castore.content.codecs import compress, compressible, decompress
from castore.content.sink import EncodedBlock
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import KIB

# A frame that is not below this share of the raw bytes is not worth decompressing.
_CONTENT_KEEPS = 0.97
_METADATA_KEEPS = 0.85
_METADATA_RAW_BELOW = 4 * KIB


def encode_chunks(chunks: Sequence[tuple[Id, bytes | memoryview]]) -> list[EncodedBlock]:
    """One content block for each chunk."""
    return [_content_block((Member(id, Kind.CHUNK, len(data)),), data) for id, data in chunks]


def encode_solid(chunks: Sequence[tuple[Id, bytes | memoryview]]) -> list[EncodedBlock]:
    """One content block that holds all these chunks, compressed together."""
    members = tuple([Member(id, Kind.CHUNK, len(data)) for id, data in chunks])
    return [_content_block(members, b"".join([data for _, data in chunks]))]


def encode_metadata(objects: Sequence[tuple[Kind, Id, bytes]]) -> list[EncodedBlock]:
    """One metadata block that holds all these objects.

    Only trees and layouts are ever compressed: the rest is read without zstd.
    """
    members = tuple([Member(id, kind, len(payload)) for kind, id, payload in objects])
    raw = b"".join([payload for _, _, payload in objects])
    codec, frame = Codec.RAW, raw
    pages = all(kind in (Kind.TREE, Kind.LAYOUT) for kind, _, _ in objects)
    if pages and len(raw) >= _METADATA_RAW_BELOW:
        packed = compress(raw)
        if len(packed) < _METADATA_KEEPS * len(raw):
            codec, frame = Codec.ZSTD, packed
    data = join_block(codec, True, 0, (), members, frame)
    if _read_back(data) != raw:
        raise _unlike(members[0].id)
    return [EncodedBlock(data, members, len(raw), ())]


def _content_block(members: tuple[Member, ...], raw: bytes | memoryview) -> EncodedBlock:
    codec = Codec.RAW
    frame: bytes | memoryview = raw
    if compressible(raw):
        packed = compress(raw)
        if len(packed) < _CONTENT_KEEPS * len(raw):
            codec, frame = Codec.ZSTD, packed
    data = join_block(codec, False, 0, (), members, frame)
    view = memoryview(_read_back(data))
    at = 0
    for id, _, size in members:
        if content_id(view[at : at + size]) != id:
            raise _unlike(id)
        at += size
    return EncodedBlock(data, members, len(raw), ())


def _read_back(data: bytes) -> bytes:
    block = decode_block(data, "the block just encoded")
    if block.codec is Codec.RAW:
        return block.frame
    return decompress(block.frame, block.raw_size, where="the block just encoded")


def _unlike(id: Id) -> CorruptObject:
    return CorruptObject(
        f"{id.hex()} did not survive being encoded: nothing was stored; the memory of this "
        "machine or its zstd library is faulty",
        id=id.hex(),
        fix="run a memory test",
    )
