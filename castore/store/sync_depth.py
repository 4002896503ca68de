"""Depth: how far back history is fetched; what lies before is promised by the remote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from castore.content.reader import ObjectReader
from castore.database.reading import State
from castore.errors import InvalidInput
from castore.model.ids import Id
from castore.model.manifest import Manifest
from castore.store.store import Store

WHOLE: Final = 0
"""The depth of history to its beginning."""


class Cut(NamedTuple):
    """The versions to bring, the oldest first, and those that stay there."""

    wanted: list[Id]
    beyond: set[Id]


def cut_history(store: Store, far: ObjectReader, tips: Iterable[Id], depth: int) -> Cut:
    """What is lacking of the newest `depth` versions of each line that ends at a tip.

    Parents are counted along every line. `far` reads from the bucket. Raises InvalidInput for a
    depth below 0.
    """
    if depth < 0:
        raise InvalidInput(f"depth {depth}: 1 or more", fix="--depth 1")
    level = list(dict.fromkeys(tips))
    seen = set(level)
    wanted: list[Id] = []
    left = depth
    while level and (left > 0 or depth == WHOLE):
        below: list[Id] = []
        for id in level:
            here = _stored(store, id)
            if not here:
                wanted.append(id)
            manifest: Manifest = (store.near_reader if here else far).manifest(id)
            below += [parent for parent in manifest.parents if parent not in seen]
            seen.update(manifest.parents)
        level = list(dict.fromkeys(below))
        left -= 1
    beyond = {id for id in level if not _stored(store, id)}
    return Cut(wanted[::-1], beyond)


def _stored(store: Store, id: Id) -> bool:
    row = store.database.read(lambda tables: tables.object_row(id))
    return row is not None and row.state in (State.STORED, State.PURGED)
