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

import pytest

import castore
from castore.database import mirror as mirroring
from castore.database.environment import Database
from castore.database.mirror import Mirrored, mirror
from castore.database.tables import Tables
from castore.errors import CastoreError, Conflict, CorruptObject, InvalidInput, WouldOverwrite
from castore.store.branches import delete_branch
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


def test_a_purge_in_the_store_reaches_the_backup(store: castore.Store, tmp_path: Path) -> None:
    """Rows of objects that are gone for ever cross over like all others."""
    add(store, "a", "one", 50_000)
    store.backup(tmp_path / "copy")
    artifacts = store.artifacts("a")
    id = next(a.artifact.content for a in artifacts if a.artifact.name == "data").digest  # type: ignore[union-attr]
    kind = mirroring.Kind.CHUNK
    store.database.write(lambda tables: tables.set_state(id, kind, mirroring.State.LOST))
    mirror_done = _mirrored(store, tmp_path / "copy")
    assert mirror_done.rows
    with castore.open(tmp_path / "copy") as copy:
        assert everything(copy.database) == everything(store.database)


def _mirrored(store: castore.Store, folder: Path) -> Mirrored:
    copy = Database.open(folder)
    try:
        return mirror(store.database, copy)
    finally:
        copy.close()
