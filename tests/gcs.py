"""The XML interface of Google's storage, as far as castore asks for it: generations, in memory.

Written after its documentation, since the emulators that there are speak another interface. It
tells that castore asks for the right things, not that Google answers so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_TOKEN = "castore-test"
_PAGE = 500


class GoogleServer(NamedTuple):
    """A server of Google's kind with one bucket."""

    endpoint: str
    bucket: str = "castore"
    scheme: str = "gs"

    @property
    def options(self) -> dict[str, str]:
        """What a transport needs to get in."""
        return {"bearer_token": _TOKEN}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[int, bytes]]
    generations: Iterator[int]
    lock: threading.Lock

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        expected = self.headers.get("x-goog-if-generation-match")
        with self.lock:
            generation, _ = self.objects.get(self._key(), (0, b""))
            if expected is not None and int(expected) != generation:
                return self._fail(412, "PreconditionFailed")
            generation = next(self.generations)
            self.objects[self._key()] = (generation, data)
        return self._answer(200, b"", self._tags(generation))

    def do_GET(self) -> None:
        if "list-type" in parse_qs(urlsplit(self.path).query):
            return self._list()
        with self.lock:
            found = self.objects.get(self._key())
        if found is None:
            return self._fail(404, "NoSuchKey")
        generation, data = found
        asked = self.headers.get("Range")
        if asked is None:
            return self._answer(200, data, self._tags(generation))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        if start >= len(data):
            return self._fail(416, "InvalidRange")
        tags = {**self._tags(generation), "Content-Range": f"bytes {start}-{end}/{len(data)}"}
        return self._answer(206, data[start : end + 1], tags)

    do_HEAD = do_GET  # noqa: N815

    def do_DELETE(self) -> None:
        with self.lock:
            found = self.objects.pop(self._key(), None)
        return self._answer(204, b"") if found else self._fail(404, "NoSuchKey")

    def _list(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        prefix, after = asked.get("prefix", [""])[0], asked.get("continuation-token", [""])[0]
        with self.lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
            rows = [(key, len(self.objects[key][1])) for key in keys[:_PAGE]]
        body = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>x</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, size in rows
        )
        if len(keys) > _PAGE:
            body += f"<NextContinuationToken>{escape(rows[-1][0])}</NextContinuationToken>"
        self._answer(200, f"<ListBucketResult>{body}</ListBucketResult>".encode())

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/castore/")

    def _tags(self, generation: int) -> dict[str, str]:
        # One tag for equal bytes, as there: nothing may depend on it.
        return {
            "x-goog-generation": str(generation),
            "ETag": '"same"',
            "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT",
        }

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        if self.headers.get("Authorization") != f"Bearer {_TOKEN}":
            status, data, headers = 401, b"<Error><Code>AuthenticationRequired</Code></Error>", {}
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def gcs() -> Iterator[GoogleServer]:
    """A server in this process."""
    state = {"objects": {}, "generations": count(1), "lock": threading.Lock()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield GoogleServer(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
