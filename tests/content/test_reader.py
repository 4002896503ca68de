"""The reader: ranges equal slices, and no byte leaves it that is not what its id says."""

from __future__ import annotations

import io
import os
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content import kept
from castore.content import reader as reader_module
from castore.content.blocks import Block, Codec, Member, decode_block, encode_block
from castore.content.ingest import Ingestor
from castore.content.layouts import build_layout
from castore.content.reader import ObjectReader, StoredObject
from castore.errors import CorruptObject, InvalidInput, ObjectNotFound, TypeMismatch
from castore.model.artifact_set import FileContent
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import KIB, MIB
from castore.model.pages import Part
from tests.content.memory_sink import MemorySink
from tests.content.samples import noise, prose

DATA = noise(3 * MIB) + prose(2 * MIB) + noise(MIB, "end")


@pytest.fixture(scope="module")
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture(scope="module")
def big(sink: MemorySink) -> FileContent:
    with Ingestor(sink) as ingestor:
        return ingestor.add_bytes(DATA)


@pytest.fixture(scope="module")
def small(sink: MemorySink) -> FileContent:
    with Ingestor(sink) as ingestor:
        return ingestor.add_bytes(b"one chunk")


def put_layout(sink: MemorySink, digest: Id, chunks: list[bytes], sizes: list[int]) -> None:
    """A layout under any digest with any sizes: what a damaged or hostile store might hold."""
    with Ingestor(sink) as ingestor:
        for data in chunks:
            ingestor.add_bytes(data)
    parts = [Part(content_id(data), size) for data, size in zip(chunks, sizes, strict=True)]
    payload, _ = build_layout(parts)
    member = Member(digest, Kind.LAYOUT, len(payload))
    sink.put(encode_block(Block(Codec.RAW, True, 0, len(payload), (), (member,), payload)))


def test_a_file_is_read_whole(sink: MemorySink, big: FileContent) -> None:
    pieces = list(sink.reader.stream(big.digest, big.size))
    assert b"".join(pieces) == DATA
    assert max(len(piece) for piece in pieces) <= 256 * KIB


@settings(max_examples=60)
@given(start=st.integers(0, len(DATA) + 10), length=st.integers(0, 700_000))
def test_a_range_equals_the_slice(
    sink: MemorySink, big: FileContent, start: int, length: int
) -> None:
    with sink.reader.open(big.digest, big.size) as file:
        file.seek(start)
        assert file.read(length) == DATA[start : start + length]
        assert file.tell() == start + len(DATA[start : start + length])


def test_it_is_a_file_like_any_other(sink: MemorySink, big: FileContent) -> None:
    shuffle, plain = random.Random(5), io.BytesIO(DATA)
    with sink.reader.open(big.digest, big.size) as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        for _ in range(300):
            how = shuffle.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, None])
            if how is not None:
                place = shuffle.randrange(len(DATA))
                offset = place - {0: 0, 1: plain.tell(), 2: len(DATA)}[how]
                assert file.seek(offset, how) == plain.seek(offset, how)
            size = shuffle.choice([1, 100, 5000, 300_000])
            assert file.read(size) == plain.read(size)
        for bad in ((-1, 0), (0, 9)):
            with pytest.raises(ValueError):  # noqa: PT011
                file.seek(*bad)
        file.seek(0)
        assert file.read() == DATA
        assert file.read(1) == b""


def test_a_small_file_as_a_stream(sink: MemorySink, small: FileContent) -> None:
    with sink.reader.open(small.digest, small.size) as file:
        assert file.read() == b"one chunk"
        file.seek(-5, os.SEEK_END)
        assert file.readline() == b"chunk"


def test_an_empty_file() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        empty = ingestor.add_bytes(b"")
    assert list(sink.reader.stream(empty.digest, 0)) == []
    assert sink.reader.open(empty.digest, 0).read() == b""
    assert sink.reader.read(empty.digest, 0, 0) == b""


def test_a_limit_is_a_limit(sink: MemorySink, big: FileContent) -> None:
    with pytest.raises(InvalidInput, match="more than"):
        sink.reader.read(big.digest, big.size, big.size - 1)


def test_kinds_are_not_taken_for_each_other(
    sink: MemorySink, big: FileContent, small: FileContent
) -> None:
    with Ingestor(sink) as ingestor:
        note = ingestor.add_object(Kind.NOTE, b"payload")
    for kind in (Kind.TREE, Kind.CHUNK, Kind.MANIFEST):
        with pytest.raises(TypeMismatch):
            sink.reader.payload(note, kind)
    for use in (sink.reader.layout_root, lambda id: sink.reader.open(id, 7)):
        with pytest.raises(TypeMismatch, match="not a file"):
            use(note)
    with pytest.raises(TypeMismatch):
        sink.reader.payload(big.digest, Kind.CHUNK)
    assert sink.reader.layout_root(small.digest) is None
    with pytest.raises(ObjectNotFound):
        sink.reader.payload(bytes(32), Kind.CHUNK)


def test_a_wrong_size_is_found(sink: MemorySink, big: FileContent, small: FileContent) -> None:
    for content in (big, small):
        for wrong in (content.size - 1, content.size + 1):
            with pytest.raises(CorruptObject, match="bytes, not"):
                list(sink.reader.stream(content.digest, wrong))
            with pytest.raises(CorruptObject):
                sink.reader.open(content.digest, wrong)


@pytest.mark.parametrize("size", [2 * MIB, 6 * MIB])
def test_any_flipped_bit_in_a_frame_is_found(size: int) -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        content = ingestor.add_bytes(DATA[-size:])
    shuffle = random.Random(3)
    for number, stored in list(sink.blocks.items()):
        broken = bytearray(stored)
        broken[shuffle.randrange(len(stored))] ^= 1 << shuffle.randrange(8)
        sink.blocks[number] = bytes(broken)
        fresh = ObjectReader(sink.load)
        with pytest.raises(CorruptObject):
            fresh.read(content.digest, size, size)
        sink.blocks[number] = stored
    assert ObjectReader(sink.load).read(content.digest, size, size) == DATA[-size:]


def test_a_layout_of_other_bytes_is_found_before_the_last_piece() -> None:
    sink = MemorySink()
    chunks = [noise(20_000, "1"), noise(20_000, "2"), noise(20_000, "3")]
    digest = content_id(b"".join(reversed(chunks)))
    put_layout(sink, digest, chunks, [20_000] * 3)
    stream = sink.reader.stream(digest, 60_000)
    assert [next(stream), next(stream)] == chunks[:2]
    with pytest.raises(CorruptObject, match="not its bytes"):
        next(stream)


def test_a_false_layout_is_found_by_who_reads_an_open_file_to_its_end() -> None:
    sink = MemorySink()
    chunks = [noise(20_000, "1"), noise(20_000, "2"), noise(20_000, "3")]
    digest = content_id(b"".join(reversed(chunks)))
    put_layout(sink, digest, chunks, [20_000] * 3)
    file = sink.reader.open(digest, 60_000).raw
    assert isinstance(file, io.RawIOBase)
    assert file.read(70_000) == chunks[0]
    file.seek(10_000)
    assert file.read(70_000) == chunks[0][10_000:]
    assert file.read(70_000) == chunks[1]
    for _ in range(2):
        with pytest.raises(CorruptObject, match="not its bytes"):
            file.read(70_000)


@pytest.mark.parametrize("sizes", [[20_000, 19_999], [20_000, 20_001], [1, 39_999]])
def test_a_layout_with_wrong_sizes_is_found(sizes: list[int]) -> None:
    sink = MemorySink()
    chunks = [noise(20_000, "1"), noise(20_000, "2")]
    digest = content_id(b"".join(chunks))
    put_layout(sink, digest, chunks, sizes)
    with pytest.raises(CorruptObject):
        sink.reader.read(digest, sum(sizes), 10**6)
    with pytest.raises(CorruptObject):
        sink.reader.open(digest, sum(sizes)).read()


def test_a_row_that_points_to_another_member_is_found() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        first, second = ingestor.add_bytes(b"first"), ingestor.add_bytes(b"other")
    sink.rows[first.digest] = sink.rows[second.digest]
    with pytest.raises(CorruptObject, match="do not match"):
        sink.reader.payload(first.digest, Kind.CHUNK)
    kind, number, _ = sink.rows[second.digest]
    sink.rows[second.digest] = (kind, number, 99)
    with pytest.raises(CorruptObject):
        sink.reader.payload(second.digest, Kind.CHUNK)


def test_a_manifest_in_the_place_of_a_chunk_is_found() -> None:
    """Plain and keyed ids never meet: bytes stored as a chunk do not become an object."""
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        digest = ingestor.add_bytes(b"payload").digest
    _, number, slot = sink.rows[digest]
    sink.rows[digest] = (Kind.NOTE, number, slot)
    with pytest.raises(CorruptObject):
        sink.reader.payload(digest, Kind.NOTE)


def test_neighbours_are_decoded_once_and_the_cache_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "KEPT_BYTES", 300 * KIB)
    sink = MemorySink()
    datas = [prose(2000, seed) for seed in range(1000)]
    with Ingestor(sink) as ingestor:
        for data in datas:
            ingestor.add_bytes(data)
    decoded: list[str] = []
    real = reader_module.raw_bytes

    def counting(block: Block, load: reader_module.Load, where: str) -> bytes:
        decoded.append(where)
        return real(block, load, where)

    monkeypatch.setattr(reader_module, "raw_bytes", counting)
    fresh = ObjectReader(sink.load)
    for data in datas:
        assert fresh.payload(content_id(data), Kind.CHUNK) == data
    assert len(decoded) == len(sink.blocks)
    assert sum(len(block.raw) for block in fresh._kept._blocks.values()) <= 300 * KIB
    assert fresh.payload(content_id(datas[0]), Kind.CHUNK) == datas[0]


def test_threads_share_a_reader(sink: MemorySink, big: FileContent) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            shuffle = random.Random(seed)
            with sink.reader.open(big.digest, big.size) as file:
                for _ in range(40):
                    start = shuffle.randrange(len(DATA))
                    file.seek(start)
                    assert file.read(10_000) == DATA[start : start + 10_000]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_stream_left_early_leaves_no_thread(sink: MemorySink, big: FileContent) -> None:
    before = set(threading.enumerate())
    stream = sink.reader.stream(big.digest, big.size)
    assert DATA.startswith(next(stream))
    del stream
    assert set(threading.enumerate()) <= before


def test_load_is_called_in_the_callers_thread_while_streaming(big: FileContent) -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(DATA)
    threads: set[int] = set()

    def load(id: Id) -> StoredObject:
        threads.add(threading.get_ident())
        return sink.load(id)

    assert b"".join(ObjectReader(load).stream(big.digest, big.size)) == DATA
    assert threads == {threading.get_ident()}


def test_metadata_is_read_without_zstd() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        ingestor.add_object(Kind.MANIFEST, b"m" * 100_000)
    assert [decode_block(data, "").codec for data in sink.blocks.values()] == [Codec.RAW]
