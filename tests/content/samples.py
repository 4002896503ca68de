"""Bytes and folders for tests of the content room: repeatable, and large where it matters."""

from __future__ import annotations

import struct

from blake3 import blake3

from castore.content.blocks import Codec, Member
from castore.model.ids import Kind, content_id, derive_key


def noise(size: int, seed: str = "castore golden") -> bytes:
    """Bytes that do not compress: the output of BLAKE3 for this seed."""
    return blake3(seed.encode()).digest(size)


def prose(size: int, seed: int = 0) -> bytes:
    """Text that compresses."""
    lines = (b"%d: the quick brown fox %d\n" % (i, i * i + seed) for i in range(size // 25 + 2))
    return b"".join(lines)[:size]


def chunk(data: bytes) -> Member:
    """The member that a chunk of these bytes is."""
    return Member(content_id(data), Kind.CHUNK, len(data))


def raw_block(
    members: list[tuple[bytes, int, int]],
    frame: bytes,
    *,
    version: int = 1,
    codec: int = Codec.RAW,
    flags: int = 0,
    depth: int = 0,
    raw_size: int | None = None,
    bases: tuple[bytes, ...] = (),
) -> bytes:
    """A block with a right check and anything else one likes, written by hand from the format."""
    size = sum(size for _, _, size in members) if raw_size is None else raw_size
    head = struct.pack("<BBBBIHH", version, codec, flags, depth, size, len(bases), len(members))
    table = b"".join(bases) + b"".join(id + struct.pack("<BI", k, n) for id, k, n in members)
    checked = head + bytes(8) + table + (frame if flags & 1 else b"")
    return head + blake3(checked, key=derive_key("block")).digest(8) + table + frame
