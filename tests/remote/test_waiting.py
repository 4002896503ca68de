"""Requests that are waited for with an ear for signals, and servers that never answer."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from castore.errors import OutcomeUnknown, RemoteError, RemoteUnavailable
from castore.remote.objects import ObjectTransport
from castore.remote.retrying import RetryingTransport
from castore.remote.waiting import GivenUp, result_of, wait_for


def heeding_signals(make):  # type: ignore[no-untyped-def]
    return wait_for(make, threading.Event())


_OPTIONS = {"access_key_id": "test", "secret_access_key": "testtest"}


@pytest.fixture
def silent() -> Iterator[str]:
    """The endpoint of a server that takes requests and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_request_is_made_by_another_thread() -> None:
    assert heeding_signals(threading.current_thread) is not threading.main_thread()
    assert heeding_signals(lambda: None) is None


def test_many_wait_at_once() -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: heeding_signals(lambda: number * 2), range(500)))
    assert found == [number * 2 for number in range(500)]


def test_what_is_given_up_is_not_waited_for() -> None:
    release, over = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for, lambda: release.wait(60), over)
        over.set()
        with pytest.raises(GivenUp):
            waiting.result(30)
    with pytest.raises(GivenUp):
        wait_for(lambda: 5, over)
    release.set()


def test_a_transport_that_is_closed_lets_its_threads_go(silent: str) -> None:
    bucket = ObjectTransport("s3", "castore", endpoint=silent, options=_OPTIONS)
    calls = (
        lambda: bucket.get("root"),
        lambda: bucket.put("root", b"x"),
        lambda: bucket.put("root", b"x", if_absent=True),
        lambda: bucket.replace("root", b"x", "1"),
        lambda: list(bucket.list("")),
        lambda: bucket.delete(["x"]),
    )
    outer = RetryingTransport(bucket)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(call) for call in (*calls, lambda: outer.put("x", b"x"))]
        time.sleep(0.2)
        outer.close()
        for each in waiting:
            with pytest.raises(RemoteError, match="closed"):
                each.result(20)


def test_a_signal_that_another_thread_got_ends_the_wait_for_a_future() -> None:
    # To this thread it is one that came just before it began to wait.
    release = threading.Event()

    def interrupted() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        release.wait(60)

    with ThreadPoolExecutor(1) as pool:
        try:
            began = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                result_of(pool.submit(interrupted))
            assert time.monotonic() - began < 50
        finally:
            release.set()
        assert result_of(pool.submit(lambda: 7)) == 7
        with pytest.raises(ZeroDivisionError):
            result_of(pool.submit(lambda: 1 // 0))


def test_threads_are_used_again() -> None:
    before = threading.active_count()
    for _ in range(200):
        heeding_signals(lambda: None)
    assert threading.active_count() <= before + 1


def test_what_a_request_raises_is_raised_and_let_go() -> None:
    class Held:
        pass

    def fail() -> None:
        held = Held()
        told.append(weakref.ref(held))
        raise KeyError(held)

    told: list[weakref.ref[Held]] = []
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(KeyError):
            heeding_signals(fail)
        assert heeding_signals(lambda: 5) == 5
        assert told[0]() is None
    finally:
        gc.enable()


def test_an_interrupt_ends_the_wait_and_the_next_request_has_a_thread() -> None:
    release = threading.Event()

    def stuck() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(60)
        return threading.get_ident()

    with pytest.raises(KeyboardInterrupt):
        heeding_signals(stuck)
    assert heeding_signals(lambda: 5) == 5
    release.set()


_INTERRUPTED = """
import sys
from castore.remote.objects import ObjectTransport
from castore.remote.retrying import RetryingTransport
bucket = ObjectTransport("s3", "castore", endpoint=sys.argv[1],
                         options={"access_key_id": "test", "secret_access_key": "testtest"})
calls = {"get": lambda: bucket.get("root"), "put": lambda: bucket.put("root", b"x"),
         "create": lambda: bucket.put("root", b"x", if_absent=True),
         "replace": lambda: bucket.replace("root", b"x", "1"),
         "list": lambda: list(bucket.list("")), "delete": lambda: bucket.delete(["x"])}
print("begun", flush=True)
try:
    calls[sys.argv[2]]()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("call", ["get", "put", "create", "replace", "list", "delete"])
def test_a_process_that_waits_for_a_server_ends_by_an_interrupt(silent: str, call: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, silent, call], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            # Far less than the half minute that a server has for its answer.
            assert process.wait(20) == 130
        finally:
            process.kill()


def test_a_server_that_never_answers_is_given_up(silent: str) -> None:
    short = {**_OPTIONS, "timeout": "300ms", "read_timeout": "300ms"}
    bucket = ObjectTransport("s3", "castore", endpoint=silent, options=short)
    for call, expected in (
        (lambda: bucket.get("root"), RemoteUnavailable),
        (lambda: list(bucket.list("")), RemoteUnavailable),
        (lambda: bucket.put("root", b"x"), OutcomeUnknown),
        (lambda: bucket.put("root", b"x", if_absent=True), OutcomeUnknown),
        (lambda: bucket.replace("root", b"x", "1"), OutcomeUnknown),
        (lambda: bucket.delete(["x"]), OutcomeUnknown),
    ):
        with pytest.raises(expected):
            call()


_HEAD = b'ETag: "x"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n'
_LIES = {
    "more than it says": b"206 P\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 50000000\r\n",
    "another part": b"206 P\r\nContent-Range: bytes 0-49999999/50000000\r\n"
    b"Content-Length: 50000000\r\n",
    "a part of it": b"206 P\r\nContent-Range: bytes 0-3/10\r\nContent-Length: 4\r\n",
    "the whole": b"200 OK\r\nContent-Length: 50000000\r\n",
    "no length": b"206 P\r\nContent-Range: bytes 0-9/10\r\nTransfer-Encoding: chunked\r\n",
}


@pytest.mark.parametrize("lie", _LIES)
def test_an_answer_of_another_length_is_refused_before_it_is_read(lie: str) -> None:
    sent = 0

    def serve() -> None:
        nonlocal sent
        link, _ = listening.accept()
        with link:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += link.recv(65_536)
            piece = b"a" * 4 if lie == "a part of it" else b"a" * 262_144
            try:
                link.sendall(b"HTTP/1.1 " + _LIES[lie] + _HEAD)
                for _ in range(1 if lie == "a part of it" else 190):
                    framed = b"40000\r\n" + piece + b"\r\n" if lie == "no length" else piece
                    link.sendall(framed)
                    sent += len(piece)
            except OSError:
                return

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        server = threading.Thread(target=serve)
        server.start()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        bucket = ObjectTransport("s3", "castore", endpoint=endpoint, options=_OPTIONS)
        with pytest.raises(RemoteError):
            bucket.get("root", 0, 10)
        bucket.close()
        server.join()
    assert sent < 40_000_000
