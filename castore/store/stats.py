"""Statistics: what a store holds and takes, and what one version alone holds of it.

Logical bytes count every file of every version in full. Unique bytes count each different content
once. Stored bytes are what blocks take after compression; a member's share of a block is its part
of the block's raw bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from castore.content.layouts import iter_parts
from castore.database.reading import Reading
from castore.database.tables import BlockInfo, State
from castore.errors import ObjectNotFound
from castore.model.artifact_set import Artifact, ExternalContent, FileContent, TreeContent
from castore.model.ids import Id, Kind
from castore.model.pages import TREE, Branching, decode_tree
from castore.store.history import log, walk
from castore.store.savings import Savings, Share, savings, shares_of, solid_blocks
from castore.store.selectors import branch_names
from castore.store.store import Store
from castore.store.version import Version

_BATCH: Final = 2048


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a store holds: counts, and bytes as the module says.

    `logical` covers the versions on branches; `unique`, `stored` and `metadata` (stored bytes of
    manifests, sets, notes, folders and chunk lists) cover whatever is stored, `dead` the raw bytes
    that gc has found unused; `file` is the size of the data file. `saved` says what became of the
    difference: logical − dedup is at least unique, which counts content on no branch too; raw
    content, dead included, less the other savings is `stored`.
    """

    versions: int
    branches: int
    sets: int
    logical: int
    unique: int
    stored: int
    metadata: int
    dead: int
    file: int
    rows: dict[str, int] = field(default_factory=dict)
    saved: Savings = Savings()

    def as_json(self) -> dict[str, Any]:
        """The figures as data."""
        return {
            "versions": self.versions,
            "branches": self.branches,
            "sets": self.sets,
            "logical_bytes": self.logical,
            "unique_bytes": self.unique,
            "stored_bytes": self.stored,
            "metadata_bytes": self.metadata,
            "dead_bytes": self.dead,
            "file_bytes": self.file,
            "saved": self.saved.as_json(),
            "rows": dict(self.rows),
        }


@dataclass(frozen=True, slots=True)
class Held:
    """Content that one version holds and others do not: objects, raw bytes, their stored share."""

    objects: int = 0
    unique: int = 0
    stored: int = 0

    def as_json(self) -> dict[str, int]:
        """The figures as data."""
        return {
            "objects": self.objects,
            "unique_bytes": self.unique,
            "stored_bytes": self.stored,
        }


@dataclass(frozen=True, slots=True)
class VersionStats:
    """One version: its files and logical bytes, and what it holds beyond others.

    `beyond_parent` is what its first parent does not hold. `alone` is what no other version on any
    branch, tag, partial or `lost/` holds: what forgetting it would free; None if not asked for.
    What was forgotten holds nothing, collected or not. `stored` is what its content takes, shared
    or not; `saved` how that is less than `logical`, with dedup for what it holds more than once.
    """

    version: Version
    artifacts: int
    files: int
    logical: int
    beyond_parent: Held
    alone: Held | None
    stored: int = 0
    saved: Savings = Savings()

    def as_json(self) -> dict[str, Any]:
        """The figures as data."""
        return {
            "version": self.version.id.hex(),
            "label": self.version.label,
            "artifacts": self.artifacts,
            "files": self.files,
            "logical_bytes": self.logical,
            "beyond_parent": self.beyond_parent.as_json(),
            "alone": self.alone.as_json() if self.alone else None,
            "stored_bytes": self.stored,
            "saved": self.saved.as_json(),
        }


def store_stats(store: Store) -> StoreStats:
    """The figures of a whole store; reads every manifest and set on branches, no content."""
    sizes: dict[Id, int] = {}
    versions = logical = 0
    for version in log(store):
        versions += 1
        size = sizes.get(version.set_id)
        if size is None:
            size = sizes[version.set_id] = _set_size(store, version)
        logical += size
    unique = stored = metadata = dead = 0
    several = solid_blocks(store)
    shares: list[Share] = []
    for number, info in _block_infos(store):
        if info.metadata:
            metadata += info.stored
        else:
            unique += info.live
            stored += info.stored
            shares.append(Share(number, info, info.raw, number in several))
        dead += info.raw - info.live
    return StoreStats(
        versions=versions,
        branches=len(branch_names(store)),
        sets=len(sizes),
        logical=logical,
        unique=unique,
        stored=stored,
        metadata=metadata,
        dead=dead,
        file=store.database.file_bytes(),
        rows=store.database.read(lambda tables: tables.counts()),
        saved=savings(store, shares, max(0, logical - unique)),
    )


def version_stats(store: Store, version: Version, *, alone: bool = True) -> VersionStats:
    """The figures of one version; `alone` reads the folders of all other versions too.

    Raises ObjectNotFound for a version that was forgotten.
    """
    artifacts = store.set_of(version).artifacts
    held = _Contents(store)
    held.add_set(version.set_id)
    others = _Contents(store)
    for parent in map(store.version_here, version.manifest.parents[:1]):
        if parent is not None and store.forgotten(parent) is None:
            others.add_set(parent.set_id)
    beyond = {id: size for id, size in held.chunks.items() if id not in others.chunks}
    left: dict[Id, int] | None = None
    if alone:
        left = dict(beyond)
        for other in _other_versions(store, version):
            if not left:
                break
            others.chunks.clear()
            others.add_set(other.set_id)
            for id in others.chunks:
                left.pop(id, None)
    logical = _set_size(store, version)
    shares = shares_of(store, held.chunks)
    return VersionStats(
        version=version,
        artifacts=len(artifacts),
        files=_count_files(store, artifacts),
        logical=logical,
        beyond_parent=_held(store, beyond),
        alone=None if left is None else _held(store, left),
        stored=round(sum(share.stored for share in shares)),
        saved=savings(store, shares, logical - sum(held.chunks.values())),
    )


class _Contents:
    """The chunks that sets hold, with their sizes; what was seen once is not looked at again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: set[Id] = set()
        self.chunks: dict[Id, int] = {}

    def add_set(self, id: Id) -> None:
        """Every chunk below the set; a set that is not stored any more holds nothing."""
        if id in self._seen or not self._store.database.read(lambda tables: tables.present([id])):
            return
        self._seen.add(id)
        files: list[tuple[Id, int]] = []
        for artifact in self._store.reader.set(id).artifacts:
            content = artifact.content
            if isinstance(content, FileContent):
                files.append((content.digest, content.size))
            elif isinstance(content, TreeContent):
                self._add_folder(content.id)
        self._add_files(files)

    def _add_folder(self, root: Id) -> None:
        stack = [root]
        while stack:
            page = stack.pop()
            if page in self._seen:
                continue
            self._seen.add(page)
            files: list[tuple[Id, int]] = []
            for row in decode_tree(self._store.reader.tree_page(page)).entries:
                if isinstance(row, Branching) or row.kind == TREE:
                    stack.append(row.id)
                else:
                    files.append((row.id, row.size))
            self._add_files(files)

    def _add_files(self, files: Iterable[tuple[Id, int]]) -> None:
        fresh = {digest: size for digest, size in files if digest not in self._seen}
        self._seen.update(fresh)
        rows = self._store.database.read(
            lambda tables: [(digest, tables.object_row(digest)) for digest in fresh]
        )
        reader = self._store.reader
        for digest, row in rows:
            if row is None or row.state is not State.STORED:
                # Purged: nothing of it takes space.
                continue
            root = reader.layout_root(digest) if row.kind is Kind.LAYOUT else None
            if root is None:
                self.chunks[digest] = fresh[digest]
            else:
                self.chunks.update(iter_parts(reader.layout_page, root))


def _other_versions(store: Store, version: Version) -> Iterator[Version]:
    refs = store.database.read(lambda tables: tables.refs())
    starts = [store.version(id) for id in dict.fromkeys(id for _, id in refs)]
    for other in walk(store, starts):
        if other.id != version.id and store.forgotten(other) is None:
            yield other


def _held(store: Store, chunks: Mapping[Id, int]) -> Held:
    """Raw bytes of these chunks, and their share of the blocks they lie in."""
    items = sorted(chunks.items())
    stored = 0.0
    for at in range(0, len(items), _BATCH):
        stored += store.database.read(partial(_shares, chunks=items[at : at + _BATCH]))
    return Held(len(items), sum(chunks.values()), round(stored))


def _shares(tables: Reading, chunks: Sequence[tuple[Id, int]]) -> float:
    stored = 0.0
    for id, size in chunks:
        row = tables.object_row(id)
        info = tables.block_info(row.block) if row and row.state is State.STORED else None
        if info is not None and info.raw:
            stored += info.stored * size / info.raw
    return stored


def _block_infos(store: Store) -> Iterator[tuple[int, BlockInfo]]:
    """Every row of `blockinfo`, a slice in each read transaction."""
    start = 0
    while True:
        rows = store.database.read(partial(_infos_from, start=start))
        yield from rows
        if len(rows) < _BATCH:
            return
        start = rows[-1][0] + 1


def _infos_from(tables: Reading, start: int) -> list[tuple[int, BlockInfo]]:
    return list(islice(tables.block_infos(start), _BATCH))


def _set_size(store: Store, version: Version) -> int:
    """The bytes of all stored artifacts; 0 for a version whose set was forgotten."""
    try:
        artifacts = store.set_of(version).artifacts
    except ObjectNotFound:
        return 0
    return sum(a.content.size for a in artifacts if not isinstance(a.content, ExternalContent))


def _count_files(store: Store, artifacts: Sequence[Artifact]) -> int:
    files = 0
    counts: dict[Id, int] = {}
    for artifact in artifacts:
        content = artifact.content
        if isinstance(content, FileContent):
            files += 1
        elif isinstance(content, TreeContent):
            files += _files_below(store, content.id, counts)
    return files


def _files_below(store: Store, root: Id, counts: dict[Id, int]) -> int:
    """The files in a folder; each page is read once however often it stands for a part of it."""
    stack = [root]
    while stack:
        page = stack[-1]
        files = 0
        below: list[Id] = []
        for row in () if page in counts else decode_tree(store.reader.tree_page(page)).entries:
            if isinstance(row, Branching) or row.kind == TREE:
                below.append(row.id)
            else:
                files += 1
        unknown = [id for id in below if id not in counts]
        if unknown:
            stack += unknown
            continue
        stack.pop()
        counts.setdefault(page, files + sum(counts[id] for id in below))
    return counts[root]
