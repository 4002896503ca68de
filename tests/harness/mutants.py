"""Faults that are planted into castore inside one process, to see that a harness notices them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from castore.database import copying, engine, environment, headslog, scrub
from castore.database.engine import Engine
from castore.database.environment import Database
from castore.database.writing import Writing
from castore.model.refs import branch_ref
from castore.store import collect_sweep, publish, session


def ack_before_commit() -> None:
    """Each write is saved when the store is next used, a little after it was acknowledged."""
    write, read = Engine.write, Engine.read
    late: list[Any] = []

    class Undone(Exception):
        """Carries a result out of a transaction that is given up."""

    def settle(self: Engine) -> None:
        if late:
            time.sleep(0.005)
            fn, options = late.pop()
            write(self, fn, **options)

    def writing(self: Engine, fn: Any, **options: Any) -> Any:
        settle(self)

        def try_it(*given: Any) -> None:
            raise Undone(fn(*given))

        try:
            write(self, try_it, **options)
        except Undone as undone:
            late.append((fn, options))
            return undone.args[0]

    def reading(self: Engine, fn: Any) -> Any:
        settle(self)
        return read(self, fn)

    Engine.write, Engine.read = writing, reading  # type: ignore[method-assign]


def ref_before_objects() -> None:
    """A branch names its new version in a transaction before the one that brings the version."""
    original = publish.publish

    def split(store: Any, publication: Any, tip: Any) -> Any:
        _, id = publish._encoded(publication.members, publication.build(tip))
        ref, old = branch_ref(publication.branch), tip.id if tip else None
        if store.database.read(lambda tables: tables.ref(ref)) != old:
            return original(store, publication, tip)
        store.database.write(lambda tables: tables.set_if_equals(ref, old, id))
        time.sleep(0.003)
        if old:
            store.database.write(lambda tables: tables.set_if_equals(ref, id, old))
        else:
            store.database.write(lambda tables: tables.remove_if_equals(ref, id))
        return original(store, publication, tip)

    publish.publish = split  # type: ignore[assignment]
    session.publish = split  # type: ignore[attr-defined]


def copy_in_place() -> None:
    """A backup is written where it will stay, not beside it, and slowly."""

    @contextlib.contextmanager
    def appearing(folder: Path) -> Iterator[Path]:
        folder.mkdir()
        time.sleep(0.3)
        yield folder

    environment.appearing = appearing  # type: ignore[attr-defined]


def unsynced(**options: bool) -> None:
    """LMDB is opened with less than its full durability, such as `sync=False`."""
    original = engine.lmdb.open

    def opened(*given: Any, **more: Any) -> Any:
        return original(*given, **more, **options)

    engine.lmdb.open = opened  # type: ignore[attr-defined]


def failure_acknowledged() -> None:
    """A transaction that LMDB could not save counts as saved."""

    def write_once(self: Engine, fn: Any) -> Any:
        transaction = self._environment.begin(write=True)
        try:
            result = fn(transaction, self._tables)
        except BaseException:
            transaction.abort()
            raise
        with contextlib.suppress(engine.lmdb.DiskError, engine.lmdb.Error):
            transaction.commit()
        return result

    Engine._write_once = write_once  # type: ignore[method-assign]


def failure_unnamed() -> None:
    """What LMDB says of a commit that failed is raised as it is."""

    def failure(folder: Path, error: Exception) -> Exception:
        return OSError(str(error))

    engine.commit_failure = failure  # type: ignore[assignment]


def no_folder_sync() -> None:
    """Names in folders are not flushed."""

    def nothing(folder: Path) -> None:
        return None

    for module in (environment, copying, headslog):
        module.sync_folder = nothing  # type: ignore[attr-defined]


def log_before_commit() -> None:
    """`heads.log` is ahead of the database for a moment."""
    original = Database.write

    def write(self: Database, fn: Any, **options: Any) -> Any:
        def noted(writing: Writing) -> Any:
            result = fn(writing)
            if writing.appended is not None:
                head = writing.appended
                headslog.append_head(self.folder, head.sequence, head.hash)
            return result

        return original(self, noted, **options)

    Database.write = write  # type: ignore[method-assign]


def free_pages_kept() -> None:
    """A purge does not clear the pages that its transactions freed."""

    def nothing(self: Any, descriptor: int, free: bytearray, start: int, end: int) -> None:
        self._free[start:end] = bytes(end - start)

    scrub._Scrub._fill_runs = nothing  # type: ignore[method-assign]


def marked_once() -> None:
    """A collection does not look again at what became reachable while it went on."""
    collect_sweep.mark_again = False


def tip_unchecked() -> None:
    """A branch is moved wherever it is by now."""

    def set_if_equals(self: Writing, name: str, expected: Any, id: bytes) -> None:
        self._put(self._tables.refs, name.encode(), id)

    original = publish.publish

    def blind(store: Any, publication: Any, tip: Any) -> Any:
        ref = branch_ref(publication.branch)
        read = Writing.ref

        def pretending(self: Any, name: str) -> Any:
            return (tip.id if tip else None) if name == ref else read(self, name)

        Writing.ref = pretending  # type: ignore[method-assign]
        try:
            return original(store, publication, tip)
        finally:
            Writing.ref = read  # type: ignore[method-assign]

    Writing.set_if_equals = set_if_equals  # type: ignore[method-assign]
    publish.publish = blind  # type: ignore[assignment]
    session.publish = blind  # type: ignore[attr-defined]
