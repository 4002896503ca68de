"""A child process for work that a damaged file may kill."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar, cast

from castore.store.apart import PATIENCE, Tell, conclude, listen, serve

Answer = TypeVar("Answer")


def in_child(
    work: Callable[[Tell], Answer], progress: Tell | None = None, *, patience: float = PATIENCE
) -> Answer:
    """The answer of `work`, or the exception it raises, from a forked process.

    A data file that is cut off while it is read kills the reader with SIGBUS: here that becomes
    Killed, and Hanging if `work` does not call what it is given for `patience` seconds; both are
    CorruptObject. `work` must open the store itself, and answer with something that pickles.
    Where processes cannot fork, it runs in this one.
    """
    if not hasattr(os, "fork"):
        return work(progress or (lambda _: None))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(source)
            serve(sink, work)
        finally:
            # Without any of the parent's exits.
            os._exit(0)
    os.close(sink)
    try:
        answer = listen(source, progress, patience)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(source)
    _, status = os.waitpid(child, 0)
    return cast(Answer, conclude(answer, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))
