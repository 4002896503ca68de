"""What was renamed, moved or changed all over between two versions is a delta all the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import castore
from castore.content import moved
from castore.content.ingest import Ingestor
from castore.content.moved import MovedFiles
from castore.model.artifact_set import FileContent
from castore.model.ids import content_id
from tests.content.memory_sink import MemorySink
from tests.store.gcscene import whole
from tests.store.test_content_deltas import deltas_of


def report(rows: int = 2500) -> list[bytes]:
    dice = random.Random(rows)
    return [b'{"row": %d, "value": %d}\n' % (n, dice.getrandbits(60)) for n in range(rows)]


def inserted(rows: list[bytes]) -> list[bytes]:
    return [*rows[:3], b"a line\n", *rows[3:]]


def appended(rows: list[bytes]) -> list[bytes]:
    return [*rows, *[b"at the end %d\n" % n for n in range(9)]]


def scattered(rows: list[bytes]) -> list[bytes]:
    return [b"edited %d\n" % n if n % 250 == 9 else row for n, row in enumerate(rows)]


def reordered(rows: list[bytes]) -> list[bytes]:
    third = len(rows) // 3
    return [*rows[2 * third :], *rows[:third], *rows[third : 2 * third]]


CHANGES = [inserted, appended, scattered, reordered]
Change = Callable[[list[bytes]], list[bytes]]


def stored(store: castore.Store) -> int:
    """Bytes of the blocks of content."""

    def read(tables: castore.database.reading.Reading) -> int:
        return sum(info.stored for _, info in tables.block_infos() if not info.metadata)

    return store.database.read(read)


def write(store: castore.Store, name: str, data: bytes) -> None:
    with store.session("weekly") as session:
        session.write(name, data)
        session.commit()


@pytest.mark.parametrize(
    ("name", "count"), [("report.json", 3600), ("summary.json", 60), ("report-2.json", 3600)]
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_artifact_takes_few_bytes_under_any_name(
    tmp_path: Path, change: Change, name: str, count: int
) -> None:
    rows = report(count)
    with castore.init(tmp_path) as store:
        write(store, "report.json", b"".join(rows))
        before = stored(store)
        new = b"".join(change(rows))
        write(store, name, new)
        assert deltas_of(store)
        assert stored(store) - before < before / 3
        assert store.read_bytes(f"weekly:{name}") == new
        whole(store)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_finds_its_name_in_another_artifact(tmp_path: Path, change: Change) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    rows = report()
    new = b"".join(change(rows))
    (first / "deep").mkdir(parents=True)
    (first / "deep" / "run-17.log").write_bytes(b"".join(rows))
    (first / "deep" / "other.log").write_bytes(b"".join(rows)[::-1])
    with castore.init(tmp_path) as store:
        with store.session("weekly") as session:
            session.add("old", first)
            session.commit()
        before = stored(store)
        # From folder to folder.
        (second / "flat").mkdir(parents=True)
        (second / "flat" / "run-18.log").write_bytes(new)
        with store.session("weekly") as session:
            session.add("new", second)
            session.commit()
        assert stored(store) - before < before / 4
        before = stored(store)
        # From folder to file.
        path = tmp_path / "run-19.log"
        path.write_bytes(new + b"more\n")
        with store.session("weekly") as session:
            session.add("alone", path, path="logs/run-19.log")
            session.commit()
        assert stored(store) - before < 1000
        before = stored(store)
        # And back.
        (second / "flat" / "run-18.log").write_bytes(new + b"more\nand more\n")
        with store.session("weekly") as session:
            session.add("again", second)
            session.commit()
        assert stored(store) - before < 1000
        assert store.read_bytes("weekly:again/flat/run-18.log") == new + b"more\nand more\n"
        whole(store)


def test_what_is_far_in_size_or_of_another_ending_is_no_base(tmp_path: Path) -> None:
    data = b"".join(report(300))
    with castore.init(tmp_path) as store:
        write(store, "report.json", data)
        write(store, "summary.json", data * 2 + b"x")
        write(store, "summary.txt", data * 2 + b"y")
        assert not deltas_of(store)


def test_a_stream_finds_the_only_one_of_its_name(tmp_path: Path) -> None:
    data = b"".join(report(300))
    with castore.init(tmp_path) as store:
        write(store, "report-1.json", data)
        with store.session("weekly") as session:
            session.add("report-2.json", iter([data, b"more"]))
            session.commit()
        assert len(deltas_of(store)) == 1
        assert store.read_bytes("weekly:report-2.json") == data + b"more"


def known(*files: tuple[str, int]) -> MovedFiles:
    found = MovedFiles()
    for path, size in files:
        found.add(path.encode(), FileContent(content_id(path.encode()), size))
    return found


def test_the_same_path_comes_before_the_nearest_size() -> None:
    files = known(("a/x.txt", 1000), ("b/x.txt", 1500), ("c/y.txt", 1500))
    assert files.nearest(b"a/x.txt", 1500) == FileContent(content_id(b"a/x.txt"), 1000)
    assert files.nearest(b"d/x.txt", 1400) == FileContent(content_id(b"b/x.txt"), 1500)
    assert files.nearest(b"d/x.txt", 3001) is None
    assert files.nearest(b"d/x.txt", None) is None
    assert files.nearest(b"d/y.txt", None) == FileContent(content_id(b"c/y.txt"), 1500)
    assert files.nearest(b"d/z.txt", 1500) is None


def test_what_is_small_is_not_looked_for() -> None:
    assert known(("a", 511)).nearest(b"a", 511) is None


@pytest.mark.parametrize(("most", "found"), [(4, True), (3, False)])
def test_of_very_many_files_none_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, found: bool
) -> None:
    for number in range(4):
        (tmp_path / f"{'abcd'[number]}.txt").write_bytes(bytes(600 + number))
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        content = ingestor.add_folder(tmp_path)
    monkeypatch.setattr(moved, "MOST_NAMES", most)
    files = MovedFiles()
    files.add_folder(sink.reader, content.id)
    assert (files.nearest(b"x/c.txt", 600) is not None) is found
