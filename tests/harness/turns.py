"""Actors of which one goes on at a time: who is next after each step follows from dice alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from random import Random
from types import TracebackType
from typing import Any, Self


class Turns:
    """Runs functions in threads, of which all but one wait; `step` may hand over to another.

    `stays` is how likely one goes on without asking the others; with `ranks` the one that ranks
    first goes on until the order changes, which finds what takes few changes at the right places.
    """

    def __init__(self, dice: Random, *, stays: float = 0.0, ranks: bool = False) -> None:
        self.dice = dice
        self.steps = 0
        self._stays = stays
        self._ranks = ranks
        self._order: list[int] = []
        self._gates: list[threading.Lock] = []

    def run(self, acts: Sequence[Callable[[], None]]) -> None:
        """Run all to their ends; none may raise."""
        self._order = list(range(len(acts)))
        self.dice.shuffle(self._order)
        self._gates = [threading.Lock() for _ in range(len(acts) + 1)]
        for gate in self._gates:
            gate.acquire()

        def live(me: int, act: Callable[[], None]) -> None:
            self._gates[me].acquire()
            try:
                act()
            finally:
                self._order.remove(me)
                self._gates[self._next() if self._order else -1].release()

        threads = [threading.Thread(target=live, args=item) for item in enumerate(acts)]
        for thread in threads:
            thread.start()
        self._gates[self._next()].release()
        self._gates[-1].acquire()
        for thread in threads:
            thread.join()

    def step(self, me: int) -> None:
        """Return when it is this actor's turn again."""
        self.steps += 1
        if len(self._order) < 2 or self.dice.random() < self._stays:
            return
        chosen = self._next()
        if chosen != me:
            self._gates[chosen].release()
            self._gates[me].acquire()

    def _next(self) -> int:
        if not self._ranks:
            return self.dice.choice(self._order)
        if self.dice.random() < 0.1:
            self._order.append(self._order.pop(0))
        return self._order[0]


class Inline:
    """A pool of threads that has none: what is handed to it is done at once, by who hands it in."""

    def __init__(self, _threads: int) -> None: ...

    def submit(self, fn: Callable[..., Any], *given: Any) -> Future[Any]:
        """Do it; what it gave or raised."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*given))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Nothing runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
