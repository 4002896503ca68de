"""Repacking: what was stored plainly becomes deltas, and nothing else changes."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import zipfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import castore
from castore import aio
from castore.content import delta_encoder
from castore.content.encoder import encode_solid
from castore.content.sink import EncodedBlock
from castore.database.reading import Reading, State
from castore.database.tables import number_key
from castore.database.writing import Writing
from castore.errors import CorruptObject
from castore.model.ids import Kind, content_id
from castore.store import repack as repacking
from castore.store.repack import RepackReport
from castore.store.repack_pending import Pending, Unit
from castore.store.repack_relations import Relations
from castore.store.repack_write import RepackWriter
from tests.database.material import dump
from tests.store.gcscene import (
    after_each_write,
    closed,
    delta,
    drop,
    put,
    stored_bytes,
    stored_ids,
    whole,
)
from tests.store.repackscene import (
    commit,
    deltas_of,
    history,
    text,
    unchanged,
    without_deltas,
)

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("format-*-store/store.zip"))


def repacked(store: castore.Store) -> RepackReport:
    """Repack: the dry run changes nothing and says it to the byte, and all of it stays whole."""
    before, ids, rows = stored_bytes(store), stored_ids(store), dump(store.database)
    said = store.repack(dry_run=True)
    assert dump(store.database) == rows
    done = store.repack()
    assert said.freed == done.freed == before - stored_bytes(store)
    assert (said.replaced, said.deltas, said.chunks) == (done.replaced, done.deltas, done.chunks)
    assert (said.exact, said.slices, done.passed) == (True, 0, 0)
    assert stored_ids(store) == ids
    whole(store)
    return done


def test_it_ends_near_a_store_written_with_deltas(tmp_path: Path) -> None:
    made, plain = tmp_path / "made", tmp_path / "plain"
    for root in (made, plain):
        root.mkdir()
    with castore.init(made) as store:
        history(store, made, 12)
        best = stored_bytes(store)
        assert repacked(store).freed == 0
    with castore.init(plain) as store:
        with without_deltas():
            history(store, plain, 12)
        assert not deltas_of(store)
        before = stored_bytes(store)
        done = repacked(store)
        assert stored_bytes(store) < 1.03 * best < 0.5 * before
        assert done.deltas == len(deltas_of(store))
        unchanged(store, 12)
        assert store.repack(dry_run=True).freed == 0
        # What is committed next goes on from there.
        commit(store, plain, 12)
        unchanged(store, 13)
        whole(store)


def test_each_transaction_leaves_a_whole_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repacking, "_PENDING_BYTES", 100_000)
    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 5)
        with contextmanager(after_each_write)(monkeypatch, store, lambda: closed(store)):
            assert store.repack().slices > 3
        unchanged(store, 5)
        whole(store)


def test_what_has_deltas_on_it_stays_below_them(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        for version in range(8):
            # Plain, plain, plain, then deltas, then plain again.
            with without_deltas() if version not in (3, 4) else nullcontext():
                commit(store, tmp_path, version)
        few = len(deltas_of(store))
        assert few > 0
        assert repacked(store).deltas > few
        unchanged(store, 8)


def test_a_file_that_comes_back_rests_on_nothing_that_rests_on_it(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        with without_deltas():
            for version in (0, 1, 2, 0, 1):
                for branch in ("site", "other"):
                    commit(store, tmp_path, version, branch)
        assert repacked(store).deltas > 0
        assert max(block.depth for block in deltas_of(store)) == 2


@pytest.mark.parametrize("durable", [False, True])
def test_a_delta_encoded_before_its_base_went_deeper(tmp_path: Path, durable: bool) -> None:
    with castore.init(tmp_path) as store:
        with without_deltas():
            for version in range(3):
                commit(store, tmp_path, version)
        with store.session("site") as session:
            session.write("report", text(3))
            session._supply.ingestor.pending()
            assert store.repack().deltas > 0
            if durable:
                session._supply.make_durable()
            session.commit()
        assert store.read_bytes("site:report") == text(3)
        whole(store)


def test_what_moved_meanwhile_is_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another repack, and a commit that rests on what was plain, come between."""
    write = RepackWriter.write
    between = itertools.count()

    def later(self: RepackWriter, units: Any) -> Any:
        if next(between) == 0:
            commit(store, tmp_path, 4)
            with castore.open(tmp_path) as other:
                assert other.repack().deltas > 0
        return write(self, units)

    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 4)
        monkeypatch.setattr(RepackWriter, "write", later)
        done = store.repack()
        assert done.passed > 0
        unchanged(store, 5)
        whole(store)


def unit(store: castore.Store, old: list[bytes], *blocks: EncodedBlock) -> Unit:
    """What puts these blocks in the place of those that some content lies in."""

    def read(tables: Reading) -> tuple[list[int], int]:
        rows = [tables.object_row(content_id(data)) for data in old]
        numbers = sorted({row.block for row in rows if row is not None})
        return numbers, sum(len(tables.block(number) or b"") for number in numbers)

    numbers, size = store.database.read(read)
    return Unit(tuple(numbers), blocks, size)


def test_a_unit_is_written_only_where_it_still_fits(tmp_path: Path) -> None:
    a, b, c, d, e = (text(version, 40) for version in range(5))
    with castore.init(tmp_path) as store:
        for data in (a, b, c):
            put(store, encode_solid([(content_id(data), data)])[0])
        put(store, encode_solid([(content_id(data), data) for data in (d, e)])[0])
        relations = Relations()
        units = [
            unit(store, [b], delta([a], [b])),
            # Of a time when b was plain, and as it is now.
            unit(store, [c], delta([b], [c])),
            unit(store, [c], delta([b], [c], depth=2)),
            # What is below a delta may not go as deep.
            unit(store, [a], delta([d], [a])),
            unit(store, [d, e], delta([a], [d, e])),
        ]
        writer = RepackWriter(store.database, relations)
        store.database.write(lambda t: t.set_state(content_id(e), Kind.CHUNK, State.PURGED))
        assert writer.write(units) == [units[0], units[2]]
        closed(store)
        put(store, *encode_solid([(content_id(x), x) for x in (c, b"something new")]))
        again = unit(store, [c], *encode_solid([(content_id(c), c)]))
        assert writer.write([again]) == []
        closed(store)


@pytest.mark.parametrize("trusting", [False, True])
def test_what_cannot_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: bool
) -> None:
    """A compressor that loses a byte; `trusting`, the encoder's own comparison is blind to it."""
    encoded: dict[bytes, bytes] = {}
    compress = delta_encoder.compress

    def faulty(data: Any, dictionary: Any = b"", *, mark: bool = False) -> bytes:
        wrong = bytes(data[:-1]) + bytes([data[-1] ^ 1]) if dictionary else bytes(data)
        frame = compress(wrong, dictionary, mark=mark)
        encoded[frame] = bytes(data)
        return frame

    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 3)
        rows = dump(store.database)
        monkeypatch.setattr(delta_encoder, "compress", faulty)
        if trusting:
            monkeypatch.setattr(delta_encoder, "decompress", lambda frame, *_, **__: encoded[frame])
        for dry_run in (True, False):
            with pytest.raises(CorruptObject, match="did not survive being encoded"):
                store.repack(dry_run=dry_run)
        monkeypatch.undo()
        assert dump(store.database) == rows
        unchanged(store, 3)


def test_what_is_damaged_stays_as_it_is(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 3)
            for version in range(3):
                with store.session("one") as session:
                    session.write("one", text(version, 300))
                    session.commit()
        lost = content_id(text(1, 300))

        def damage(tables: Writing) -> None:
            row = tables.object_row(lost)
            assert row is not None
            data = tables.block(row.block) or b""
            key = number_key(row.block)
            tables.replace_rows("blocks", [(key, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])])

        store.database.write(damage)
        assert store.repack().deltas > 0
        unchanged(store, 3)
        assert store.read_bytes("one@v1:one") == text(0, 300)
        assert store.read_bytes("one@v3:one") == text(2, 300)
        with pytest.raises(CorruptObject):
            store.read_bytes("one@v2:one")
        assert {finding.object for finding in store.fsck(full=True).findings} == {lost}


def test_second_copies_stay_where_they_are(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 3)
        put(store, encode_solid([(content_id(x), x) for x in (text(1, 30), b"another")])[0])
        repacked(store)
        unchanged(store, 3)


def test_collection_and_backups_go_on(tmp_path: Path) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    root.mkdir()
    with castore.init(root) as store:
        with without_deltas():
            history(store, root, 4)
            for version in range(4, 7):
                commit(store, root, version, "scratch")
        store.backup(copy)
        repacked(store)
        store.backup(copy)
        drop(store, "scratch")
        said = store.gc(grace=0, dry_run=True)
        assert store.gc(grace=0).freed == said.freed
        unchanged(store, 4)
        whole(store)
        with castore.open(copy) as other:
            unchanged(other, 4)
            assert other.fsck(full=True).ok
            assert stored_ids(other) > stored_ids(store)
        store.backup(copy)
        with castore.open(copy) as other:
            assert stored_ids(other) == stored_ids(store)
            whole(other)


@pytest.mark.parametrize("archive", GOLDEN, ids=lambda path: path.parent.name)
def test_a_golden_store_is_repacked(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    with castore.open(tmp_path) as store:
        files = {
            (item.digest, item.size): store.reader.read(item.digest, item.size, item.size)
            for version in store.log()
            for item in store.files(version.id.hex())
            if item.digest
        }
        assert files
        said = store.repack(dry_run=True)
        assert store.repack().freed == said.freed
        for (digest, size), data in files.items():
            assert store.reader.read(digest, size, size) == data
        assert store.fsck(full=True).ok


def test_a_dry_run_that_forgets_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repacking, "KEPT_BYTES", 20_000)
    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 5)
        said = store.repack(dry_run=True)
        assert not said.exact
        done = store.repack()
        assert done.exact
        assert 0.8 * done.freed < said.freed < 1.2 * done.freed


def test_what_is_pending_is_found_in_its_place(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        with without_deltas():
            history(store, tmp_path, 2)
        assert not Pending(store.database.load).holds(content_id(text(1)))
        assert store.repack(by="me").slices == 1
        last = next(iter(store.operations(1)))
        assert (last.op, last.by) == ("repack", "me")
        assert store.repack().slices == 0
        assert next(iter(store.operations(1))).sequence == last.sequence


def test_asyncio_too(tmp_path: Path) -> None:
    async def run() -> RepackReport:
        async with aio.open(tmp_path) as store:
            return await store.repack()

    with castore.init(tmp_path) as store, without_deltas():
        history(store, tmp_path, 3)
    assert asyncio.run(run()).freed > 0


PIECES = st.lists(st.integers(0, 40), min_size=1, max_size=60)
COMMITS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.booleans(),
        st.dictionaries(st.sampled_from("abcd"), PIECES, min_size=1),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(COMMITS)
def test_any_history(commits: list[tuple[str, bool, dict[str, list[int]]]]) -> None:
    """Files that share pieces in any order, with deltas on and off, on two branches."""
    with tempfile.TemporaryDirectory() as folder, castore.init(folder) as store:
        kept: dict[str, bytes] = {}
        for branch, plainly, files in commits:
            with without_deltas() if plainly else nullcontext(), store.session(branch) as session:
                for name, pieces in files.items():
                    data = b"".join(text(piece, 9 + 20 * (piece % 4)) for piece in pieces)
                    session.write(name, data)
                version = session.commit()
            for artifact in store.artifacts(version.id.hex()):
                name = f"{version.id.hex()}:{artifact.artifact.name}"
                kept[name] = store.read_bytes(name)
        repacked(store)
        for name, data in kept.items():
            assert store.read_bytes(name) == data
