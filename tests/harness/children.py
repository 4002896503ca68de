"""Processes forked from a warm one: what a function gave or raised in there, or how it died."""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from castore.errors import CastoreError

SLICE = 1.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a forked process ended: a value, or else what is wrong.

    `error` is the name of the exception or signal, or "hang"; `text` tells more.
    """

    value: Any = None
    error: str = ""
    text: str = ""
    promised: bool = False
    """Whether the error is one that says something about castore, not about its tests."""


class Fork:
    """A function that runs in a forked process, which dies with the one that forked it.

    With `group` it has a process group of its own, all of which ends with it. `ended` is a
    descriptor that can be read once the process is gone.
    """

    def __init__(self, fn: Callable[[], Any], limit: float, *, group: bool = False) -> None:
        self._group = group
        self._left = limit
        self._seen = time.monotonic()
        # Not a pipe: what the process has started may outlive it and hold the other end open.
        self._said = os.memfd_create("said")
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(fn, self._said, group)
        self.ended = os.pidfd_open(self.pid)

    @property
    def left(self) -> float:
        """Seconds until it counts as a hang; asked at least every SLICE seconds.

        More than that between two questions means that this process was stopped, and with it all.
        """
        now = time.monotonic()
        self._left -= min(now - self._seen, 2 * SLICE)
        self._seen = now
        return self._left

    def kill(self) -> Ended:
        """End it by kill -9, and tell how it ended: it may have been faster."""
        os.kill(self.pid, signal.SIGKILL)
        select.select([self.ended], [], [])
        return self.reap()

    def reap(self) -> Ended:
        """How it ended; one that still runs is killed, and hung."""
        hang = not select.select([self.ended], [], [], 0)[0]
        (os.killpg if self._group else os.kill)(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        with os.fdopen(self._said, "rb") as file:
            file.seek(0)
            said = file.read()
        os.close(self.ended)
        if hang:
            return Ended(error="hang", text="it did not end", promised=True)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return Ended(error=name, text=f"ended by {name}", promised=True)
        ended: Ended = pickle.loads(said)
        return ended


def forked(fn: Callable[[], Any], limit: float = 60.0) -> Ended:
    """Run `fn` in a forked process, and wait for it."""
    fork = Fork(fn, limit)
    while fork.left > 0 and not select.select([fork.ended], [], [], SLICE)[0]:
        pass
    return fork.reap()


def _run(fn: Callable[[], Any], said: int, group: bool) -> None:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if group:
            os.setpgid(0, 0)
        try:
            ended = Ended(value=fn())
        except BaseException as error:
            promised = isinstance(error, AssertionError | CastoreError)
            text = f"{type(error).__name__}: {error}"
            if not promised or type(error).__name__ != "Lost":
                text = "".join(traceback.format_exception(error))
            ended = Ended(error=type(error).__name__, text=text, promised=promised)
        with os.fdopen(said, "wb") as file:
            pickle.dump(ended, file)
    finally:
        os._exit(0)
