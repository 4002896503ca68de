"""Presence: a version that was read a moment ago must still be there when something names it."""

from __future__ import annotations

from collections.abc import Callable

from castore.content.reader import ObjectReader
from castore.database.reading import Reading
from castore.errors import CastoreError, ObjectNotFound
from castore.model.ids import Id
from castore.store.removals import forgotten_error
from castore.store.version import Version


def require_stored(tables: Reading, version: Version, *, forgotten: bool = False) -> None:
    """Raise ObjectNotFound if a version was collected since it was read, or is forgotten.

    Called in the transaction that makes a root of it: from then on the collector keeps it. With
    `forgotten` it may be, for what does not ask for its content.
    """
    if not tables.present((version.id,)):
        raise ObjectNotFound(
            f"{version.label} ({version.id.hex()}) was removed by a collection meanwhile",
            id=version.id.hex(),
        )
    removal = None if forgotten else tables.forgotten(version.id)
    if removal is not None:
        raise forgotten_error(tables, version, removal)


def held_version(tables: Reading, id: Id, branch: str = "") -> Callable[[], Version]:
    """Makes the version as this view has it, also when a collection took it meanwhile.

    For whoever takes away what kept it. Damage is told when it is made, not here: nothing should
    keep a damaged version from losing its name.
    """
    try:
        stored = tables.load(id)
    except CastoreError as error:
        lost = error

        def fail() -> Version:
            raise lost

        return fail

    def make() -> Version:
        manifest = ObjectReader(lambda _: stored).manifest(id)
        return Version(id, manifest, branch or manifest.branch)

    return make
