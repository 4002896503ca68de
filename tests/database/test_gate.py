"""The gate between transactions and changes of the map."""

from __future__ import annotations

import threading
import time

from castore.database.gate import Gate


def test_a_thread_enters_again_while_somebody_waits_to_shut() -> None:
    gate = Gate()
    gate.enter()
    shut = threading.Event()

    def shutter() -> None:
        gate.shut()
        shut.set()
        gate.reopen()

    thread = threading.Thread(target=shutter)
    thread.start()
    time.sleep(0.05)
    gate.enter()
    gate.leave()
    assert gate.inside()
    assert not shut.is_set()
    gate.leave()
    thread.join(10)
    assert shut.is_set()
    assert not gate.inside()


def test_shutting_can_be_given_up() -> None:
    gate = Gate()
    thread = threading.Thread(target=gate.enter)
    thread.start()
    thread.join()
    assert not gate.shut(timeout=0.01)
    gate.enter()
    gate.leave()


def test_nobody_is_inside_while_it_is_shut() -> None:
    gate = Gate()
    inside = 0
    wrong = []
    stop = False

    def work() -> None:
        nonlocal inside
        while not stop:
            gate.enter()
            inside += 1
            inside -= 1
            gate.leave()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assert gate.shut()
        if gate._inside:
            wrong.append(dict(gate._inside))
        gate.reopen()
    stop = True
    for thread in threads:
        thread.join(10)
    assert wrong == []
