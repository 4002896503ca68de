"""Big files: how fast 1 GiB goes in, is known again, and comes out."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import zstandard
from blake3 import blake3

import castore
from benchmarks.corpora import MIB, random_file, text_file, touch, warm
from benchmarks.measure import Runs, repeat
from benchmarks.report import Row
from benchmarks.stage import Stage
from castore.content.chunker import Chunker
from castore.model.artifact_set import FileContent
from castore.store.verify import fsck

_ENCODERS: Final = 2
_LEVEL: Final = 3
_WRITTEN_BYTES: Final = 16 * MIB
_BATCH_CHUNKS: Final = 32


def ingest_random(stage: Stage) -> list[Row]:
    """1 GiB that does not compress, durable, against writing the same bytes and fdatasync."""
    path = random_file(stage.cache)
    warm(path)
    size = path.stat().st_size
    target = stage.scratch("raw") / "raw.bin"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = memoryview(mapped)

        def limit() -> None:
            target.unlink(missing_ok=True)
            with target.open("wb", buffering=0) as file:
                for start in range(0, size, _WRITTEN_BYTES):
                    file.write(view[start : start + _WRITTEN_BYTES])
                os.fdatasync(file.fileno())

        ours, raw = repeat(_ingest(stage, path), limit, times=stage.times, before=stage.settle)
        view.release()
    _check(stage)
    return [_row("ingest 1 GiB random", size, ours, raw, "write + fdatasync", 0.5, 0.8)]


def ingest_text(stage: Stage) -> list[Row]:
    """1 GiB of text at level 3, durable, against two threads of zstd-3 on the same chunks."""
    path = text_file(stage.cache)
    warm(path)
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        chunks = _chunks(mapped)
        ours, raw = repeat(
            _ingest(stage, path), lambda: _compress(chunks), times=stage.times, before=stage.settle
        )
        for chunk in chunks:
            chunk.release()
    _check(stage)
    return [_row("ingest 1 GiB text", size, ours, raw, "zstd -3, 2 threads, same chunks", 0.5, 0.8)]


def known_again(stage: Stage) -> list[Row]:
    """A file of 1 GiB that is stored already, with no stat result to know it by."""
    path = random_file(stage.cache)
    warm(path)
    size = path.stat().st_size
    store = stage.store("known")
    _commit(store, path)

    def again() -> None:
        touch(path)
        _commit(store, path)

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = memoryview(mapped)

        def limit() -> None:
            hasher = blake3()
            for start in range(0, size, MIB):
                hasher.update(view[start : start + MIB])
            hasher.digest()

        ours, raw = repeat(again, limit, times=stage.times)
        view.release()
    store.close()
    return [_row("re-ingest 1 GiB, no stat cache", size, ours, raw, "BLAKE3, 1 thread", 0.5, 1.0)]


def restore_text(stage: Stage) -> list[Row]:
    """1 GiB of text read back and verified, against decompressing the same chunks."""
    path = text_file(stage.cache)
    size = path.stat().st_size
    store = stage.store("restore")
    version = _commit(store, path)
    content = store.set_of(version).artifacts[0].content
    assert isinstance(content, FileContent)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        chunks = _chunks(mapped)
        frames = [compressor.compress(chunk) for chunk in chunks]
        for chunk in chunks:
            chunk.release()

    def limit() -> None:
        decompress = zstandard.ZstdDecompressor().decompress
        for frame in frames:
            decompress(frame)

    def read() -> None:
        for _ in store.reader.stream(content.digest, content.size):
            pass

    def check_out() -> None:
        store.checkout("big", stage.scratch("out"), force=True)

    (raw,) = repeat(limit, times=stage.times)
    frames.clear()
    read_back, checked_out = repeat(read, check_out, times=stage.times, before=stage.settle)
    store.close()
    name = "zstd decompress, 1 thread"
    return [
        _row("read back 1 GiB text, verified", size, read_back, raw, name, 0.5, 0.9),
        _row("checkout of 1 GiB text to disk", size, checked_out, raw, name, None, None),
    ]


def _check(stage: Stage) -> None:
    """What was stored last is whole: speed is worth nothing without that."""
    with castore.open(stage.place("ingest")) as store:
        assert not fsck(store, full=True).findings


def _ingest(stage: Stage, path: Path) -> Callable[[], None]:
    def run() -> None:
        with stage.store("ingest") as store:
            _commit(store, path)

    return run


def _commit(store: castore.Store, path: Path) -> castore.Version:
    with store.session("big") as session:
        session.add("file", path)
        return session.commit()


def _chunks(mapped: mmap.mmap) -> list[memoryview]:
    view = memoryview(mapped)
    ends = Chunker().ends(view, final=True)
    return [view[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _compress(chunks: list[memoryview]) -> None:
    def encode(start: int) -> None:
        compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        for at in range(start, len(chunks), _ENCODERS * _BATCH_CHUNKS):
            for chunk in chunks[at : at + _BATCH_CHUNKS]:
                compress(chunk)

    with ThreadPoolExecutor(_ENCODERS) as pool:
        list(pool.map(encode, range(0, _ENCODERS * _BATCH_CHUNKS, _BATCH_CHUNKS)))


def _row(
    name: str,
    size: int,
    ours: Runs,
    raw: Runs,
    limit: str,
    at_least: float | None,
    aim: float | None,
) -> Row:
    low, high = ours.spread
    return Row(
        name=name,
        unit="MB/s",
        value=size / ours.wall / 1e6,
        low=size / high / 1e6,
        high=size / low / 1e6,
        runs=len(ours.runs),
        limit=size / raw.wall / 1e6,
        limit_name=limit,
        judged="ratio",
        at_least=at_least,
        aim=aim,
        cpu=ours.cpu,
        memory=ours.memory,
        detail={
            "limit_cpu": raw.cpu,
            "limit_spread": [size / s / 1e6 for s in raw.spread],
            "stolen": [ours.stolen, raw.stolen],
            "left_out": ours.left_out,
        },
    )
