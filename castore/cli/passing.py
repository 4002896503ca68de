"""Passing on: the output of a child as it comes, on the streams of this process."""

from __future__ import annotations

import os
import select
import sys
from typing import IO, Final

from castore.cli.output import is_terminal
from castore.store.processes import Sink, Streams

_ALL: Final = -1


def passing_streams(*, aside: bool) -> Streams:
    """Streams that pass a child's output on; `aside` sends its stdout to stderr as well.

    Where both end in one place, they are one stream for the child too, and keep their order.
    """
    out, err = (sys.stderr if aside else sys.stdout), sys.stderr
    for stream in (out, err):
        if stream is not None:
            stream.flush()
    first, second = _descriptor(out), _descriptor(err)
    terminals = (_terminal(out), _terminal(err))
    together = out is err or (first >= 0 and second >= 0 and os.path.sameopenfile(first, second))
    if together:
        return Streams(_sink(out), None, (terminals[0], -1))
    return Streams(_sink(out), _sink(err), terminals)


def _sink(stream: IO[str] | None) -> Sink:
    if stream is None:
        return lambda _: None
    descriptor = _descriptor(stream)
    if descriptor < 0:
        return lambda data: _write_buffered(stream, data)
    return lambda data: _write(descriptor, data)


def _write(descriptor: int, data: bytes) -> None:
    """Write everything at once, without a buffer that would have to be emptied later."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll(_ALL)


def _write_buffered(stream: IO[str], data: bytes) -> None:
    stream.buffer.write(data)  # type: ignore[attr-defined]
    stream.flush()


def _descriptor(stream: IO[str] | None) -> int:
    try:
        return stream.fileno() if stream is not None else -1
    except (OSError, ValueError):
        return -1


def _terminal(stream: IO[str] | None) -> int:
    return _descriptor(stream) if is_terminal(stream) else -1
