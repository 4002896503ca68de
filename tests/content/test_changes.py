"""Content stored as deltas of the files before: the same bytes, in far fewer, and within bounds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content import chains
from castore.content.blocks import Block, Codec, decode_block
from castore.content.chains import STEP_EVERY, Chains
from castore.content.codecs import marked
from castore.content.delta_encoder import encode_plain
from castore.content.earlier import EarlierFolder
from castore.content.ingest import Ingestor
from castore.content.reader import ObjectReader
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Id, content_id
from castore.model.limits import CHUNK_MAX, DELTA_DEPTH, DICTIONARY_BYTES, KIB, MIB
from tests.content.memory_sink import MemorySink
from tests.content.samples import noise, prose


def store_file(
    sink: MemorySink, data: bytes, before: FileContent | None, *, stream: bool = False
) -> FileContent:
    """Store a file on top of what it was."""
    with Ingestor(sink, chains=Chains(sink.reader, sink.load)) as ingestor:
        if stream:
            return ingestor.add_stream([data], lambda: before)
        return ingestor.add_bytes(data, lambda: before)


def store_folder(sink: MemorySink, folder: Path, before: TreeContent | None) -> TreeContent:
    root = before.id if before else None
    with Ingestor(sink, chains=Chains(sink.reader, sink.load)) as ingestor:
        old = EarlierFolder(sink.reader, sink.load, lambda: root)
        return ingestor.add_folder(folder, earlier=old)


def content_blocks(sink: MemorySink, start: int = 1) -> list[Block]:
    found = [decode_block(data, str(at)) for at, data in sink.blocks.items() if at >= start]
    return [block for block in found if not block.metadata]


def deltas_of(sink: MemorySink, start: int = 1) -> list[Block]:
    return [block for block in content_blocks(sink, start) if block.codec is Codec.DELTA]


def added(sink: MemorySink, start: int) -> int:
    return sum(len(data) for at, data in sink.blocks.items() if at >= start)


def read(sink: MemorySink, content: FileContent) -> bytes:
    """The bytes, by a reader that has nothing in its cache."""
    return b"".join(ObjectReader(sink.load).stream(content.digest, content.size))


def records(count: int, seed: int = 0) -> list[bytes]:
    dice = random.Random(seed)
    return [b"record %d: %s\n" % (n, dice.randbytes(40).hex().encode()) for n in range(count)]


def near_start(rows: list[bytes]) -> list[bytes]:
    return [*rows[:5], b"inserted\n", *rows[5:]]


def append(rows: list[bytes]) -> list[bytes]:
    return [*rows, b"appended\n"]


def scattered(rows: list[bytes]) -> list[bytes]:
    return [b"edited %d\n" % at if at % 101 == 7 else row for at, row in enumerate(rows)]


def reordered(rows: list[bytes]) -> list[bytes]:
    third = len(rows) // 3
    return [*rows[2 * third :], *rows[:third], *rows[third : 2 * third]]


EDITS = [near_start, append, scattered, reordered]


# Small, one chunk, some chunks, above what is read in one piece, above what is one dictionary.
@pytest.mark.parametrize("count", [100, 1_500, 8_000, 60_000, 110_000])
@pytest.mark.parametrize("edit", EDITS)
def test_every_sort_of_edit_profits(edit: Callable[[list[bytes]], list[bytes]], count: int) -> None:
    sink = MemorySink()
    rows = records(count)
    first = store_file(sink, b"".join(rows), None)
    whole = added(sink, 1)
    assert deltas_of(sink) == []
    start = len(sink.blocks) + 1
    data = b"".join(edit(rows))
    second = store_file(sink, data, first)
    assert added(sink, start) < 0.1 * whole
    assert deltas_of(sink, start)
    assert read(sink, second) == data
    assert read(sink, first) == b"".join(rows)
    # The same file has the same name, however it is stored.
    assert store_file(MemorySink(), data, None) == second


def test_padding_that_comes_again_does_not_lead_astray() -> None:
    sink = MemorySink()
    parts = [noise(3 * MIB, f"{number}") for number in range(6)]
    padding = bytes(2 * CHUNK_MAX)
    first = store_file(sink, parts[0] + padding + b"".join(parts[1:]), None)
    start = len(sink.blocks) + 1
    # Nothing but padding is as it was; it stands in more places than before.
    edited = [bytearray(part) for part in parts]
    for part in edited:
        part[:: 8 * KIB] = bytes(len(part[:: 8 * KIB]))
    data = padding.join([bytes(part) for part in edited])
    second = store_file(sink, data, first)
    assert added(sink, start) < 0.1 * len(data)
    assert read(sink, second) == data


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.booleans(), st.sampled_from([0, 3, 400, 9000]))
def test_a_history_reads_back_whole(seed: int, stream: bool, most: int) -> None:
    dice = random.Random(seed)
    sink = MemorySink()
    data = prose(dice.randrange(1, 2_000) * (1 + most // 9))
    before: FileContent | None = None
    versions = []
    for _ in range(6):
        before = store_file(sink, data, before, stream=stream)
        versions.append((before, data))
        at = dice.randrange(len(data) + 1)
        cut = dice.randrange(most + 1)
        data = data[:at] + dice.randbytes(dice.randrange(most + 1)) + data[at + cut :] or b"x"
    for content, expected in versions:
        assert read(sink, content) == expected
    sink.closure([content.digest for content, _ in versions])


def test_noise_on_noise_is_stored_plainly() -> None:
    sink = MemorySink()
    before = None
    for size in (900, 200 * KIB, 6 * MIB):
        before = store_file(sink, noise(size, "a"), None)
        after = store_file(sink, noise(size, "b"), before)
        assert deltas_of(sink) == []
        assert read(sink, after) == noise(size, "b")


def test_small_files_share_a_block(tmp_path: Path) -> None:
    sink = MemorySink()
    (tmp_path / "sub").mkdir()
    for number in range(100):
        (tmp_path / "sub" / f"{number}.txt").write_bytes(b"".join(records(20, number)))
    first = store_folder(sink, tmp_path, None)
    start = len(sink.blocks) + 1
    for number in range(0, 100, 3):
        path = tmp_path / "sub" / f"{number}.txt"
        path.write_bytes(b"title\n" + path.read_bytes())
    second = store_folder(sink, tmp_path, first)
    [delta] = deltas_of(sink, start)
    assert len(delta.members) == len(delta.bases) == 34
    assert len(delta.frame) < 34 * 40
    assert second == store_folder(MemorySink(), tmp_path, None)
    sink.closure([first.id, second.id])


def test_a_file_that_was_a_folder_finds_nothing(tmp_path: Path) -> None:
    sink = MemorySink()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(prose(5000))
    first = store_folder(sink, tmp_path, None)
    (tmp_path / "a" / "b").unlink()
    (tmp_path / "a").rmdir()
    (tmp_path / "a").write_bytes(prose(5000) + b"!")
    second = store_folder(sink, tmp_path, first)
    assert deltas_of(sink) == []
    sink.closure([second.id])


def test_a_file_that_moved_is_found_by_its_name(tmp_path: Path) -> None:
    sink = MemorySink()
    (tmp_path / "tool-1.0").mkdir()
    (tmp_path / "tool-1.0" / "lib-0a1b2c3d.so").write_bytes(noise(90 * KIB))
    (tmp_path / "tool-1.0" / "big-1.so").write_bytes(noise(5 * MIB))
    (tmp_path / "tool-1.0" / "notes.txt").write_bytes(prose(900))
    first = store_folder(sink, tmp_path, None)
    start = len(sink.blocks) + 1
    (tmp_path / "tool-1.0").rename(tmp_path / "tool-1.1")
    folder = tmp_path / "tool-1.1"
    (folder / "lib-0a1b2c3d.so").unlink()
    (folder / "lib-99887766.so").write_bytes(b"new" + noise(90 * KIB))
    (folder / "big-1.so").unlink()
    (folder / "big-2.so").write_bytes(b"new" + noise(5 * MIB))
    (folder / "notes.txt").write_bytes(noise(9000))
    second = store_folder(sink, tmp_path, first)
    assert sum(len(block.members) for block in deltas_of(sink, start)) == 2
    assert added(sink, start) < 20 * KIB
    sink.closure([first.id, second.id])


@pytest.mark.parametrize("size", [3_000, 90 * KIB, 3 * MIB, 12 * MIB])
def test_a_base_that_vanishes_is_done_without(size: int) -> None:
    sink = MemorySink()
    rows = records(size // 90)
    first = store_file(sink, b"".join(rows), None)
    data = b"".join(scattered(near_start(rows)))
    known = store_file(MemorySink(), data, None)
    with Ingestor(sink, chains=Chains(sink.reader, sink.load)) as ingestor:
        second = ingestor.add_bytes(data, lambda: first)
        sink.lose_before_write = set(sink.rows)
    assert second == known
    assert deltas_of(sink) == [] or sink.refused == 0
    assert read(sink, second) == data


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_a_base_that_cannot_be_read_is_no_base(how: str) -> None:
    sink = MemorySink()
    old = prose(100 * KIB)
    first = store_file(sink, old, None)
    if how == "lost":
        sink.lose(list(sink.rows))
    else:
        for at, data in sink.blocks.items():
            if not data[2]:
                sink.blocks[at] = data[:-9] + b"?????????"
        sink.reader = ObjectReader(sink.load)
    second = store_file(sink, old + b"more", first)
    assert deltas_of(sink) == []
    assert read(sink, second) == old + b"more"


def chain(sink: MemorySink, length: int, size: int = 20 * KIB) -> list[tuple[FileContent, bytes]]:
    """Versions of one file, each a little other than the one before."""
    data = prose(size)
    before: FileContent | None = None
    versions = []
    for number in range(length):
        at = number * 97 % size
        data = data[:at] + b"<%d>" % number + data[at:]
        before = store_file(sink, data, before)
        versions.append((before, data))
    return versions


@pytest.fixture
def no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delta rests on the version before."""
    monkeypatch.setattr(chains, "STEP_EVERY", 1 << 30)


def test_a_long_chain_is_read_in_steps() -> None:
    sink = MemorySink()
    versions = chain(sink, 200)
    depths = [block.depth for block in content_blocks(sink)]
    # The first run has no step at its end; each later one begins a level above the one before.
    most = [number // STEP_EVERY + STEP_EVERY for number in range(len(depths))]
    assert all(depth <= limit for depth, limit in zip(depths, most, strict=True))
    assert len(deltas_of(sink)) == 199
    steps = [block for block in deltas_of(sink) if marked(block.frame)]
    assert [block.depth for block in steps] == list(range(1, len(steps) + 1))
    for content, data in versions[::9]:
        assert read(sink, content) == data


def test_a_chain_that_says_nothing_of_steps_is_not_gone_down_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = MemorySink()
    with monkeypatch.context() as earlier:
        earlier.setattr(chains, "STEP_EVERY", 1 << 30)
        versions = chain(sink, 100)
    deepest = max(block.depth for block in content_blocks(sink))
    assert deepest == 99
    content, data = versions[-1]
    later = store_file(sink, data + b"one more line", content)
    depths = [block.depth for block in content_blocks(sink)]
    assert depths[-1] == deepest - 2 * STEP_EVERY + 1
    assert marked(deltas_of(sink)[-1].frame)
    assert read(sink, later) == data + b"one more line"


def test_a_chain_ends_where_an_older_base_is_better(no_steps: None) -> None:
    sink = MemorySink()
    versions = chain(sink, DELTA_DEPTH + 20)
    depths = [block.depth for block in content_blocks(sink)]
    assert depths[: DELTA_DEPTH + 1] == list(range(DELTA_DEPTH + 1))
    assert depths[DELTA_DEPTH + 1] == DELTA_DEPTH // 2 + 1
    for content, data in (versions[0], versions[DELTA_DEPTH // 2], versions[-1]):
        assert read(sink, content) == data


def test_a_chain_that_costs_too_much_begins_again(
    no_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "_WORK_BYTES", 0)
    monkeypatch.setattr(chains, "_WORK_TIMES", 12)
    sink = MemorySink()
    versions = chain(sink, 40)
    assert 3 < max(block.depth for block in deltas_of(sink)) < 12
    assert len(deltas_of(sink)) > 35
    for content, data in versions:
        assert read(sink, content) == data


def test_deltas_as_big_as_the_file_are_no_chain() -> None:
    sink = MemorySink()
    before: FileContent | None = None
    for number in range(12):
        data = noise(30 * KIB) + noise(10 * KIB, str(number))
        before = store_file(sink, data, before)
    # Each takes a third of the file: three of them, and a fourth of one that lies deeper.
    assert max(block.depth for block in deltas_of(sink)) <= 4
    assert len(content_blocks(sink)) == 12


def test_bases_stay_within_the_bounds_of_a_delta() -> None:
    sink = MemorySink()
    old = b"".join(records(200_000))
    assert len(old) > 2 * DICTIONARY_BYTES
    first = store_file(sink, old, None)
    data = b"".join(scattered(records(200_000)))
    second = store_file(sink, data, first, stream=True)
    sizes: dict[Id, int] = {m.id: m.size for b in content_blocks(sink) for m in b.members}
    found = deltas_of(sink)
    assert found
    for block in found:
        assert sum(sizes[base] for base in block.bases) <= DICTIONARY_BYTES
    assert read(sink, second) == data


def test_what_is_gathered_is_bounded(tmp_path: Path) -> None:
    """A stream without one known chunk goes out in pieces."""
    sink = MemorySink()
    old = b"".join(records(150_000))
    first = store_file(sink, old, None)
    data = b"".join(scattered(records(150_000)))
    store_file(sink, data, first, stream=True)
    assert max(block.raw_size for block in deltas_of(sink)) <= 4 * MIB + CHUNK_MAX


def test_plain_blocks_hold_big_with_big_small_with_small_and_what_is_empty_alone() -> None:
    pieces = [noise(100_000, str(n)) if n % 2 else prose(2_000, n) for n in range(12)]
    pieces.insert(5, b"")
    blocks = encode_plain([(content_id(piece), piece) for piece in pieces])
    sizes = sorted([member.size for member in block.members] for block in blocks)
    assert sizes == [[0], [2_000] * 6, *[[100_000] * 2] * 3]
    sink = MemorySink()
    for block in blocks:
        sink.put(block.data)
    for piece in pieces:
        assert b"".join(sink.reader.stream(content_id(piece), len(piece))) == piece
