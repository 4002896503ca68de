"""Files of a store that cannot be used: a named error that says what to type."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from castore.database.environment import Database
from castore.database.failures import file_failure
from castore.errors import CastoreError, CorruptObject, Locked, StoreFull
from tests.database.conftest import Child
from tests.database.material import make_database


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "store.json", "heads.log"])
@pytest.mark.parametrize("how", ["folder", "link"])
def test_something_else_in_the_place_of_a_file(home: Path, name: str, how: str) -> None:
    make_database(home).close()
    path = home / name
    path.unlink()
    if how == "folder":
        path.mkdir()
    else:
        path.symlink_to(name)
    with pytest.raises(CorruptObject) as caught:
        Database.open(home)
    assert caught.value.fix
    assert str(home) in caught.value.message


@pytest.mark.parametrize(
    ("number", "error", "fix"),
    [
        (errno.EACCES, CastoreError, "chmod -R u+rwX '/a store'"),
        (errno.EROFS, CastoreError, "chmod -R u+rwX '/a store'"),
        (errno.EISDIR, CorruptObject, "restore it from a backup"),
        (errno.ENOSPC, StoreFull, "free space on this disk, or: cas gc"),
        (errno.EFBIG, StoreFull, "raise the limit of `ulimit -f`"),
        (errno.EMFILE, Locked, "close some files, or raise the limit of `ulimit -n`"),
        (errno.EIO, CastoreError, "check the disk"),
    ],
)
def test_what_helps_against_each_error(number: int, error: type[CastoreError], fix: str) -> None:
    made = file_failure(Path("/a store"), OSError(number, os.strerror(number), "/a store/x"))
    assert (type(made), made.fix) == (error, fix)


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
