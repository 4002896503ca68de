"""What an audit that found nothing may have meant: values that no version has, and near ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from castore.database.indexes import MEMBERS_SINCE, Index, Value
from castore.database.reading import Reading
from castore.errors import ObjectNotFound
from castore.model.names import near_names
from castore.model.status import identity
from castore.store.audit import Criteria
from castore.store.audit_source import Line, source_of
from castore.store.context import parse_agent
from castore.store.homes import versions_under
from castore.store.store import Store
from castore.store.version import Version

SAMPLE: Final = 1_000
"""How many of the newest versions are read for names that are spelled nearly so."""
_LISTED: Final = 5


class _Asked(NamedTuple):
    """A value that was asked for: what it is, and where `lookup` has its rows."""

    what: str
    text: str
    rows: Index
    value: Value
    since: int = 1


def unmatched(store: Store, criteria: Criteria) -> Iterator[str]:
    """A sentence about each value asked for that no version has, with near ones or the known.

    Whether a value is known is told by its look-up rows; names spelled nearly so are looked for in
    the SAMPLE newest versions.
    """
    yield from _of_source(store, criteria.source)
    asked = [found for found in _asked(criteria) if not _is_known(store, found)]
    if not asked:
        return
    names = _names(store)
    for found in asked:
        yield _sentence(found, names.get(found.what, {}))


def _of_source(store: Store, what: str) -> Iterator[str]:
    """A sentence where an artifact of any version of a branch is one that the newest lacks."""
    source = source_of(store, what) if what else None
    if isinstance(source, Line) and source.artifact:
        newest = store.version(source.tip)
        names = [artifact.name for artifact in store.set_of(newest).artifacts]
        if source.artifact not in names:
            near = near_names(source.artifact, names)
            yield f"the newest version there has no artifact {source.artifact!r}{near}"


def _asked(criteria: Criteria) -> Iterator[_Asked]:
    if criteria.agent:
        agent = parse_agent(criteria.agent)
        if agent.version:
            pair = (agent.id, agent.version)
            yield _Asked("agent", criteria.agent, Index.AGENT_VERSION, pair)
        else:
            yield _Asked("agent", agent.id, Index.AGENT, agent.id)
    if criteria.spec:
        spec, _, version = criteria.spec.partition("@")
        if version:
            yield _Asked("spec", criteria.spec, Index.SPEC_VERSION, (spec, version))
        else:
            yield _Asked("spec", spec, Index.SPEC, spec)
    if criteria.author:
        who = identity(criteria.author)
        yield _Asked("author", criteria.author, Index.AUTHOR, who, MEMBERS_SINCE)
    for what, index, since in (
        ("run", Index.RUN, 1),
        ("trace", Index.TRACE, 1),
        ("workspace", Index.WORKSPACE, MEMBERS_SINCE),
        ("type", Index.ARTIFACT_TYPE, MEMBERS_SINCE),
        ("format", Index.ARTIFACT_FORMAT, MEMBERS_SINCE),
    ):
        text = getattr(criteria, what)
        if text:
            yield _Asked(what, text, index, text, since)


def _is_known(store: Store, asked: _Asked) -> bool:
    """Whether a version has it, or may have: an older store has no rows of some."""

    def read(tables: Reading) -> bool:
        known = next(tables.lookup(asked.rows, asked.value), None) is not None
        return known or tables.indexes() < asked.since

    if not store.database.read(read):
        return False
    if asked.rows is not Index.SPEC:
        return True
    # A version without a spec has a row by its branch.
    some = islice(versions_under(store, [(asked.rows, asked.value)]), SAMPLE)
    return any(version.manifest.spec.known for version in _stored(store, some))


def _stored(store: Store, ids: Iterable[bytes]) -> Iterator[Version]:
    for id in ids:
        try:
            yield store.version(id)
        except ObjectNotFound:
            continue


def _names(store: Store) -> dict[str, dict[str, None]]:
    """What the newest versions have of each kind, newest first."""
    found: dict[str, dict[str, None]] = {}

    def note(what: str, *texts: str) -> None:
        found.setdefault(what, {}).update(dict.fromkeys(filter(None, texts)))

    for version in _stored(store, islice(versions_under(store, [(Index.TIME, b"")]), SAMPLE)):
        manifest = version.manifest
        note("agent", manifest.agent.id, _pair(manifest.agent.id, manifest.agent.version))
        if manifest.spec.known:
            note("spec", manifest.spec.id, _pair(manifest.spec.id, manifest.spec.version))
        note("author", manifest.author)
        note("run", manifest.run)
        note("trace", manifest.trace)
        note("workspace", manifest.workspace)
        try:
            members = store.set_of(version).artifacts
        except ObjectNotFound:
            continue
        note("type", *(artifact.type for artifact in members))
        note("format", *(artifact.format for artifact in members))
    return found


def _pair(id: str, version: str) -> str:
    return f"{id}@{version}" if version else ""


def _sentence(asked: _Asked, names: Iterable[str]) -> str:
    text = asked.text
    head = f"no {asked.what} is called {text!r}" if asked.what != "type" else f"no type {text!r}"
    pairs = "@" in text and asked.what in ("agent", "spec")
    known = [name for name in names if ("@" in name) == pairs or asked.what == "author"]
    if pairs:
        own = [name for name in known if name.partition("@")[0] == text.partition("@")[0]]
        known = own or known
    near = near_names(text, known)
    if not near:
        holding = [name for name in known if text.casefold() in name.casefold()][:3]
        near = f"; did you mean {' or '.join(holding)}?" if holding else ""
    if not near and known and asked.what not in ("run", "trace"):
        rest = ", …" if len(known) > _LISTED else ""
        near = f"; known: {', '.join(known[:_LISTED])}{rest}"
    return head + near
