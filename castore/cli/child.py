"""A child process for work that a damaged file may kill."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import TypeVar, cast

from castore.errors import CorruptObject

Answer = TypeVar("Answer")


def in_child(work: Callable[[], Answer]) -> Answer:
    """The answer of `work`, or the exception it raises, from a forked process.

    A data file that is cut off while it is read kills the reader with SIGBUS: here that becomes
    CorruptObject. `work` must open the store itself, and answer with something that pickles.
    Where processes cannot fork, it runs in this one.
    """
    if not hasattr(os, "fork"):
        return work()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        _serve(work, sink)
    os.close(sink)
    try:
        with open(source, "rb") as pipe:
            data = pipe.read()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise _killed(os.WTERMSIG(status))
    answer, error = pickle.loads(data)  # noqa: S301  # written by our own child
    if error is not None:
        raise error
    return cast(Answer, answer)


def _serve(work: Callable[[], Answer], sink: int) -> None:
    """Do the work in the child, send what came of it, and end without any of the parent's exits."""
    try:
        try:
            answer = pickle.dumps((work(), None))
        except BaseException as error:
            answer = pickle.dumps((None, error))
        with open(sink, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _killed(number: int) -> BaseException:
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    name = signal.Signals(number).name
    return CorruptObject(
        f"the check was killed by {name} while it read the data file: it is cut off or unreadable",
        where="data.mdb",
        fix="restore the store from a backup or a clone",
    )
