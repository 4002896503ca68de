"""Store: the open local repository, a thin holder of the database, the reader and the clock.

Also what one knows that is the cache of a bucket, of what is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from castore.content.deltas import Load, StoredObject
from castore.content.layouts import layout_size
from castore.content.reader import ObjectReader
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.tables import Removal, State
from castore.errors import ObjectNotFound
from castore.model.artifact_set import Artifact, ArtifactSet, ExternalContent, FileContent
from castore.model.ids import Id, Kind
from castore.store.config import CONFIG_FILE, Config, read_config
from castore.store.removals import forgotten_error
from castore.store.version import Version

PROMISED: Final = "promised"
CUT: Final = "cut"


class Bring(Protocol):
    """Fetches files that remotes promised."""

    def __call__(self, store: Store, ids: Sequence[Id], *, sharing: Set[Id] | None = None) -> None:
        """Fetch these; with `sharing` those only whose chunk lists have one of these chunks."""


class FarStages(Protocol):
    """Where a store stages that is a cache of a bucket.

    What is staged is a `castore.store.staged.Staged`, which nothing that reads a store has to load.
    """

    def begin_upload(self) -> bytes:
        """See `castore.store.sync_stage.BucketStages.begin_upload`."""

    def send(self, staged: Any, upload: bytes) -> Any:
        """See `castore.store.sync_stage.BucketStages.send`."""

    def take(self, name: str, staged: Any) -> Any:
        """See `castore.store.sync_stage.BucketStages.take`."""


class Behind:
    """The bucket that a store is the cache of.

    `close` gives it back; `stages` is where workers stage, None where it is not asked. It was last
    read at `seen_at`, microseconds UTC. `owing` tells that something that was said is not there
    yet, `waits` that it waits there for somebody who may write; `purged` names what was purged
    there and still lies here. With `rebase` a version that it refuses is made anew after those of
    others: `renamed` tells the id that it has then, and `took_back` by that what it takes back of
    others, in words.
    """

    def __init__(
        self,
        url: str,
        close: Callable[[], None],
        stages: FarStages | None = None,
        *,
        seen_at: int | None = None,
        owing: bool = False,
    ) -> None:
        self.url = url
        self.close = close
        self.stages = stages
        self.seen_at = seen_at
        self.owing = owing
        self.waits = False
        self.purged: tuple[str, ...] = ()
        self.rebase = False
        self.renamed: dict[Id, Id] = {}
        self.took_back: dict[Id, tuple[str, ...]] = {}


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


def held_file(store: Store, content: ExternalContent) -> FileContent | None:
    """The file that an external artifact is, if its digest is known and its bytes are here."""
    if not content.digest:
        return None

    def look(tables: Reading) -> Kind | None:
        row = tables.object_row(content.digest)
        here = row is not None and row.state is State.STORED
        return row.kind if here and row is not None else None

    kind = store.database.read(look)
    if kind not in (Kind.CHUNK, Kind.LAYOUT):
        return None
    root = store.reader.layout_root(content.digest)
    size = layout_size(root) if root else len(store.reader.payload(content.digest, Kind.CHUNK))
    return FileContent(content.digest, size, 0)


def as_held(store: Store, artifact: Artifact) -> Artifact:
    """An artifact as a stored one, if it is external and its bytes are here."""
    if not isinstance(artifact.content, ExternalContent):
        return artifact
    found = held_file(store, artifact.content)
    if found is None:
        return artifact
    return Artifact(artifact.name, artifact.type, artifact.format, artifact.path, found)
