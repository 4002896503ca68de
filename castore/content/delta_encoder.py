"""Writing deltas: new objects with what they are much like as the dictionary.

The dictionary is raw content, as in `zstd --patch-from`. A delta is kept only where it is far
smaller than the plain frame, and only after it was decoded again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from itertools import accumulate
from typing import Final, NamedTuple

from castore.content.blocks import Block, Codec, Member, encode_block
from castore.content.chains import UNFIT, Bases
from castore.content.codecs import compress, decompress
from castore.content.encoder import encode_chunks, encode_metadata, encode_solid, unlike
from castore.content.sink import Batch, EncodedBlock
from castore.model.ids import Id, Kind
from castore.model.limits import (
    BLOCK_BASES,
    BLOCK_MEMBERS,
    DELTA_DEPTH,
    DICTIONARY_BYTES,
    ID_BYTES,
    KIB,
    SMALL_OBJECT_BYTES,
    SOLID_BLOCK_BYTES,
)
from castore.model.pages import Part

# A delta that is not below this share of the plain frame is not worth another block to read.
_DELTA_KEEPS: Final = 0.6
# What a block of its own takes beside its frame: header, member, rows.
_BLOCK_COSTS: Final = 128
# So much of what is encoded shows what the rest would come to.
_GLANCE_BYTES: Final = 64 * KIB
_SAMPLES: Final = 8
_SAMPLE_BYTES: Final = 32 * KIB


class Base(NamedTuple):
    """A stored object as a base: its id, its bytes, and the depth of the block it lies in."""

    id: Id
    payload: bytes
    depth: int


def encode_delta(
    objects: Sequence[tuple[Kind, Id, bytes]], bases: Sequence[Base], *, step: bool = False
) -> EncodedBlock | None:
    """One delta block of these objects on these bases, in order; None where that gains too little.

    A `step` says so in its frame, see castore.content.chains. Objects are all content or all
    metadata, and neither manifests nor notes. Also None beyond the bounds of a delta: 512 bases,
    8 MiB of them, a depth of 128. Raises InvalidInput for a block that the format does not allow,
    CorruptObject if it cannot be read back.
    """
    dictionary = b"".join([base.payload for base in bases])
    depth = 1 + max((base.depth for base in bases), default=0)
    if not 0 < len(dictionary) <= DICTIONARY_BYTES or len(bases) > BLOCK_BASES:
        return None
    if depth > DELTA_DEPTH:
        return None
    raw = b"".join([payload for _, _, payload in objects])
    frame = compress(raw, dictionary, mark=step)
    if not _gains(len(frame) + ID_BYTES * len(bases) + _BLOCK_COSTS, raw):
        return None
    members = tuple([Member(id, kind, len(payload)) for kind, id, payload in objects])
    if decompress(frame, len(raw), dictionary, where="the delta just encoded") != raw:
        raise unlike(members[0].id)
    ids = tuple([base.id for base in bases])
    block = Block(
        codec=Codec.DELTA,
        metadata=members[0].kind is not Kind.CHUNK,
        depth=depth,
        raw_size=len(raw),
        bases=ids,
        members=members,
        frame=frame,
    )
    # What metadata is made of is at hand elsewhere, see `write_in_full`.
    again = b"" if block.metadata else raw
    return EncodedBlock(encode_block(block), members, len(raw), ids, again=again)


def encode_changed(
    chunks: Sequence[tuple[Id, bytes]], bases: Bases, read: Callable[[Part], bytes]
) -> list[EncodedBlock]:
    """Blocks of these chunks: one delta where that gains enough, else as if there were no bases."""
    try:
        below = [Base(part.id, read(part), bases.depth - 1) for part in bases.parts]
    except UNFIT:
        return encode_plain(chunks)
    objects = [(Kind.CHUNK, id, data) for id, data in chunks]
    delta = encode_delta(objects, below, step=bases.step)
    return [delta] if delta is not None else encode_plain(chunks)


def encode_plain(chunks: Sequence[tuple[Id, bytes]]) -> list[EncodedBlock]:
    """Blocks of these chunks without bases: big ones with big ones, small with small."""
    big = [chunk for chunk in chunks if len(chunk[1]) >= SMALL_OBJECT_BYTES]
    blocks = encode_chunks(big) if big else []
    small: list[tuple[Id, bytes]] = []
    size = 0
    for id, data in chunks:
        if not data:
            blocks += encode_chunks([(id, data)])
        if not 0 < len(data) < SMALL_OBJECT_BYTES:
            continue
        small.append((id, data))
        size += len(data)
        if size >= SOLID_BLOCK_BYTES or len(small) >= BLOCK_MEMBERS:
            blocks += encode_solid(small)
            small, size = [], 0
    return blocks + encode_solid(small) if small else blocks


def _gains(size: int, raw: bytes) -> bool:
    """Whether a delta of this size is far smaller than the plain frame would be.

    The frame of a part is no bigger than that of the whole. Where that does not tell, the whole is
    compressed, or of more than 256 KiB some samples that stand for it.
    """
    if size >= _DELTA_KEEPS * len(raw):
        return False
    view = memoryview(raw)
    if size < _DELTA_KEEPS * len(compress(view[:_GLANCE_BYTES])):
        return True
    if len(raw) <= _GLANCE_BYTES:
        return False
    if len(raw) <= _SAMPLES * _SAMPLE_BYTES:
        return size < _DELTA_KEEPS * len(compress(raw))
    step = (len(raw) - _SAMPLE_BYTES) // (_SAMPLES - 1)
    kept = sum([len(compress(view[at * step :][:_SAMPLE_BYTES])) for at in range(_SAMPLES)])
    return size < _DELTA_KEEPS * kept / (_SAMPLES * _SAMPLE_BYTES) * len(raw)


def encode_on_bases(
    objects: Sequence[tuple[Kind, Id, bytes]], bases: dict[Id, Base]
) -> list[EncodedBlock]:
    """A metadata block of these objects; those that gain by their base are in one each instead.

    So reading one decodes that and what it rests on, not what changed beside it. `bases`, by the
    ids of the objects, are taken out of their table.
    """
    deltas: list[EncodedBlock] = []
    plain: list[tuple[Kind, Id, bytes]] = []
    for item in objects:
        base = bases.pop(item[1], None)
        delta = encode_delta([item], [base]) if base is not None else None
        if delta is not None:
            deltas.append(delta)
        else:
            plain.append(item)
    return deltas + encode_metadata(plain) if plain else deltas


def write_in_full(batch: Batch, vanished: Set[Id]) -> None:
    """Put plain blocks in the place of the deltas of a batch that have a base in `vanished`.

    For deltas of content, which have their bytes along, and of indexed objects, whose bytes the
    batch has.
    """
    payloads = {id: payload for _, id, payload in batch.indexed}
    blocks: list[EncodedBlock] = []
    for block in batch.blocks:
        if vanished.isdisjoint(block.bases):
            blocks.append(block)
        elif block.members[0].kind is Kind.CHUNK:
            starts = accumulate((member.size for member in block.members), initial=0)
            pieces = zip(block.members, starts, strict=False)
            chunks = [(member.id, block.again[at : at + member.size]) for member, at in pieces]
            blocks += encode_plain(chunks)
        else:
            objects = [(member.kind, member.id, payloads[member.id]) for member in block.members]
            blocks += encode_metadata(objects)
    batch.blocks[:] = blocks
