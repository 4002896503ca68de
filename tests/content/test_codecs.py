"""zstd: what was compressed comes back, and no frame makes the reader believe its own sizes."""

from __future__ import annotations

import resource
import struct
import threading
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from castore.content.codecs import compress, compressible, decompress
from castore.errors import CorruptObject
from castore.model.limits import MIB
from tests.content.samples import noise, prose


@given(st.binary(max_size=5000))
def test_a_frame_gives_back_its_bytes(data: bytes) -> None:
    assert decompress(compress(data), len(data)) == data


def test_what_compresses_is_told_from_what_does_not() -> None:
    assert compressible(prose(200_000))
    assert not compressible(noise(200_000))
    assert compressible(b"anything small")


def declared(size: int) -> bytes:
    """A frame header that declares `size` bytes, and one empty last block."""
    return struct.pack("<IBQ", 0xFD2FB528, 0b11100000, size) + b"\1\0\0"


def test_a_declared_size_is_compared_before_anything_is_allocated() -> None:
    tracemalloc.start()
    try:
        for size in (1 << 40, (1 << 64) - 3, 9 * MIB):
            with pytest.raises(CorruptObject, match="declares"):
                decompress(declared(size), 1000)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_more_than_a_block_may_hold_is_refused_even_if_expected() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(9 * MIB))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptObject, match="declares"):
        decompress(bomb, 9 * MIB)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def test_a_frame_without_its_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"hello" * 100)
    with pytest.raises(CorruptObject, match="declares"):
        decompress(frame, 500)


def test_a_frame_of_another_size_is_refused() -> None:
    for wrong in (99, 101, 0):
        with pytest.raises(CorruptObject):
            decompress(compress(bytes(100)), wrong)


def test_bytes_behind_the_frame_are_refused() -> None:
    frame = compress(b"hello" * 100)
    for extra in (b"JUNK", compress(b"evil"), b"\0"):
        with pytest.raises(CorruptObject):
            decompress(frame + extra, 500)


def test_a_truncated_or_empty_frame_is_refused() -> None:
    frame = compress(prose(5000))
    for cut in range(len(frame)):
        with pytest.raises(CorruptObject):
            decompress(frame[:cut], 5000)


def test_a_skippable_frame_is_refused() -> None:
    with pytest.raises(CorruptObject):
        decompress(struct.pack("<II", 0x184D2A50, 4) + b"abcd", 4)


def test_a_window_out_of_bounds_is_refused() -> None:
    header = struct.pack("<IBBQ", 0xFD2FB528, 0b11000000, (30 - 10) << 3, 100)
    with pytest.raises(CorruptObject, match="window"):
        decompress(header + b"\1\0\0", 100)


def test_a_frame_that_needs_a_trained_dictionary_is_refused() -> None:
    trained = zstandard.train_dictionary(2000, [prose(300, i) for i in range(200)])
    frame = zstandard.ZstdCompressor(dict_data=trained).compress(prose(300))
    with pytest.raises(CorruptObject, match="dictionary"):
        decompress(frame, 300)


def test_a_dictionary_is_raw_content() -> None:
    old, new = noise(50_000), noise(50_000)[:40_000] + b"changed"
    data = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame = zstandard.ZstdCompressor(level=3, dict_data=data).compress(new)
    assert len(frame) < 1000
    assert decompress(frame, len(new), old) == new
    other = noise(50_000, "another")
    assert decompress(frame, len(new), other) != new, "only the id tells a wrong dictionary"


@given(st.binary(max_size=300))
def test_noise_is_no_frame(data: bytes) -> None:
    with pytest.raises(CorruptObject):
        decompress(data, 100)


def test_threads_have_contexts_of_their_own() -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for size in range(0, 60_000, 997):
                data = prose(size, seed)
                assert decompress(compress(data), size) == data
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
