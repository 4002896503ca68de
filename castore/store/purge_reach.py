"""What a purge reaches: the objects that must go, and all places in versions that have them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from castore.content.blocks import decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.layouts import iter_parts
from castore.content.trees import look_up, walk_tree
from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import InvalidInput, ObjectNotFound, RefNotFound
from castore.model.artifact_set import Artifact, ExternalContent, FileContent, TreeContent
from castore.model.ids import Id, Kind
from castore.model.pages import TREE, Branching, decode_tree, layout_ids
from castore.model.refs import PARTIALS
from castore.store.removals import climb
from castore.store.selectors import Resolved
from castore.store.store import Store, as_held

_BATCH: Final = 1024
_SCAN_BLOCKS: Final = 2048
# Sets whose places are kept in mind: many versions may have one, or each its own.
_SETS: Final = 4096
PLACES: Final = 1000
"""Places that are listed of one artifact at most."""


class Place(NamedTuple):
    """Where a version has what is to go; `path` is a file in a folder artifact, or "".

    `name` is what the version is called; of 100,000 that share a file no manifest is held.
    """

    version: Id
    name: str
    artifact: str
    path: str = ""

    @property
    def label(self) -> str:
        """The place as a selector; of an incomplete version by its id."""
        rest = f"/{self.path}" if self.path else ""
        name = self.version.hex() if self.name.startswith(PARTIALS) else self.name
        return f"{name}:{self.artifact}{rest}"


@dataclass(slots=True)
class Doomed:
    """The objects that must go, with kind and bytes; `files` are the contents that were named.

    `chunks` are those of the files. Whatever else has one of them in it is in `objects` as well.
    """

    files: dict[Id, int] = field(default_factory=dict)
    chunks: set[Id] = field(default_factory=set)
    objects: dict[Id, tuple[Kind, int]] = field(default_factory=dict)


def files_of(store: Store, found: Resolved) -> dict[Id, int]:
    """The contents of an artifact or of what is at a path in it, with their sizes, none empty.

    Raises InvalidInput for what has no bytes here, RefNotFound.
    """
    text, artifact = found.selector.text, found.artifact
    if artifact is None:
        raise InvalidInput(
            f"{text!r} is a version: name the artifact that must go", fix=f"cas ls {text}"
        )
    files: Iterable[tuple[Id, int]]
    artifact = as_held(store, artifact)
    if isinstance(artifact.content, ExternalContent):
        raise InvalidInput(f"{text!r} is external: its bytes are not in this store")
    if isinstance(artifact.content, FileContent):
        if found.path:
            raise RefNotFound(f"{artifact.name!r} is a file: there is no {found.path!r} in it")
        files = [(artifact.content.digest, artifact.content.size)]
    else:
        files = _folder_files(store, artifact.content.id, found.path, text)
    held = {digest: size for digest, size in files if size}
    if not held:
        raise InvalidInput(f"{text!r} has no bytes: there is nothing to purge")
    return held


def _folder_files(store: Store, root: Id, path: str, text: str) -> Iterator[tuple[Id, int]]:
    if path:
        entry = look_up(store.reader.tree_page, root, path)
        if entry is None:
            raise RefNotFound(f"{text!r}: there is no {path!r}", fix="cas ls -R")
        if entry.kind != TREE:
            yield entry.id, entry.size
            return
        root = entry.id
    for _, entry in walk_tree(store.reader.tree_page, root):
        if entry.kind != TREE:
            yield entry.id, entry.size


def doom(store: Store, files: dict[Id, int]) -> Doomed:
    """The objects of these files that are stored: whole files of one chunk, or chunks and root.

    What was purged before is left out. Raises ObjectNotFound for a file that is not here.
    """
    doomed = Doomed()
    for digest, size in files.items():
        row = store.database.read(partial(Reading.object_row, id=digest))
        if row is None or row.state in (State.PROMISED, State.LOST):
            raise ObjectNotFound(f"{digest.hex()} is not in this store", id=digest.hex())
        if row.state is State.PURGED:
            continue
        doomed.files[digest] = size
        if row.kind is Kind.CHUNK:
            doomed.objects[digest] = (Kind.CHUNK, size)
            doomed.chunks.add(digest)
            continue
        root = store.reader.layout_root(digest) or b""
        doomed.objects[digest] = (Kind.LAYOUT, len(root))
        for part in iter_parts(store.reader.layout_page, root):
            doomed.objects[part.id] = (Kind.CHUNK, part.size)
            doomed.chunks.add(part.id)
    return doomed


class LayoutScan:
    """One pass over the chunk lists of all big files, to be continued with what was added since.

    `deltas` are the blocks seen so far that have bases, and those bases.
    """

    def __init__(self, chunks: Set[Id]) -> None:
        self._chunks = chunks
        self._next = 0
        self._hit: set[Id] = set()
        self._sizes: dict[Id, int] = {}
        self._above: dict[Id, list[Id]] = {}
        self.deltas: dict[int, tuple[Id, ...]] = {}

    def scan(self, tables: Reading, limit: int | None = _SCAN_BLOCKS) -> bool:
        """Look at the next `limit` blocks (None: at all); False when there are no more."""
        rows = list(islice(tables.block_infos(self._next), limit))
        for number, info in rows:
            self._next = number + 1
            if not (info.metadata or info.bases):
                continue
            where = block_place(number)
            block = decode_block(tables.block(number) or b"", where)
            if block.bases:
                self.deltas[number] = block.bases
            slots = [s for s, member in enumerate(block.members) if member.kind is Kind.LAYOUT]
            raw = raw_bytes(block, tables.load, where) if slots else b""
            for slot in slots:
                start, end = block.span(slot)
                self._page(block.members[slot].id, raw[start:end])
        return len(rows) == limit

    def _page(self, id: Id, payload: bytes) -> None:
        held = layout_ids(payload)
        if not payload.startswith(_LEAF):
            # Pages above pages are few: all of them are kept in mind.
            for part in held:
                self._above.setdefault(part, []).append(id)
        elif not any(part in self._chunks for part in held):
            return
        else:
            self._hit.add(id)
        self._sizes[id] = len(payload)

    def pages(self) -> dict[Id, tuple[Kind, int]]:
        """Every page that has one of the chunks below it, roots included."""
        found = set(self._hit)
        waiting = list(found)
        while waiting:
            for above in self._above.get(waiting.pop(), ()):
                if above not in found:
                    found.add(above)
                    waiting.append(above)
        return {id: (Kind.LAYOUT, self._sizes[id]) for id in found}


# How the payload of a layout page of level 0 begins.
_LEAF: Final = b"\x82\xa5level\x00"


def places(store: Store, doomed: Collection[Id], manifests: Iterable[Id]) -> Iterator[Place]:
    """Every place of these contents in these versions but the forgotten ones."""
    pages, _, _ = store.database.read(partial(climb, ids=doomed))
    known: dict[Id, list[tuple[str, str]]] = {}
    for id in sorted(manifests):
        version = store.version(id)
        manifest = version.manifest
        held = [("its spec", manifest.spec.source)]
        held += [(f"{path} of its spec", digest) for path, digest in manifest.spec.files]
        held += [(f"{name}, attached", digest) for name, digest, _ in manifest.attachments]
        yield from (Place(id, version.label, what) for what, digest in held if digest in doomed)
        if store.forgotten(version) is not None:
            continue
        found = known.get(manifest.set)
        if found is None:
            found = [
                (artifact.name, path)
                for artifact in store.set_of(version).artifacts
                for path in islice(_paths_in(store, artifact, doomed, pages), PLACES)
            ]
            if len(known) < _SETS:
                known[manifest.set] = found
        yield from (Place(id, version.label, name, path) for name, path in found)


def _paths_in(
    store: Store, artifact: Artifact, doomed: Collection[Id], pages: Collection[Id]
) -> Iterator[str]:
    content = artifact.content
    if isinstance(content, TreeContent):
        if content.id in pages:
            yield from _paths(store, content.id, doomed, pages, "")
    elif content.digest in doomed:
        yield ""


def _paths(
    store: Store, page: Id, doomed: Collection[Id], pages: Collection[Id], prefix: str
) -> Iterator[str]:
    for row in decode_tree(store.reader.tree_page(page)).entries:
        if isinstance(row, Branching):
            if row.id in pages:
                yield from _paths(store, row.id, doomed, pages, prefix)
            continue
        path = prefix + row.name.decode()
        if row.id in doomed:
            yield path
        elif row.kind == TREE and row.id in pages:
            yield from _paths(store, row.id, doomed, pages, path + "/")


def staged_by(tables: Reading, ids: Collection[Id]) -> Sequence[bytes]:
    """The unfinished sessions that rely on any of these objects."""
    return [
        stage.session
        for stage in tables.stages()
        if any(id in ids for id in tables.staged_ids(stage.session))
    ]
