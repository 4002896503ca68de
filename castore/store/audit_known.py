"""What an audit that found nothing may have meant: values that no version has, and near ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from castore.database.indexes import Index
from castore.model.names import near_names
from castore.store.audit import ANYWHERE, Criteria
from castore.store.audit_source import Line, Rows, source_of
from castore.store.deployments import deployed_versions
from castore.store.known import LISTED, has_row, unknown
from castore.store.store import Store

_VALUES: Final = ("agent", "spec", "author", "run", "trace", "workspace", "type", "format")


def unmatched(store: Store, criteria: Criteria) -> Iterator[str]:
    """A sentence about each value asked for that no version has, with near ones or the known.

    As `known.unknown`; also of a source, and of an environment where nothing is deployed.
    """
    if not store.database.read(partial(has_row, Index.TIME, b"")):
        yield "there are no versions yet"
        return
    yield from _of_source(store, criteria.source)
    yield from _of_deployment(store, criteria.deployed)
    yield from unknown(store, {name: getattr(criteria, name) for name in _VALUES})


def _of_source(store: Store, what: str) -> Iterator[str]:
    """A sentence where an artifact of any version of a branch is one that the newest lacks."""
    source = source_of(store, what) if what else None
    if isinstance(source, Rows) and isinstance(source.value, str):
        named = partial(has_row, Index.SOURCE, source.value)
        if not store.database.read(named):
            yield f"no version here names the source {what}"
    if isinstance(source, Line) and source.artifact:
        newest = store.version(source.tip)
        names = [artifact.name for artifact in store.set_of(newest).artifacts]
        if source.artifact not in names:
            near = near_names(source.artifact, names)
            yield f"the newest version there has no artifact {source.artifact!r}{near}"


def _of_deployment(store: Store, environment: str) -> Iterator[str]:
    """A sentence where nothing at all is deployed to an environment."""
    if not environment:
        return
    known = sorted({name for name, _ in store.database.read(deployed_versions)})
    if not known:
        yield "nothing is deployed"
    elif environment not in (*known, ANYWHERE):
        near = near_names(environment, known) or f"; known: {', '.join(known[:LISTED])}"
        yield f"nothing is deployed to {environment!r}{near}"
