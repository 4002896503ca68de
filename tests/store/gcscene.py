"""What collection tests share: stores with garbage of every shape, and what must always hold."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

import castore
from castore.content.blocks import Block, Codec, Member, decode_block, encode_block
from castore.content.deltas import raw_bytes
from castore.content.encoder import encode_chunks, encode_solid
from castore.content.sink import EncodedBlock
from castore.database.check import check_structure
from castore.database.reading import Reading
from castore.database.rebuild import rebuild
from castore.database.tables import State
from castore.database.writing import Writing
from castore.model.edges import Strength, edges
from castore.model.ids import Id, Kind, content_id
from castore.store.branches import delete_branch
from castore.store.intent import Intent
from castore.store.stages import encode_header
from castore.store.verify import fsck
from tests.database.material import dump

DAY = 86_400_000_000


def stored_bytes(store: castore.Store) -> int:
    """The bytes of all blocks."""
    return store.database.read(lambda tables: sum(len(data) for _, data in tables.blocks()))


def stored_ids(store: castore.Store) -> set[Id]:
    """Every object that is stored."""

    def read(tables: Reading) -> set[Id]:
        return {id for id, row in tables.object_rows() if row.state is State.STORED}

    return store.database.read(read)


def closed(store: castore.Store) -> None:
    """What is stored has all it needs but what was purged; every table is what a rebuild makes."""

    def read(tables: Reading) -> None:
        for id, row in tables.object_rows():
            if row.state is not State.STORED or row.kind is Kind.CHUNK:
                continue
            block = decode_block(tables.block(row.block) or b"", "")
            start, end = block.span(row.slot)
            payload = raw_bytes(block, tables.load, "")[start:end]
            for target, _, strength in edges(row.kind, payload):
                cut = strength is Strength.WEAK or (
                    strength is Strength.HISTORY and tables.forgotten(id)
                )
                if not cut and not tables.present((target,)) and not tables.purged(target):
                    raise AssertionError(f"{row.kind.name} {id.hex()} lacks {target.hex()}")

    store.database.read(read)
    assert list(check_structure(store.database)) == []


def rebuilt(store: castore.Store) -> None:
    """A rebuild changes no derived row."""
    before = dump(store.database)
    store.database.write(rebuild)
    assert dump(store.database) == before


def whole(store: castore.Store) -> None:
    """All of it, as `fsck --full` sees it, and rebuilt."""
    report = fsck(store, full=True)
    assert not report.findings, report.findings
    closed(store)
    rebuilt(store)


def drop(store: castore.Store, *branches: str) -> None:
    """Delete branches."""
    for branch in branches:
        delete_branch(store, branch, by="test")


def grown(store: castore.Store, folder: Path, *, seed: int = 1, versions: int = 9) -> None:
    """Branches b0, b1, b2 with shared and own files of every size, nested and big folders."""
    dice = random.Random(seed)
    shared = [dice.randbytes(5000) for _ in range(30)]
    for number in range(versions):
        deep = folder / "out" / "sub" / "deep"
        deep.mkdir(parents=True, exist_ok=True)
        for n, data in enumerate(shared):
            (folder / "out" / "sub" / f"{n}").write_bytes(data)
        for n in range(number, number + 10):
            (deep / f"{n}").write_bytes(dice.randbytes(3000))
        (deep / "empty").write_bytes(b"")
        (folder / "out" / "big").write_bytes(dice.randbytes(700_000) + shared[0] * 40)
        store.commit("out", cwd=folder, name=f"b{number % 3}")


def delta(bases: list[bytes], news: list[bytes], *, depth: int = 1) -> EncodedBlock:
    """A delta block of new chunks against old ones."""
    dictionary = zstandard.ZstdCompressionDict(
        b"".join(bases), dict_type=zstandard.DICT_TYPE_RAWCONTENT
    )
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)
    raw = b"".join(news)
    members = tuple(Member(content_id(new), Kind.CHUNK, len(new)) for new in news)
    ids = tuple(content_id(base) for base in bases)
    frame = compressor.compress(raw)
    block = Block(Codec.DELTA, False, depth, len(raw), ids, members, frame)
    return EncodedBlock(encode_block(block), members, len(raw), ids)


def put(store: castore.Store, *blocks: EncodedBlock) -> None:
    """Store blocks that nothing holds yet."""
    store.database.write(lambda tables: tables.put_blocks(blocks))


def chunks(store: castore.Store, count: int) -> list[Id]:
    """So many small chunks in solid blocks, which nothing holds."""
    datas = [b"%d of %d" % (n, count) for n in range(count)]
    made = [(content_id(data), data) for data in datas]
    for at in range(0, count, 1000):
        put(store, *encode_solid(made[at : at + 1000]))
    return [id for id, _ in made]


def dead(store: castore.Store, count: int = 20) -> list[bytes]:
    """Blocks of one dead chunk each."""
    dice = random.Random(count)
    datas = [dice.randbytes(20_000) for _ in range(count)]
    put(store, *(block for d in datas for block in encode_chunks([(content_id(d), d)])))
    return datas


def rely(store: castore.Store, ids: list[Id]) -> None:
    """A session notes that it relies on these."""

    def transact(tables: Writing) -> None:
        tables.put_stage(b"s" * 16, encode_header(Intent(branch="b"), 1, os.getpid()))
        tables.add_stage_batch(b"s" * 16, ids)

    store.database.write(transact)


def commit(store: castore.Store, branch: str, **content: bytes) -> castore.Version:
    """A version of these files."""
    with store.session(branch) as session:
        for name, data in content.items():
            session.write(name, data)
        return session.commit()


def after_each_write(
    monkeypatch: pytest.MonkeyPatch, store: castore.Store, look: Callable[[], None]
) -> Iterator[None]:
    """Call `look` after each write transaction."""
    write = type(store.database).write

    def watched(self: Any, fn: Any, **options: Any) -> Any:
        result = write(self, fn, **options)
        look()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(type(store.database), "write", watched)
        yield
