"""Dask: the partitions of a data set, made and staged by the workers of a cluster, as one version.

Needs `pip install 'castore[dask]'` where the client runs and where the workers do. Each worker
opens the store itself and sends what it makes; to the client come names only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final

from dask.base import is_dask_collection
from distributed import Client, Worker, WorkerPlugin, get_worker

from castore.errors import InvalidInput, ObjectNotFound
from castore.store.library import Store
from castore.store.library_opening import open as open_store
from castore.store.staged import Staged
from castore.store.staging import EXPIRED, Given
from castore.store.version import Version

TRIES: Final = 3
"""How often all is staged before an expired part is told of."""


def commit_parts(
    client: Client,
    where: str | os.PathLike[str],
    branch: str,
    parts: Mapping[str, Any],
    make: Callable[[Any], Given] | None = None,
    *,
    message: str = "",
    caches: str | os.PathLike[str] | None = None,
    options: Mapping[str, str] | None = None,
    retries: int = 0,
    **session: Any,
) -> Version:
    """Commit what workers make of `parts` as one version of `branch`, after those of others.

    `parts` has for each artifact what it is made of: any value, or a future or collection of Dask
    of one. `make` runs in a worker and gives the content as for `Session.add`; without it the part
    is the content. `where`, `caches` and `options` are as for `castore.open`, here and in each
    worker; `caches` is a folder on each machine, and a store that is a folder must be on all. A
    part of a worker that died is made again; one that fails, `retries` times, then its exception is
    raised with nothing committed. `session` are the keywords of `Store.session`. Raises as `stage`
    and `Session.commit`, ObjectNotFound if what was staged expires three times.
    """
    where = where if "://" in os.fspath(where) else Path(where).absolute()
    plugin = _Opened(where, caches, options)
    with open_store(where, caches=caches, options=options) as store:
        if store.behind:
            store.behind.rebase = True
        client.register_plugin(plugin)
        try:
            for left in reversed(range(TRIES)):
                upload = store.begin_upload()
                try:
                    staged = _staged(client, plugin.name, parts, make, upload, retries)
                    return _commit(store, branch, staged, message, session)
                except ObjectNotFound as error:
                    if not left or error.attributes.get("state") != EXPIRED:
                        raise
            raise AssertionError
        finally:
            client.unregister_worker_plugin(plugin.name)  # type: ignore[no-untyped-call]


def _commit(
    store: Store, branch: str, staged: Mapping[str, Staged], message: str, session: dict[str, Any]
) -> Version:
    with store.session(branch, **session) as made:
        for name, value in staged.items():
            made.add(name, value)
        return made.commit(message)


def _staged(
    client: Client,
    plugin: str,
    parts: Mapping[str, Any],
    make: Callable[[Any], Given] | None,
    upload: bytes,
    retries: int,
) -> dict[str, Staged]:
    """What workers staged of every part; raises what one of them raised."""
    futures = [
        client.submit(
            _stage,
            _future(client, part),
            plugin,
            make,
            upload,
            # The same again is no longer there once its upload has ended.
            pure=False,
            retries=retries,
        )
        for part in parts.values()
    ]
    try:
        found = client.gather(futures)  # type: ignore[no-untyped-call]
        return dict(zip(parts, found, strict=True))
    finally:
        # What goes on after one has failed would stage for nobody.
        client.cancel(futures)  # type: ignore[no-untyped-call]


def _future(client: Client, part: Any) -> Any:
    """What a task is given of a part: the future of a collection, anything else as it is."""
    if not is_dask_collection(part):
        return part
    return client.compute(part)  # type: ignore[no-untyped-call]


def _stage(part: Any, plugin: str, make: Callable[[Any], Given] | None, upload: bytes) -> Staged:
    worker = get_worker()
    opened = worker.plugins[plugin]
    if not isinstance(opened, _Opened):
        raise InvalidInput(f"{plugin!r} is not castore's")
    return opened.store(worker).stage(part if make is None else make(part), upload=upload)


class _Opened(WorkerPlugin):
    """The store of each worker, opened when it first stages and closed with the last commit."""

    def __init__(
        self,
        where: str | os.PathLike[str],
        caches: str | os.PathLike[str] | None,
        options: Mapping[str, str] | None,
    ) -> None:
        self.name = f"castore-{os.urandom(8).hex()}"
        self._where = where
        self._caches = caches
        self._options = options
        self._lock: Any = None
        self._stores: dict[str, Store] = {}

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Made here, since locks do not travel."""
        self._lock = self._lock or Lock()

    def teardown(self, worker: Worker) -> None:
        """Give the store back."""
        store = self._stores.pop(worker.id, None)
        if store is not None:
            store.close()

    def store(self, worker: Worker) -> Store:
        """The store of a worker, for any of its threads."""
        with self._lock:
            if worker.id not in self._stores:
                self._stores[worker.id] = open_store(
                    self._where, caches=self._caches, options=self._options
                )
            return self._stores[worker.id]
