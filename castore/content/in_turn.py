"""Work that is done beside other work, by one thread and in its order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Piece = TypeVar("Piece")


class InTurn(Generic[Piece]):
    """Work for a thread of its own, one piece after the other; at most `pieces` are under way."""

    def __init__(self, work: Callable[[Piece], None], pieces: int = 1) -> None:
        self._work = work
        self._pieces = pieces
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="castore-in-turn")
        self._under_way: deque[Future[None]] = deque()

    def __call__(self, piece: Piece) -> None:
        """Have a piece done beside what follows; raises what a piece before it raised."""
        while len(self._under_way) >= self._pieces:
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(self._work, piece))

    def wait(self) -> None:
        """Until all pieces are done; raises what one of them raised."""
        while self._under_way:
            self._under_way.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            self.wait()
