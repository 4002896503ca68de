"""A proxy before a server that does to requests what networks and gateways do to them."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Trick(Enum):
    """What is done to one request."""

    PASS = "nothing"
    FAIL = "500, and it is not applied"
    BUSY = "429, and it is not applied"
    CONFLICT = "409, and it is not applied"
    DROP = "the connection is closed before it is applied"
    APPLY_AND_FAIL = "applied, and answered with 500"
    APPLY_AND_DROP = "applied, and the connection closed"
    TWICE = "applied twice, and the second answer given"
    CUT = "half the body of the answer"
    NO_CONDITIONS = "applied without its conditions"
    TELL = "403 with an answer that repeats the secret"


SECRET_SAID = "AKIAREPEATEDBYTHESERVER"
_STATUS = {Trick.FAIL: 500, Trick.BUSY: 429, Trick.CONFLICT: 409, Trick.APPLY_AND_FAIL: 500,
           Trick.TELL: 403}  # fmt: skip
_CODES = {403: f"AccessDenied</Code><AWSAccessKeyId>{SECRET_SAID}</AWSAccessKeyId><Code>X",
          409: "ConditionalRequestConflict", 429: "SlowDown", 500: "InternalError"}  # fmt: skip


class Proxy:
    """Plays one trick on each request of a method, in order, and passes the others.

    Requests whose method and path hold what is `stalled` get no answer; `reached` is set by then.
    """

    def __init__(self, endpoint: str, server: ThreadingHTTPServer) -> None:
        self.behind = urlsplit(endpoint).netloc
        self.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        self.seen: list[str] = []
        self.always = Trick.PASS
        self.stalled = ""
        self.reached, self.over = threading.Event(), threading.Event()
        self._tricks: dict[str, list[Trick]] = {}
        self._lock = threading.Lock()

    def play(self, method: str, *tricks: Trick) -> None:
        """Do this to the next requests of this method."""
        with self._lock:
            self._tricks[method] = list(tricks)

    def next(self, method: str) -> Trick:
        """What is to be done to a request that has come."""
        with self._lock:
            self.seen.append(method)
            tricks = self._tricks.get(method)
            return tricks.pop(0) if tricks else self.always


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        trick = self.proxy.next(self.command)
        if self.proxy.stalled and self.proxy.stalled in f"{self.command} {self.path}":
            self.proxy.reached.set()
            self.proxy.over.wait(60)
            trick = Trick.DROP
        if trick is Trick.DROP:
            self.close_connection = True
            return
        status, headers, data = 0, [], b""
        if trick not in (Trick.FAIL, Trick.BUSY, Trick.CONFLICT, Trick.TELL):
            for _ in range(2 if trick is Trick.TWICE else 1):
                status, headers, data = self._pass(body, trick)
        if trick is Trick.APPLY_AND_DROP:
            self.close_connection = True
            return
        if trick in _STATUS:
            status, headers = _STATUS[trick], []
            data = f"<Error><Code>{_CODES[status]}</Code></Error>".encode()
        self._answer(status, headers, data, cut=trick is Trick.CUT)

    def _pass(self, body: bytes, trick: Trick) -> tuple[int, list[tuple[str, str]], bytes]:
        conditions = ("if-match", "if-none-match") if trick is Trick.NO_CONDITIONS else ()
        headers = {name: value for name, value in self.headers.items()
                   if name.lower() not in ("connection", *conditions)}  # fmt: skip
        link = http.client.HTTPConnection(self.proxy.behind, timeout=30)
        try:
            link.request(self.command, self.path, body=body, headers=headers)
            answer = link.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            link.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool
    ) -> None:
        left_out = ("content-length", "connection", "transfer-encoding", "date", "server")
        length = str(len(data))
        if self.command == "HEAD":
            length = next((value for name, value in headers if name.lower() == left_out[0]), "0")
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in left_out:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The endpoint of a server that says this, whatever it is asked, and hangs up."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                link, _ = listening.accept()
                with link, suppress(OSError):
                    link.settimeout(5)
                    asked = b""
                    while b"\r\n\r\n" not in asked and (piece := link.recv(65_536)):
                        asked += piece
                    link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            host, port = listening.getsockname()
            yield f"http://{host}:{port}"
        finally:
            over.set()
            with socket.create_connection((host, port)) as last:
                last.shutdown(socket.SHUT_WR)
            thread.join()


@contextmanager
def proxy_before(endpoint: str) -> Iterator[Proxy]:
    """A proxy before the server at this endpoint."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy = Proxy(endpoint, server)
    handler.proxy = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
