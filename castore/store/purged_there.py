"""Content that was purged in a bucket and still lies here, or here and is needed by what came."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from castore.errors import CastoreError
from castore.model.ids import Id
from castore.remote.root import Root
from castore.store.purge_reach import LayoutScan, places
from castore.store.removals import climb
from castore.store.selectors import resolve
from castore.store.store import Store

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class PurgedThere:
    """One place here of content that was purged there, as a selector, and who did, and why."""

    selector: str
    by: str
    why: str

    def as_json(self) -> dict[str, Any]:
        """The place as `--json` prints it."""
        return {"selector": self.selector, "by": self.by or None, "why": self.why}


def purged_places(store: Store, root: Root, ids: Sequence[Id]) -> tuple[PurgedThere, ...]:
    """A place for each of these contents that a version here still names, the first 20.

    Chunks of files, and what no version has, have none.
    """
    found = []
    for id in ids:
        _, _, manifests = store.database.read(partial(climb, ids={id}))
        held = (
            _selector(store, place.label, place.version) for place in places(store, {id}, manifests)
        )
        selector = next(filter(None, held), "")
        if selector:
            removed = root.purged[id]
            found.append(PurgedThere(selector, removed.by, removed.why))
        if len(found) == _SHOWN:
            break
    return tuple(found)


def reliant_places(store: Store, purged: Set[Id], versions: Set[Id]) -> tuple[str, ...]:
    """Where these versions have files that need bytes that were purged here, the first 20."""
    if not purged:
        return ()
    scan = LayoutScan(purged)
    while store.database.read(scan.scan):
        pass
    ids = purged | scan.pages().keys()
    _, _, manifests = store.database.read(partial(climb, ids=ids))
    found = (
        _selector(store, at.label, at.version) for at in places(store, ids, manifests & versions)
    )
    return tuple(islice(filter(None, found), _SHOWN))


def _selector(store: Store, label: str, version: Id) -> str:
    """What names a place here; "" for one that no purge takes, such as the source of a spec."""
    for text in (label, f"{version.hex()}:{label.partition(':')[2]}"):
        try:
            if resolve(store, text).version.id == version:
                return text
        except CastoreError:
            continue
    return ""
