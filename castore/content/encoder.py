"""Making blocks: what is compressed is decoded again and compared with its ids before it goes on.

Compressors have written wrong frames before (restic #4523); a store must not find that out when
the source is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from castore.content.blocks import Codec, Member, join_block
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
    """One content block for each chunk; a probe is made only after one that did not compress."""
    blocks: list[EncodedBlock] = []
    promising = False
    for id, data in chunks:
        promising = promising or compressible(data)
        block, promising = _content_block((Member(id, Kind.CHUNK, len(data)),), data, promising)
        blocks.append(block)
    return blocks


def encode_solid(chunks: Sequence[tuple[Id, bytes | memoryview]]) -> list[EncodedBlock]:
    """One content block that holds all these chunks, compressed together."""
    members = tuple([Member(id, Kind.CHUNK, len(data)) for id, data in chunks])
    raw = b"".join([data for _, data in chunks])
    return [_content_block(members, raw, compressible(raw))[0]]


def encode_solids(groups: Sequence[Sequence[tuple[Id, bytes]]]) -> list[EncodedBlock]:
    """For each group of chunks what `encode_solid` gives, if the ids were just taken from the data.

    Then equal bytes after decoding are enough. A probe is made only after a block that did not
    compress.
    """
    blocks: list[EncodedBlock] = []
    promising = False
    for chunks in groups:
        members = tuple([Member(id, Kind.CHUNK, len(data)) for id, data in chunks])
        raw = b"".join([data for _, data in chunks])
        promising = promising or compressible(raw)
        block, promising = _content_block(members, raw, promising, trusted=True)
        blocks.append(block)
    return blocks


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
    if _read_back(data, codec, len(frame), len(raw)) != raw:
        raise unlike(members[0].id)
    return [EncodedBlock(data, members, len(raw), ())]


def _content_block(
    members: tuple[Member, ...],
    raw: bytes | memoryview,
    promising: bool,
    *,
    trusted: bool = False,
) -> tuple[EncodedBlock, bool]:
    """The block, and whether it was worth compressing; `trusted` if `raw` surely has these ids."""
    codec = Codec.RAW
    frame: bytes | memoryview = raw
    if promising:
        packed = compress(raw)
        if len(packed) < _CONTENT_KEEPS * len(raw):
            codec, frame = Codec.ZSTD, packed
    data = join_block(codec, False, 0, (), members, frame)
    if codec is Codec.ZSTD:
        back = _read_back(data, codec, len(frame), len(raw))
        if not trusted:
            _verify(members, back)
        elif back != raw:
            raise unlike(members[0].id)
    return EncodedBlock(data, members, len(raw), ()), codec is Codec.ZSTD


def _verify(members: tuple[Member, ...], raw: bytes | memoryview) -> None:
    """Compare the members with their ids."""
    view = memoryview(raw)
    at = 0
    for id, _, size in members:
        if content_id(view[at : at + size]) != id:
            raise unlike(id)
        at += size


def _read_back(data: bytes, codec: Codec, frame_size: int, raw_size: int) -> memoryview | bytes:
    frame = memoryview(data)[len(data) - frame_size :]
    if codec is Codec.RAW:
        return frame
    return decompress(frame, raw_size, where="the block just encoded")


def unlike(id: Id) -> CorruptObject:
    """The error for an object whose block does not decode to it."""
    return CorruptObject(
        f"{id.hex()} did not survive being encoded: nothing was stored; the memory of this "
        "machine or its zstd library is faulty",
        id=id.hex(),
        fix="run a memory test",
    )
