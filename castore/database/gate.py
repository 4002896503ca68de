"""The gate of an environment: many transactions at once, or one change of its memory map.

LMDB unmaps the file while the map is resized, so a transaction of another thread would read
unmapped memory and kill the process.
"""

from __future__ import annotations

import threading
import time


class Gate:
    """Counts the transactions of this process; a thread may enter again while it is inside."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._waiting = 0
        self._shut = False

    def enter(self) -> None:
        """Begin a transaction; waits while the gate is shut, or about to be."""
        me = threading.get_ident()
        with self._condition:
            if me not in self._inside:
                while self._shut or self._waiting:
                    self._condition.wait()
            self._inside[me] = self._inside.get(me, 0) + 1

    def leave(self) -> None:
        """End a transaction."""
        me = threading.get_ident()
        with self._condition:
            depth = self._inside[me] - 1
            if depth:
                self._inside[me] = depth
                return
            del self._inside[me]
            if self._waiting and not self._inside:
                self._condition.notify_all()

    def inside(self) -> bool:
        """Whether the calling thread is in a transaction."""
        return threading.get_ident() in self._inside

    def shut(self, timeout: float | None = None) -> bool:
        """Wait until nobody is inside, and keep others out; False if that took too long.

        The calling thread must not be inside. Every True is followed by one call of `reopen`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            self._waiting += 1
            try:
                while self._shut or self._inside:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        self._condition.notify_all()
                        return False
                    self._condition.wait(left)
                self._shut = True
                return True
            finally:
                self._waiting -= 1

    def reopen(self) -> None:
        """Let transactions in again."""
        with self._condition:
            self._shut = False
            self._condition.notify_all()
