"""The engines of this process, one for each data file, and what becomes of them in a fork."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from castore.database.datafile import DATA_FILE, file_identity
from castore.database.engine import Engine
from castore.errors import ForkedProcess


class Registry:
    """The engines of this process by the identity of their data file.

    LMDB forbids opening one environment twice in a process, so whoever opens the same store again
    shares the engine.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[tuple[int, int], list[Engine]] = {}
        self._quiet: list[tuple[Engine, bool]] = []
        self._inherited: list[Engine] = []
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_in_parent,
            after_in_child=self._after_in_child,
        )

    def acquire(self, folder: Path, map_size: int) -> Engine:
        """The engine of the store in `folder`, opened if need be."""
        identity = file_identity(str(folder / DATA_FILE))
        with self._lock:
            users = self._engines.get(identity, []) if identity else []
            if users:
                users.append(users[0])
                return users[0]
            if any(engine.identity == identity for engine in self._inherited):
                raise ForkedProcess(
                    f"{folder} was in use at the moment of the fork and cannot be opened here",
                    fix="fork between transactions, or start a new process",
                )
            engine = Engine(folder, map_size)
            self._engines[engine.identity] = [engine]
            return engine

    def release(self, engine: Engine) -> None:
        """Give back what `acquire` returned; the last one closes it."""
        with self._lock:
            users = self._engines.get(engine.identity, [])
            if not users or users[0] is not engine:
                return
            users.pop()
            if not users:
                del self._engines[engine.identity]
                engine.close()

    def _before_fork(self) -> None:
        self._lock.acquire()
        engines = [users[0] for users in self._engines.values()]
        self._quiet = [(engine, engine.before_fork()) for engine in engines]

    def _after_in_parent(self) -> None:
        for engine, quiet in self._quiet:
            if quiet:
                engine.after_fork_in_parent()
        self._quiet = []
        self._lock.release()

    def _after_in_child(self) -> None:
        for engine, quiet in self._quiet:
            engine.after_fork_in_child(quiet)
            if not quiet:
                self._inherited.append(engine)
        self._quiet = []
        self._engines = {}
        self._lock = threading.Lock()


REGISTRY: Final = Registry()
