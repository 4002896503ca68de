"""Waiting for requests that can be given up: the library below does not look for signals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

_LOOK_SECONDS: Final = 0.5


class _Request:
    """A request, and what became of it once `done` is released."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.answer: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self.answer = self._make()
        except BaseException as error:
            self.error = error


class _Worker:
    """A thread that makes one request after another; it ends with the process."""

    def __init__(self) -> None:
        self.requests: SimpleQueue[_Request] = SimpleQueue()
        threading.Thread(target=self._work, name="castore-request", daemon=True).start()

    def _work(self) -> None:
        while True:
            request = self.requests.get()
            request.run()
            _idle.append(self)
            request.done.release()
            # Nothing of the last one is kept until the next comes.
            del request


_idle: list[_Worker] = []


class GivenUp(Exception):
    """Nobody waits for this request any more; what becomes of it is not known."""


def wait_for(make: Callable[[], Answer], given_up: threading.Event) -> Answer:
    """What a request gives back or raises, made by another thread; GivenUp once the event is set.

    Python handles signals in the main thread only, between its own steps, so one that waits in a
    library hears none; and the threads that a program waits for at its end must not wait for ever.
    """
    if given_up.is_set():
        raise GivenUp
    worker = _idle_worker()
    request = _Request(make)
    worker.requests.put(request)
    # A signal that comes just before the wait does not end it: it is looked for now and then.
    while not request.done.acquire(timeout=_LOOK_SECONDS):
        if given_up.is_set():
            raise GivenUp
    error, request.error = request.error, None
    if error is not None:
        try:
            raise error
        finally:
            # The error's traceback leads to this frame, which must not lead back to the error.
            del error
    answer: Answer = request.answer
    return answer


def result_of(future: Future[Answer]) -> Answer:
    """What a future gives or raises; a signal ends the wait for it, also one that came just before.

    `Future.result` waits on after such a one.
    """
    while not wait((future,), _LOOK_SECONDS).done:
        pass
    return future.result()


def _idle_worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        return _Worker()
