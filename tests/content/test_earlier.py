"""Folders stored as deltas of what they were: the same folders, and little to write and read."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from castore.content import delta_encoder, earlier, leaves, trees
from castore.content.blocks import Block, Codec, decode_block
from castore.content.delta_encoder import Base, encode_delta
from castore.content.earlier import PAGE_DEPTH, EarlierFolder
from castore.content.encoder import encode_metadata
from castore.content.ingest import Ingestor
from castore.content.reader import ObjectReader
from castore.content.trees import build_tree, walk_tree
from castore.errors import CorruptObject, InvalidInput
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import DELTA_DEPTH, DICTIONARY_BYTES, KIB, MIB
from castore.model.pages import FILE, Entry, encode_tree, tree_head, tree_id
from tests.content.memory_sink import MemorySink
from tests.content.samples import noise, prose


def blocks_of(sink: MemorySink, start: int = 1) -> Iterator[Block]:
    """The blocks stored from this number on."""
    for number, data in sink.blocks.items():
        if number >= start:
            yield decode_block(data, f"block {number}")


def deltas_of(sink: MemorySink, start: int = 1) -> list[Block]:
    return [block for block in blocks_of(sink, start) if block.codec is Codec.DELTA]


def store_folder(sink: MemorySink, folder: Path, before: TreeContent | None) -> TreeContent:
    """Store a folder on top of what it was."""
    root = before.id if before else None
    with Ingestor(sink) as ingestor:
        old = EarlierFolder(sink.reader, sink.load, lambda: root)
        return ingestor.add_folder(folder, earlier=old)


def listed(sink: MemorySink, content: TreeContent) -> dict[bytes, Id]:
    """Every file by its path, read by a reader that has nothing in its cache."""
    fresh = ObjectReader(sink.load)
    walked = walk_tree(fresh.tree_page, content.id)
    return {path: entry.id for path, entry in walked if entry.kind == FILE}


def on_disk(folder: Path) -> dict[bytes, Id]:
    return {
        str(path.relative_to(folder)).encode(): content_id(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def edit(folder: Path, dice: random.Random) -> None:
    """A few changes of every sort."""
    for _ in range(dice.randrange(1, 4)):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        chosen = dice.choice(files) if files else folder / "a"
        what = dice.choice(("write", "write", "add", "remove", "move", "nest"))
        if what == "write":
            chosen.write_bytes(dice.randbytes(9))
        elif what == "add":
            (chosen.parent / f"new{dice.randrange(99)}").write_bytes(dice.randbytes(9))
        elif what == "remove" and chosen.exists():
            chosen.unlink()
        elif what == "nest":
            inner = chosen.parent / f"folder{dice.randrange(3)}"
            inner.mkdir(exist_ok=True)
            (inner / f"x{dice.randrange(9)}").write_bytes(dice.randbytes(9))
        elif what == "move" and chosen.parent != folder:
            shutil.move(chosen.parent, folder / f"moved{dice.randrange(10**6)}")


def cut_at(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    """Let pages have at most so many entries."""
    monkeypatch.setattr(trees, "TREE_ENTRIES", entries)
    monkeypatch.setattr(leaves, "TREE_ENTRIES", entries)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of more than 12 entries have several pages, in several levels."""
    cut_at(monkeypatch, 12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 32), st.sampled_from([1, 3, PAGE_DEPTH]))
def test_edits_over_versions_give_the_folders_of_a_fresh_store(
    small_pages: None, seed: int, depth: int
) -> None:
    dice = random.Random(seed)
    sink = MemorySink()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(earlier, "PAGE_DEPTH", depth)
        folder = Path(name)
        (folder / "deep" / "er").mkdir(parents=True)
        for number in range(dice.randrange(70)):
            place = dice.choice((folder, folder / "deep", folder / "deep" / "er"))
            (place / f"file{number}").write_bytes(dice.randbytes(9))
        before: TreeContent | None = None
        versions = []
        for _ in range(8):
            before = store_folder(sink, folder, before)
            assert before == store_folder(MemorySink(), folder, None)
            versions.append((before, on_disk(folder)))
            edit(folder, dice)
    for content, expected in versions:
        assert listed(sink, content) == expected
    sink.closure([content.id for content, _ in versions])
    assert all(block.depth <= depth for block in deltas_of(sink))
    for block in deltas_of(sink):
        assert len(block.members) == len(block.bases) == 1


def pages(folder: Path, count: int = 600) -> None:
    """A folder of one page that does not compress."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:04}").write_bytes(f"{folder.name} {number}".encode())


def test_an_edit_costs_bytes_not_pages(tmp_path: Path) -> None:
    sink = MemorySink()
    pages(tmp_path / "a")
    pages(tmp_path / "b")
    (tmp_path / "c").write_bytes(b"c")
    first = store_folder(sink, tmp_path, None)
    assert deltas_of(sink) == []
    (tmp_path / "a" / "0300").write_bytes(b"edited")
    start = len(sink.blocks) + 1
    second = store_folder(sink, tmp_path, first)
    added = sum(len(data) for number, data in sink.blocks.items() if number >= start)
    assert added < 600
    # The page of `a`; the page above it is too small to gain.
    assert [block.depth for block in deltas_of(sink, start)] == [1]
    assert listed(sink, second) == on_disk(tmp_path)


def test_a_chain_begins_again_at_the_bottom(tmp_path: Path) -> None:
    sink = MemorySink()
    pages(tmp_path)
    content = store_folder(sink, tmp_path, None)
    for number in range(3 * PAGE_DEPTH):
        (tmp_path / f"{number:04}").write_bytes(b"edit")
        content = store_folder(sink, tmp_path, content)
    depths = [block.depth for block in deltas_of(sink)]
    assert depths == [number % PAGE_DEPTH + 1 for number in range(3 * PAGE_DEPTH)]
    assert listed(sink, content) == on_disk(tmp_path)


def test_only_what_leads_to_the_changes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, 64)
    for name in "abcdefgh":
        pages(tmp_path / name, 300)
    sink = MemorySink()
    first = store_folder(sink, tmp_path, None)
    assert sum(row[0] is Kind.TREE for row in sink.rows.values()) > 48
    loads: list[Id] = []

    def load(id: Id) -> object:
        loads.append(id)
        return sink.load(id)

    asked = 0

    def find_root() -> Id:
        nonlocal asked
        asked += 1
        return first.id

    reader = ObjectReader(load)  # type: ignore[arg-type]
    with Ingestor(sink) as ingestor:
        old = EarlierFolder(reader, load, find_root)  # type: ignore[arg-type]
        assert ingestor.add_folder(tmp_path, earlier=old) == first
        assert (asked, loads) == (0, [])
        (tmp_path / "c" / "0100").write_bytes(b"edited")
        ingestor.add_folder(tmp_path, earlier=old)
    # A leaf of c, the page above it, the folder above that: each read, and seen for its depth.
    assert asked == 1
    assert len(set(loads)) == 3
    assert len(loads) <= 8


@pytest.mark.parametrize("how", ["absent", "damaged", "no folder", "gone"])
def test_an_old_folder_that_cannot_be_read_is_no_base(tmp_path: Path, how: str) -> None:
    sink = MemorySink()
    pages(tmp_path)
    first = store_folder(sink, tmp_path, None)
    (tmp_path / "0001").write_bytes(b"edited")
    if how == "absent":
        sink.lose([first.id])
    elif how == "damaged":
        number = sink.rows[first.id][1]
        sink.blocks[number] = sink.blocks[number][:-1] + b"?"
    elif how == "no folder":
        first = TreeContent(content_id(b"1"), 1)
    second = store_folder(sink, tmp_path, None if how == "gone" else first)
    assert deltas_of(sink, len(sink.blocks)) == []
    if how != "damaged":
        assert listed(sink, second) == on_disk(tmp_path)


def test_a_base_that_vanishes_is_done_without(tmp_path: Path) -> None:
    sink = MemorySink()
    pages(tmp_path / "sub")
    first = store_folder(sink, tmp_path, None)
    old = {id for id, (kind, _, _) in sink.rows.items() if kind is Kind.TREE}
    (tmp_path / "sub" / "0001").write_bytes(b"edited")
    sink.lose_before_write = old
    second = store_folder(sink, tmp_path, first)
    assert sink.refused == 1
    assert deltas_of(sink) == []
    assert not sink.known(list(old))
    assert listed(sink, second) == on_disk(tmp_path)


def test_a_base_that_vanishes_and_is_relied_on_too_comes_back(tmp_path: Path) -> None:
    sink = MemorySink()
    pages(tmp_path / "sub")
    first = store_folder(sink, tmp_path, None)
    copy = shutil.copytree(tmp_path / "sub", tmp_path / "copy")
    (tmp_path / "sub" / "0001").write_bytes(b"edited")
    sink.lose_before_write = set(sink.rows)
    second = store_folder(sink, tmp_path, first)
    assert sink.refused == 1
    assert listed(sink, second) == on_disk(tmp_path)
    sink.closure([second.id])
    assert copy.is_dir()


# The encoder.


def entries(count: int, seed: int = 0) -> list[Entry]:
    dice = random.Random(seed)
    return [Entry(b"%06d" % n, FILE, dice.randbytes(32), n, 0) for n in range(count)]


def page_of(rows: list[Entry], level: int = 0) -> tuple[Kind, Id, bytes]:
    payload = encode_tree(level, rows)
    return Kind.TREE, tree_id(payload), payload


@given(st.integers(1, 300), st.integers(0, 5), st.booleans())
def test_a_delta_is_the_same_objects(count: int, edits: int, several: bool) -> None:
    rows = entries(count)
    old = page_of(rows)
    for number in range(edits):
        place = number * 31 % count
        rows[place] = rows[place]._replace(id=bytes([number]) * 32)
    new = [page_of(rows)] + ([page_of(rows[: count // 2])] if several and count > 1 else [])
    sink = MemorySink()
    sink.put(encode_metadata([old])[0].data)
    made = encode_delta(new, [Base(old[1], old[2], 0)])
    plain = len(encode_metadata(new)[0].data)
    if made is None:
        assert count < 24
        return
    assert len(made.data) < plain
    sink.put(made.data)
    for kind, id, payload in new:
        assert ObjectReader(sink.load).payload(id, kind) == payload


def test_content_may_be_a_delta_of_several_chunks() -> None:
    sink = MemorySink()
    olds = [noise(200 * KIB, str(n)) for n in range(5)]
    with Ingestor(sink, workers=0) as ingestor:
        for old in olds:
            ingestor._packer.add_chunks([(content_id(old), old)], set())
    new = olds[1][:70_000] + b"edited" + olds[1][70_000:] + olds[3][:1000]
    bases = [Base(content_id(old), old, 0) for old in olds]
    made = encode_delta([(Kind.CHUNK, content_id(new), new)], bases)
    assert made is not None
    assert len(made.data) < 1000
    sink.put(made.data)
    assert sink.reader.payload(content_id(new), Kind.CHUNK) == new


def test_a_dictionary_is_seen_to_its_beginning() -> None:
    olds = [prose(200 * KIB, seed) + noise(50 * KIB, str(seed)) for seed in range(0, 320, 10)]
    assert 7 * MIB < sum(map(len, olds)) <= DICTIONARY_BYTES
    new = olds[0][100 * KIB :]
    bases = [Base(content_id(old), old, 0) for old in olds]
    made = encode_delta([(Kind.CHUNK, content_id(new), new)], bases)
    assert made is not None
    assert len(made.data) < 3000


def test_what_gains_little_or_breaks_a_bound_is_no_delta() -> None:
    rows = entries(200)
    old, other = page_of(rows), page_of(entries(200, 1))
    rows[7] = rows[7]._replace(size=1)
    new = page_of(rows)
    assert encode_delta([new], [Base(other[1], other[2], 0)]) is None
    assert encode_delta([new], []) is None
    base = Base(old[1], old[2], DELTA_DEPTH - 1)
    made = encode_delta([new], [base])
    assert made is not None
    assert decode_block(made.data, "").depth == DELTA_DEPTH
    assert encode_delta([new], [base._replace(depth=DELTA_DEPTH)]) is None
    big = base._replace(payload=old[2] + bytes(DICTIONARY_BYTES))
    assert encode_delta([new], [big]) is None
    assert encode_delta([new], [base] * 513) is None
    with pytest.raises(InvalidInput, match="manifest or note"):
        encode_delta([(Kind.NOTE, new[1], new[2])], [base])


def test_a_delta_that_does_not_read_back_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = entries(200)
    old = page_of(rows)
    rows[7] = rows[7]._replace(size=1)
    real = delta_encoder.decompress

    def wrong(*given: object, **named: object) -> bytes:
        raw = real(*given, **named)  # type: ignore[arg-type]
        return raw[:-1] + b"?"

    monkeypatch.setattr(delta_encoder, "decompress", wrong)
    with pytest.raises(CorruptObject, match="did not survive"):
        encode_delta([page_of(rows)], [Base(old[1], old[2], 0)])


@given(st.lists(st.binary(min_size=1, max_size=255), max_size=40, unique=True))
def test_the_head_of_a_page_is_told_without_the_rest(names: list[bytes]) -> None:
    clean = sorted(
        {name.hex()[:255].encode() for name in names}
        | ({b"\xc3\xa4" * 127} if len(names) > 3 else set())
    )
    built = build_tree([Entry(name, FILE, content_id(name), 1, 0) for name in clean])
    for id, payload in built.pages:
        page = trees.decode_tree(payload)
        first = page.entries[0].name if page.entries else b""
        assert tree_head(payload) == (page.level, first), id.hex()


@pytest.mark.parametrize(
    ("before", "now"),
    [("pack-5.0.9", "pack-5.0.10"), ("pack-5.0.9", "pack-5.1"), ("2026-11-21", "2026-11-22")],
)
def test_a_folder_with_other_numbers_in_its_name_stands_for_the_new_one(
    tmp_path: Path, before: str, now: str
) -> None:
    sink = MemorySink()
    work = tmp_path / "work"
    for number in range(40):
        path = work / before / f"part{number % 4}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(prose(2_000, seed=number))
    first = store_folder(sink, work, None)
    (work / before).rename(work / now)
    root = first.id
    old = EarlierFolder(sink.reader, sink.load, lambda: root)
    entry = old.file_at(f"{now}/part1/5.txt", 2_000)
    assert entry is not None
    assert entry.digest == content_id((work / now / "part1/5.txt").read_bytes())
    assert old.file_at(f"other/{now}/none.txt", 2_000) is None
    (work / now / "part1" / "5.txt").write_bytes(b"other")
    start = len(sink.blocks) + 1
    second = store_folder(sink, work, first)
    assert len(deltas_of(sink, start)) >= 1
    assert listed(sink, second) == on_disk(work)


def test_of_several_such_folders_the_one_before_is_taken(tmp_path: Path) -> None:
    sink = MemorySink()
    for day in (3, 7, 9):
        path = tmp_path / "work" / f"day-{day}" / "a.txt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % day)
    root = store_folder(sink, tmp_path / "work", None).id
    old = EarlierFolder(sink.reader, sink.load, lambda: root)
    for day, expected in ((8, b"7"), (2, b"3"), (5, b"3")):
        found = old.file_at(f"day-{day}/a.txt", 1)
        assert found is not None
        assert found.digest == content_id(expected)


def test_a_big_file_finds_the_one_that_is_called_nearly_so(tmp_path: Path) -> None:
    sink = MemorySink()
    work = tmp_path / "work"
    work.mkdir()
    data = noise(MIB + 5)
    (work / "libopenblasp-r0-24bff013.3.26.dev.so").write_bytes(data)
    (work / "image.png").write_bytes(noise(MIB + 9, "other"))
    root = store_folder(sink, work, None).id
    old = EarlierFolder(sink.reader, sink.load, lambda: root)
    found = old.file_at("libscipy_openblas-01191904.3.27.so", MIB + 70)
    assert found is not None
    assert found.digest == content_id(data)
    assert old.file_at("libscipy_openblas-01191904.3.27.so", 3 * MIB) is None
    assert old.file_at("weights.bin", MIB) is None
