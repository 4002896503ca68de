"""Backups: of a live store, incremental, verified, and whole whatever interrupts them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import castore
from castore.content.blocks import decode_block
from castore.content.sink import EncodedBlock
from castore.database import mirror as mirroring
from castore.database import scrub as scrubbing
from castore.database.differences import Touched
from castore.database.environment import Database
from castore.database.mirror import Mirrored, mirror
from castore.database.tables import Tables
from castore.errors import (
    CastoreError,
    Conflict,
    CorruptObject,
    InvalidInput,
    Locked,
    WouldOverwrite,
)
from castore.store.branches import delete_branch
from castore.store.purge import PurgeRequest, purge
from castore.store.verify import fsck
from tests.store.damage import alter_block_of

Rows = dict[str, list[tuple[bytes, bytes]]]
CACHES = ("files", "located")


def everything(database: Database) -> Rows:
    """Every row of every table but the caches of this machine."""
    names = [name for name in Tables._fields if name not in CACHES]
    return database.read(lambda tables: {name: list(tables.rows(name)) for name in names})


def add(store: castore.Store, branch: str, text: str, size: int = 0) -> castore.Version:
    """One version with a text and `size` random bytes."""
    with store.session(branch) as session:
        session.write("text", text)
        if size:
            session.write("data", random.Random(text).randbytes(size))
        return session.commit(text)


def same(store: castore.Store, folder: Path) -> None:
    """The backup holds what the store holds, row for row, and nothing in it is wrong."""
    with castore.open(folder) as copy:
        assert everything(copy.database) == everything(store.database)
        report = copy.fsck(full=True)
        assert report.ok, list(report.lines())


@pytest.mark.parametrize("compact", [False, True])
def test_a_backup_is_a_store_with_everything(
    store: castore.Store, out: Path, tmp_path: Path, compact: bool
) -> None:
    store.commit(str(out))
    store.tag("first", "out@v1")
    add(store, "big", "x", 3_000_000)
    report = store.backup(tmp_path / "copy", compact=compact)
    assert (report.created, report.compact, report.dry_run) == (True, compact, False)
    assert report.sequence == 3
    assert report.file == (tmp_path / "copy" / "data.mdb").stat().st_size
    same(store, tmp_path / "copy")
    with castore.open(tmp_path / "copy") as copy:
        assert copy.read_bytes("first:report.md") == (out / "report.md").read_bytes()
        assert copy.database.heads_log()[-1][0] == 3
        add(copy, "big", "the backup can be worked with")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cas", "copy", "out"]


def test_a_second_backup_copies_only_what_is_new(store: castore.Store, tmp_path: Path) -> None:
    add(store, "big", "one", 3_000_000)
    folder = tmp_path / "copy"
    store.backup(folder)
    inode = (folder / "data.mdb").stat().st_ino
    nothing = store.backup(folder)
    assert (nothing.created, nothing.blocks, nothing.bytes, nothing.rows) == (False, 0, 0, 0)
    add(store, "big", "two", 100_000)
    done = store.backup(folder)
    assert 100_000 < done.bytes < 110_000
    assert 0 < done.blocks < 10
    assert (folder / "data.mdb").stat().st_ino == inode
    same(store, folder)


def test_what_the_store_gave_up_leaves_the_backup_too(store: castore.Store, tmp_path: Path) -> None:
    add(store, "a", "one", 50_000)
    add(store, "b", "two", 60_000)
    store.backup(tmp_path / "copy")
    delete_branch(store, "b", by="")
    number = max(store.database.read(lambda tables: list(tables.block_numbers())))
    with store.session("c") as session:
        session.write("staged", random.Random(1).randbytes(70_000))
        session._supply.make_durable()
    staged = max(store.database.read(lambda tables: list(tables.block_numbers())))
    assert staged > number
    store.backup(tmp_path / "copy")
    same(store, tmp_path / "copy")
    store.database.write(lambda tables: _drop(tables, staged))
    report = store.backup(tmp_path / "copy")
    assert report.removed == 1
    with castore.open(tmp_path / "copy") as copy:
        assert everything(copy.database) == everything(store.database)


def _drop(tables: mirroring.Writing, number: int) -> None:
    tables.drop_block(number)


def test_dry_runs_write_nothing(store: castore.Store, tmp_path: Path) -> None:
    add(store, "a", "one", 50_000)
    folder = tmp_path / "copy"
    report = store.backup(folder, dry_run=True)
    assert (report.created, report.dry_run) == (True, True)
    assert report.bytes > 50_000
    assert not folder.exists()
    store.backup(folder)
    add(store, "a", "two", 60_000)
    with castore.open(folder) as copy:
        before = everything(copy.database)
        promised = store.backup(folder, dry_run=True)
        assert everything(copy.database) == before
    done = store.backup(folder)
    assert (promised.blocks, promised.bytes) == (done.blocks, done.bytes)
    assert 60_000 < done.bytes < 70_000


def test_an_empty_store_and_an_empty_folder(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    store.backup(tmp_path / "copy")
    same(store, tmp_path / "copy")
    add(store, "a", "one")
    store.backup(tmp_path / "copy")
    same(store, tmp_path / "copy")


def test_other_folders_are_refused_untouched(store: castore.Store, tmp_path: Path) -> None:
    add(store, "a", "one")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(WouldOverwrite):
        store.backup(tmp_path / "mine")
    with pytest.raises(WouldOverwrite):
        store.backup(tmp_path / "mine" / "thesis.txt")
    with pytest.raises(InvalidInput, match="in the store itself"):
        store.backup(store.folder / "inside")
    with pytest.raises(InvalidInput, match="in the store itself"):
        store.backup(store.folder)
    with pytest.raises(InvalidInput, match="not a folder"):
        store.backup(tmp_path / "no" / "where")
    with castore.init(tmp_path / "mine") as other:
        add(other, "a", "other")
        with pytest.raises(Conflict, match="another store"):
            store.backup(other.folder)
        with pytest.raises(Conflict, match="another store"):
            store.backup(other.folder, dry_run=True)
        assert other.fsck(full=True).ok
    store.backup(tmp_path / "copy")
    with pytest.raises(InvalidInput, match="only a new one can be compact"):
        store.backup(tmp_path / "copy", compact=True)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_backup_that_is_ahead_is_refused(
    store: castore.Store, tmp_path: Path, dry_run: bool
) -> None:
    add(store, "a", "one")
    store.backup(tmp_path / "copy")
    with castore.open(tmp_path / "copy") as copy:
        add(copy, "a", "made in the backup")
        with pytest.raises(Conflict, match="is ahead"):
            store.backup(tmp_path / "copy", dry_run=dry_run)
        add(store, "a", "made in the store")
        with pytest.raises(Conflict, match="is another one there"):
            store.backup(tmp_path / "copy", dry_run=dry_run)
        assert copy.resolve("a").version.manifest.message == "made in the backup"


def test_damage_is_not_backed_up(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        add(store, "a", "one", 50_000)
        store.backup(tmp_path / "copy")
        add(store, "a", "two", 60_000)
        id = next(a.artifact for a in store.artifacts("a") if a.artifact.name == "data").content
    alter_block_of(tmp_path / ".cas", id.digest)  # type: ignore[union-attr]
    with castore.open(tmp_path) as store:
        with pytest.raises(CorruptObject):
            store.backup(tmp_path / "new")
        with pytest.raises(CorruptObject):
            store.backup(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cas", "copy"]
    with castore.open(tmp_path / "copy") as copy:
        assert copy.fsck(full=True).ok
        assert [version.number for version in copy.log("a")] == [1]


def test_of_two_first_backups_at_once_one_is_made(store: castore.Store, tmp_path: Path) -> None:
    add(store, "a", "one")
    for round in range(8):
        folder, done = tmp_path / f"copy-{round}", threading.Barrier(2)
        said: list[str] = []

        def work(
            folder: Path = folder, done: threading.Barrier = done, said: list[str] = said
        ) -> None:
            try:
                store.database.copy(folder, check=lambda _: done.wait(60) and None)
                said.append("made")
            except WouldOverwrite:
                said.append("refused")

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said) == ["made", "refused"]
        same(store, folder)
        assert not list(tmp_path.glob("*.new-*"))


def test_an_interrupted_update_leaves_a_whole_store_that_can_be_worked_with(
    store: castore.Store, tmp_path: Path
) -> None:
    add(store, "a", "one", 50_000)
    folder = tmp_path / "copy"
    store.backup(folder)
    add(store, "a", "two", 3_000_000)
    with castore.open(folder) as copy:
        mirroring._send_blocks(store.database, copy.database, Mirrored())
        assert copy.fsck(full=True).ok
        assert [version.number for version in copy.log("a")] == [1]
    shutil.copytree(folder, tmp_path / "other")
    with castore.open(tmp_path / "other") as other:
        add(other, "a", "on top of what was left", 10_000)
        assert other.fsck(full=True).ok
    done = store.backup(folder)
    assert done.bytes == 0, "what had crossed over did not cross again"
    same(store, folder)


def test_block_numbers_given_twice_do_not_mix(tmp_path: Path) -> None:
    """The store goes on, a backup is interrupted, the store is restored and goes on otherwise."""
    with castore.init(tmp_path) as store:
        add(store, "a", "one", 50_000)
        store.backup(tmp_path / "old")
        store.backup(tmp_path / "copy")
        for name in ("two", "three"):
            add(store, "a", name, 40_000)
        copied = Database.open(tmp_path / "copy")
        mirroring._send_blocks(store.database, copied, Mirrored())
        copied.close()
    shutil.rmtree(tmp_path / ".cas")
    os.rename(tmp_path / "old", tmp_path / ".cas")
    with castore.open(tmp_path) as store:
        for name in ("2", "3", "4"):
            add(store, "a", name, 40_000)
        store.backup(tmp_path / "copy")
        same(store, tmp_path / "copy")


def test_writers_go_on_and_every_copy_is_one_moment(store: castore.Store, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    add(store, "b0", "0", 30_000)
    stop = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                add(store, f"b{number % 2}", str(number), 30_000)
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        heads = 0
        for round in range(6):
            report = store.backup(folder, compact=round == 0)
            assert report.created is (round == 0)
            assert report.sequence >= heads
            heads = report.sequence
            with castore.open(folder) as copy:
                checked = copy.fsck(full=True)
                assert checked.ok, list(checked.lines())
                assert len(list(copy.log())) == heads
    finally:
        stop.set()
        writer.join()
    assert not failed
    store.backup(folder)
    same(store, folder)


def test_two_backups_into_one_folder_at_once(store: castore.Store, tmp_path: Path) -> None:
    add(store, "a", "one", 50_000)
    store.backup(tmp_path / "copy")
    failed: list[BaseException] = []

    def again() -> None:
        try:
            for _ in range(5):
                store.backup(tmp_path / "copy")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        add(store, "a", str(number), 20_000)
    for thread in threads:
        thread.join()
    # One that was overtaken by another may say so; none may spoil the copy.
    assert all(isinstance(error, Conflict) for error in failed), failed
    store.backup(tmp_path / "copy")
    same(store, tmp_path / "copy")


def test_what_a_killed_backup_left_is_taken_away(store: castore.Store, tmp_path: Path) -> None:
    add(store, "a", "one")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"copy.new-{gone.pid}-1"
    other = tmp_path / f"copy.new-{os.getpid()}-1"
    mine = tmp_path / "copy.new-york"
    for folder in (left, other, mine):
        folder.mkdir()
        (folder / "data.mdb").write_bytes(b"half")
    store.backup(tmp_path / "copy")
    assert not left.exists()
    assert other.exists()
    assert mine.exists()


KILLED = """
import sys
import castore
with castore.open(sys.argv[1]) as store:
    print("begin", flush=True)
    store.backup(sys.argv[2])
    print("done", flush=True)
"""
ROUNDS = int(os.environ.get("CASTORE_KILL_ROUNDS", "12"))


def test_killed_backups_are_whole_or_absent(tmp_path: Path) -> None:
    dice = random.Random()
    folder = tmp_path / "copies" / "copy"
    home = tmp_path / "home"
    home.mkdir()
    folder.parent.mkdir()
    killed = finished = 0
    typical = 0.3
    with castore.init(home) as store:
        for round in range(ROUNDS):
            if round % 4 == 0:
                shutil.rmtree(folder, ignore_errors=True)
            for number in range(4):
                add(store, f"b{number}", f"{round} {number} {dice.random()}", 1_500_000)
            arguments = [sys.executable, "-c", KILLED, str(home), str(folder)]
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            assert process.stdout.readline() == "begin\n"
            begun = time.monotonic()
            time.sleep(dice.random() * typical)
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read()
            process.wait()
            process.stdout.close()
            if said:
                finished += 1
                typical = max(0.02, (typical + time.monotonic() - begun) / 2)
            else:
                killed += 1
                typical *= 1.2
            for found in folder.parent.iterdir():
                _whole_or_closed(found, must_open=found == folder)
        store.backup(folder)
        same(store, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["copy"]
    assert killed
    print(f"{ROUNDS} rounds, {killed} killed, {finished} finished")


def _whole_or_closed(folder: Path, *, must_open: bool) -> None:
    try:
        copy = castore.open(folder)
    except CastoreError:
        assert not must_open
        return
    with copy:
        assert copy.folder == folder
        report = fsck(copy, full=True)
        assert report.ok, list(report.lines())


def secret_of(store: castore.Store, tmp_path: Path) -> bytes:
    """What a store with a backup in `copy` has in a version, and in its data file as it is."""
    add(store, "a", "one", 50_000)
    store.backup(tmp_path / "copy")
    data = store.read_bytes("a:data")
    assert pieces(tmp_path / "copy", data)
    return data


def pieces(folder: Path, data: bytes) -> int:
    """How many pieces of `data` are anywhere in a data file."""
    file = (folder / "data.mdb").read_bytes()
    return sum(data[at : at + 24] in file for at in range(0, len(data) - 24, 1000))


def forget_for_ever(store: castore.Store) -> None:
    purge(store, PurgeRequest(("a:data",), "it was secret"))


def test_a_purge_in_the_store_reaches_the_backup(store: castore.Store, tmp_path: Path) -> None:
    """Rows of objects that are gone for ever cross over like all others, and their bytes go."""
    data = secret_of(store, tmp_path)
    forget_for_ever(store)
    assert store.backup(tmp_path / "copy").rows
    assert pieces(tmp_path / "copy", data) == 0
    same(store, tmp_path / "copy")
    assert store.backup(tmp_path / "copy").rows == 0


READER = """
import sys
import lmdb
with lmdb.open(sys.argv[1], max_dbs=20, readonly=True).begin():
    print("reading", flush=True)
    sys.stdin.readline()
"""


def test_a_purge_that_a_reader_kept_in_the_backup_leaves_it_with_the_next(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = secret_of(store, tmp_path)
    forget_for_ever(store)
    monkeypatch.setattr(scrubbing, "_WAITS", 2)
    arguments = [sys.executable, "-c", READER, str(tmp_path / "copy")]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for _ in range(2):
            with pytest.raises(Locked):
                store.backup(tmp_path / "copy")
            assert pieces(tmp_path / "copy", data)
        reader.communicate("done\n")
    store.backup(tmp_path / "copy")
    assert pieces(tmp_path / "copy", data) == 0
    same(store, tmp_path / "copy")


def test_a_backup_killed_before_it_cleared_what_was_purged_does_so_the_next_time(
    store: castore.Store, tmp_path: Path
) -> None:
    data = secret_of(store, tmp_path)
    forget_for_ever(store)
    assert _mirrored(store, tmp_path / "copy").rows
    assert pieces(tmp_path / "copy", data)
    store.backup(tmp_path / "copy")
    assert pieces(tmp_path / "copy", data) == 0


@pytest.mark.parametrize("compact", [False, True])
def test_a_first_backup_clears_what_an_unfinished_purge_left(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact: bool
) -> None:
    add(store, "a", "one", 1_500)
    data = store.read_bytes("a:data")

    def fail(*_: object, **__: object) -> None:
        raise Locked("a reader")

    with monkeypatch.context() as patched:
        patched.setattr("castore.database.environment.scrub", fail)
        with pytest.raises(Locked):
            forget_for_ever(store)
    assert pieces(store.folder, data)
    store.backup(tmp_path / "copy", compact=compact)
    assert pieces(tmp_path / "copy", data) == 0
    forget_for_ever(store)
    assert pieces(store.folder, data) == 0


def test_only_erasures_make_a_backup_be_cleared(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_of(store, tmp_path)
    forget_for_ever(store)
    store.backup(tmp_path / "copy")
    add(store, "a", "two", 50_000)
    monkeypatch.setattr("castore.database.environment.scrub", None)
    store.backup(tmp_path / "copy")
    store.backup(tmp_path / "new")


FULL = """
import resource
import sys
from pathlib import Path
import castore
from castore.errors import StoreFull

home, folder, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
compact, written = "compact" in sys.argv, "written" in sys.argv
with castore.open(home) as store:
    if written:
        store.database.write(lambda tables: tables.bump_generation())
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.backup(folder, compact=compact)
    except StoreFull as error:
        assert str(folder) in error.message and str(home / ".cas") not in error.message, error
        assert "ulimit -f" in error.fix, error.fix
        print(error.message)
    print(sorted(path.name for path in folder.parent.glob("**/*.new-*")))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(store.database._engine.oldest_reader())
    if folder.exists():
        with castore.open(folder) as copy:
            assert copy.fsck(full=True).ok
    store.backup(folder, compact=compact and not folder.exists())
    with castore.open(folder) as copy:
        assert copy.fsck(full=True).ok
        print([version.number for version in copy.log("a")])
"""


def full(home: Path, folder: Path, limit: int, *how: str) -> list[str]:
    """What a backup told whose files may have so many bytes, and then one without a limit."""
    arguments = [sys.executable, "-c", FULL, str(home), str(folder), str(limit), *how]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.splitlines()


@pytest.mark.parametrize("how", [(), ("compact",), ("written",), ("compact", "written")])
def test_a_disk_too_full_for_a_first_backup_is_named(tmp_path: Path, how: tuple[str, ...]) -> None:
    home, folder = tmp_path / "home", tmp_path / "copies" / "copy"
    home.mkdir()
    folder.parent.mkdir()
    with castore.init(home) as store:
        add(store, "a", "one", 3_000_000)
    told, left, reader, versions = full(home, folder, 1 << 19, *how)
    assert told == f"{folder}: the limit on the size of files is reached; there is no copy"
    assert (left, reader, versions) == ("[]", "None", "[1]")


def test_a_disk_too_full_for_the_next_backup_is_named(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "copies" / "copy"
    home.mkdir()
    folder.parent.mkdir()
    with castore.init(home) as store:
        add(store, "a", "one", 30_000)
        store.backup(folder)
        add(store, "a", "two", 3_000_000)
    told, left, reader, versions = full(home, folder, 1 << 19)
    assert told.startswith(f"{folder}: the limit on the size of files is reached")
    assert told.endswith("the backup is whole, and older than the store")
    assert (left, reader, versions) == ("[]", "None", "[2, 1]")


def test_a_disk_too_full_for_the_small_files_of_a_backup_is_named(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "copies" / "copy"
    home.mkdir()
    folder.parent.mkdir()
    with castore.init(home) as store:
        add(store, "a", "one", 30_000)
        store.backup(folder)
        add(store, "a", "two", 30_000)
        (store.folder / "config.toml").write_text("# long\n" * 5_000_000)
    told, left, reader, versions = full(home, folder, 30_000_000)
    assert told == (
        f"{folder}: the limit on the size of files is reached; data.mdb is up to date, "
        "not all files beside it are"
    )
    assert (left, reader, versions) == ("[]", "None", "[2, 1]")
    assert (folder / "config.toml").stat().st_size == 35_000_000


def test_a_copy_that_cannot_begin_leaves_no_reader(tmp_path: Path) -> None:
    code = """
import os, resource, sys
from pathlib import Path
import castore
with castore.init(Path(sys.argv[1])) as store:
    engine = store.database._engine
    store.database.write(lambda tables: tables.bump_generation())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open("/", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    for attempt in (lambda: engine.copy(Path(sys.argv[1]), compact=False),
                    lambda: engine.pinned(lambda path, meta: None)):
        try:
            attempt()
        except (OSError, castore.errors.Locked) as error:
            print("Too many open files" in str(error), engine.oldest_reader())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("True None\n" * 2, 0), done.stderr


def test_a_store_packed_anew_crosses_over_in_slices(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of objects the backup has elsewhere do not all come in the last transaction."""
    for number in range(6):
        add(store, "a", str(number), 40_000)
    store.backup(tmp_path / "copy")
    store.database.write(_move_all)
    with castore.open(tmp_path / "copy") as copy:
        mirroring._send_blocks(store.database, copy.database, Mirrored())
        report = copy.fsck(full=True)
        assert report.ok, list(report.lines())
        ours = store.database.read(lambda tables: list(tables.block_numbers()))
        theirs = copy.database.read(lambda tables: list(tables.block_numbers()))
        assert len(ours) >= 6
        assert set(ours) < set(theirs)
    report = store.backup(tmp_path / "copy")
    assert (report.blocks, report.bytes) == (0, 0)
    assert report.removed == len(theirs) - len(ours)
    same(store, tmp_path / "copy")


def _move_all(tables: mirroring.Writing) -> None:
    """Every block that nothing is based on and that has no delta becomes another one."""
    for number in list(tables.block_numbers()):
        block = decode_block(tables.block(number) or b"", "")
        if block.bases or any(number in info.bases for _, info in tables.block_infos()):
            continue
        data = tables.block(number) or b""
        tables.replace_block(
            number, [EncodedBlock(data, block.members, block.raw_size, block.bases)], []
        )


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_rows_in_any_number_of_steps_are_the_same(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(mirroring, "_STEP_ROWS", size)
    monkeypatch.setattr(mirroring, "_STEP_BYTES", 10 * size)
    for number in range(4):
        add(store, f"b{number}", str(number), 30_000)
    store.backup(tmp_path / "copy")
    for number in range(3):
        delete_branch(store, f"b{number}", by="")
    add(store, "b3", "more", 30_000)
    store.gc(grace=0)
    promised = store.backup(tmp_path / "copy", dry_run=True)
    done = store.backup(tmp_path / "copy")
    assert promised.removed == done.removed > 0
    same(store, tmp_path / "copy")


@given(st.sets(st.integers(0, 1 << 20) | st.integers(0, (1 << 64) - 1)))
def test_touched_blocks_are_the_ones_that_were_added(numbers: set[int]) -> None:
    touched = Touched()
    for number in numbers:
        touched.add(number)
    for number in numbers:
        assert number in touched
        for near in (number - 1, number + 1, number ^ (1 << 16)):
            assert (near in touched) == (near in numbers)


def _mirrored(store: castore.Store, folder: Path) -> Mirrored:
    copy = Database.open(folder)
    try:
        return mirror(store.database, copy)
    finally:
        copy.close()


def test_what_only_a_remote_has_is_told(store: castore.Store, tmp_path: Path) -> None:
    with store.session("out") as session:
        session.write("small", "here")
        session.write("big", Random(1).randbytes(400_000))
        session.commit()
    store.add_remote("origin", str(tmp_path / "bucket"))
    store.push("origin")
    assert store.backup(tmp_path / "whole").elsewhere == 0
    with castore.clone(tmp_path / "bucket", tmp_path / "thin", metadata_only=True) as thin:
        assert thin.backup(tmp_path / "copy").elsewhere == 2
        assert thin.backup(tmp_path / "copy", dry_run=True).elsewhere == 2
        assert thin.read_bytes("out:small") == b"here"
        report = thin.backup(tmp_path / "copy")
        assert report.elsewhere == report.as_json()["elsewhere"] == 1
