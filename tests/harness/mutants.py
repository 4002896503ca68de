"""Faults that are planted into castore inside one process, to see that a harness notices them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from castore.database import engine, environment
from castore.database.engine import Engine
from castore.model.refs import branch_ref
from castore.store import publish, session


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
    """A backup is written where it will stay, not beside it."""

    @contextlib.contextmanager
    def appearing(folder: Path) -> Iterator[Path]:
        folder.mkdir()
        yield folder

    environment.appearing = appearing  # type: ignore[attr-defined]


def unsynced(**options: bool) -> None:
    """LMDB is opened with less than its full durability, such as `sync=False`."""
    original = engine.lmdb.open

    def opened(*given: Any, **more: Any) -> Any:
        return original(*given, **more, **options)

    engine.lmdb.open = opened  # type: ignore[attr-defined]
