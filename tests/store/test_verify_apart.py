"""fsck of a folder: whatever became of the store, a report in bounded time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import castore
from castore.errors import CorruptObject, RefNotFound, StoreNotFound, Unavailable
from castore.store.apart import Hanging, Killed, conclude, listen, serve
from castore.store.verify_apart import unreadable


@pytest.fixture
def home(store: castore.Store, out: Path, tmp_path: Path) -> Path:
    store.commit("out", cwd=tmp_path)
    store.commit("out", cwd=tmp_path, message="again")
    store.close()
    return tmp_path


def test_a_sound_store(home: Path) -> None:
    told: list[int] = []
    report = castore.fsck(home, full=True, progress=told.append)
    assert report.ok
    assert report.full
    assert report.fix == ""
    assert sum(told) > 0
    with castore.open(home) as store:
        assert report == store.fsck(full=True)
        # Beside a store that is open here.
        assert castore.fsck(home, rev="out@v1").counts["versions"] == 1
    with pytest.raises(RefNotFound):
        castore.fsck(home, rev="nope")


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        castore.fsck(tmp_path)


@pytest.mark.parametrize("how", ["cut", "empty", "gone", "metas", "identity", "text"])
@pytest.mark.parametrize("full", [False, True])
def test_a_store_that_does_not_open_is_told_of(home: Path, how: str, full: bool) -> None:
    data = home / ".cas" / "data.mdb"
    whole = data.read_bytes()
    if how == "cut":
        data.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        data.write_bytes(b"")
    elif how == "gone":
        data.unlink()
    elif how == "metas":
        data.write_bytes(bytes(8192) + whole[8192:])
    elif how == "text":
        data.write_bytes(b"no database at all\n" * 2000)
    else:
        (home / ".cas" / "store.json").write_text("{}")
    report = castore.fsck(home, full=full)
    assert not report.ok
    assert report.findings[0].kind == "store"
    with pytest.raises(CorruptObject) as opened:
        castore.open(home)
    assert report.fix == opened.value.fix
    assert ("cas salvage DEST" in report.fix) == (how != "gone")
    if how == "gone":
        with pytest.raises(CorruptObject) as salvaged:
            castore.salvage(home, home / "copy")
        assert report.fix == salvaged.value.fix
    assert report.as_json()["fix"] == report.fix
    if how in ("cut", "metas", "text", "empty"):
        assert any(finding.kind == "page" for finding in report.findings)
    if how == "cut":
        assert report.counts["pages"] > 10


def test_a_reader_that_is_killed_by_what_it_reads_is_a_finding(home: Path) -> None:
    report = unreadable(home / ".cas", Killed("killed by SIGBUS", where="data.mdb"), full=True)
    assert [finding.kind for finding in report.findings] == ["process"]
    assert report.counts["pages"] > 10


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT])
def test_faults_are_damage(number: int) -> None:
    with pytest.raises(Killed, match=signal.Signals(number).name):
        conclude(b"", number)


def test_other_ends_are_not() -> None:
    with pytest.raises(Unavailable, match="SIGKILL"):
        conclude(b"", signal.SIGKILL)
    with pytest.raises(Unavailable, match="without an answer"):
        conclude(b"", 0)
    with pytest.raises(KeyboardInterrupt):
        conclude(b"", signal.SIGINT)


def test_a_store_behind_a_stopped_writer_is_not_waited_for_for_ever(home: Path) -> None:
    """A page accounting waits for writers: one that stands still is told of."""
    held, done = threading.Event(), threading.Event()
    with castore.open(home) as store:

        def hold(_: object) -> None:
            held.set()
            done.wait()

        writer = threading.Thread(target=lambda: store.database.write(hold))
        writer.start()
        held.wait()
        try:
            report = castore.fsck(home, full=True, patience=3)
        finally:
            done.set()
            writer.join()
    assert [finding.kind for finding in report.findings] == ["process"]
    assert "no progress for 3 s" in report.findings[0].detail


def test_messages_come_whole_however_they_are_cut() -> None:
    source, sink = os.pipe()
    told: list[int] = []

    def work(tell: object) -> bytes:
        assert callable(tell)
        tell(5)
        time.sleep(0.15)
        tell(7)
        return bytes(200_000)

    thread = threading.Thread(target=lambda: serve(sink, work))
    thread.start()
    answer = listen(source, told.append, 60)
    thread.join()
    assert conclude(answer, 0) == bytes(200_000)
    assert sum(told) == 12
    with pytest.raises(Hanging):
        listen(source, None, 0.05)
    os.close(sink)
    assert listen(source, None, 60) == b""
    os.close(source)


def test_damage_is_named_from_another_process(home: Path) -> None:
    data = home / ".cas" / "data.mdb"
    whole = data.read_bytes()
    assert b"All is well" in whole
    data.write_bytes(whole.replace(b"All is well", b"All is hell"))
    report = castore.fsck(home, full=True)
    assert any(item.artifact == "report.md" for f in report.findings for item in f.hurt)
    with pytest.raises(CorruptObject), castore.open(home) as store:
        store.read_bytes("out:report.md")
