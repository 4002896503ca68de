"""A child process whose output passes through while its last bytes are kept."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from castore.errors import CommandNotExecutable, CommandNotFound, InvalidInput

Sink = Callable[[bytes], None]

TAIL_BYTES: Final = 8 << 10
"""How much of the end of the output is kept, of both streams together as they came."""
_PIECE: Final = 64 << 10
# What a process that the child left behind may still say once the child has ended, in seconds.
_LINGER: Final = 1.0
# How long an interrupted wait gives the child to end by itself, and again after SIGTERM.
_PATIENCE: Final = 5.0
_NO_PIDFD: Final = 0.05
# Python ignores these; a program expects them to act.
_DEFAULTS: Final = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Streams:
    """Where the output of a child goes as it comes: `out`, and `err` where that is apart.

    `terminals` are descriptors of the terminals that out and err end at, -1 for none: the child
    then sees a terminal of that size there. A sink that raises OSError closes the stream, as a
    reader does that goes away. The child reads the standard input of this process.
    """

    out: Sink
    err: Sink | None = None
    terminals: tuple[int, int] = (-1, -1)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code, 128 + `signal` for one that was killed; its last output."""

    code: int
    signal: int
    seconds: float
    tail: bytes


class Child:
    """A running child; safe to signal from any thread, also after it has ended."""

    def __init__(self, pid: int, windows: Sequence[tuple[int, int]]) -> None:
        self.pid = pid
        self._windows = windows
        self._lock = threading.Lock()
        self._status: int | None = None

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended; its terminals take the size of the real ones."""
        with self._lock:
            if self._status is not None:
                return
            if number == signal.SIGWINCH:
                for real, imitated in self._windows:
                    copy_size(real, imitated)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its status as waitpid gives it, None while it runs."""
        with self._lock:
            if self._status is None:
                found, status = os.waitpid(self.pid, os.WNOHANG)
                self._status = status if found else None
            return self._status

    def end(self, *, told: bool) -> None:
        """Make it end, at last by force; `told` gives it time to end by itself first."""
        for number in (0, signal.SIGTERM, signal.SIGKILL)[not told :]:
            if number:
                self.send(number)
            until = time.monotonic() + _PATIENCE
            while self.poll() is None and time.monotonic() < until:
                time.sleep(_NO_PIDFD)


def run_child(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    streams: Streams,
    started: Callable[[Child], None] | None = None,
) -> Ended:
    """Run a command in this folder to its end; `started` is given the child, to signal it.

    What it left running may write for a second more. An exception while waiting ends the child
    and goes on. Raises CommandNotFound, CommandNotExecutable, InvalidInput.
    """
    path = find_command(command, env)
    pipes = _Pipes(streams)
    try:
        begun = time.monotonic()
        child = pipes.spawn(path, command, env)
        try:
            if started is not None:
                started(child)
            status = pipes.follow(child)
        except BaseException as error:
            # Ctrl-C has told the child as well.
            child.end(told=isinstance(error, KeyboardInterrupt))
            raise
    finally:
        pipes.close()
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + number if number else os.waitstatus_to_exitcode(status)
    return Ended(code, number, time.monotonic() - begun, bytes(pipes.tail))


def find_command(command: Sequence[str], env: Mapping[str, str]) -> str:
    """The file of a command, as a shell finds it; raises CommandNotFound, CommandNotExecutable."""
    if not command or not command[0]:
        raise InvalidInput("a command to run must be given", fix="cas run -- COMMAND")
    name = command[0]
    if any("\0" in word for word in command):
        raise InvalidInput("a word of a command cannot hold a NUL")
    path = shutil.which(name, path=env.get("PATH", os.defpath))
    if path is not None:
        return path
    if "/" in name and os.path.lexists(name):
        what = "is a folder" if os.path.isdir(name) else "is not executable"
        raise CommandNotExecutable(f"{name!r} {what}")
    raise CommandNotFound(f"no command is called {name!r}")


def copy_size(real: int, imitated: int) -> None:
    """Give one terminal the size of another."""
    with contextlib.suppress(OSError, termios.error):
        termios.tcsetwinsize(imitated, termios.tcgetwinsize(real))


class _Pipes:
    """Both output streams of a child: pipes, or terminals where the real ones are terminals."""

    def __init__(self, streams: Streams) -> None:
        self.tail = bytearray()
        self._sinks: dict[int, Sink] = {}
        self._ours: list[int] = []
        self._windows: list[tuple[int, int]] = []
        self._out = self._open(streams.out, streams.terminals[0])
        self._err = self._out
        if streams.err is not None:
            self._err = self._open(streams.err, streams.terminals[1])

    def spawn(self, path: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        """Start the command with its output here; no signal is blocked in it."""
        actions = [(os.POSIX_SPAWN_DUP2, self._out, 1), (os.POSIX_SPAWN_DUP2, self._err, 2)]
        try:
            pid = os.posix_spawn(
                path, list(command), dict(env), file_actions=actions, setsigmask=(),
                setsigdef=_DEFAULTS,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CommandNotExecutable(f"{command[0]!r} cannot be run: {why}") from None
        for descriptor in {self._out, self._err}:
            os.close(descriptor)
            self._ours.remove(descriptor)
        return Child(pid, self._windows)

    def follow(self, child: Child) -> int:
        """Pass the output on until the child has ended and said everything; its status."""
        poll = select.poll()
        for descriptor in self._sinks:
            poll.register(descriptor, select.POLLIN)
        watch = _watch(child.pid)
        if watch >= 0:
            self._ours.append(watch)
            poll.register(watch, select.POLLIN)
        until = None
        while True:
            status = child.poll()
            if status is not None and until is None:
                until = time.monotonic() + _LINGER
                if watch >= 0:
                    poll.unregister(watch)
            if until is not None:
                left = until - time.monotonic()
                if not self._sinks or left <= 0:
                    assert status is not None
                    return status
                wait = left
            else:
                wait = -1 if watch >= 0 else _NO_PIDFD
            for descriptor, _ in poll.poll(1000 * wait if wait >= 0 else None):
                if descriptor in self._sinks and not self._pass_on(descriptor):
                    poll.unregister(descriptor)
                    del self._sinks[descriptor]
                    self._ours.remove(descriptor)
                    os.close(descriptor)

    def close(self) -> None:
        """Close what is open."""
        for descriptor in self._ours:
            os.close(descriptor)
        self._ours.clear()
        self._sinks.clear()

    def _open(self, sink: Sink, terminal: int) -> int:
        """A descriptor for the child to write to, whose other end passes on to a sink."""
        pair = _imitate(terminal) if terminal >= 0 else None
        if pair is not None:
            self._windows.append((terminal, pair[0]))
        source, target = pair or os.pipe()
        self._ours += [source, target]
        self._sinks[source] = sink
        return target

    def _pass_on(self, descriptor: int) -> bool:
        """Pass on what is there; False at the end, or where nobody reads it any more."""
        try:
            data = os.read(descriptor, _PIECE)
        except OSError:
            return False  # so ends a terminal that nobody has open
        if not data:
            return False
        self.tail += data
        del self.tail[:-TAIL_BYTES]
        try:
            self._sinks[descriptor](data)
        except OSError:
            return False
        return True


def _imitate(terminal: int) -> tuple[int, int] | None:
    """A terminal for output, like a real one: our end and the child's, None where none is free.

    It changes nothing of what is written, the real one will; it is nobody's controlling terminal:
    keys, job control and interrupts stay with the real one, which the child has as well.
    """
    try:
        ours, theirs = os.openpty()
    except OSError:
        return None
    with contextlib.suppress(OSError, termios.error):
        settings = termios.tcgetattr(terminal)
        settings[1] &= ~termios.OPOST
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, settings)
    copy_size(terminal, ours)
    return ours, theirs


def _watch(pid: int) -> int:
    """A descriptor that becomes readable when the process ends, -1 where there is none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
