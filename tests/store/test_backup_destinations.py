"""Backups into a folder that is damaged, unwritable or emptied: an error by name, nothing lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import castore
from castore.database.datafile import newest_meta
from castore.errors import CastoreError, Conflict, CorruptObject

PAGE = 4096
Files = dict[str, bytes]


def add(store: castore.Store, text: str, size: int = 0) -> castore.Version:
    with store.session("a") as session:
        session.write("text", text)
        if size:
            session.write("data", random.Random(text).randbytes(size))
        return session.commit(text)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[tuple[castore.Store, Path]]:
    """A store with two versions, and a backup made after the first."""
    (tmp_path / "home").mkdir()
    with castore.init(tmp_path / "home") as store:
        add(store, "one", 150_000)
        store.backup(tmp_path / "copy")
        add(store, "two", 150_000)
        yield store, tmp_path / "copy"
        report = store.fsck(full=True)
        assert report.ok, list(report.lines())
        assert numbers(store) == [2, 1]


def numbers(store: castore.Store) -> list[int]:
    return [version.number for version in store.log("a")]


def files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock.mdb"}


def refused(store: castore.Store, folder: Path) -> CastoreError:
    """The error of a backup to there, which leaves every file as it is and none beside it."""
    before, beside = files(folder), sorted(os.listdir(folder.parent))
    for dry_run in (True, False):
        with pytest.raises(CastoreError) as caught:
            store.backup(folder, dry_run=dry_run)
        assert files(folder) == before
        assert sorted(os.listdir(folder.parent)) == beside
    return caught.value


def whole(store: castore.Store, folder: Path) -> None:
    """A backup to there works, and holds all that the store does."""
    store.backup(folder)
    with castore.open(folder) as copy:
        assert copy.fsck(full=True).ok
        assert numbers(copy) == numbers(store)


def helped(store: castore.Store, folder: Path, error: CastoreError) -> None:
    """The damage is told as the backup's, and what the error says to do helps."""
    assert isinstance(error, CorruptObject)
    assert error.message.startswith(f"the backup at {folder} is damaged: ")
    aside = f"{folder}.damaged"
    assert error.fix == f"mv {folder} {aside} && cas backup {folder}"
    shutil.move(folder, aside)
    whole(store, folder)
    shutil.rmtree(folder)
    shutil.move(aside, folder)


def test_a_backup_that_is_cut_off_is_named_and_left(scene: tuple[castore.Store, Path]) -> None:
    store, folder = scene
    data = (folder / "data.mdb").read_bytes()
    for size in (0, 1, PAGE, 2 * PAGE, len(data) // 2, len(data) - PAGE, len(data) - 1):
        (folder / "data.mdb").write_bytes(data[:size])
        helped(store, folder, refused(store, folder))
    (folder / "data.mdb").write_bytes(data)
    whole(store, folder)


@pytest.mark.parametrize("name", ["data.mdb", "store.json"])
def test_a_backup_without_one_of_its_files_is_named_and_left(
    scene: tuple[castore.Store, Path], name: str
) -> None:
    store, folder = scene
    data = (folder / name).read_bytes()
    for spoil in (b"", b"\xff" * len(data), None):
        (folder / name).unlink() if spoil is None else (folder / name).write_bytes(spoil)
        helped(store, folder, refused(store, folder))
    (folder / name).write_bytes(data)
    whole(store, folder)


@pytest.mark.parametrize("name", [".gitignore", "config.toml", "heads.log", "lock.mdb"])
def test_small_files_of_a_backup_are_made_again(
    scene: tuple[castore.Store, Path], name: str
) -> None:
    store, folder = scene
    (folder / name).unlink(missing_ok=True)
    whole(store, folder)
    assert (folder / name).exists()


def test_a_backup_that_was_emptied_is_made_anew(scene: tuple[castore.Store, Path]) -> None:
    store, folder = scene
    for path in folder.iterdir():
        path.unlink()
    assert store.backup(folder, dry_run=True).created
    whole(store, folder)


def flipped(folder: Path, data: bytes, at: int, bit: int) -> None:
    """The backup with these bytes as its data file, but for one bit."""
    (folder / "data.mdb").write_bytes(data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :])


def test_damage_to_the_free_list_is_named_before_anything_is_written(
    scene: tuple[castore.Store, Path],
) -> None:
    """Writing would give pages away that are in use."""
    store, folder = scene
    store.backup(folder)
    add(store, "three", 150_000)
    good = (folder / "data.mdb").read_bytes()
    with (folder / "data.mdb").open("rb") as file:
        root = newest_meta(file.fileno(), "").free.root
    # Its only page is a leaf; its last bytes are the numbers of pages that are free.
    for at in range((root + 1) * PAGE - 24, (root + 1) * PAGE, 8):
        flipped(folder, good, at, 1)
        helped(store, folder, refused(store, folder))
    (folder / "data.mdb").write_bytes(good)
    whole(store, folder)
    store.undo()


FLIPS = """
import random, shutil, sys
from pathlib import Path
import castore
from castore.database.datafile import newest_meta
from castore.errors import CorruptObject, UnsupportedFormat
home, folder, kept = (Path(word) for word in sys.argv[1:4])
good, dice = (folder / "data.mdb").read_bytes(), random.Random(int(sys.argv[4]))
shutil.copytree(folder, kept)
places = [dice.randrange(2) * 4096 + dice.randrange(16, 32) for _ in range(6)]
places += [dice.randrange(2) * 4096 + dice.randrange(152) for _ in range(6)]
places += [dice.randrange(len(good) // 4096) * 4096 + dice.randrange(64) for _ in range(12)]
places += [dice.randrange(len(good)) for _ in range(12)]
said = {"named": 0, "found": 0, "whole": 0}
with castore.open(home) as store:
    for at in places:
        data = bytearray(good)
        data[at] ^= 1 << dice.randrange(8)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        (folder / "data.mdb").write_bytes(data)
        try:
            store.backup(folder)
        except (CorruptObject, UnsupportedFormat) as error:
            assert str(folder) in error.message, error
            said["named"] += 1
            continue
        with castore.open(folder) as copy:
            ok = copy.fsck(full=True).ok
            said["whole" if ok else "found"] += 1
            if ok:
                texts = [copy.read_bytes(f"a@v{number}:data") for number in (1, 2)]
                assert texts == [store.read_bytes(f"a@v{number}:data") for number in (1, 2)]
print(said["named"], said["found"], said["whole"])
"""


def test_flipped_bits_of_a_backup_are_named_or_found_or_harm_nothing(
    scene: tuple[castore.Store, Path],
) -> None:
    """Content that is there is not read again by a later backup: `fsck --full` of it does that."""
    store, folder = scene
    arguments = [store.folder.parent, folder, folder.parent / "kept", random.randrange(1 << 30)]
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, (arguments[3], done.stderr)
    named, found, harmless = map(int, done.stdout.split())
    assert named + found + harmless == 36
    assert named


def test_damaged_content_of_a_backup_is_found_by_its_fsck_and_stays_there(
    scene: tuple[castore.Store, Path],
) -> None:
    store, folder = scene
    good = (folder / "data.mdb").read_bytes()
    at = good.index(random.Random("one").randbytes(150_000)[70_000:70_032])
    flipped(folder, good, at, 3)
    store.backup(folder)
    with castore.open(folder) as copy:
        assert not copy.fsck(full=True).ok
        with pytest.raises(CorruptObject):
            copy.read_bytes("a@v1:data")
        assert copy.read_bytes("a@v2:data") == store.read_bytes("a@v2:data")
    store.backup(folder.parent / "new")
    with castore.open(folder.parent / "new") as copy:
        assert copy.fsck(full=True).ok


UNPRIVILEGED = """
import sys
from pathlib import Path
import castore
from castore.database.datafile import newest_meta
from castore.errors import CastoreError
from tests.harness.privileges import drop_privileges
drop_privileges()
with castore.open(sys.argv[1]) as store:
    try:
        store.backup(sys.argv[2])
        print("done")
    except CastoreError as error:
        print(error.fix)
        print(error.message)
"""


def unprivileged(store: castore.Store, folder: Path) -> list[str]:
    """What a backup to there says, where the modes of files count."""
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(store.folder.parent), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_folder_that_may_not_be_written_to_takes_no_first_backup(
    scene: tuple[castore.Store, Path],
) -> None:
    store, folder = scene
    place = folder.parent / "locked"
    place.mkdir(mode=0o555)
    fix, message = unprivileged(store, place / "copy")
    assert fix == f"chmod u+rwx {place}"
    assert "Permission denied" in message
    assert message.endswith("there is no copy")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "mode"),
    [("", 0o555), ("", 0), ("data.mdb", 0o444), ("data.mdb", 0), ("store.json", 0)],
)
def test_a_backup_that_may_not_be_written_to_stays_as_it_is(
    scene: tuple[castore.Store, Path], name: str, mode: int
) -> None:
    store, folder = scene
    before, usual = files(folder), (folder / name).stat().st_mode
    (folder / name).chmod(mode)
    fix, message = unprivileged(store, folder)
    assert fix == f"chmod -R u+rwX {folder}"
    assert str(folder) in message
    (folder / name).chmod(usual)
    assert files(folder) == before
    whole(store, folder)


@pytest.mark.parametrize("name", ["heads.log", "config.toml"])
def test_a_small_file_that_may_not_be_written_to_is_told_with_what_is_up_to_date(
    scene: tuple[castore.Store, Path], name: str
) -> None:
    store, folder = scene
    (folder / name).chmod(0o400 if name == "heads.log" else 0)
    fix, message = unprivileged(store, folder)
    assert fix == f"chmod -R u+rwX {folder}"
    assert f"/{name}" in message
    assert message.endswith("data.mdb is up to date, not all files beside it are")
    (folder / name).chmod(0o644)
    whole(store, folder)


KILLED = """
import os, sys
import castore
from castore.database import mirror
sends, limit = mirror._put, int(sys.argv[3])
def put(*arguments):
    global limit
    limit -= 1
    if limit < 0:
        os.kill(os.getpid(), 9)
    return sends(*arguments)
mirror._put, mirror._SLICE_BYTES, mirror._LAST_BYTES = put, 20_000, 0
with castore.open(sys.argv[1]) as store:
    store.backup(sys.argv[2])
"""


def test_a_later_backup_killed_between_its_slices_leaves_the_earlier_one(
    scene: tuple[castore.Store, Path],
) -> None:
    store, folder = scene
    with castore.open(folder) as copy:
        before = copy.database.read(lambda tables: tables.counts()["blocks"])
    for limit in (0, 1):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(store.folder.parent), str(folder), str(limit)],
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL
        with castore.open(folder) as copy:
            assert copy.fsck(full=True).ok
            assert numbers(copy) == [1]
            blocks = copy.database.read(lambda tables: tables.counts()["blocks"])
            assert (blocks > before) is (limit > 0)
    whole(store, folder)


def test_an_older_backup_of_another_store_is_left_alone(
    scene: tuple[castore.Store, Path],
) -> None:
    store, folder = scene
    (folder.parent / "elsewhere").mkdir()
    with castore.init(folder.parent / "elsewhere") as other:
        add(other, "theirs", 10_000)
        other.backup(folder.parent / "theirs")
        add(other, "more")
    error = refused(store, folder.parent / "theirs")
    assert isinstance(error, Conflict)
    assert "backup of another store" in error.message
    with castore.open(folder.parent / "theirs") as copy:
        assert copy.fsck(full=True).ok
        assert numbers(copy) == [1]
