"""zstd: frames of blocks, written at level 3 and read with every size known beforehand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from castore.errors import CorruptObject
from castore.model.limits import BLOCK_RAW_BYTES, KIB, MIB

LEVEL: Final = 3
# Level 3 with tables that stay in the processor's cache and matches of five bytes at least: for
# blocks of 256 KiB a tenth faster, and no larger. What it writes is a frame as any other.
_TABLES: Final = {"hash_log": 15, "chain_log": 14, "search_log": 1, "min_match": 5}
_PLAIN_WINDOW_LOG: Final = 18
# A delta looks back over its dictionary and its own bytes, 8 MiB each at most.
WINDOW_BYTES: Final = 16 * MIB
_WINDOW_LOG_MIN: Final = 10
_HASHED_BYTES: Final = 512 * KIB
# With a dictionary that is not longer it takes a sixth off deltas of small files, in equal time;
# from that size on level 9 does in two thirds of the time what 12 does.
_SMALL_DELTA_LEVEL: Final = 12
_MIDDLE_BYTES: Final = 128 * KIB
_MIDDLE_LEVEL: Final = 9
_SMALL_DELTA_LOG: Final = 18
_BIG_CHAIN_LOG: Final = 17
_PROBE_BYTES: Final = 4 * KIB
_PROBE_LEVEL: Final = 1
# A sample that keeps more than this share of its size is not worth compressing.
_PROBE_KEEPS: Final = 0.94
_NOISE_KEEPS: Final = 0.99

# A frame of one segment that tells its size in four bytes, and what a block of it holds at most.
_STORED_MAGIC: Final = b"\x28\xb5\x2f\xfd\xa0"
_STORED_BYTES: Final = 128 * KIB

_DESCRIPTOR_AT: Final = 4
_CHECKSUM: Final = 4

_thread: Final = threading.local()

Buffer: TypeAlias = Any
"""Bytes, or an object of zstandard that gives a view of its bytes and has their number."""


def compress(
    data: bytes | memoryview, dictionary: bytes | memoryview = b"", *, mark: bool = False
) -> bytes:
    """One zstd frame of `data`, with its size declared; releases the GIL.

    With a raw-content dictionary, of at most 8 MiB, the window reaches over both, and the frame can
    be `marked`.
    """
    tools = _tools()
    pack = tools.against(dictionary, len(data), mark) if dictionary else tools.compress
    frame: bytes = pack(data)
    return frame


def marked(frame: bytes | memoryview) -> bool:
    """Whether a frame was given the mark, which is that it ends with a checksum of its content.

    Source: RFC 8878, section 3.1.1.1.1.
    """
    return len(frame) > _DESCRIPTOR_AT and bool(frame[_DESCRIPTOR_AT] & _CHECKSUM)


def compressible(data: bytes | memoryview) -> bool:
    """Whether compressing `data` is worth the time, judged by samples of 4 KiB at two places."""
    size = len(data)
    if size <= 2 * _PROBE_BYTES:
        return True
    view = memoryview(data)
    probe = _tools().probe
    places = (size // 4, size - size // 4 - _PROBE_BYTES)
    kept = sum(len(probe(view[at : at + _PROBE_BYTES])) for at in places)
    return kept < _PROBE_KEEPS * len(places) * _PROBE_BYTES


def incompressible(pieces: Sequence[bytes | memoryview]) -> bool:
    """Whether none of several pieces is worth compressing, judged by a sample of each at once.

    One call of zstd for all: each call hands the interpreter lock over, and back. A piece that
    shrinks by a third is noticed among 30.
    """
    sample = b"".join([data[len(data) // 4 :][:_PROBE_BYTES] for data in pieces])
    return len(_tools().probe(sample)) > _NOISE_KEEPS * len(sample)


def decompress(
    frame: bytes | memoryview,
    raw_size: int,
    dictionary: bytes | memoryview = b"",
    *,
    where: str = "",
) -> bytes:
    """The `raw_size` bytes of one zstd frame, with the raw-content dictionary it was written with.

    Nothing is allocated before the frame was seen to declare exactly `raw_size` bytes (at most
    8 MiB), a window in bounds and no foreign dictionary; bytes behind the frame are refused.
    Raises CorruptObject, with `where` as the place.
    """
    tools = _tools()
    place = where or "zstd frame"
    try:
        parameters = tools.parameters(frame)
        if raw_size > BLOCK_RAW_BYTES or parameters.content_size != raw_size:
            raise CorruptObject(
                f"{place}: declares {parameters.content_size} bytes, not {raw_size}", where=where
            )
        if parameters.window_size > WINDOW_BYTES or parameters.dict_id:
            raise CorruptObject(
                f"{place}: a window of {parameters.window_size} bytes or a dictionary id",
                where=where,
            )
        read = tools.with_dictionary(dictionary) if dictionary else tools.decompress
        raw: bytes = read(
            frame, max_output_size=raw_size, read_across_frames=False, allow_extra_data=False
        )
    except tools.error as error:
        raise CorruptObject(f"{place}: {error}", where=where) from None
    if len(raw) != raw_size:
        raise CorruptObject(f"{place}: {len(raw)} bytes, not {raw_size}", where=where)
    return raw


def decompress_chain(first: bytes, frames: Sequence[bytes]) -> bytes:
    """What the last of these frames holds, each having what the one before holds as dictionary.

    `first` is a frame without one. One call of zstd, in two buffers: a level takes a microsecond
    where `decompress` takes ten, and no memory is touched anew. For callers that have looked at the
    `declared_size` of every frame and compare what they get: bytes behind a frame are not refused,
    and a dictionary that begins like one that was trained is misread. Raises CorruptObject.
    """
    tools = _tools()
    _keep_freed_memory()
    try:
        raw: bytes = tools.decompress_chain([first, *frames])
    except (tools.error, ValueError) as error:
        raise CorruptObject(f"a chain of deltas: {error}") from None
    return raw


def declared_size(frame: bytes) -> int:
    """How many bytes a frame says it holds; raises CorruptObject."""
    tools = _tools()
    try:
        return int(tools.parameters(frame).content_size)
    except tools.error as error:
        raise CorruptObject(f"zstd frame: {error}") from None


def stored_frame(pieces: Sequence[bytes | memoryview], size: int) -> bytes:
    """A frame of the `size` bytes of these pieces as they are, not compressed.

    Source: RFC 8878, sections 3.1.1.1 and 3.1.1.2.
    """
    found: list[bytes | memoryview] = [_STORED_MAGIC, size.to_bytes(4, "little")]
    left = size
    room = min(_STORED_BYTES, left)
    found.append(_stored_head(room, left))
    for piece in pieces:
        view, at = memoryview(piece), 0
        while at < len(view):
            if not room:
                room = min(_STORED_BYTES, left)
                found.append(_stored_head(room, left))
            part = view[at : at + room]
            found.append(part)
            at += len(part)
            room -= len(part)
            left -= len(part)
    return b"".join(found)


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep up to 16 MiB of what is freed, instead of returning it each time.

    Memory from the system is cleared page by page when it is first touched, which takes longer than
    decoding into it. glibc sets its thresholds by the biggest mapped block that was freed; this one
    is never touched, and elsewhere it does nothing. Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    bytearray(BLOCK_RAW_BYTES)


def _stored_head(size: int, left: int) -> bytes:
    return (size << 3 | (size == left)).to_bytes(3, "little")


def compress_all(pieces: Sequence[Buffer]) -> Sequence[Buffer]:
    """For each piece the frame that `compress` gives, all in one release of the GIL."""
    if len(pieces) < 2:
        return [_tools().compress(piece) for piece in pieces]
    frames: Sequence[Buffer] = _tools().compress_many(pieces)
    return frames


def decompress_all(frames: Sequence[Buffer]) -> Sequence[Buffer]:
    """What `compress_all` made these frames of, to be compared: they are not checked.

    Raises CorruptObject for one that zstd cannot decode.
    """
    tools = _tools()
    try:
        if len(frames) < 2:
            return [tools.decompress(frame) for frame in frames]
        raws: Sequence[Buffer] = tools.decompress_many(frames)
    except tools.error as error:
        raise CorruptObject(f"a frame just made cannot be decoded: {error}") from None
    return raws


class _Tools:
    """The contexts of one thread: making a new one per call costs a third of the speed."""

    def __init__(self) -> None:
        import zstandard

        self._library = zstandard
        self.error = zstandard.ZstdError
        self.parameters = zstandard.get_frame_parameters
        plain = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, window_log=_PLAIN_WINDOW_LOG, **_TABLES
        )
        compressor = zstandard.ZstdCompressor(compression_params=plain)
        self.compress = compressor.compress
        self.compress_many: Any = compressor.multi_compress_to_buffer
        self.probe = zstandard.ZstdCompressor(level=_PROBE_LEVEL).compress
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
        self.decompress = decompressor.decompress
        self.decompress_chain = decompressor.decompress_content_dict_chain
        self.decompress_many: Any = decompressor.multi_decompress_to_buffer

    def against(self, dictionary: bytes | memoryview, size: int, mark: bool) -> Any:
        """How to compress `size` bytes with a dictionary."""
        library = self._library
        sizes = {"window_log": max((len(dictionary) + size - 1).bit_length(), _WINDOW_LOG_MIN)}
        if len(dictionary) > _HASHED_BYTES:
            # The table of level 3 forgets the beginning of what is longer. A slot for every 4 to 8
            # bytes loses little; one for 2 to 4 a fortieth less, in half as much time again.
            sizes |= {"hash_log": len(dictionary).bit_length() - 3, "chain_log": _BIG_CHAIN_LOG}
            level = LEVEL
        else:
            tables = min(sizes["window_log"], _SMALL_DELTA_LOG)
            sizes |= {"hash_log": tables, "chain_log": tables}
            level = _SMALL_DELTA_LEVEL if len(dictionary) < _MIDDLE_BYTES else _MIDDLE_LEVEL
        sizes["write_checksum"] = mark
        parameters = library.ZstdCompressionParameters.from_level(level, **sizes)
        data = library.ZstdCompressionDict(dictionary, dict_type=library.DICT_TYPE_RAWCONTENT)
        return library.ZstdCompressor(dict_data=data, compression_params=parameters).compress

    def with_dictionary(self, dictionary: bytes | memoryview) -> Any:
        library = self._library
        data = library.ZstdCompressionDict(dictionary, dict_type=library.DICT_TYPE_RAWCONTENT)
        return library.ZstdDecompressor(dict_data=data, max_window_size=WINDOW_BYTES).decompress


def _tools() -> _Tools:
    try:
        tools: _Tools = _thread.tools
    except AttributeError:
        tools = _thread.tools = _Tools()
    return tools
