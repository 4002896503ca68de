"""How long a stored block is, told by itself: for values whose row, which knew it, is lost."""

from __future__ import annotations

from typing import Final

from castore.content.blocks import Codec, block_shape

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_RUN: Final = 1
_RESERVED: Final = 3
_WINDOW_BYTES: Final = 1
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_SIZE_BYTES: Final = (0, 2, 4, 8)
_CHECKSUM_BYTES: Final = 4
_BLOCK_HEAD: Final = 3


def block_length(data: bytes) -> int:
    """The bytes of the block at the beginning of `data`; 0 if none begins there, or not all of it.

    Nothing is compared with the block's check.
    """
    shape = block_shape(data)
    if shape is None:
        return 0
    codec, frame_at, raw_size = shape
    size = raw_size if codec == Codec.RAW else frame_length(data, frame_at)
    return frame_at + size if size and frame_at + size <= len(data) else 0


def frame_length(data: bytes, start: int = 0) -> int:
    """The bytes of the zstd frame that begins at `start`; 0 if none does, or it is cut off.

    Source: RFC 8878, sections 3.1.1.1 and 3.1.1.2.
    """
    if data[start : start + 4] != _ZSTD_MAGIC or len(data) < start + 5:
        return 0
    descriptor = data[start + 4]
    single = descriptor >> 5 & 1
    at = start + 5 + (0 if single else _WINDOW_BYTES) + _DICTIONARY_BYTES[descriptor & 3]
    at += _SIZE_BYTES[descriptor >> 6] or single
    while at + _BLOCK_HEAD <= len(data):
        head = int.from_bytes(data[at : at + _BLOCK_HEAD], "little")
        kind = head >> 1 & 3
        if kind == _RESERVED:
            return 0
        at += _BLOCK_HEAD + (1 if kind == _RUN else head >> 3)
        if head & 1:
            at += _CHECKSUM_BYTES if descriptor >> 2 & 1 else 0
            return at - start if at <= len(data) else 0
    return 0
