"""Ingest → read: whatever goes in comes out, once stored, however it is handed over."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content import packer, segments
from castore.content.blocks import Codec, Member, decode_block
from castore.content.encoder import encode_chunks
from castore.content.ingest import WHOLE_BYTES, Ingestor
from castore.content.sink import Batch, EncodedBlock, Lying
from castore.content.trees import build_tree
from castore.errors import NotFound, StoreFull
from castore.model.artifact_set import FileContent
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.limits import BATCH_BYTES, CHUNK_MIN, KIB, MIB, SOLID_BLOCK_BYTES
from castore.model.pages import FILE, Entry
from tests.content.memory_sink import MemorySink
from tests.content.samples import noise, prose

BIG = noise(11 * MIB) + prose(3 * MIB)


def stored(sink: MemorySink, content: FileContent) -> bytes:
    return sink.reader.read(content.digest, content.size, 1 << 30)


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.integers(0, 700_000).map(lambda size: prose(size, size % 3)),
            st.integers(0, 700_000).map(lambda size: noise(size, str(size % 2))),
        ),
        max_size=5,
    ),
    st.sampled_from([0, 2]),
)
def test_what_goes_in_comes_out(datas: list[bytes], workers: int) -> None:
    sink = MemorySink()
    with Ingestor(sink, workers=workers) as ingestor:
        contents = [ingestor.add_bytes(data) for data in datas]
        contents += [ingestor.add_stream([data[:7], data[7:]]) for data in datas]
    for data, content in zip(datas * 2, contents, strict=True):
        assert content == FileContent(content_id(data), len(data))
        assert stored(sink, content) == data
    sink.closure(content.digest for content in contents)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "size",
    [0, 1, CHUNK_MIN, CHUNK_MIN + 1, WHOLE_BYTES - 1, WHOLE_BYTES, WHOLE_BYTES + 1, len(BIG)],
)
def test_a_path_a_stream_and_bytes_are_the_same_file(
    tmp_path: Path, size: int, workers: int
) -> None:
    data = BIG[len(BIG) - size :]
    path = tmp_path / "file"
    path.write_bytes(data)
    sink = MemorySink()
    with Ingestor(sink, workers=workers) as ingestor:
        contents = {
            ingestor.add_path(path),
            ingestor.add_bytes(data),
            ingestor.add_stream(data[at : at + 999_999] for at in range(0, size, 999_999)),
        }
    assert contents == {FileContent(content_id(data), size)}
    assert stored(sink, contents.pop()) == data
    assert ingestor.tally.files == 3
    assert ingestor.tally.new_bytes + ingestor.tally.known_bytes == 3 * size


def test_the_layout_does_not_depend_on_how_a_file_came_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BIG)
    rows = []
    for way in range(3):
        sink = MemorySink()
        with Ingestor(sink) as ingestor:
            if way == 0:
                ingestor.add_path(tmp_path / "file")
            elif way == 1:
                ingestor.add_bytes(BIG)
            else:
                ingestor.add_stream(iter([BIG[:1], BIG[1:]]))
        rows.append(set(sink.rows))
    assert rows[0] == rows[1] == rows[2]


def test_the_executable_bit_of_the_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b"#!/bin/sh\n")
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        modes = []
        for mode in (0o644, 0o744, 0o655, 0o100):
            path.chmod(mode | 0o400)
            modes.append(ingestor.add_path(path).mode)
        assert ingestor.add_bytes(b"x").mode == 0
    assert modes == [0, 1, 0, 1]


def test_content_is_stored_once() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(BIG)
        ingestor.add_bytes(BIG)
    blocks = len(sink.blocks)
    assert ingestor.tally.new_bytes < len(BIG) + 1
    with Ingestor(sink) as again:
        again.add_stream([BIG])
    assert len(sink.blocks) == blocks
    assert again.tally.new_bytes == 0
    assert again.tally.known_bytes == len(BIG)
    assert again.tally.stored_bytes == 0


def test_an_edit_stores_little() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(BIG)
    edited = BIG[:6_000_000] + b"edit" + BIG[6_000_000:]
    with Ingestor(sink) as again:
        content = again.add_bytes(edited)
    assert again.tally.new_bytes < 600 * KIB
    assert stored(sink, content) == edited


def test_small_objects_share_blocks_and_text_is_compressed() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        for seed in range(1000):
            ingestor.add_bytes(prose(2000, seed))
    blocks = [decode_block(data, "") for data in sink.blocks.values()]
    assert len(blocks) == -(-2_000_000 // SOLID_BLOCK_BYTES)
    assert all(block.codec is Codec.ZSTD for block in blocks)
    assert ingestor.tally.stored_bytes < 1_000_000


def test_noise_is_stored_raw() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(BIG[: 2 * MIB])
    blocks = [decode_block(data, "") for data in sink.blocks.values()]
    assert {block.codec for block in blocks if not block.metadata} == {Codec.RAW}


@pytest.mark.parametrize("workers", [0, 2])
def test_noise_lies_in_blocks_of_neighbours_that_are_written_where_they_were_read(
    tmp_path: Path, workers: int
) -> None:
    data = noise(12 * MIB)
    path = tmp_path / "noise"
    path.write_bytes(data)
    sink = MemorySink()
    with Ingestor(sink, workers=workers) as ingestor:
        content = ingestor.add_path(path)
    assert stored(sink, content) == data
    blocks = [decode_block(data, "") for data in sink.blocks.values()]
    sizes = [block.raw_size for block in blocks if not block.metadata]
    assert max(sizes) <= SOLID_BLOCK_BYTES
    # Two neighbours are always more than a block holds, or they would be in one; but for segments.
    assert len(sizes) <= 2 * len(data) / SOLID_BLOCK_BYTES + 2 * len(data) / segments.SEGMENT_BYTES
    laid = [block for batch in sink.batches for block in batch.blocks if block.around is not None]
    assert sum(len(block.frame) for block in laid) >= len(data) - segments.BUFFER_BYTES


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_big_file_of_text_and_noise_in_turns_comes_out(
    tmp_path: Path, seed: int, workers: int
) -> None:
    """Noise behind text is tried as text is, and written after its buffer was used again."""
    dice = random.Random(seed)
    text, pieces = prose(2 * MIB), []
    for number in range(64):
        size = dice.randint(100_000, MIB)
        pieces.append(text[:size] if dice.random() < 0.5 else noise(size, f"{seed} {number}"))
        pieces.append(b"%d" % number)
    data = b"".join(pieces)
    path = tmp_path / "mixed"
    path.write_bytes(data)
    sink = MemorySink()
    with Ingestor(sink, workers=workers) as ingestor:
        content = ingestor.add_path(path)
    assert stored(sink, content) == data


def test_what_does_not_compress_lies_in_its_buffer_or_is_a_copy() -> None:
    """Joined chunks that do not compress after all are no longer in one place."""
    parts = [prose(20_000), *(noise(60_000, str(number)) for number in range(9))]
    memory = memoryview(bytearray(b"".join([bytes(4096), *parts])))
    chunks, starts, at = [], {}, 4096
    for part in parts:
        view = memory[at : at + len(part)]
        chunks.append((content_id(part), view))
        starts[content_id(part)] = at
        at += len(part)
    blocks = encode_chunks(chunks[:2] + chunks[3:], lying=Lying(memory, starts), trusted=True)
    for block in blocks:
        with block.laid() as data:
            found = decode_block(bytes(data), "")
        assert object_id(Kind.CHUNK, found.frame) == block.members[0].id or len(found.members) > 1
        assert (block.around is not None) <= isinstance(block.frame, memoryview)
        assert bytes(data) == block.data


def test_a_head_lies_before_its_frame_only_while_it_is_written() -> None:
    memory = bytearray(noise(8000))
    before = bytes(memory)
    view = memoryview(memory)
    head, members = b"h" * 100, (Member(content_id(before[200:]), Kind.CHUNK, 7800),)
    block = EncodedBlock(head, members, 7800, (), view[200:], around=view[100:])

    def fail() -> None:
        with block.laid() as data:
            assert bytes(data) == block.data == head + before[200:]
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        fail()
    assert memory == before
    assert Lying(view, {b"x": 50}).around(b"x", 10, 51) is None


def test_a_block_that_was_fetched_is_written_from_where_it_lies() -> None:
    fetched = memoryview(noise(8000))[100:]
    members = (Member(content_id(bytes(fetched[50:])), Kind.CHUNK, 7850),)
    block = EncodedBlock(fetched, members, 7850, ())
    assert block.size == len(fetched)
    assert block.data == bytes(fetched)
    with block.laid() as data:
        assert data is fetched


def test_objects_are_stored_and_manifests_stay_raw() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        digest = ingestor.add_bytes(b"data").digest
        tree = build_tree([Entry(b"%04d" % n, FILE, digest, 4, 0) for n in range(300)])
        [(root, payload)] = tree.pages
        assert ingestor.add_object(Kind.TREE, payload) == root
        note = b"not really a note " * 1000
        id = ingestor.add_object(Kind.NOTE, note)
        assert ingestor.add_object(Kind.NOTE, note) == id == object_id(Kind.NOTE, note)
        assert sink.rows == {}
        ingestor.flush()
        assert sink.reader.payload(id, Kind.NOTE) == note
        assert ingestor.add_object(Kind.NOTE, note) == id
    blocks = {
        member.kind: block
        for block in (decode_block(data, "") for data in sink.blocks.values())
        for member in block.members
    }
    assert blocks[Kind.NOTE].codec is Codec.RAW
    assert blocks[Kind.TREE].codec is Codec.ZSTD
    assert blocks[Kind.TREE].metadata
    assert sink.indexed == {id: note, root: payload}
    assert len(sink.blocks) == 3


def test_batches_are_bounded_and_each_is_whole(tmp_path: Path) -> None:
    size = 3 * BATCH_BYTES + 12345
    (tmp_path / "big").write_bytes(noise(size))
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        content = ingestor.add_path(tmp_path / "big")
        assert len(sink.batches) >= 2
    sizes = [sum(len(block.data) for block in batch.blocks) for batch in sink.batches]
    assert max(sizes) < BATCH_BYTES + 4 * MIB
    known: set[bytes] = set()
    for batch in sink.batches:
        known |= {member.id for block in batch.blocks for member in block.members}
        for id, payload in ((id, payload) for _, id, payload in batch.indexed):
            assert id in known, payload
    assert content.digest in known
    assert sum(1 for _ in sink.closure([content.digest])) == len(known)


class FailingSink(MemorySink):
    """Fails to write once; `lose_before_write` is what vanishes at the second write."""

    def __init__(self, failing: int) -> None:
        super().__init__()
        self.failing = failing
        self.calls = 0

    def _write(self, batch: Batch) -> set[Id]:
        self.calls += 1
        if self.calls == self.failing:
            raise StoreFull("the disk is full")
        return super()._write(batch)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "BATCH_BYTES", 200 * KIB)
    monkeypatch.setattr(packer, "THREADS_ABOVE", 0)


@pytest.mark.usefixtures("small_batches")
def test_a_batch_is_written_while_the_next_is_gathered() -> None:
    looked_up = threading.Event()

    class Slow(MemorySink):
        def known(self, ids: Sequence[Id]) -> set[Id]:
            if self.writing.locked():
                looked_up.set()
            return super().known(ids)

        def _write(self, batch: Batch) -> set[Id]:
            # The first write ends only when more of the input was looked up beside it.
            assert looked_up.wait(60)
            return super()._write(batch)

    sink = Slow()
    data = noise(2 * packer.IN_FLIGHT_BYTES)
    with Ingestor(sink) as ingestor:
        content = ingestor.add_bytes(data)
    assert b"".join(sink.reader.stream(content.digest, content.size)) == data


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("failing", [1, 2, 5])
def test_a_batch_that_could_not_be_written_is_kept_for_another_try(failing: int) -> None:
    sink = FailingSink(failing)
    data = noise(3 * packer.IN_FLIGHT_BYTES)
    ingestor = Ingestor(sink)
    with pytest.raises(StoreFull):
        ingestor.add_bytes(data)
    content = ingestor.add_bytes(data)
    ingestor.flush()
    ingestor.close()
    assert b"".join(sink.reader.stream(content.digest, content.size)) == data
    stored = [member.id for batch in sink.batches for b in batch.blocks for member in b.members]
    assert len(stored) == len(set(stored))


@pytest.mark.usefixtures("small_batches")
def test_nothing_is_being_written_once_an_input_failed() -> None:
    class Slow(MemorySink):
        def _write(self, batch: Batch) -> set[Id]:
            began.set()
            failed.wait(5)
            return super()._write(batch)

    began, failed = threading.Event(), threading.Event()
    sink = Slow()

    def pieces() -> Iterator[bytes]:
        data = noise(MIB)
        for turn in range(100):
            if began.is_set():
                failed.set()
                raise OSError("gone")
            yield turn.to_bytes() + data

    with Ingestor(sink) as ingestor:
        with pytest.raises(OSError, match="gone"):
            ingestor.add_stream(pieces())
        assert not sink.writing.locked()
        assert len(sink.batches) >= 1


@pytest.mark.usefixtures("small_batches")
def test_what_vanishes_under_a_batch_written_beside_is_stored_again() -> None:
    sink = MemorySink()
    data = noise(3 * packer.IN_FLIGHT_BYTES)
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(data[: 3 * MIB])
    with Ingestor(sink) as ingestor:
        sink.lose_before_write = set(sink.rows)
        content = ingestor.add_bytes(data)
        ingestor.flush()
    assert sink.refused
    assert b"".join(sink.reader.stream(content.digest, content.size)) == data


def test_whatever_was_written_last_holds_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every single batch the closure of everything stored is there."""
    monkeypatch.setattr(packer, "BATCH_BYTES", 200 * KIB)
    monkeypatch.setattr(packer, "THREADS_ABOVE", 0)
    monkeypatch.setattr(packer, "_METADATA_BLOCK_BYTES", 1000)
    shuffle = random.Random(7)
    for n in range(300):
        folder = tmp_path / f"d{n % 17}" / f"e{n % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        size = shuffle.choice([10, 1000, 20_000, 200_000])
        (folder / f"f{n}").write_bytes(prose(size, n) if n % 2 else noise(size, str(n)))

    class Watching(MemorySink):
        def write(self, batch):  # type: ignore[no-untyped-def]
            vanished = super().write(batch)
            self.closure(member.id for block in batch.blocks for member in block.members)
            return vanished

    sink = Watching()
    with Ingestor(sink) as ingestor:
        tree = ingestor.add_folder(tmp_path)
    assert len(sink.batches) > 20
    assert len(sink.closure([tree.id])) == len(sink.rows)


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BIG)
    (tmp_path / "b").write_bytes(b"small")
    seen: list[int] = []
    with Ingestor(MemorySink(), progress=seen.append) as ingestor:
        ingestor.add_folder(tmp_path)
        ingestor.add_path(tmp_path / "a")
        ingestor.add_bytes(b"12")
        ingestor.add_stream([b"123", BIG])
    assert sum(seen) == 3 * len(BIG) + 5 + 2 + 3


def test_nothing_is_stored_before_flush_and_nothing_after_an_exception() -> None:
    sink = MemorySink()
    with pytest.raises(NotFound), Ingestor(sink) as ingestor:
        ingestor.add_bytes(b"lost"), ingestor.add_path("/nowhere/at/all")
    assert sink.rows == {}
    ingestor = Ingestor(sink)
    ingestor.add_bytes(b"kept")
    ingestor.flush()
    assert sink.known([content_id(b"kept")])


def test_a_known_big_file_is_hashed_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        content = ingestor.add_path(path)
    lookups = sink.lookups
    with Ingestor(sink) as again:
        assert again.add_path(path) == content
    assert sink.lookups - lookups == 2
    assert again.tally.known_bytes == len(BIG)
    changed = bytearray(BIG)
    changed[len(BIG) // 2] ^= 1
    path.write_bytes(changed)
    with Ingestor(sink) as third:
        other = third.add_path(path)
    assert other.digest == content_id(bytes(changed))
    assert stored(sink, other) == changed


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_used_again_only_when_what_lies_in_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(packer, "BATCH_BYTES", 3 * MIB)
    made: list[int] = []
    real = segments.Buffers.take

    def take(buffers: segments.Buffers) -> bytearray:
        made.append(not buffers._free)
        return real(buffers)

    monkeypatch.setattr(segments.Buffers, "take", take)
    data = noise(24 * MIB)
    path = tmp_path / "noise"
    path.write_bytes(data)
    sink = MemorySink()
    with Ingestor(sink, workers=workers) as ingestor:
        content = ingestor.add_path(path)
    assert len(sink.batches) > 4
    assert stored(sink, content) == data
    assert workers or len(made) > sum(made), "no buffer was used twice"


def test_a_few_new_chunks_do_not_keep_what_lies_around_them(tmp_path: Path) -> None:
    data = bytearray(noise(24 * MIB))
    sink = MemorySink()
    with Ingestor(sink, workers=2) as ingestor:
        ingestor.add_bytes(bytes(data))
    for at in range(0, len(data), 2 * MIB):
        data[at : at + 100] = noise(100, str(at))
    path = tmp_path / "noise"
    path.write_bytes(data)
    with Ingestor(sink, workers=2) as ingestor:
        ingestor.add_path(path)
        blocks = ingestor.pending().blocks
        assert len(blocks) > 3
        assert all(isinstance(block.frame, bytes) for block in blocks if len(block.members) == 1)
