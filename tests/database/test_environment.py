"""Creating, opening, closing, copying a store; what its transactions promise."""

from __future__ import annotations

import json
import os
import random
import resource
import threading
from pathlib import Path

import pytest

from castore.database import tables
from castore.database.datafile import RESTORE_OR_SALVAGE, UPGRADE_OR_SALVAGE
from castore.database.engine import Engine
from castore.database.environment import Database
from castore.database.identity import Features, encode_features
from castore.errors import (
    CastoreError,
    CorruptObject,
    StoreNotFound,
    UnsupportedFormat,
    WouldOverwrite,
)
from tests.database.material import chunks, commit, edit, make_database, put


def test_a_store_appears_complete_by_one_rename(tmp_path: Path) -> None:
    made = make_database(tmp_path / ".cas")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cas"]
    assert {path.name for path in (tmp_path / ".cas").iterdir()} == {
        ".gitignore",
        "data.mdb",
        "heads.log",
        "lock.mdb",
        "store.json",
    }
    noted = json.loads((tmp_path / ".cas" / "store.json").read_text())
    assert noted == {"format": 1, "project": made.project.hex(), "uuid": made.uuid.hex()}
    counts = made.read(lambda reading: reading.counts())
    assert len(counts) == 14
    assert made.check_pages().problems == []
    made.close()


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    def no_clock() -> int:
        raise OSError("no clock")

    with pytest.raises(OSError, match="no clock"):
        Database.create(tmp_path / ".cas", now=no_clock, entropy=os.urandom)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["store", "file", "folder", "dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    home = tmp_path / ".cas"
    if kind == "store":
        make_database(home).close()
    elif kind == "file":
        home.write_text("mine")
    elif kind == "folder":
        home.mkdir()
    else:
        home.symlink_to(tmp_path / "nowhere")
    with pytest.raises(WouldOverwrite):
        make_database(home)
    assert [path.name for path in tmp_path.iterdir()] == [".cas"]


def test_open_never_creates(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="no store at"):
        Database.open(tmp_path)
    with pytest.raises(StoreNotFound):
        Database.open(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_second_opening_shares_the_environment(database: Database, home: Path) -> None:
    again = Database.open(home)
    put(database, chunks(b"one"))
    assert again.read(lambda reading: reading.counts())["blocks"] == 1
    database.close()
    put(again, chunks(b"two"))
    again.close()
    with pytest.raises(RuntimeError, match="closed"):
        again.read(lambda reading: reading.counts())
    third = Database.open(home)
    assert third.read(lambda reading: reading.counts())["blocks"] == 2
    third.close()


def test_another_path_to_the_same_store_shares_it_too(database: Database, home: Path) -> None:
    link = home.parent / "link"
    link.symlink_to(home)
    again = Database.open(link)
    put(again, chunks(b"one"))
    assert database.read(lambda reading: reading.counts())["blocks"] == 1
    again.close()


def test_a_data_file_of_another_store_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_database(tmp_path / name).close()
    os.replace(tmp_path / "b" / "data.mdb", tmp_path / "a" / "data.mdb")
    with pytest.raises(CorruptObject, match="different stores") as caught:
        Database.open(tmp_path / "a")
    assert caught.value.fix == RESTORE_OR_SALVAGE


def test_what_a_newer_castore_wrote_is_refused_with_what_helps(tmp_path: Path) -> None:
    """A flipped bit looks the same: then the store is to be salvaged."""
    for name in ("data.mdb", "store.json"):
        home = tmp_path / name
        make_database(home).close()
        data = bytearray((home / name).read_bytes())
        at = 20 if name == "data.mdb" else data.index(b'"format":') + len('"format": ')
        data[at] = 9 if name == "data.mdb" else ord("9")
        (home / name).write_bytes(bytes(data))
        with pytest.raises(UnsupportedFormat) as caught:
            Database.open(home)
        assert caught.value.fix == UPGRADE_OR_SALVAGE


def test_unreadable_identities_are_refused(database: Database, home: Path) -> None:
    database.close()
    path = home / "store.json"
    text = path.read_text()
    cases: list[tuple[str | None, type[Exception]]] = [
        (None, CorruptObject),
        ("", CorruptObject),
        ("[]", CorruptObject),
        ("[" * 5000, CorruptObject),
        (text.replace('"uuid"', '"u"'), CorruptObject),
        (text.replace(database.uuid.hex(), "0" * 31), CorruptObject),
        (text.replace('"format": 1', '"format": 2'), UnsupportedFormat),
    ]
    for contents, error in cases:
        path.unlink(missing_ok=True)
        if contents is not None:
            path.write_text(contents)
        with pytest.raises(error):
            Database.open(home)
    path.write_text(text)
    Database.open(home).close()


def test_unknown_features_refuse_reading_or_writing(database: Database, home: Path) -> None:
    def require(features: Features) -> None:
        edit(
            database,
            "meta",
            lambda rows: rows.update({tables.FEATURES_KEY: encode_features(features)}),
        )

    require(Features(optional=("shiny",)))
    Database.open(home).close()
    require(Features(write=("folding",)))
    careful = Database.open(home)
    assert careful.read(lambda reading: reading.refs()) == []
    with pytest.raises(UnsupportedFormat, match="folding"):
        careful.write(lambda writing: None)
    careful.close()
    require(Features(read=("cipher",)))
    with pytest.raises(UnsupportedFormat, match="cipher"):
        Database.open(home)


def test_an_exception_undoes_the_transaction(database: Database) -> None:
    class Oops(Exception):
        pass

    def transact(writing: tables.Any) -> None:
        writing.add_if_new("heads/a", b"x" * 32)
        raise Oops

    with pytest.raises(Oops):
        database.write(transact)
    assert database.read(lambda reading: reading.refs()) == []
    assert database.write(lambda writing: writing.add_if_new("heads/a", b"x" * 32))


def test_a_write_inside_a_transaction_is_refused_at_once(database: Database) -> None:
    for outer in (database.read, database.write):
        with pytest.raises(RuntimeError, match="inside another"):
            outer(lambda _: database.write(lambda writing: None))
    seen = database.write(lambda writing: database.read(lambda reading: reading.refs()))
    assert seen == []


def test_a_view_ends_with_its_function(database: Database) -> None:
    reading = database.read(lambda reading: reading)
    with pytest.raises(RuntimeError, match="over"):
        reading.ref("heads/a")
    rows = database.read(lambda reading: reading.operations())
    with pytest.raises(RuntimeError, match="over"):
        next(rows)
    commit(database, "a", random.Random(1))

    def half(reading: tables.Any) -> tables.Any:
        rows = reading.object_rows()
        next(rows)
        return rows

    with pytest.raises(RuntimeError, match="over"):
        next(database.read(half))


def test_a_write_transaction_stays_in_its_thread(database: Database) -> None:
    caught: list[BaseException] = []

    def transact(writing: tables.Any) -> None:
        def elsewhere() -> None:
            try:
                writing.add_if_new("heads/a", b"x" * 32)
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    database.write(transact)
    assert "thread" in str(caught[0])
    assert database.write(lambda writing: writing.add_if_new("heads/a", b"x" * 32))


def test_threads_share_one_store(database: Database) -> None:
    def work(name: str) -> None:
        dice = random.Random(name)
        for _ in range(10):
            commit(database, name, dice)
            database.read(lambda reading: list(reading.refs()))

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        tip = database.read(lambda reading, n=n: reading.ref(f"heads/t{n}"))
        assert tip is not None
        step = database.read(lambda reading, tip=tip: reading.step(tip))
        assert step is not None
        assert step.number == 10


def test_a_full_map_grows_and_the_transaction_is_replayed(home: Path) -> None:
    make_database(home).close()
    small = Database.open(home, map_size=1 << 20)
    runs = 0

    def transact(writing: tables.Any) -> None:
        nonlocal runs
        runs += 1
        writing.add_if_new("heads/a", b"x" * 32)
        writing.put_blocks([chunks(os.urandom(200_000)) for _ in range(20)])

    small.write(transact)
    assert runs > 1
    assert small.read(lambda reading: reading.counts())["blocks"] == 20
    assert small.check_pages().problems == []
    small.close()


def test_growing_waits_for_readers_of_other_threads(home: Path) -> None:
    make_database(home).close()
    small = Database.open(home, map_size=1 << 20)
    inside, leave = threading.Event(), threading.Event()

    def read(reading: tables.Any) -> None:
        reading.refs()
        inside.set()
        leave.wait(30)
        reading.refs()

    reader = threading.Thread(target=small.read, args=(read,))
    reader.start()
    inside.wait(30)
    writer = threading.Thread(
        target=put, args=(small, *(chunks(os.urandom(250_000)) for _ in range(10)))
    )
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    leave.set()
    writer.join(30)
    reader.join(30)
    assert small.read(lambda reading: reading.counts())["blocks"] == 10
    small.close()


def test_sync_is_never_off(database: Database) -> None:
    put(database, chunks(b"one"))
    engine: Engine = database._engine
    flags = engine._environment.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert flags["lock"]
    assert not flags["writemap"]
    assert not flags["map_async"]


@pytest.mark.parametrize("compact", [False, True])
def test_a_copy_is_a_store_of_its_own(database: Database, tmp_path: Path, compact: bool) -> None:
    dice = random.Random(3)
    for _ in range(5):
        commit(database, "a", dice)
    database.copy(tmp_path / "copy", compact=compact)
    commit(database, "a", dice)
    copied = Database.open(tmp_path / "copy")
    assert copied.read(lambda reading: reading.counts())["ops"] == 5
    assert copied.check_pages().problems == []
    commit(copied, "a", dice)
    copied.close()
    with pytest.raises(WouldOverwrite):
        database.copy(tmp_path / "copy")


@pytest.mark.parametrize("name", ["store.json", "heads.log"])
def test_a_file_that_cannot_be_read_is_named(home: Path, name: str) -> None:
    make_database(home).close()
    (home / name).unlink()
    (home / name).mkdir()
    with pytest.raises(CastoreError, match=f"{name}: something else"):
        Database.open(home)


def test_a_system_that_opens_no_more_files_is_named(database: Database) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    database.write(lambda writing: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        for work in (database.check_pages, database.scrub, database.heads_log):
            with pytest.raises(CastoreError, match="Too many open files"):
                work()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert database.check_pages().problems == []


def test_what_could_not_be_opened_again_is_opened_later(home: Path) -> None:
    make_database(home).close()
    # One descriptor below those of the store, enough to look at its length and not to map it.
    low = os.open(os.devnull, os.O_RDONLY)
    opened = Database.open(home)
    os.close(low)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low + 1, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(CastoreError, match="Too many open files"):
                opened.write(lambda writing: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert opened.read(lambda reading: reading.refs("heads/")) == []
    commit(opened, "a", random.Random(1))
    opened.close()
