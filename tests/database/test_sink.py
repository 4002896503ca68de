"""The sink of a session and the stat cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from castore.content.ingest import Ingestor
from castore.content.reader import ObjectReader
from castore.content.sink import Batch, Turn
from castore.database import sink
from castore.database.environment import Database
from castore.database.sink import StageSink, StatCache
from castore.errors import Conflict
from castore.model.ids import Kind, content_id
from castore.model.limits import MIB
from tests.database.material import block_of, chunks, edit, payload_of, tree

SESSION = b"s" * 16
SECOND = 1_000_000_000


def test_a_batch_is_stored_and_staged(database: Database) -> None:
    sink = StageSink(database, SESSION, header=b"header")
    assert sink.known([content_id(b"one")]) == set()
    page = tree("a")
    batch = Batch(
        [chunks(b"one"), block_of((Kind.TREE, page))], indexed=[payload_of(Kind.TREE, page)]
    )
    assert sink.write(batch) == set()
    assert sink.write(Batch([chunks(b"two")], {content_id(b"one")})) == set()
    assert sink.known([content_id(b"one"), b"?" * 32]) == {content_id(b"one")}
    staged = database.read(lambda r: list(r.staged_ids(SESSION)))
    assert set(staged) == {content_id(b"one"), content_id(b"two"), payload_of(Kind.TREE, page)[1]}
    stages = database.read(lambda r: r.stages())
    assert [(stage.session, stage.header) for stage in stages] == [(SESSION, b"header")]


def test_a_source_that_stands_still_keeps_no_writer_waiting(database: Database) -> None:
    """Who reads files holds the turn; a mount that hangs must not hang every writer."""
    turn = Turn()
    with turn:
        assert (
            StageSink(database, SESSION, header=b"h").write(Batch([chunks(b"one")], turn=turn))
            == set()
        )
        assert database.write(lambda tables: tables.present([content_id(b"one")]))


def test_a_batch_that_relies_on_what_vanished_writes_nothing(database: Database) -> None:
    sink = StageSink(database, SESSION, header=b"header")
    gone = b"g" * 32
    before = database.read(lambda r: r.counts())
    assert sink.write(Batch([chunks(b"one")], {gone})) == {gone}
    assert database.read(lambda r: r.counts()) == before
    base = block_of((Kind.CHUNK, b"two"), bases=[gone])
    assert sink.write(Batch([base])) == {gone}
    assert sink.write(Batch([chunks(b"one")], {content_id(b"one")})) == set()


def test_entries_are_written_with_the_next_batch_or_alone(database: Database) -> None:
    sink = StageSink(database, SESSION, header=b"header")
    sink.stage_entry("ä", b"first")
    assert not sink.staged
    sink.write(Batch([chunks(b"one")]))
    sink.stage_entry("b", b"second")
    sink.write_entries()
    entries = database.read(lambda r: r.staged_entries(SESSION))
    assert entries == {"b": b"second", "ä": b"first"}
    sink.write_entries()
    sink.discard()
    assert not sink.staged
    assert database.read(lambda r: r.counts())["stage"] == 0
    sink.discard()


def test_a_session_discarded_elsewhere_cannot_go_on(database: Database) -> None:
    sink = StageSink(database, SESSION, header=b"header")
    sink.write(Batch([chunks(b"one")]))
    database.write(lambda w: w.drop_stage(SESSION))
    with pytest.raises(Conflict, match="discarded"):
        sink.write(Batch([chunks(b"two")]))
    assert database.read(lambda r: r.present([content_id(b"two")])) == set()


def test_dropping_a_stage_leaves_the_others(database: Database) -> None:
    others = [b"s" * 15 + b"t", b"r" * 16]
    for session in (SESSION, *others):
        sink = StageSink(database, session, header=b"h")
        sink.stage_entry("a", b"1")
        sink.write(Batch([chunks(session)]))
    database.write(lambda w: w.drop_stage(SESSION))
    assert [stage.session for stage in database.read(lambda r: r.stages())] == sorted(others)
    for session in others:
        assert database.read(lambda r, s=session: list(r.staged_ids(s))) == [content_id(session)]
        assert database.read(lambda r, s=session: r.staged_entries(s)) == {"a": b"1"}
    assert list(database.read(lambda r: list(r.staged_ids(SESSION)))) == []


def test_an_ingestor_works_on_it(database: Database, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for number in range(50):
        (work / f"f{number}").write_bytes(os.urandom(700))
        os.utime(work / f"f{number}", ns=(SECOND, SECOND + 5))
    big = os.urandom(900_000)
    (work / "big").write_bytes(big)

    def later() -> int:
        return time.time_ns() + 10 * SECOND

    cache = StatCache(database)
    sink = StageSink(database, SESSION, header=b"h", cache=cache)
    with Ingestor(sink, cache=cache, now_ns=later) as ingestor:
        first = ingestor.add_folder(work)
        ingestor.flush()
    reader = ObjectReader(database.load)
    assert b"".join(reader.stream(content_id(big), len(big))) == big
    cache.flush()
    assert [row.files for _, row in database.read(lambda r: list(r.file_rows()))] == [51]
    with Ingestor(sink, cache=StatCache(database)) as ingestor:
        assert ingestor.add_folder(work) == first
        ingestor.flush()
        assert ingestor.tally.cached_files == 51


def test_a_folder_made_anew_in_its_place_takes_the_place_of_its_row(
    database: Database, tmp_path: Path
) -> None:
    for turn in range(3):
        work = tmp_path / "work"
        if work.exists():
            # The old inode stays taken, so that the new folder has another.
            work.rename(tmp_path / f"was {turn}")
        work.mkdir()
        (work / "f").write_bytes(b"%d" % turn)
        cache = StatCache(database)
        sink = StageSink(database, SESSION, header=b"h", cache=cache)
        later = time.time_ns() + 10 * SECOND
        with Ingestor(sink, cache=cache, now_ns=lambda later=later: later) as ingestor:  # type: ignore[misc]
            ingestor.add_folder(work)
        cache.flush()
        assert ingestor.tally.cached_files == 0
    assert [row.files for _, row in database.read(lambda r: list(r.file_rows()))] == [1]


# The stat cache.


def test_rows_are_kept_by_key_and_replaced(database: Database) -> None:
    cache = StatCache(database)
    cache.remember([(b"a" * 16, b"one"), (b"b" * 16, b"two")])
    assert StatCache(database).lookup([b"a" * 16]) == [None]
    cache.flush()
    assert StatCache(database).lookup([b"b" * 16, b"c" * 16, b"a" * 16]) == [b"two", None, b"one"]
    cache.remember([(b"a" * 16, b"three")])
    cache.flush()
    assert StatCache(database).lookup([b"a" * 16]) == [b"three"]


def test_rows_given_while_others_are_written_are_not_lost(database: Database) -> None:
    cache = StatCache(database)
    cache.remember([(b"a" * 16, b"one"), (b"b" * 16, b"two")])
    database.write(cache.put_pending)
    cache.remember([(b"a" * 16, b"newer"), (b"c" * 16, b"three")])
    cache.written()
    keys = [b"a" * 16, b"b" * 16, b"c" * 16]
    assert cache.lookup(keys) == [b"one", b"two", None]
    database.write(cache.put_pending)
    cache.written()
    assert cache.lookup(keys) == [b"newer", b"two", b"three"]
    counts = database.read(lambda r: r.counts())
    database.write(cache.put_pending)
    assert database.read(lambda r: r.counts()) == counts


def test_rows_do_not_pile_up_in_memory(database: Database) -> None:
    cache = StatCache(database)
    for number in range(40):
        cache.remember([(number.to_bytes(16, "big"), bytes(MIB))])
    assert database.read(lambda r: r.counts())["files"] >= 24


def files_row(moment: int) -> bytes:
    return moment.to_bytes(8, "little") + bytes(20_000)


def test_old_rows_make_room_for_new_ones_but_not_those_in_use(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_KEPT_BYTES", MIB)
    keys = [content_id(b"%d" % number)[:16] for number in range(300)]
    in_use = keys[:20]
    for number, key in enumerate(keys):
        cache = StatCache(database)
        cache.lookup([key])
        cache.lookup(in_use)
        cache.remember([(key, files_row(number))])
        cache.flush()
    kept = database.read(lambda r: dict(r.file_rows()))
    # 20 KB rows: about 40 are a MiB.
    assert len(kept) <= 60
    assert {*in_use, keys[-1]} <= kept.keys()
    others = [number for number, key in enumerate(keys) if key in kept and key not in in_use]
    assert sum(others) / len(others) > 200


def test_a_small_cache_drops_nothing(database: Database) -> None:
    keys = [content_id(b"%d" % number)[:16] for number in range(40)]
    for number, key in enumerate(keys):
        cache = StatCache(database)
        cache.remember([(key, files_row(number))])
        cache.flush()
    assert database.read(lambda r: r.counts())["files"] == 40


def test_many_rows_at_once_leave_no_half_empty_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_KEPT_BYTES", MIB)
    row = bytes(300)
    kept: list[bytes] = []
    for turn in range(12):
        keys = [content_id(b"%d %d" % (turn, number))[:16] for number in range(2_000)]
        cache = StatCache(database)
        cache.lookup(keys)
        cache.remember([(key, turn.to_bytes(8, "little") + row) for key in keys])
        cache.flush()
        kept = keys
    found = database.read(lambda r: dict(r.file_rows()))
    assert {*kept} <= found.keys()
    assert len(found) < 3_000
    taken = database.write(lambda tables: tables._files_bytes())
    assert taken < 1.15 * sum(len(value) + 26 for value in ([row] * len(found)))


def test_much_is_written_after_what_ends_the_session(database: Database) -> None:
    few, many = StatCache(database), StatCache(database)
    few.remember([(b"a" * 16, bytes(1000))])
    many.remember([(b"b" * 16, bytes(MIB))])
    for cache in (few, many):
        database.write(cache.put_few)
        cache.written()
    assert [row is not None for row in few.lookup([b"a" * 16, b"b" * 16])] == [True, False]
    many.flush()
    assert few.lookup([b"b" * 16]) == [bytes(MIB)]


def test_a_folder_is_read_again_when_its_rows_are_damaged(
    database: Database, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for number in range(3):
        (work / f"f{number}").write_bytes(b"%d" % number)

    def later() -> int:
        return time.time_ns() + 10 * SECOND

    def cached() -> int:
        cache = StatCache(database)
        sink = StageSink(database, SESSION, header=b"h", cache=cache)
        with Ingestor(sink, cache=cache, now_ns=later) as ingestor:
            ingestor.add_folder(work)
        cache.flush()
        return ingestor.tally.cached_files

    assert [cached(), cached()] == [0, 3]
    for damage in (b"", b"short", bytes(80), b"\xff" * 500):
        edit(database, "files", lambda rows, d=damage: rows.update(dict.fromkeys(rows, d)))
        assert [cached(), cached()] == [0, 3]
