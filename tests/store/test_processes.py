"""A child process: its streams, terminals, end, and what is kept of what it said."""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from castore.errors import CommandNotExecutable, CommandNotFound, InvalidInput
from castore.store import processes
from castore.store.processes import TAIL_BYTES, Child, Ended, Streams, run_child

ENV = {"PATH": os.environ.get("PATH", os.defpath)}


def run(*command: str, **options: object) -> tuple[Ended, bytes, bytes]:
    """How a command ended, and what it wrote to both streams."""
    out, err = bytearray(), bytearray()
    streams = Streams(out.extend, err.extend)
    ended = run_child(command, ENV, streams=streams, **options)  # type: ignore[arg-type]
    return ended, bytes(out), bytes(err)


def test_streams_are_apart_and_the_code_is_told() -> None:
    ended, out, err = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ended.code, ended.signal) == (7, 0)
    assert (out, err) == (b"out\n", b"err\n")
    assert sorted(ended.tail.splitlines()) == [b"err", b"out"]
    assert 0 <= ended.seconds < 60


def test_one_stream_keeps_the_order() -> None:
    out = bytearray()
    command = ("sh", "-c", "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done")
    ended = run_child(command, ENV, streams=Streams(out.extend))
    assert out.decode().split() == [f"{c}{i}" for i in range(1, 6) for c in "oe"]
    assert ended.tail == out


def test_a_killed_child_has_the_code_of_shells() -> None:
    ended, _, _ = run("sh", "-c", "kill -KILL $$")
    assert (ended.code, ended.signal) == (137, signal.SIGKILL)


def test_binary_output_passes_unchanged_and_the_end_is_kept() -> None:
    code = "import os, sys; sys.stdout.buffer.write(bytes(range(256)) * 4000)"
    ended, out, _ = run(sys.executable, "-c", code)
    assert out == bytes(range(256)) * 4000
    assert ended.tail == out[-TAIL_BYTES:]
    assert len(ended.tail) == 8192


def test_the_environment_is_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_GIVEN", "1")
    out = bytearray()
    run_child(["env"], {**ENV, "GIVEN": "é"}, streams=Streams(out.extend))
    assert sorted(out.decode().splitlines()) == sorted([f"PATH={ENV['PATH']}", "GIVEN=é"])


def test_commands_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("echo hello\n")
    for name in ("no-such-command", "./no/such/command"):
        with pytest.raises(CommandNotFound, match="no command") as caught:
            run(name)
        assert caught.value.code == 127
    for name, words in ((str(tmp_path), "folder"), (str(tmp_path / "text"), "not executable")):
        with pytest.raises(CommandNotExecutable, match=words) as refused:
            run(name)
        assert refused.value.code == 126
    (tmp_path / "text").chmod(0o755)  # no #! line, so no program
    with pytest.raises(CommandNotExecutable, match="cannot be run"):
        run(str(tmp_path / "text"))
    for command in ((), ("",), ("sh", "a\0b")):
        with pytest.raises(InvalidInput):
            run(*command)


def test_nothing_of_ours_is_left_open_or_waiting() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    children = _children()
    for _ in range(5):
        run("true")
        with pytest.raises(CommandNotFound):
            run("no-such-command")
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
        _, out, _ = run("sh", "-c", "ls /proc/self/fd")
        ours = {fd for fd in map(int, os.listdir("/proc/self/fd")) if _inheritable(fd)}
        # One more is the folder that ls reads.
        assert len(set(map(int, out.split())) - ours - {0, 1, 2}) <= 1
    assert _children() <= children


def _children() -> set[str]:
    """The processes that this one has to wait for; other tests keep helpers of multiprocessing."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == str(os.getpid()):
            found.add(stat.parent.name)
    return found


def _inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def test_a_reader_that_goes_away_ends_the_child() -> None:
    def gone(_: bytes) -> None:
        raise BrokenPipeError

    ended = run_child(["sh", "-c", "while :; do echo y; done"], ENV, streams=Streams(gone))
    assert ended.signal == signal.SIGPIPE


def test_what_the_child_left_running_is_not_waited_for() -> None:
    begun = time.monotonic()
    ended, out, _ = run("sh", "-c", "(sleep 60; echo late) & echo $!")
    os.kill(int(out), signal.SIGKILL)
    assert ended.code == 0
    assert time.monotonic() - begun < 30


def test_what_comes_right_after_the_end_is_still_passed_on() -> None:
    _, out, _ = run("sh", "-c", "(sleep 0.2; echo late) & echo early")
    assert out == b"early\nlate\n"


def test_signals_reach_the_child_and_a_dead_one_is_left_alone() -> None:
    children: list[Child] = []

    def started(child: Child) -> None:
        children.append(child)
        threading.Timer(0.1, child.send, [signal.SIGTERM]).start()

    ended, _, _ = run("sleep", "60", started=started)
    assert (ended.code, ended.signal) == (143, signal.SIGTERM)
    children[0].send(signal.SIGKILL)


def test_no_signal_is_blocked_or_ignored_in_the_child() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        _, out, _ = run("sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status || true")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not out:
        pytest.skip("needs /proc")
    masks = {line.split()[0]: int(line.split()[1], 16) for line in out.decode().splitlines()}
    assert masks["SigBlk:"] == 0
    assert not masks["SigIgn:"] & (1 << (signal.SIGPIPE - 1))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("script", ["exec sleep 60", "trap '' TERM; exec sleep 60"])
def test_an_exception_while_waiting_ends_the_child(
    error: type[BaseException], script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", 0.3)
    children: list[Child] = []

    def took(_: bytes) -> None:
        raise error

    command = ["sh", "-c", f"echo begun; {script}"]
    with pytest.raises(error):
        run_child(command, ENV, streams=Streams(took), started=children.append)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0].pid, 0)


@pytest.mark.parametrize("together", [True, False])
def test_a_terminal_stays_one(together: bool) -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (40, 100))
    out, err = bytearray(), bytearray()
    streams = (
        Streams(out.extend, None, (follower, -1))
        if together
        else Streams(out.extend, err.extend, (follower, -1))
    )
    code = (
        "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size(1),"
        "flush=True); print('err', file=sys.stderr)"
    )
    try:
        ended = run_child([sys.executable, "-c", code], ENV, streams=streams)
    finally:
        os.close(leader)
        os.close(follower)
    assert ended.code == 0
    text = b"True %s os.terminal_size(columns=100, lines=40)\n" % str(together).encode()
    # A newline is no more than a newline: the real terminal makes of it what it makes of ours.
    assert bytes(out) == text + b"err\n" * together
    assert bytes(err) == b"err\n" * (not together)


def test_the_size_of_the_terminal_is_handed_on() -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (40, 100))
    out = bytearray()
    running: list[Child] = []

    def took(data: bytes) -> None:
        out.extend(data)
        if data.startswith(b"ready"):
            termios.tcsetwinsize(follower, (50, 120))
            running[0].send(signal.SIGWINCH)

    code = (
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})\n"
        "print('ready', flush=True); signal.sigwait({signal.SIGWINCH})\n"
        "print(os.get_terminal_size(1).columns)"
    )
    command = [sys.executable, "-c", code]
    try:
        run_child(command, ENV, streams=Streams(took, None, (follower, -1)), started=running.append)
    finally:
        os.close(leader)
        os.close(follower)
    assert out.split() == [b"ready", b"120"]
