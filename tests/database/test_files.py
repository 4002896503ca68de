"""Files of a store that cannot be used: a named error that says what to type."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from castore.database.environment import Database
from castore.database.failures import file_failure, writing_copy
from castore.errors import CastoreError, CorruptObject, Locked, StoreFull
from tests.database.conftest import Child
from tests.database.material import edit, make_database


def _put(path: Path, how: str) -> None:
    """Something else in the place of a file."""
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if how == "loop" else "/nothing/here")


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "store.json", "heads.log"])
@pytest.mark.parametrize("how", ["folder", "loop", "pipe", "nowhere"])
def test_something_else_in_the_place_of_a_file(home: Path, name: str, how: str) -> None:
    make_database(home).close()
    path = home / name
    _put(path, how)
    if (name, how) == ("heads.log", "nowhere"):
        # As if it were not there.
        Database.open(home).close()
        return
    with pytest.raises(CorruptObject) as caught:
        Database.open(home)
    assert caught.value.fix
    assert str(home) in caught.value.message
    if name in ("lock.mdb", "heads.log"):
        assert caught.value.fix == f"mv {path} {path}.damaged"
        subprocess.run(shlex.split(caught.value.fix), check=True)
        Database.open(home).close()


@pytest.mark.parametrize(
    ("number", "error", "fix"),
    [
        (errno.EACCES, CastoreError, "chmod -R u+rwX '/a store'"),
        (errno.EROFS, CastoreError, "chmod -R u+rwX '/a store'"),
        (errno.EISDIR, CorruptObject, "restore the store from a backup"),
        (errno.ENOENT, CastoreError, "check the disk"),
        (errno.ENOSPC, StoreFull, "free space on this disk, or: cas gc"),
        (errno.EFBIG, StoreFull, "raise the limit of `ulimit -f`"),
        (errno.EMFILE, Locked, "close some files, or raise the limit of `ulimit -n`"),
        (errno.EIO, CastoreError, "check the disk"),
    ],
)
def test_what_helps_against_each_error(number: int, error: type[CastoreError], fix: str) -> None:
    made = file_failure(Path("/a store"), OSError(number, os.strerror(number), "/a store/x"))
    assert (type(made), made.fix) == (error, fix)


def test_what_may_not_be_read_is_not_told_of_the_copy(tmp_path: Path) -> None:
    copy, read = tmp_path / "copy", tmp_path / "home" / "config.toml"
    with pytest.raises(CastoreError) as caught, writing_copy(copy):
        raise PermissionError(errno.EACCES, "Permission denied", str(read))
    assert caught.value.fix == f"chmod -R u+rwX {read.parent}"
    with pytest.raises(CastoreError) as caught, writing_copy(copy):
        raise PermissionError(errno.EACCES, "Permission denied", f"{copy}.new-1-1")
    assert caught.value.fix == f"chmod u+rwx {tmp_path}"


def test_a_data_file_that_ends_within_a_page_is_copied(home: Path, tmp_path: Path) -> None:
    made = make_database(home)
    edit(made, "located", lambda rows: rows.update({b"key": bytes(100_000)}))
    edit(made, "located", lambda rows: rows.clear())
    for _ in range(4):
        made.write(lambda writing: writing.bump_generation())
    made.close()
    # A page that nothing leads to.
    os.truncate(home / "data.mdb", (home / "data.mdb").stat().st_size - 1)
    database = Database.open(home)
    database.copy(tmp_path / "copy")
    before = database.read(lambda reading: reading.counts())
    database.close()
    copied = Database.open(tmp_path / "copy")
    assert copied.read(lambda reading: reading.counts()) == before
    assert copied.check_pages().problems == []
    copied.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_without_a_lock_file_kills_nobody(tmp_path: Path, child: Child) -> None:
    """LMDB maps its lock file with holes, and a hole without room for it is SIGBUS."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        code = """
        HOME = Path(sys.argv[2]) / ".cas"
        make_database(HOME).close()
        (HOME / "lock.mdb").unlink()
        filler = os.open(HOME / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(filler, bytes(4096)):
                pass
        except OSError:
            print("full")
        attempt(lambda: Database.open(HOME))
        os.ftruncate(filler, 0)
        attempt(lambda: Database.open(HOME).close())
        attempt(lambda: make_database(HOME.with_name("other")).close())
        os.pwrite(filler, bytes(1), 0)
        """
        lines = child(code, str(small)).split("\n")
        assert lines[0] == "full"
        assert lines[1].startswith("StoreFull 75")
        assert lines[2:4] == ["ok None", "ok None"]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_new_lock_file_has_no_holes(home: Path) -> None:
    make_database(home).close()
    (home / "lock.mdb").unlink()
    Database.open(home).close()
    found = (home / "lock.mdb").stat()
    assert found.st_blocks * 512 >= found.st_size > 60_000
