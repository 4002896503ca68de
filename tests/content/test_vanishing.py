"""Objects found that are gone when the batch is written are stored again, or it says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from castore.content.ingest import Ingestor
from castore.errors import InvalidInput, NotFound, Unavailable
from castore.model.ids import Kind, content_id
from castore.model.limits import KIB, MIB
from tests.content.memory_sink import MemoryCache, MemorySink
from tests.content.samples import noise, prose

OLD = 1_000_000_000_000_000_000


def age(path: Path) -> None:
    """Make every file look long settled to one whose clock is far ahead."""
    for found in (path, *path.rglob("*")):
        os.utime(found, ns=(OLD, OLD))


def later() -> int:
    return 4_000_000_000_000_000_000


def filled(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "small").write_bytes(b"small")
    (folder / "sub" / "medium").write_bytes(noise(700 * KIB))
    (folder / "sub" / "big").write_bytes(noise(6 * MIB, "big"))
    age(folder)
    return folder


@pytest.mark.parametrize("cached", [False, True])
def test_everything_may_vanish_at_the_last_moment(tmp_path: Path, cached: bool) -> None:
    folder = filled(tmp_path)
    sink, cache = MemorySink(), MemoryCache()
    with Ingestor(sink, cache=cache, now_ns=later) as first:
        tree = first.add_folder(folder)
    everything = set(sink.rows)
    with Ingestor(sink, cache=cache if cached else None, now_ns=later) as again:
        assert again.add_folder(folder) == tree
        again.add_bytes(b"something new")
        sink.lose_before_write = everything
    assert sink.refused == 1
    assert sink.closure([tree.id]) == everything
    assert sink.reader.read(content_id(b"small"), 5, 5) == b"small"
    assert again.tally.new_bytes == tree.size + 13
    assert again.tally.known_bytes == 0


@pytest.mark.parametrize("source", ["bytes", "stream"])
@pytest.mark.parametrize("share", [1, 3])
def test_bytes_that_cannot_be_read_again_are_kept_until_they_are_safe(
    source: str, share: int
) -> None:
    sink = MemorySink()
    data = noise(3 * MIB) + prose(MIB)

    def add(ingestor: Ingestor) -> bytes:
        if source == "bytes":
            return ingestor.add_bytes(data).digest
        return ingestor.add_stream([data]).digest

    with Ingestor(sink) as ingestor:
        digest = add(ingestor)
    everything = sorted(sink.rows)
    with Ingestor(sink) as again:
        add(again)
        sink.lose_before_write = {digest, *everything[::share]}
    assert sink.reader.read(digest, len(data), len(data)) == data
    sink.closure([digest])


def test_objects_vanish_and_come_back() -> None:
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        id = ingestor.add_object(Kind.NOTE, b"payload")
    with Ingestor(sink) as again:
        again.add_object(Kind.NOTE, b"payload")
        sink.lose_before_write = {id}
    assert sink.reader.payload(id, Kind.NOTE) == b"payload"


def test_a_cached_file_that_vanished_and_changed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    age(tmp_path)
    sink, cache = MemorySink(), MemoryCache()
    with Ingestor(sink, cache=cache, now_ns=later) as first:
        digest = first.add_path(path).digest
    again = Ingestor(sink, cache=cache, now_ns=later)
    assert again.add_path(path).digest == digest
    sink.lose([digest])
    path.write_bytes(b"other")
    with pytest.raises(InvalidInput, match="changed"):
        again.flush()
    path.unlink()
    with pytest.raises(NotFound, match="file"):
        again.flush()
    path.write_bytes(b"first")
    again.flush()
    assert sink.known([digest])


def test_it_gives_up_on_objects_that_keep_vanishing() -> None:
    class Hopeless(MemorySink):
        def write(self, batch):  # type: ignore[no-untyped-def]
            self.lose(batch.relied)
            return super().write(batch)

    sink = Hopeless()
    with Ingestor(sink) as ingestor:
        ingestor.add_bytes(b"data")
    again = Ingestor(sink)
    again.add_bytes(b"data")
    with pytest.raises(Unavailable, match="removed"):
        again.flush()


def test_an_unchanged_file_is_not_read(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    sink, cache = MemorySink(), MemoryCache()
    with Ingestor(sink, cache=cache, now_ns=later) as first:
        tree = first.add_folder(folder)
        alone = first.add_path(folder / "small")
    assert first.tally.cached_files == 0
    # Only the cache can know them: the bytes are others, under stamps that say the same.
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"?" * path.stat().st_size)
    cache.restamp(folder)
    with Ingestor(sink, cache=cache, now_ns=later) as again:
        assert again.add_folder(folder) == tree
        assert again.add_path(folder / "small") == alone
    assert again.tally.cached_files == 4
    assert again.tally.new_bytes == 0


@pytest.mark.parametrize("change", ["content", "times", "size", "moved"])
def test_a_changed_file_is_read_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    age(tmp_path)
    sink, cache = MemorySink(), MemoryCache()
    with Ingestor(sink, cache=cache, now_ns=later) as first:
        first.add_folder(tmp_path)
    if change == "content":
        path.write_bytes(b"other")
    elif change == "times":
        os.utime(path, ns=(OLD, OLD + 1))
    elif change == "size":
        path.write_bytes(b"longer than before")
    else:
        path.rename(tmp_path / "elsewhere")
        path.write_bytes(b"first")
    with Ingestor(sink, cache=cache, now_ns=later) as again:
        again.add_folder(tmp_path)
    assert again.tally.cached_files == 0


def test_a_file_that_just_changed_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"racy")
    found = path.stat()
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    for moment, remembered in ((newest, 0), (newest + 10_000_000, 0), (newest + 10**10, 1)):
        cache = MemoryCache()
        with Ingestor(MemorySink(), cache=cache, now_ns=lambda at=moment: at) as ingestor:  # type: ignore[misc]
            ingestor.add_path(path)
        assert len(cache.digests()) == remembered


def test_whole_seconds_are_not_trusted_for_two_of_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"coarse")
    second = path.stat().st_ctime_ns // 10**9 * 10**9
    os.utime(path, ns=(second, second))
    now = path.stat().st_ctime_ns
    for moment, remembered in ((now + 10**9, 0), (now + 3 * 10**9, 1)):
        cache = MemoryCache()
        with Ingestor(MemorySink(), cache=cache, now_ns=lambda at=moment: at) as ingestor:  # type: ignore[misc]
            ingestor.add_path(path)
        assert len(cache.digests()) == remembered
