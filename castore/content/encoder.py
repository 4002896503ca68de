"""Making blocks: what is compressed is decoded again and compared with its ids before it goes on.

Compressors have written wrong frames before (restic #4523); a store must not find that out when
the source is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from castore.content.blocks import Codec, Member, block_head, chunk_head
from castore.content.codecs import (
    Buffer,
    compress,
    compress_all,
    compressible,
    decompress,
    decompress_all,
    incompressible,
)
from castore.content.sink import EncodedBlock, Lying
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import KIB, SOLID_BLOCK_BYTES

# A frame that is not below this share of the raw bytes is not worth decompressing.
_CONTENT_KEEPS = 0.97
_METADATA_KEEPS = 0.85
_METADATA_RAW_BELOW = 4 * KIB
_WHERE = "the block just encoded"

_Content: TypeAlias = tuple[tuple[Member, ...], bytes | memoryview]
"""The members of a block, and its raw bytes."""


def encode_chunks(
    chunks: Sequence[tuple[Id, bytes | memoryview]],
    *,
    held: int = 0,
    lying: Lying | None = None,
    trusted: bool = False,
) -> list[EncodedBlock]:
    """Content blocks of these chunks: neighbours lie together, up to SOLID_BLOCK_BYTES.

    `trusted`: the ids were just taken from the data, and equal bytes after decoding are enough.

    Frames may be the data that was given, `held` bytes in memory, and lie where `lying` says; but
    not if they would keep that for less than half of it.
    """
    contents, tried = _grouped(chunks, lying)
    blocks = _content_blocks(contents, tried, trusted=trusted, lying=lying)
    kept = sum([len(block.frame) for block in blocks])
    if not kept or 2 * kept >= held:
        return blocks
    return [block._replace(frame=bytes(block.frame), around=None) for block in blocks]


def encode_solid(chunks: Sequence[tuple[Id, bytes | memoryview]]) -> list[EncodedBlock]:
    """One content block that holds all these chunks, compressed together."""
    contents = [_joined(chunks)]
    return _content_blocks(contents, _promising([contents[0][1]]))


def encode_solids(groups: Sequence[Sequence[tuple[Id, bytes]]]) -> list[EncodedBlock]:
    """For each group of chunks what `encode_solid` gives, if the ids were just taken from the data.

    Then equal bytes after decoding are enough.
    """
    contents = [_joined(chunks) for chunks in groups]
    return _content_blocks(contents, _promising([raw for _, raw in contents]), trusted=True)


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
            if decompress(packed, len(raw), where=_WHERE) != raw:
                raise unlike(members[0].id)
    head = block_head(codec, True, 0, (), members, frame)
    return [EncodedBlock(head, members, len(raw), (), frame)]


def _joined(
    chunks: Sequence[tuple[Id, bytes | memoryview]],
) -> tuple[tuple[Member, ...], bytes]:
    members = tuple([Member(id, Kind.CHUNK, len(data)) for id, data in chunks])
    return members, b"".join([data for _, data in chunks])


def _grouped(
    chunks: Sequence[tuple[Id, bytes | memoryview]], lying: Lying | None
) -> tuple[list[_Content], Sequence[int]]:
    """What goes into blocks, and which of that to try to compress.

    A block takes a part of a page of LMDB that is left empty, and a frame of several chunks is
    smaller by a tenth. What does not compress stays where it was read to, if that is in one place.
    """
    promising = {*_promising([data for _, data in chunks])}
    contents: list[_Content] = []
    tried: list[int] = []
    for worth in (True, False):
        picked = [chunk for at, chunk in enumerate(chunks) if (at in promising) is worth]
        for group in _runs(picked, None if worth else lying):
            if worth:
                tried.append(len(contents))
            contents.append(_lying_together(group, None if worth else lying))
    return contents, tried


def _runs(
    chunks: Sequence[tuple[Id, bytes | memoryview]], lying: Lying | None
) -> Iterator[list[tuple[Id, bytes | memoryview]]]:
    """Groups of up to SOLID_BLOCK_BYTES in their order; with `lying` each in one place there."""
    group: list[tuple[Id, bytes | memoryview]] = []
    size = start = 0
    for id, data in chunks:
        at = 0 if lying is None else lying.starts[id]
        apart = lying is not None and at != start + size
        if group and (apart or size + len(data) > SOLID_BLOCK_BYTES):
            yield group
            group, size = [], 0
        if not group:
            start = at
        group.append((id, data))
        size += len(data)
    if group:
        yield group


def _lying_together(
    group: Sequence[tuple[Id, bytes | memoryview]], lying: Lying | None
) -> _Content:
    if len(group) == 1:
        id, data = group[0]
        return (Member(id, Kind.CHUNK, len(data)),), data
    if lying is None:
        return _joined(group)
    members = tuple([Member(id, Kind.CHUNK, len(data)) for id, data in group])
    whole = lying.around(group[0][0], sum([member.size for member in members]), 0)
    assert whole is not None
    return members, whole


def _content_blocks(
    contents: Sequence[_Content],
    tried: Sequence[int],
    *,
    trusted: bool = False,
    lying: Lying | None = None,
) -> list[EncodedBlock]:
    """A block for each of `contents`, all in a few calls of zstd; `trusted` as `_verify` says.

    `tried` are the places of those that are worth the attempt to compress them.
    """
    raws = [raw for _, raw in contents]
    frames = compress_all([raws[at] for at in tried])
    packed = {
        at: frame
        for at, frame in zip(tried, frames, strict=True)
        if len(frame) < _CONTENT_KEEPS * len(raws[at])
    }
    for at, back in zip(packed, decompress_all(list(packed.values())), strict=True):
        _verify(*contents[at], back, trusted)
    blocks: list[EncodedBlock] = []
    for at, (members, raw) in enumerate(contents):
        frame = packed.get(at)
        head = _head(Codec.RAW if frame is None else Codec.ZSTD, members)
        if frame is None:
            around = None
            if lying is not None and isinstance(raw, memoryview):
                # What was joined is a copy: nothing keeps the memory it came from as it is.
                around = lying.around(members[0].id, len(raw), len(head))
            blocks.append(EncodedBlock(head, members, len(raw), (), raw, around=around))
        else:
            blocks.append(EncodedBlock(b"".join((head, frame)), members, len(raw), ()))
    return blocks


def _promising(raws: Sequence[bytes | memoryview]) -> Sequence[int]:
    """Which of these to try to compress: all if the first promises well, else by their samples."""
    if compressible(raws[0]):
        return range(len(raws))
    if incompressible(raws):
        return ()
    return [at for at, raw in enumerate(raws) if compressible(raw)]


def _head(codec: Codec, members: tuple[Member, ...]) -> bytes:
    if len(members) == 1:
        return chunk_head(codec, members[0].id, members[0].size)
    return block_head(codec, False, 0, (), members)


def _verify(
    members: tuple[Member, ...], raw: bytes | memoryview, back: Buffer, trusted: bool
) -> None:
    """Compare what was decoded again with `raw` if that is `trusted`, else with the ids."""
    if trusted:
        # Views are compared byte by byte.
        whole, part = (raw, back) if isinstance(raw, bytes) else (bytes(back), raw)
        if len(whole) != len(part) or not whole.startswith(part):
            raise unlike(members[0].id)
        return
    view = memoryview(back)
    at = 0
    for id, _, size in members:
        if content_id(view[at : at + size]) != id:
            raise unlike(id)
        at += size
    if at != len(view):
        raise unlike(members[0].id)


def unlike(id: Id) -> CorruptObject:
    """The error for an object whose block does not decode to it."""
    return CorruptObject(
        f"{id.hex()} did not survive being encoded: nothing was stored; the memory of this "
        "machine or its zstd library is faulty",
        id=id.hex(),
        fix="run a memory test",
    )
