"""Supply: what a session is given becomes stored content, under one stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from castore.content.chains import Chains
from castore.content.globs import match_glob, split_glob
from castore.content.ingest import Ingestor
from castore.content.secret_guard import SecretGuard
from castore.database.sink import StageSink, StatCache
from castore.errors import CastoreError
from castore.model.artifact_set import Artifact, Content, TreeContent
from castore.model.ids import Id
from castore.store.intent import Resumed
from castore.store.predecessor import Predecessor
from castore.store.resuming import held, hold, let_go
from castore.store.staging import (
    Given,
    Staged,
    digest_of,
    hint_of,
    size_of,
    store_content,
    take,
)
from castore.store.store import Store

# How long artifacts may be staged in memory only, in microseconds.
DURABLE_EVERY: Final = 1_000_000


class Supply:
    """The ingestor of a session with its sink and cache; `taken` is what workers had staged.

    What changed of an artifact is stored as deltas of what `before` has under its name.
    """

    def __init__(
        self,
        store: Store,
        before: Predecessor,
        session: bytes,
        header: bytes,
        guard: SecretGuard,
        progress: Callable[[int], None] | None,
        links: str,
    ) -> None:
        self._store = store
        self.guard = guard
        self._session = session
        self._resumed: Resumed | None = None
        self._settled = False
        self._before = before
        self._links = links
        self._durable_at = store.now()
        self.taken: list[Staged] = []
        self.cache = StatCache(store.database)
        self.sink = StageSink(store.database, session, header=header, cache=self.cache)
        chains = Chains(store.near_reader, store.database.load)
        self.ingestor = Ingestor(
            self.sink, cache=self.cache, progress=progress, chains=chains, guard=guard
        )

    def resume(self, resumed: Resumed, run: str) -> None:
        """Hold what the session goes on from; raises ObjectNotFound for what expired."""
        self._resumed = resumed
        try:
            hold(self.sink, resumed, run)
        except BaseException:
            self.ingestor.close()
            raise

    def add(self, name: str, given: Given) -> tuple[Content, bytes]:
        """Store the content of an artifact; its first bytes where they are at hand."""
        if isinstance(given, Staged):
            taken = take(self._store, name, given)
            self.taken.append(taken)
            return taken.content, given.head
        file = partial(self._before.file, name, hint_of(given), partial(size_of, given))
        with self._looking_at(name, given):
            return store_content(self.ingestor, given, self._links, self._before.folder(name), file)

    def add_matching(self, name: str, base: Path, pattern: str) -> TreeContent | None:
        """Store the files below `base` that match a glob; None where its folder is not there."""
        place, rest = split_glob(pattern)
        if not (base / place).is_dir():
            return None
        with self._looking_at(name, base / place):
            return self.ingestor.add_folder(
                base / place,
                links=self._links,
                only=match_glob(rest),
                earlier=self._before.folder(name),
            )

    @contextmanager
    def _looking_at(self, name: str, given: Given) -> Iterator[None]:
        """What is found meanwhile is in this artifact, what is found later in the spec."""
        self.guard.artifact = name
        self.guard.root = ""
        if isinstance(given, (str, os.PathLike)):
            self.guard.root = os.path.abspath(os.fspath(given))
        yield
        self.guard.artifact, self.guard.root = "spec", ""

    def keep(self) -> None:
        """Make what is staged durable if that was not done for a while."""
        if self._store.now() - self._durable_at > DURABLE_EVERY and not self.guard.refused:
            self.make_durable()

    def make_durable(self) -> None:
        """Write what is staged, so that a killed process does not have to make it again."""
        self.ingestor.flush()
        self.sink.write_entries()
        self._durable_at = self._store.now()

    def leaves(self, made: Collection[str]) -> bool:
        """Whether a session that made these artifacts leaves anything that was not there before.

        What holds a secret is never left.
        """
        if self.guard.refused:
            self.sink.discard()
            return False
        if made or not self.sink.staged:
            return bool(made)
        return self._resumed is None or not let_go(self._store, self._session, self._resumed)

    def kept_elsewhere(self, made: Iterable[Artifact]) -> frozenset[Id]:
        """The contents that may be gone: workers staged them, or a partial sealed here has them."""
        ids = {digest_of(taken.content) for taken in self.taken}
        if self._settled:
            ids.update(digest_of(artifact.content) for artifact in made)
            ids.update(held(self._resumed) if self._resumed else ())
        return frozenset(ids)

    def lost_support(self) -> bool:
        """Whether a collector took what the unwritten batch needs, such as a cached file."""
        needs = self.ingestor.pending().needs()
        return bool(needs - self.sink.known(list(needs)))

    def settle(self) -> None:
        """Take note that everything staged was written with its version."""
        self._settled = True
        self.ingestor.settle()
        self.cache.written()
        self.sink.discard()
        # What was published is durable, whatever becomes of rows that spare reading.
        with suppress(CastoreError):
            self.cache.flush()
