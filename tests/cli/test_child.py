"""Work in a child process: answers, exceptions, and deaths."""

from __future__ import annotations

import faulthandler
import os
import signal

import pytest

from castore.cli.child import in_child
from castore.errors import CorruptObject, IncompleteSet


def test_an_answer() -> None:
    here = os.getpid()
    assert in_child(lambda _: (os.getpid() != here, "x" * 1_000_000)) == (True, "x" * 1_000_000)


def test_an_exception() -> None:
    def work(_: object) -> None:
        raise IncompleteSet("refused", missing=["a"], fix="cas x", run="r")

    with pytest.raises(IncompleteSet, match="refused") as caught:
        in_child(work)
    assert caught.value.missing == ["a"]
    assert caught.value.fix == "cas x"
    assert caught.value.attributes["run"] == "r"


def test_a_death_by_sigbus_is_a_corrupt_file() -> None:
    def work(_: object) -> None:
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGBUS)

    with pytest.raises(CorruptObject, match="SIGBUS"):
        in_child(work)


def test_an_interrupt() -> None:
    def work(_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        in_child(work)


def test_an_exit_of_the_child_is_not_ours() -> None:
    with pytest.raises(SystemExit):
        in_child(lambda _: exit(3))


def test_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.fork")
    assert in_child(lambda _: os.getpid()) == os.getpid()
