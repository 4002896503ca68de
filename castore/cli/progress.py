"""The progress line: on stderr, only for a terminal, only when work takes more than a second."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from castore.cli.output import Output, is_terminal
from castore.cli.screen import size

_FIRST: Final = 1.0
_EVERY: Final = 0.1
_ERASE: Final = "\r\x1b[K"


class Progress:
    """A context manager; its `advance` may be called from any thread with amounts done.

    `unit` turns the total so far into words, by default a size in bytes.
    """

    def __init__(
        self,
        output: Output,
        what: str,
        *,
        unit: Callable[[int], str] = size,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shown = not (output.quiet or output.json) and is_terminal(sys.stderr)
        self._what = what
        self._unit = unit
        self._clock = clock
        self._done = 0
        self._due = self._begun = clock()
        self._drawn = False

    def advance(self, amount: int) -> None:
        """Count `amount` more; redraws the line at most ten times a second."""
        self._done += amount
        now = self._clock()
        if not self._shown or now < self._due or now < self._begun + _FIRST:
            return
        self._due = now + _EVERY
        self._drawn = True
        seconds = int(now - self._begun)
        _write(f"{_ERASE}{self._what}: {self._unit(self._done)}, {seconds} s")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn:
            _write(_ERASE)


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
