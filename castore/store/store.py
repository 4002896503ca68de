"""Store: the open local repository, a thin holder of the database, the reader and the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from castore.content.deltas import Load, StoredObject
from castore.content.reader import ObjectReader
from castore.database.environment import Database
from castore.database.tables import Removal
from castore.errors import ObjectNotFound
from castore.model.artifact_set import ArtifactSet
from castore.model.ids import Id
from castore.store.behind import Behind
from castore.store.config import CONFIG_FILE, Config, read_config
from castore.store.removals import forgotten_error
from castore.store.version import Version

PROMISED: Final = "promised"
CUT: Final = "cut"


class Bring(Protocol):
    """Fetches files that remotes promised."""

    def __call__(self, store: Store, ids: Sequence[Id], *, sharing: Set[Id] | None = None) -> None:
        """Fetch these; with `sharing` those only whose chunk lists have one of these chunks."""


class Store:
    """An open store; safe to share between threads, never across a fork.

    `now` gives microseconds UTC, `entropy(n)` n random bytes; both may be replaced for tests.
    `user_config` gives the file that its user configures all stores in, `root` is what recorded
    paths are relative to, if it is not the folder of the store. `bring`, if it is set,
    fetches files that a remote promised when `load` or `reader` meets them; `near_reader` does not.
    `behind` is the bucket that this is the cache of, None for a store of its own; `offline` tells
    that no bucket may be asked.
    """

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], int],
        entropy: Callable[[int], bytes],
        user_config: Callable[[], Path] | None = None,
        root: Path | None = None,
    ) -> None:
        self._root = root
        self.database = database
        self.now = now
        self.entropy = entropy
        self._user_config = user_config
        self.bring: Bring | None = None
        self.behind: Behind | None = None
        self.offline = False
        self.load: Load = self._load
        self.reader = ObjectReader(self._load, self._load_all, database.read)
        self.near_reader = ObjectReader(database.load, database.load_all, database.read)

    def _load(self, id: Id) -> StoredObject:
        """An object, fetched first if it is a file that a remote promised."""
        try:
            return self.database.load(id)
        except ObjectNotFound as error:
            if self.bring is None or error.attributes.get("state") != PROMISED:
                raise
        self.bring(self, (id,))
        return self.database.load(id)

    def _load_all(self, ids: Sequence[Id]) -> list[StoredObject]:
        try:
            return self.database.load_all(ids)
        except ObjectNotFound:
            return [self._load(id) for id in ids]

    @property
    def folder(self) -> Path:
        """The `.cas` folder."""
        return self.database.folder

    @property
    def root(self) -> Path:
        """The folder that holds the `.cas` folder; recorded paths are relative to it.

        For a cache of a bucket the folder that is worked in.
        """
        return self._root or self.database.folder.parent

    @property
    def url(self) -> str:
        """The bucket that this is the cache of, "" for a store of its own."""
        return self.behind.url if self.behind else ""

    def config(self) -> Config:
        """What is configured now, by the store and where it says nothing by its user.

        Raises InvalidInput for a file that is malformed.
        """
        ours = self.own_config()
        return ours.over(read_config(self._user_config())) if self._user_config else ours

    def own_config(self) -> Config:
        """What the store itself configures; raises InvalidInput."""
        return read_config(self.folder / CONFIG_FILE)

    def version(self, id: Id, branch: str = "") -> Version:
        """The version with this id; raises ObjectNotFound, CorruptObject."""
        manifest = self.reader.manifest(id)
        return Version(id, manifest, branch or manifest.branch)

    def version_here(self, id: Id, branch: str = "") -> Version | None:
        """As `version`; None for one before those that were fetched, where history was cut."""
        try:
            return self.version(id, branch)
        except ObjectNotFound as error:
            if error.attributes.get("state") != CUT:
                raise
            return None

    def set_of(self, version: Version) -> ArtifactSet:
        """The set of a version; raises ObjectNotFound when its version was forgotten.

        Also while its bytes are still there: what a version answers does not depend on `gc`.
        """
        removal = self.forgotten(version)
        if removal is not None:
            raise self.database.read(lambda tables: forgotten_error(tables, version, removal))
        return self.reader.set(version.manifest.set)

    def forgotten(self, version: Version) -> Removal | None:
        """When, by whom and why a version was forgotten; None if it was not."""
        return self.database.read(lambda tables: tables.forgotten(version.id))

    def close(self) -> None:
        """Release the database, and the bucket behind it; further use raises."""
        try:
            if self.behind is not None:
                self.behind.close()
        finally:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
