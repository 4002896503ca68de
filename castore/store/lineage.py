"""Lineage and impact: what a version was made from, and what was made from it, however far."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from castore.database.reading import Index, Reading
from castore.errors import InvalidInput, ObjectNotFound
from castore.model.ids import Id, Kind
from castore.model.manifest import Source
from castore.model.refs import HEADS
from castore.store.beginning import begin_of, whole_branch
from castore.store.find import Wanted, find
from castore.store.store import Store
from castore.store.version import Version
from castore.store.walk import Edge, Node, Walk

LIMIT: Final = 1_000
"""Nodes that a walk tells of, unless told otherwise."""
SOURCE: Final = "source"
CARRIED: Final = "carried"
HELD: Final = "held"
VERSION: Final = "version"
# Versions of a branch that one view of the store goes back over.
_STEPS: Final = 10_000
# For each node that may be told: edges told, and versions read to find them.
_EDGES: Final = 16
_READS: Final = 64
_BATCH: Final = 256


Begin: TypeAlias = str | os.PathLike[str]
"""Where a walk may begin: a selector, a URI, a digest, a file or folder on disk."""


def lineage(store: Store, what: Begin, *, depth: int | None = None, limit: int = LIMIT) -> Walk:
    """What `what` was made from: its sources and the makers of what it carries, and theirs.

    `what` is a selector, a URI, or the digest of a content in full, which begins at the artifacts
    that have it. A path, or text that begins with `.` or `/`, is a file or folder on disk, known by
    its bytes: as a content, a file also as the external source it was, a folder also as the newest
    version with exactly its files. A source of a whole set is one of every artifact that the set
    made itself. The walk is breadth first, over at most `depth` edges and `limit` nodes. Raises
    RefNotFound, InvalidInput.
    """
    return Walking(store, depth, limit).walk(begin_of(store, what), _used)


def impact(store: Store, what: Begin, *, depth: int | None = None, limit: int = LIMIT) -> Walk:
    """What was made from `what`: versions that name it as a source or carry it, and their users.

    As `lineage`, the other way: newest users first. Whoever used a whole set used each artifact of
    it, and whoever used one artifact of a set that was made from `what` as a whole used `what`.
    A branch alone, or an artifact of one, is each of its versions along first parents: those that
    were used stand beside where the walk begins, at the same distance.
    """
    return Walking(store, depth, limit).walk(
        whole_branch(store, what) or begin_of(store, what), _users
    )


class _Step(NamedTuple):
    """One edge away from a node: where it leads, and why."""

    node: Node
    relation: str
    source: Source | None = None


class _Full(Exception):
    """The walk has read as many versions as it may."""


class Walking:
    """One walk: what it met so far, and the versions it read."""

    def __init__(self, store: Store, depth: int | None, limit: int) -> None:
        if limit < 1 or (depth is not None and depth < 0):
            raise InvalidInput("a walk needs a limit of at least one node, and no negative depth")
        self.store = store
        self._depth = depth
        self._limit = limit
        self._reads = limit * _READS
        self._versions: dict[Id, Version | None] = {}
        self._nodes: dict[str, Node] = {}
        self._edges: list[Edge] = []

    def walk(self, begin: Node, steps: Callable[[Walking, Node], Iterator[_Step]]) -> Walk:
        """Follow `steps` from a node, breadth first."""
        if begin.version is not None and begin.artifact:
            self._versions[begin.version.id] = begin.version
            begin = self.at(begin.version.id, begin.artifact, 0)
        self._nodes[begin.id] = begin
        back = steps is _used
        waiting = deque([begin])
        complete = True
        try:
            while waiting:
                node = waiting.popleft()
                for step in steps(self, node):
                    known = self._nodes.get(step.node.id)
                    if node.distance == self._depth:
                        if known is None:
                            complete = False
                            break
                        continue
                    if known is None and len(self._nodes) >= self._limit:
                        complete = False
                        break
                    if known is None:
                        self._nodes[step.node.id] = step.node
                        waiting.append(step.node)
                    self._note(node, step, back)
        except _Full:
            complete = False
        return Walk(tuple(self._nodes.values()), tuple(self._edges), complete)

    def _note(self, node: Node, step: _Step, back: bool) -> None:
        if len(self._edges) >= self._limit * _EDGES:
            raise _Full
        user, used = (node, step.node) if back else (step.node, node)
        self._edges.append(Edge(user.id, used.id, step.relation, step.source))

    def version(self, id: Id) -> Version | None:
        """The version of this id, None if it is not stored."""
        if id not in self._versions:
            self._count()
            try:
                self._versions[id] = self.store.version(id)
            except ObjectNotFound:
                self._versions[id] = None
        return self._versions[id]

    def _count(self) -> None:
        self._reads -= 1
        if self._reads < 0:
            raise _Full

    def at(self, id: Id, artifact: str, distance: int) -> Node:
        """The node of a version or of one of its artifacts."""
        name = id.hex() + (f":{artifact}" if artifact else "")
        version = self.version(id)
        carried = dict(version.manifest.carried).get(artifact) if version and artifact else None
        maker = self.version(carried) if carried else None
        return Node(name, version, artifact, distance=distance, maker=maker)

    def found(self, index: Index, value: Id | str) -> Iterator[Id]:
        """Where `index` leads from `value`, newest first, a batch in each read transaction."""
        until: int | None = None
        while rows := self.store.database.read(partial(_rows, index, value, until)):
            yield from (id for _, id in rows)
            if len(rows) < _BATCH:
                return
            until = rows[-1][0]

    def names(self, id: Id, other: Id, times: int) -> bool:
        """Whether a version names `other` so often; True too for one that was read already.

        Decoding every child of a version to see what it carries would take most of a walk.
        """
        if id in self._versions:
            return True
        self._count()
        try:
            payload = self.store.reader.payload(id, Kind.MANIFEST)
        except ObjectNotFound:
            return False
        return payload.count(other) >= times


def _rows(
    index: Index, value: Id | str, until: int | None, tables: Reading
) -> list[tuple[int, Id]]:
    """At least _BATCH rows, and all those of the last one's moment."""
    rows: list[tuple[int, Id]] = []
    for at, id in tables.lookup(index, value, until=until):
        if len(rows) >= _BATCH and at != rows[-1][0]:
            break
        rows.append((at, id))
    return rows


def _used(walking: Walking, node: Node) -> Iterator[_Step]:
    """What a node was made from, as its manifest records it."""
    distance = node.distance + 1
    if node.digest and not node.distance:
        yield from _holders(walking, node)
    if node.version is None:
        return
    manifest = node.version.manifest
    carried = dict(manifest.carried)
    if node.artifact in carried:
        maker = walking.at(carried[node.artifact], node.artifact, distance)
        yield _Step(maker, CARRIED)
        return
    for source in manifest.sources:
        if source.artifact and node.artifact and source.artifact != node.artifact:
            continue
        if source.target:
            target = walking.at(source.target, source.target_artifact, distance)
        else:
            target = _outside(source, distance)
        yield _Step(target, SOURCE, source)
    if not node.artifact:
        for name, id in manifest.carried:
            yield _Step(walking.at(id, name, distance), CARRIED)


def _outside(source: Source, distance: int) -> Node:
    """The node of a source that is no version."""
    name = source.uri or source.digest.hex() or source.selector or source.label
    return Node(name, uri=source.uri, digest=source.digest, size=source.size, distance=distance)


def _users(walking: Walking, node: Node) -> Iterator[_Step]:
    """What was made from a node, newest first; rows of `lookup` are hints, so each is compared."""
    if node.branch:
        yield from _versions(walking, node)
    elif node.version is not None:
        id = node.version.id
        yield from _named(walking, node, id, lambda source: _overlaps(node, source))
        yield from _carriers(walking, node, id)
    elif node.uri:
        yield from _named(walking, node, node.uri, lambda source: source.uri == node.uri)
    else:
        yield from _named(walking, node, node.digest, lambda source: source.digest == node.digest)
        yield from _holders(walking, node)


def _versions(walking: Walking, node: Node) -> Iterator[_Step]:
    """The versions of a branch that somebody used, or carries from beyond it, newest first."""
    after, seen = Id(b""), set[Id]()
    here = walking.store.database.read(lambda tables: tables.ref(HEADS + node.branch))
    while here:
        read = partial(_used_on_line, here, after)
        used, forks, after, here = walking.store.database.read(read)
        for child in forks:
            version = walking.version(child)
            used += [maker for _, maker in version.manifest.carried] if version else []
        for id in used:
            if id not in seen and _holds(walking.store, id, node):
                seen.add(id)
                version_node = walking.at(id, node.artifact, 0)
                if next(_users(walking, version_node), None):
                    yield _Step(version_node, VERSION)


def _used_on_line(
    start: Id, after: Id, tables: Reading
) -> tuple[list[Id], list[Id], Id, Id | None]:
    """Of the versions back from `start`, whose child is `after`: those that are sources.

    Then their other children, and where to go on.
    """
    used: list[Id] = []
    forks: list[Id] = []
    here: Id | None = start
    for _ in range(_STEPS):
        if here is None:
            break
        if next(tables.lookup(Index.SOURCE, here), None):
            used.append(here)
        forks += [child for _, child in tables.lookup(Index.CHILD, here) if child != after]
        step = tables.step(here)
        after, here = here, (step.parent or None) if step is not None else None
    return used, forks, after, here


def _holds(store: Store, id: Id, node: Node) -> bool:
    """Whether a version is on the line of a branch, and has the artifact, as far as is known."""

    def on_line(tables: Reading) -> bool:
        tip, step = tables.ref(HEADS + node.branch), tables.step(id)
        return tip is not None and step is not None and tables.ancestor(tip, step.number) == id

    if not store.database.read(on_line):
        return False
    version = store.version(id, node.branch)
    if not node.artifact or store.forgotten(version) is not None:
        return True
    return store.set_of(version).get(node.artifact) is not None


def _named(
    walking: Walking, node: Node, value: Id | str, matches: Callable[[Source], bool]
) -> Iterator[_Step]:
    """The versions, or artifacts of them, with a source that matches."""
    for id in walking.found(Index.SOURCE, value):
        version = walking.version(id)
        if version is None:
            continue
        for source in version.manifest.sources:
            if matches(source):
                yield _Step(walking.at(id, source.artifact, node.distance + 1), SOURCE, source)


def _overlaps(node: Node, source: Source) -> bool:
    """Whether a source took what the walk follows: a whole set has each artifact that it made."""
    version = node.version
    if version is None or source.target != version.id:
        return False
    if not source.target_artifact or source.target_artifact == node.artifact:
        return True
    if node.artifact:
        return False
    # What a set carries was not made from what the set was made from.
    carried = version.manifest.carried if node.distance else ()
    return all(name != source.target_artifact for name, _ in carried)


def _carriers(walking: Walking, node: Node, maker: Id) -> Iterator[_Step]:
    """The versions that carry on what a version made: from child to child, while they do."""
    waiting, seen = deque([maker]), {maker}
    while waiting:
        parent = waiting.popleft()
        # Once as the parent, and once as the maker of what is carried.
        times = 2 if parent == maker else 1
        for child in walking.found(Index.CHILD, parent):
            if child in seen or not walking.names(child, maker, times):
                continue
            seen.add(child)
            version = walking.version(child)
            rows = version.manifest.carried if version else ()
            names = [name for name, id in rows if id == maker]
            if names:
                waiting.append(child)
            for name in names:
                if node.artifact in ("", name):
                    yield _Step(walking.at(child, name, node.distance + 1), CARRIED)


def _holders(walking: Walking, node: Node) -> Iterator[_Step]:
    """The artifacts that have a content, each in the version that made it, if that is stored.

    Of one that was forgotten who carries it on tells that it made this content.
    """
    store, told = walking.store, set()
    for found in find(store, Wanted(digest=node.digest.hex())):
        version, name = found.version, found.artifact.name
        id = dict(version.manifest.carried).get(name)
        made = walking.version(id) if id else None
        if made is not None and store.forgotten(made) is None:
            continue
        holder = walking.at(made.id if made else version.id, name, node.distance + 1)
        if holder.id not in told:
            told.add(holder.id)
            yield _Step(holder, HELD)
