"""Work beside other work: in its order, so much of it at once, and no error is lost."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.content.in_turn import InTurn


@given(st.integers(0, 12), st.integers(1, 5))
def test_pieces_are_done_in_their_order(pieces: int, at_once: int) -> None:
    done: list[int] = []
    with InTurn(done.append, at_once) as work:
        for piece in range(pieces):
            work(piece)
            assert len(done) > piece - at_once
    assert done == list(range(pieces))


@pytest.mark.parametrize("at_once", [1, 3])
def test_who_gives_more_than_may_be_under_way_waits(at_once: int) -> None:
    go, given = threading.Semaphore(0), []

    def give() -> None:
        with InTurn[int](lambda _: go.acquire() and None, at_once) as work:
            for piece in range(at_once + 2):
                work(piece)
                given.append(piece)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.2)
    assert len(given) == at_once
    for _ in range(at_once + 2):
        go.release()
    giver.join()
    assert len(given) == at_once + 2


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_error_comes_out_with_a_later_piece_or_at_the_end(at_once: int) -> None:
    def fail(piece: int) -> None:
        raise ValueError(piece)

    def give(pieces: int) -> None:
        with InTurn(fail, at_once) as work:
            for piece in range(pieces):
                work(piece)

    for pieces in (1, at_once + 1):
        with pytest.raises(ValueError, match="0"):
            give(pieces)


def test_what_waits_is_not_done_after_an_error_elsewhere() -> None:
    go, began, done = threading.Event(), threading.Event(), list[int]()

    def work_on(piece: int) -> None:
        began.set()
        go.wait()
        done.append(piece)

    def give() -> None:
        with InTurn(work_on, 3) as work:
            for piece in range(3):
                work(piece)
            began.wait()
            threading.Timer(0.05, go.set).start()
            raise KeyError("elsewhere")

    with pytest.raises(KeyError, match="elsewhere"):
        give()
    assert done == [0]
