"""Pushes and clones to a real object store, beside its client library moving the same packs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import castore
from benchmarks.corpora import BIG_BYTES, MIB, SMALL_FILES, random_file, small_files, warm
from benchmarks.measure import Run, measure, middle
from benchmarks.report import Row
from benchmarks.stage import Stage
from castore.remote.objects import ObjectTransport
from castore.store import sync_push
from tests.servers import Server, seaweed

_THREADS: Final = 4
_REQUESTS: Final = 200


def share_big(stage: Stage) -> list[Row]:
    """One file of 1 GiB that does not compress."""
    source = random_file(stage.cache)
    warm(source)
    return _shared(stage, "1 GiB of noise", source, BIG_BYTES, judged=True)


def share_small(stage: Stage) -> list[Row]:
    """A folder of 100,000 small files, and how many requests that takes."""
    source = small_files(stage.cache)
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    return _shared(stage, f"{SMALL_FILES:,} small files", source, size, judged=False)


def _shared(stage: Stage, name: str, source: Path, size: int, *, judged: bool) -> list[Row]:
    rounds = []
    with stage.store("shared") as store:
        with store.session(name="big") as session:
            session.add("data", source)
            session.commit()
        for at in range(stage.times):
            # A new one each time: what was deleted takes room in it for hours.
            with _server(stage) as server:
                rounds.append(_round(stage, server, store, f"round{at}"))
    push, raw_put, clone, raw_get, raw_kept = zip(*[runs for runs, _ in rounds], strict=True)
    rows = [
        _row(f"push, {name}", push, raw_put, "the same packs", size, judged=judged),
        _row(f"clone, {name}", clone, raw_get, "packs kept nowhere", size, judged=judged),
        _row(f"clone, {name}", clone, raw_kept, "packs kept on disk", size, judged=judged),
    ]
    return rows if judged else [*rows, _counted(name, [requests for _, requests in rounds])]


def _round(
    stage: Stage, server: Server, store: castore.Store, name: str
) -> tuple[tuple[Run, ...], int]:
    """A push and a clone, each beside the raw limit, and the requests of the push."""
    url = f"s3://{server.bucket}/{name}"
    store.add_remote(name, url)
    counting = _Counting("s3", server.bucket, name)
    stage.settle()
    push = measure(lambda: sync_push.push(store, name, counting), watch=False)
    counting.close()
    packs = _Packs(server, f"{name}/packs/")
    stage.settle()
    raw_put = measure(packs.put, watch=False)
    packs.clear()
    raw_get = measure(packs.get, watch=False)
    kept = stage.scratch("kept")
    stage.settle()
    raw_kept = measure(lambda: packs.keep(kept), watch=False)
    shutil.rmtree(kept)
    copy = stage.scratch("copy")
    stage.settle()
    clone = measure(lambda: castore.clone(url, copy).close(), watch=False)
    shutil.rmtree(copy)
    return (push, raw_put, clone, raw_get, raw_kept), counting.requests


def _row(
    name: str,
    runs: Sequence[Run],
    limits: Sequence[Run],
    limit: str,
    size: int,
    *,
    judged: bool = False,
) -> Row:
    speeds = [size / MIB / run.wall for run in runs]
    return Row(
        name=name,
        unit="MiB/s",
        value=middle(speeds),
        low=min(speeds),
        high=max(speeds),
        runs=len(speeds),
        limit=middle([size / MIB / run.wall for run in limits]),
        limit_name=limit,
        judged="ratio",
        at_least=0.5 if judged else None,
        cpu=middle([run.cpu for run in runs]),
    )


def _counted(name: str, requests: list[int]) -> Row:
    return Row(
        name=f"requests of a push, {name}",
        unit="requests",
        value=middle(requests),
        low=min(requests),
        high=max(requests),
        runs=len(requests),
        at_least=_REQUESTS,
        less_is_better=True,
    )


@contextmanager
def _server(stage: Stage) -> Iterator[Server]:
    """SeaweedFS on loopback, and the variables that lead there."""
    with seaweed(stage.scratch("server")) as server:
        os.environ.update(server.environ)
        yield server


class _Counting(ObjectTransport):
    """Counts requests, lists as one."""

    requests = 0
    _lock = Lock()

    def _ask(self, request: Callable[[], Any]) -> Any:
        with self._lock:
            self.requests += 1
        return super()._ask(request)


class _Packs:
    """What a push has sent, moved again by the client library alone, some at once."""

    def __init__(self, server: Server, prefix: str) -> None:
        import obstore
        from obstore.store import S3Store

        self._library: Any = obstore
        self._store: Any = S3Store(
            server.bucket,
            config={**server.options, "endpoint": server.endpoint, "region": "us-east-1"},
            client_options={"allow_http": True},
        )
        found = [item for page in obstore.list(self._store, prefix=prefix) for item in page]
        self._keys = [item["path"] for item in found]
        self._data = self._each(self._read)

    def put(self) -> None:
        self._each(self._write)

    def get(self) -> None:
        self._each(lambda key: len(self._read(key)))

    def keep(self, folder: Path) -> None:
        """Get all into files, durably."""

        def kept(key: str) -> None:
            with (folder / key.rpartition("/")[2]).open("wb") as file:
                file.write(self._read(key))
                file.flush()
                os.fdatasync(file.fileno())

        self._each(kept)

    def clear(self) -> None:
        """Let the memory go."""
        self._data = []

    def _each(self, work: Callable[[str], Any]) -> list[Any]:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(work, self._keys))

    def _read(self, key: str) -> bytes:
        return bytes(self._library.get(self._store, key).bytes())

    def _write(self, key: str) -> None:
        data = self._data[self._keys.index(key)]
        self._library.put(self._store, f"raw/{key}", data, use_multipart=False)
