"""What goes wrong under way reaches the caller, leaves no thread, and loses nothing in silence."""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from castore.content import encoder, intake, packer, segments
from castore.content.ingest import Ingestor
from castore.content.segments import ReadAhead
from castore.content.sink import Batch
from castore.content.stamps import Stamp
from castore.errors import CastoreError, CorruptObject, InvalidInput, NotFound, StoreFull
from castore.model.ids import Id, content_id
from castore.model.limits import MIB
from tests.content.memory_sink import MemoryCache, MemorySink
from tests.content.samples import noise, prose

BIG = noise(24 * MIB)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    return path


def test_an_encoder_that_fails(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def fail(data: object) -> bool:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise MemoryError("no room")
        return False

    monkeypatch.setattr(encoder, "compressible", fail)
    sink = MemorySink()
    with pytest.raises(MemoryError, match="no room"), Ingestor(sink) as ingestor:
        ingestor.add_path(big)


def test_a_failed_block_cannot_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MemorySink()
    ingestor = Ingestor(sink, workers=0)
    with monkeypatch.context() as patch:
        patch.setattr(packer, "encode_chunks", _broken)
        with pytest.raises(ZeroDivisionError):
            ingestor.add_bytes(noise(100_000))
    ingestor.add_bytes(b"another")
    with pytest.raises(CastoreError, match="lost"):
        ingestor.flush()


def _broken(chunks: object, **_: object) -> list[object]:
    raise ZeroDivisionError


@pytest.mark.parametrize("data", [prose(300_000), b"tiny"])
def test_a_compressor_that_lies_is_found_out(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    good = encoder.compress_all

    def bad(pieces: Sequence[bytes]) -> Sequence[bytes]:
        return good([bytes(piece[:-1]) + b"!" for piece in pieces])

    monkeypatch.setattr(encoder, "compress_all", bad)
    monkeypatch.setattr(encoder, "_CONTENT_KEEPS", 99)
    sink = MemorySink()
    with pytest.raises(CorruptObject, match="did not survive"), Ingestor(sink) as ingestor:
        ingestor.add_bytes(data)
    assert sink.rows == {}


def test_a_sink_that_fails_can_be_tried_again() -> None:
    class Full(MemorySink):
        full = True

        def write(self, batch):  # type: ignore[no-untyped-def]
            if self.full:
                raise StoreFull("no room")
            return super().write(batch)

    sink = Full()
    ingestor = Ingestor(sink)
    content = ingestor.add_bytes(BIG[: 3 * MIB])
    with pytest.raises(StoreFull):
        ingestor.flush()
    sink.full = False
    ingestor.flush()
    assert sink.reader.read(content.digest, content.size, content.size) == BIG[: 3 * MIB]


def test_a_sink_that_fails_in_the_middle_of_a_file(big: Path) -> None:
    class Full(MemorySink):
        def write(self, batch):  # type: ignore[no-untyped-def]
            raise StoreFull("no room")

    packer_limit = packer.BATCH_BYTES
    try:
        packer.BATCH_BYTES = 4 * MIB  # type: ignore[misc]
        with pytest.raises(StoreFull), Ingestor(Full()) as ingestor:
            ingestor.add_path(big)
    finally:
        packer.BATCH_BYTES = packer_limit  # type: ignore[misc]


def test_a_progress_callback_that_fails(big: Path) -> None:
    def stop(count: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError), Ingestor(MemorySink(), progress=stop) as ingestor:
        ingestor.add_path(big)


def test_a_stream_that_fails_leaves_the_ingestor_usable() -> None:
    def pieces() -> Iterator[bytes]:
        yield BIG[: 5 * MIB]
        raise OSError("the pipe broke")

    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        with pytest.raises(OSError, match="pipe"):
            ingestor.add_stream(pieces())
        content = ingestor.add_bytes(BIG)
    assert sink.reader.read(content.digest, len(BIG), len(BIG)) == BIG


def test_a_keyboard_interrupt_stops_everything(big: Path) -> None:
    """The signal comes while the main thread waits for a worker that takes its time."""

    once = threading.Lock()

    def slow(chunks: object, **_: object) -> list[object]:
        time.sleep(0.1)
        if once.acquire(blocking=False):
            _thread.interrupt_main()
        time.sleep(0.1)
        return []

    sink = MemorySink()
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packer, "encode_chunks", slow)
        patch.setattr(packer, "THREADS_ABOVE", 0)
        with pytest.raises(KeyboardInterrupt), Ingestor(sink) as ingestor:
            ingestor.add_path(big)
    assert time.monotonic() - started < 20
    assert sink.rows == {}


def test_read_ahead_ends_however_early_it_is_left() -> None:
    def endless(take):  # type: ignore[no-untyped-def]
        while True:
            yield segments.Cut(take(), 0, 0, 1, [])

    for wanted in (0, 1, 5, 100):
        with ReadAhead(endless) as ahead:
            for number, segment in enumerate(ahead):
                if number >= wanted:
                    break
                ahead.give(segment.buffer)


def test_what_reading_raises_is_raised_by_the_iteration() -> None:
    def broken(take):  # type: ignore[no-untyped-def]
        yield segments.Cut(take(), 0, 0, 1, [])
        raise OSError(5, "Input/output error")

    with ReadAhead(broken) as ahead, pytest.raises(OSError, match="Input/output"):
        list(ahead)


@pytest.mark.parametrize("size", [10, 100_000, 9 * MIB])
@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str, in_folder: bool
) -> None:
    path = tmp_path / "log"
    path.write_bytes(noise(size))
    real_stat, real_read, real_readv = os.fstat, os.read, os.readv
    done = 0

    def meddle() -> None:
        nonlocal done
        done += 1
        with path.open("r+b") as file:
            if change == "grow":
                file.seek(0, 2)
                file.write(b"more")
            elif change == "shrink":
                file.truncate(size - 1 - done)
            else:
                file.write(b"!")
        os.utime(path, ns=(done, done))

    def read(descriptor: int, count: int) -> bytes:
        meddle()
        return real_read(descriptor, count)

    def readv(descriptor: int, buffers: list[memoryview]) -> int:
        meddle()
        return real_readv(descriptor, buffers)

    monkeypatch.setattr(os, "read", read)
    monkeypatch.setattr(os, "readv", readv)
    with Ingestor(MemorySink()) as ingestor:
        with pytest.raises(InvalidInput, match="log: changed while it was read") as caught:
            ingestor.add_folder(tmp_path) if in_folder else ingestor.add_path(path)
        assert caught.value.fix
    assert done
    assert real_stat is os.fstat


def test_a_file_that_changed_between_scan_and_reading_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"scanned")
    real = intake.read_small

    def late(name: str, stamp: Stamp, folder: int | None) -> bytes | None:
        path.write_bytes(b"as it is now")
        return real(name, stamp, folder)

    monkeypatch.setattr(intake, "read_small", late)
    sink, cache = MemorySink(), MemoryCache()
    with Ingestor(sink, cache=cache, now_ns=lambda: 1 << 62) as ingestor:
        tree = ingestor.add_folder(tmp_path)
    assert tree.size == 12
    assert sink.known([content_id(b"as it is now")])
    # The stamp that was seen is not the one of these bytes.
    assert cache.rows == {}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    with Ingestor(MemorySink()) as ingestor:
        with pytest.raises(NotFound, match="absent"):
            ingestor.add_path(tmp_path / "absent")
        for name in ("fifo", "loop", ".", "file/below"):
            with pytest.raises(InvalidInput):
                ingestor.add_path(tmp_path / name)
        with pytest.raises(InvalidInput, match="name"):
            ingestor.add_path("a\0b")
        with pytest.raises(InvalidInput, match="link"):
            ingestor.add_path(tmp_path / "link", follow=False)
        assert ingestor.add_path(tmp_path / "link").size == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_a_folder_that_cannot_be_written_is_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(packer, "BATCH_BYTES", 100_000)
    monkeypatch.setattr(packer, "_SOLIDS_BYTES", 100_000)
    monkeypatch.setattr(packer, "IN_FLIGHT_BYTES", 200_000)
    monkeypatch.setattr(packer, "THREADS_ABOVE", 0)
    for number in range(300):
        (tmp_path / f"{number:03}").write_bytes(noise(2_000, str(number)))

    class Full(MemorySink):
        full = True

        def write(self, batch: Batch) -> set[Id]:
            if self.full:
                raise StoreFull("no space left")
            return super().write(batch)

    sink = Full()
    ingestor = Ingestor(sink, workers=workers)
    with pytest.raises(StoreFull):
        ingestor.add_folder(tmp_path)
    assert not sink.blocks
    sink.full = False
    tree = ingestor.add_folder(tmp_path)
    ingestor.flush()
    ingestor.close()
    assert len(sink.closure([tree.id])) == 301
    assert ingestor.tally.new_bytes == 600_000
    assert len(sink.batches) > 1


def test_small_files_are_verified_wherever_they_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(900):
        (tmp_path / f"{number:03}").write_bytes(prose(8_000, number))
    real = encoder.compress_all
    calls = 0

    def wrong(pieces: Sequence[bytes]) -> Sequence[bytes]:
        nonlocal calls
        before, calls = calls, calls + len(pieces)
        turned = 20 - before
        return real([bytes(p)[::-1] if at == turned else p for at, p in enumerate(pieces)])

    monkeypatch.setattr(encoder, "compress_all", wrong)
    sink = MemorySink()
    with (
        pytest.raises(CorruptObject, match="did not survive"),
        Ingestor(sink, workers=2) as ingestor,
    ):
        ingestor.add_folder(tmp_path)
    assert calls >= 20
    assert not sink.blocks
