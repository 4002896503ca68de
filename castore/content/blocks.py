"""The block: one stored, self-describing value that holds one big object or many small ones.

Little endian; bases and members are tables of fixed rows behind the header.

     0  1  format = 1
     1  1  codec: 0 raw, 1 zstd, 2 zstd with the bases' bytes, in order, as raw-content dictionary
     2  1  flags: bit 0 = metadata (manifest, set, note, tree, layout), else content (chunks);
           bit 1 = encrypted (reserved, refused); the others are 0
     3  1  depth: 0 without bases, else 1 + the largest depth of a base's block
     4  4  raw size
     8  2  number of bases             10  2  number of members
    12  8  check: BLAKE3 keyed for "block" over header and tables with these 8 bytes zero,
           and over the frame as well if the block is metadata
    20     bases: 32-byte ids; then members: 32-byte id, u8 kind, u32 raw size;
           then the frame. Members lie end to end in the raw bytes, in this order, and fill them.

Content needs no check over its frame, since every chunk is checked by its id; the root page of a
layout is stored under the digest of a file and cannot be checked so, hence the check on metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate
from struct import Struct
from typing import Final, NamedTuple

from blake3 import blake3

from castore.errors import FULL_CHECK, CorruptObject, InvalidInput, UnsupportedFormat
from castore.model.ids import Id, Kind, derive_key
from castore.model.limits import (
    BLOCK_BASES,
    BLOCK_MEMBERS,
    BLOCK_RAW_BYTES,
    CHUNK_MAX,
    DELTA_DEPTH,
    FORMAT,
    ID_BYTES,
)

_HEADER: Final = Struct("<BBBBIHH8s")
_MEMBER: Final = Struct("<32sBI")
_CHUNK: Final = Struct("<BBBBIHH8s32sBI")
_DEPTH_AT: Final = 3
_CHECK_AT: Final = 12
_CHECK_BYTES: Final = 8
_FORMAT: Final = bytes((FORMAT,))
_NO_CHECK: Final = bytes(_CHECK_BYTES)
_METADATA: Final = 1
_ENCRYPTED: Final = 2
_KEY: Final = derive_key("block")
_KINDS: Final = {int(kind): kind for kind in Kind}


class Codec(IntEnum):
    """How the frame of a block becomes its raw bytes."""

    RAW = 0
    ZSTD = 1
    DELTA = 2


_CODECS: Final = tuple(Codec)

# History is read without zstd.
ALWAYS_RAW: Final = frozenset((Kind.MANIFEST, Kind.NOTE))
# What may be a base of a delta: chunks for content, these for metadata.
METADATA_BASES: Final = frozenset((Kind.LAYOUT, Kind.TREE, Kind.SET))


class Member(NamedTuple):
    """One object in a block: its id, its kind and its raw size in bytes."""

    id: Id
    kind: Kind
    size: int


class Block(NamedTuple):
    """A block taken apart; `frame` is still encoded by `codec`."""

    codec: Codec
    metadata: bool
    depth: int
    raw_size: int
    bases: tuple[Id, ...]
    members: tuple[Member, ...]
    frame: bytes

    def span(self, slot: int) -> tuple[int, int]:
        """Where member number `slot` begins and ends in the raw bytes; raises IndexError."""
        member = self.members[slot]
        start = sum(other.size for other in self.members[:slot])
        return start, start + member.size


class Sketch(NamedTuple):
    """A block taken apart of which nothing was checked: what it says may be wrong.

    `bases` are ids end to end, `members` rows of 37 bytes.
    """

    codec: int
    depth: int
    raw_size: int
    bases: bytes
    members: bytes
    frame: bytes

    @property
    def ids(self) -> bytes:
        """The ids of the members, end to end."""
        table = self.members
        if len(table) == _MEMBER.size:
            return table[:ID_BYTES]
        return b"".join([table[at : at + ID_BYTES] for at in range(0, len(table), _MEMBER.size)])

    @property
    def starts(self) -> list[int]:
        """Where each member begins in the raw bytes, and the end of the last."""
        sizes = [size for _, _, size in _MEMBER.iter_unpack(self.members)]
        return list(accumulate(sizes, initial=0))

    def is_made_of(self, bases: bytes) -> bool:
        """Whether its members are these, all and in this order."""
        same = len(self.members) * ID_BYTES == len(bases) * _MEMBER.size
        return same and self.ids == bases


def encode_block(block: Block) -> bytes:
    """The stored bytes of a block; raises InvalidInput for one that decode_block would refuse."""
    problem = _problem(block, len(block.frame))
    if problem:
        raise InvalidInput(f"this block cannot be written: {problem}")
    head = block_head(
        block.codec, block.metadata, block.depth, block.bases, block.members, block.frame
    )
    return head + block.frame


def block_head(
    codec: Codec,
    metadata: bool,
    depth: int,
    bases: Sequence[Id],
    members: Sequence[Member],
    frame: bytes | memoryview = b"",
) -> bytes:
    """The stored bytes of a block before its frame, from its parts, unchecked.

    Only the check of metadata covers `frame`.
    """
    raw_size = sum(member.size for member in members)
    flags = _METADATA if metadata else 0
    header = (FORMAT, codec, flags, depth, raw_size, len(bases), len(members))
    pack = _MEMBER.pack
    table = b"".join((*bases, *[pack(*member) for member in members]))
    check = _check(_HEADER.pack(*header, bytes(_CHECK_BYTES)), table, frame if metadata else b"")
    return _HEADER.pack(*header, check) + table


def chunk_head(codec: Codec, id: Id, size: int) -> bytes:
    """What `block_head` gives for a block of one chunk that is no delta, faster."""
    head = _CHUNK.pack(FORMAT, codec, 0, 0, size, 0, 1, _NO_CHECK, id, Kind.CHUNK, size)
    check = blake3(head, key=_KEY).digest(_CHECK_BYTES)
    return head[:_CHECK_AT] + check + head[_CHECK_AT + _CHECK_BYTES :]


def decode_block(data: bytes, where: str, *, checked: bool = True) -> Block:
    """The block stored as `data`, its check and every bound verified; the frame is not decoded.

    `where` names the place in messages. Not `checked` is for whoever salvages: what it gives is to
    be compared with ids, member by member. Raises CorruptObject, and UnsupportedFormat for a block
    that is whole but written by a newer castore, or encrypted.
    """
    head, frame_at = _decode_head(data, where, checked=checked)
    return head._replace(frame=data[frame_at:])


def decode_head(data: memoryview, where: str) -> tuple[Block, memoryview]:
    """As `decode_block`, but the frame stays where it lies: a block without one, and the frame."""
    head, frame_at = _decode_head(data, where, checked=True)
    return head, data[frame_at:]


def _decode_head(data: bytes | memoryview, where: str, *, checked: bool) -> tuple[Block, int]:
    """A block without its frame, seen to fit its size, and where the frame begins."""
    if len(data) < _HEADER.size:
        raise CorruptObject(f"{where}: {len(data)} bytes are too few for a block", where=where)
    version, codec, flags, depth, raw_size, bases, members, check = _HEADER.unpack_from(data)
    members_at = _HEADER.size + bases * ID_BYTES
    frame_at = members_at + members * _MEMBER.size
    whole = len(data) >= frame_at and (not checked or check == _check_of(data, frame_at, flags))
    if version > FORMAT and not whole:
        raise UnsupportedFormat(
            f"{where}: block format {version}, and this castore reads format {FORMAT}: it is "
            "damaged, or a newer castore wrote it",
            where=where,
            fix=FULL_CHECK,
        )
    if version != FORMAT or not whole:
        raise CorruptObject(f"{where}: the check of the block does not match", where=where)
    if flags & _ENCRYPTED:
        raise UnsupportedFormat(f"{where}: the block is encrypted; this castore cannot read it")
    if flags & ~_METADATA or codec > Codec.DELTA:
        raise UnsupportedFormat(f"{where}: block with unknown codec {codec} or flags {flags}")
    block = Block(
        _CODECS[codec],
        bool(flags & _METADATA),
        depth,
        raw_size,
        tuple(
            [bytes(data[at : at + ID_BYTES]) for at in range(_HEADER.size, members_at, ID_BYTES)]
        ),
        _read_members(data[members_at:frame_at], where),
        b"",
    )
    frame_bytes = len(data) - frame_at
    if not _is_plain_chunk(block, frame_bytes):
        problem = _problem(block, frame_bytes)
        if problem:
            raise CorruptObject(f"{where}: {problem}", where=where)
    return block, frame_at


def block_depth(data: bytes | memoryview) -> int:
    """The depth that the header of a stored block tells, unchecked."""
    return data[_DEPTH_AT]


def block_shape(data: bytes) -> tuple[int, int, int] | None:
    """Codec, place of the frame and raw size that the header of a block tells, unchecked.

    None for what cannot be the beginning of one.
    """
    if len(data) < _HEADER.size:
        return None
    version, codec, flags, _, raw_size, bases, members, _ = _HEADER.unpack_from(data)
    if version != FORMAT or codec > Codec.DELTA or flags & ~_METADATA or not members:
        return None
    return codec, _HEADER.size + bases * ID_BYTES + members * _MEMBER.size, raw_size


def sketch_block(data: bytes) -> Sketch | None:
    """The parts of a block of content as fast as can be; None for what cannot be one.

    For callers that compare what they make of it with an id, and else go by `decode_block`.
    """
    if len(data) < _HEADER.size:
        return None
    version, codec, flags, depth, raw_size, bases, members, _ = _HEADER.unpack_from(data)
    members_at = _HEADER.size + bases * ID_BYTES
    frame_at = members_at + members * _MEMBER.size
    if version != FORMAT or flags or codec > Codec.DELTA or len(data) < frame_at:
        return None
    return Sketch(
        codec,
        depth,
        raw_size,
        data[_HEADER.size : members_at],
        data[members_at:frame_at],
        data[frame_at:],
    )


def _check(header: bytes, table: bytes, frame: bytes | memoryview) -> bytes:
    hasher = blake3(header + table, key=_KEY)
    if frame:
        hasher.update(frame)
    return hasher.digest(_CHECK_BYTES)


def _check_of(data: bytes | memoryview, frame_at: int, flags: int) -> bytes:
    """The check `data` should carry; always as of this FORMAT, so a flipped first byte is found."""
    header = b"".join((_FORMAT, data[1:_CHECK_AT], _NO_CHECK))
    frame = memoryview(data)[frame_at:] if flags & _METADATA else b""
    return _check(header, bytes(data[_HEADER.size : frame_at]), frame)


def _read_members(table: bytes | memoryview, where: str) -> tuple[Member, ...]:
    try:
        return tuple(
            [Member(id, _KINDS[kind], size) for id, kind, size in _MEMBER.iter_unpack(table)]
        )
    except KeyError as error:
        raise CorruptObject(f"{where}: a member of unknown kind {error}", where=where) from None


def _is_plain_chunk(block: Block, frame_bytes: int) -> bool:
    """Whether this is one chunk that is no delta, as most blocks are; then `_problem` has none."""
    codec, metadata, depth, raw_size, bases, members, _ = block
    if metadata or depth or bases or len(members) != 1:
        return False
    _, kind, size = members[0]
    if kind is not Kind.CHUNK or size != raw_size or size > CHUNK_MAX:
        return False
    return codec is Codec.ZSTD or (codec is Codec.RAW and frame_bytes == size)


def _problem(block: Block, frame_bytes: int) -> str:
    """Why this block breaks the format, or "" if it does not."""
    delta = block.codec is Codec.DELTA
    if not 1 <= len(block.members) <= BLOCK_MEMBERS:
        return f"{len(block.members)} members, not 1 to {BLOCK_MEMBERS}"
    if block.raw_size > BLOCK_RAW_BYTES:
        return f"{block.raw_size} raw bytes, more than {BLOCK_RAW_BYTES}"
    if sum(member.size for member in block.members) != block.raw_size:
        return "the members do not fill the raw bytes"
    if any((member.kind is Kind.CHUNK) is block.metadata for member in block.members):
        return "content and metadata in one block"
    if not block.metadata and any(member.size > CHUNK_MAX for member in block.members):
        return f"a chunk of more than {CHUNK_MAX} bytes"
    if block.codec is Codec.RAW and frame_bytes != block.raw_size:
        return f"a raw frame of {frame_bytes} bytes for {block.raw_size}"
    if len(block.bases) > BLOCK_BASES or block.depth > DELTA_DEPTH:
        return f"{len(block.bases)} bases at depth {block.depth}"
    if delta != bool(block.bases) or delta != bool(block.depth):
        return f"codec {block.codec.name.lower()}, {len(block.bases)} bases, depth {block.depth}"
    if block.codec is not Codec.RAW and any(m.kind in ALWAYS_RAW for m in block.members):
        return f"a manifest or note under codec {block.codec.name.lower()}"
    return ""
