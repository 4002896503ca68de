"""Promises: files that a remote has and this store has not, fetched many at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from functools import partial
from itertools import islice
from typing import Final

from castore.content.trees import walk_tree
from castore.database.reading import Reading, State
from castore.model.artifact_set import Content, FileContent, TreeContent
from castore.model.ids import Id, Kind
from castore.model.pages import FILE
from castore.store.store import Store

_TOGETHER: Final = 10_000


def keep_promises(store: Store, contents: Iterable[Content]) -> None:
    """Fetch the files of these contents that remotes promised; raises as what fetches them.

    Nothing where the store does not know how.
    """
    if store.bring is None or not store.database.read(_may_promise):
        return
    ids = _files(store, contents)
    while some := list(islice(ids, _TOGETHER)):
        left = promised(store, some)
        if left:
            store.bring(store, left)


def keep_history(store: Store, versions: Iterable[Id]) -> None:
    """Fetch the promised files of these versions and all before them, as far as they are here."""
    waiting = list(versions)
    seen = set(waiting)
    while waiting:
        version = store.version_here(waiting.pop())
        if version is None:
            continue
        if store.forgotten(version) is None:
            members = store.set_of(version).artifacts
            keep_promises(store, [artifact.content for artifact in members])
        news = set(version.manifest.parents) - seen
        seen |= news
        waiting.extend(news)


def keep_sharing(store: Store, chunks: Set[Id]) -> None:
    """Fetch the promised files that have one of these chunks: only remotes know which do."""
    if store.bring is not None:
        for ids in promised_of(store, Kind.LAYOUT):
            store.bring(store, ids, sharing=chunks)


def promised_of(store: Store, kind: Kind) -> Iterator[list[Id]]:
    """The objects of a kind that a remote has and the store has not, some at a time."""
    start: Id | None = b""
    while start is not None and store.database.read(_may_promise):
        look = partial(Reading.promised, start=start, limit=_TOGETHER, kind=kind)
        ids, after = store.database.read(look)
        if ids:
            yield ids
        start = after or None


def promised(store: Store, ids: Iterable[Id]) -> list[Id]:
    """Those of these files that a remote has and the store has not."""
    known = list(dict.fromkeys(ids))

    def look(tables: Reading) -> list[Id]:
        rows = zip(known, tables.object_numbers(known), strict=True)
        return [id for id, row in rows if row is not None and row[3] == State.PROMISED]

    return store.database.read(look)


def _files(store: Store, contents: Iterable[Content]) -> Iterable[Id]:
    for content in contents:
        if isinstance(content, FileContent):
            yield content.digest
        elif isinstance(content, TreeContent):
            for _, entry in walk_tree(store.reader.tree_page, content.id):
                if entry.kind == FILE:
                    yield entry.id


def _may_promise(tables: Reading) -> bool:
    """Whether any remote was ever seen."""
    return next(tables.rows("uploads"), None) is not None
