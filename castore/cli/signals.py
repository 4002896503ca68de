"""Signals: while a child runs, those for this process are handed on to it."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Final

from castore.store.processes import Child

HANDED_ON: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    }
)


class HandingOn:
    """A context manager within which no signal ends this process; `to` gets those that come.

    What the terminal sends (Ctrl-C, Ctrl-\\) the child has already: both are of its foreground
    group. What somebody sent to this process alone goes on to the child. Only for the main thread.
    """

    def __init__(self) -> None:
        # Ends the thread that waits for signals.
        self._over: signal.Signals | int = signal.SIGRTMIN
        self._child: Child | None = None
        self._early: list[int] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._wait, name="castore-signals", daemon=True)
        self._blocked: set[int] = set()

    def to(self, child: Child) -> None:
        """Hand on to this child, at first what came before it was there."""
        with self._lock:
            self._child = child
            early, self._early = self._early, []
        for number in early:
            child.send(number)

    def __enter__(self) -> HandingOn:
        self._blocked = set(signal.pthread_sigmask(signal.SIG_BLOCK, {*HANDED_ON, self._over}))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._thread.ident is not None
        signal.pthread_kill(self._thread.ident, self._over)
        self._thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)

    def _wait(self) -> None:
        while True:
            came = signal.sigwaitinfo({*HANDED_ON, self._over})
            if came.si_signo == self._over:
                return
            with self._lock:
                child = self._child
                if child is None:
                    self._early.append(came.si_signo)
            # Positive codes are the kernel's: the terminal has told the whole group.
            from_terminal = came.si_code > 0 and came.si_signo != signal.SIGWINCH
            if child is not None and not from_terminal:
                child.send(came.si_signo)
