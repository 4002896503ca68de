"""A bucket in a folder: what its files are, and what is left of a writer that was killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from castore.errors import InvalidInput, PermissionDenied, RemoteError, RemoteMoved
from castore.remote.files import FileTransport
from castore.remote.transport import KeyAbsent

_WRITER = """
import os, sys
from itertools import count
from pathlib import Path
from castore.remote.files import FileTransport
class InPlace(FileTransport):  # the mutant: no file of its own, no rename
    def put(self, key, data, *, if_absent=False):
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            for at in range(0, len(data), 4_096):
                file.write(data[at : at + 4_096])
        return "x"
bucket = (InPlace if sys.argv[3] else FileTransport)(Path(sys.argv[1]))
name = sys.argv[2]
for number in count():
    data = f"{number:08}".encode() * 20_000
    bucket.put(f"packs/{name}/{number}", data, if_absent=True)
    bucket.put("shared", data)
    etag = bucket.get("shared").etag
    print(number, flush=True)
"""
_COUNTER = """
import sys
from pathlib import Path
from castore.errors import RemoteMoved
from castore.remote.files import FileTransport
bucket = FileTransport(Path(sys.argv[1]))
done = 0
while done < 25:
    data, etag = bucket.get("counter")
    try:
        bucket.replace("counter", str(int(data) + 1).encode(), etag)
    except RemoteMoved:
        continue
    done += 1
"""


def unfinished(folder: Path) -> list[str]:
    return os.listdir(folder / "+unfinished")


def test_an_object_is_a_plain_file_at_its_key(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path / "b")
    bucket.put("packs/0a/x", b"bytes")
    assert (tmp_path / "b/packs/0a/x").read_bytes() == b"bytes"
    assert unfinished(tmp_path / "b") == []
    assert bucket.url == f"file://{tmp_path}/b"


def test_equal_bytes_written_again_have_another_tag(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path / "b")
    tags = [bucket.put("root", b"same")]
    for _ in range(60):
        tags.append(bucket.replace("root", b"same", tags[-1]))
    assert len(set(tags)) == len(tags)


def test_a_tag_is_another_one_though_the_clock_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = FileTransport(tmp_path / "b")
    monkeypatch.setattr("castore.remote.files.time_ns", lambda: 1_700_000_000_000_000_000)
    tags = [bucket.put("root", b"same")]
    for _ in range(60):
        tags.append(bucket.replace("root", b"same", tags[-1]))
    assert len(set(tags)) == len(tags)


def test_what_is_no_object_is_not_listed(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path)
    bucket.put("packs/x", b"bytes")
    (tmp_path / "Thumbs.db").write_bytes(b"foreign")
    (tmp_path / ".nfs001").write_bytes(b"foreign")
    (tmp_path / "packs" / "empty").mkdir()
    (tmp_path / "packs" / "link").symlink_to(tmp_path / "packs" / "x")
    (tmp_path / "linked").symlink_to(tmp_path / "packs")
    os.mkfifo(tmp_path / "fifo")
    assert [found.key for found in bucket.list("")] == ["packs/x"]
    for key in ("packs/link", "fifo", "packs/empty", "packs"):
        with pytest.raises(KeyAbsent):
            bucket.get(key)


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    outside, bucket = tmp_path / "outside", FileTransport(tmp_path / "b")
    (outside / "0a").mkdir(parents=True)
    (outside / "x").write_bytes(b"theirs")
    (outside / "0a" / "x").write_bytes(b"theirs")
    bucket.put("root", b"")
    (tmp_path / "b/packs").symlink_to(outside)
    (tmp_path / "b/x").symlink_to(outside / "x")
    for key in ("packs/x", "packs/0a/x", "x"):
        with pytest.raises(KeyAbsent):
            bucket.get(key)
    for key in ("packs/new", "packs/0a/x"):
        for call in (
            lambda key=key: bucket.put(key, b"ours"),
            lambda key=key: bucket.put(key, b"ours", if_absent=True),
            lambda key=key: bucket.replace(key, b"ours", "x"),
        ):
            with pytest.raises(RemoteError):
                call()
    with pytest.raises(RemoteMoved):
        bucket.put("x", b"ours", if_absent=True)
    bucket.put("x", b"ours")
    bucket.delete(["packs/x", "packs/0a/x"])
    assert (outside / "x").read_bytes() == (outside / "0a" / "x").read_bytes() == b"theirs"
    assert sorted(os.listdir(outside)) == ["0a", "x"]
    assert {found.key for found in bucket.list("")} == {"root", "x"}
    assert list(bucket.list("packs/")) == []


@pytest.mark.parametrize("name", ["+lock", "+unfinished"])
def test_a_link_in_place_of_castore_s_own_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).symlink_to(tmp_path / "outside" / "new")
    with pytest.raises(RemoteError):
        FileTransport(tmp_path / "b").put("root", b"")
    assert os.listdir(tmp_path / "outside") == []


def test_folders_that_become_empty_go(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path / "b")
    bucket.put("packs/0a/x", b"1")
    bucket.put("packs/0b/x", b"1")
    bucket.delete(["packs/0a/x"])
    assert os.listdir(tmp_path / "b/packs") == ["0b"]
    bucket.delete(["packs/0b/x"])
    assert not (tmp_path / "b/packs").exists()
    bucket.put("packs/0a/x", b"2")
    assert bucket.get("packs/0a/x").data == b"2"


def test_folders_may_go_at_any_moment(tmp_path: Path) -> None:
    bucket, other = FileTransport(tmp_path / "b"), FileTransport(tmp_path / "b")
    for number in range(50):
        bucket.put("packs/0a/x", str(number).encode(), if_absent=True)
        other.delete(["packs/0a/x"])
        bucket.put("packs/0a/y", str(number).encode())
        other.delete(["packs/0a/y"])


def test_all_folders_may_go_between_two_writes(tmp_path: Path) -> None:
    bucket, other = FileTransport(tmp_path / "b"), FileTransport(tmp_path / "b")
    bucket.put("packs/0b/x", b"1")
    other.delete(["packs/0b/x"])
    bucket.put("packs/0a/x", b"2", if_absent=True)
    other.delete(["packs/0a/x"])
    bucket.put("packs/0c/0d/x", b"3")
    shutil.rmtree(tmp_path / "b")
    bucket.put("packs/0e/x", b"4", if_absent=True)
    assert [found.key for found in bucket.list("")] == ["packs/0e/x"]


def test_a_folder_not_there_holds_nothing_and_needs_one_above(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path / "none" / "b")
    assert list(bucket.list("")) == []
    bucket.delete(["root"])
    with pytest.raises(KeyAbsent):
        bucket.get("root")
    with pytest.raises(RemoteError, match="no folder") as caught:
        bucket.put("root", b"")
    assert "mkdir -p" in caught.value.fix
    with pytest.raises(InvalidInput):
        FileTransport(Path("relative"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_what_may_not_be_written_is_refused(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path)
    bucket.put("root", b"")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionDenied):
            bucket.put("packs/x", b"")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EACCES, PermissionDenied), (errno.EROFS, PermissionDenied), (errno.ENOSPC, RemoteError),
     (errno.EIO, RemoteError)],
)  # fmt: skip
def test_a_failure_of_the_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    bucket = FileTransport(tmp_path)
    etag = bucket.put("root", b"first")

    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        for call in (
            lambda: bucket.put("root", b"second"),
            lambda: bucket.put("new", b"second", if_absent=True),
            lambda: bucket.replace("root", b"second", etag),
        ):
            with pytest.raises(expected):
                call()
    assert bucket.get("root") == (b"first", etag)
    assert unfinished(tmp_path) == []
    assert [found.key for found in bucket.list("")] == ["root"]


def test_without_hard_links_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(RemoteError, match="hard links"):
        FileTransport(tmp_path).put("root", b"", if_absent=True)
    assert list(FileTransport(tmp_path).list("")) == []


def kill_writer(folder: Path, name: str, pause: float, mutant: str = "") -> list[int]:
    """What a writer had acknowledged when it was killed."""
    command = [sys.executable, "-c", _WRITER, str(folder), name, mutant]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        return [int(line) for line in [first, *writer.stdout.read().splitlines()]]


def halves(folder: Path) -> list[str]:
    """The objects that are not whole."""
    bucket = FileTransport(folder)
    found = []
    for listed in bucket.list(""):
        data = bucket.get(listed.key).data
        if listed.size != 160_000 or data != data[:8] * 20_000:
            found.append(listed.key)
    return found


def test_a_killed_writer_leaves_no_half_object(tmp_path: Path) -> None:
    for round in range(8):
        acknowledged = kill_writer(tmp_path / "b", f"w{round}", 0.002 * round)
        assert halves(tmp_path / "b") == []
        bucket = FileTransport(tmp_path / "b")
        for number in acknowledged:
            data = bucket.get(f"packs/w{round}/{number}").data
            assert data == f"{number:08}".encode() * 20_000
        # The next writer removes what is left, and what was left is not listed.
        bucket.put("last", b"00000000" * 20_000)
        assert unfinished(tmp_path / "b") == []


def test_a_writer_that_writes_in_place_is_noticed(tmp_path: Path) -> None:
    """The mutant of the test above."""
    for round in range(200):
        kill_writer(tmp_path / "b", f"w{round}", 0.0005 * (round % 20), "mutant")
        if halves(tmp_path / "b"):
            return
    raise AssertionError("no half object in 200 rounds")


def test_what_a_living_writer_writes_is_not_removed(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path)
    with bucket._unfinished(b"bytes") as place:
        (tmp_path / "+unfinished" / "dead").write_bytes(b"half")
        FileTransport(tmp_path).put("root", b"")
        assert unfinished(tmp_path) == [place.name]


def test_processes_replace_one_object_in_turn(tmp_path: Path) -> None:
    FileTransport(tmp_path).put("counter", b"0")
    command = [sys.executable, "-c", _COUNTER, str(tmp_path)]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert FileTransport(tmp_path).get("counter").data == b"100"


def test_a_lock_file_removed_while_it_was_waited_for_is_no_lock(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path)
    etag = bucket.put("root", b"1")
    (tmp_path / "+lock").unlink()
    etag = bucket.replace("root", b"2", etag)
    with pytest.raises(RemoteMoved):
        bucket.replace("root", b"3", "another")
    assert bucket.get("root") == (b"2", etag)


def test_a_folder_in_the_place_of_the_lock_is_named(tmp_path: Path) -> None:
    bucket = FileTransport(tmp_path)
    etag = bucket.put("root", b"1")
    bucket.replace("root", b"2", etag)
    (tmp_path / "+lock").unlink()
    (tmp_path / "+lock").mkdir()
    with pytest.raises(RemoteError, match=r"locking '\+lock': Is a directory") as refused:
        bucket.replace("root", b"3", bucket.get("root").etag)
    assert refused.value.fix == f"ls -la {tmp_path}"
    assert bucket.get("root").data == b"2"
