"""Known values: what versions have, and which a value that none has may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from castore.database.indexes import MEMBERS_SINCE, Index, Value
from castore.database.reading import Reading
from castore.errors import ObjectNotFound
from castore.model.names import near_names
from castore.model.status import identity
from castore.store.context import parse_agent
from castore.store.find import Wanted, find_near
from castore.store.homes import versions_under
from castore.store.store import Store
from castore.store.version import Version

SAMPLE: Final = 1_000
"""How many of the newest versions are read for names that are spelled nearly so."""
LISTED: Final = 5
"""Names that are told at most where none is near."""


class _Asked(NamedTuple):
    """A value that was asked for: what it is, and where `lookup` has its rows."""

    what: str
    text: str
    rows: Index
    value: Value
    since: int = 1


def unknown(store: Store, values: Mapping[str, str]) -> Iterator[str]:
    """A sentence about each value that no version has, with near ones or the known.

    `values` may have agent and spec, an id or `id@version`, author, run, trace, workspace, type and
    format; "" is none. Whether one is known is told by its look-up rows; names spelled nearly so
    are looked for in the SAMPLE newest versions.
    """
    asked = [found for found in _asked(values) if not _is_known(store, found)]
    if not asked:
        return
    names = _names(store)
    for found in asked:
        yield _sentence(found, names.get(found.what, {}))


def of_filter(store: Store, asked: Mapping[str, str]) -> Iterator[str]:
    """A sentence about each value of a filter of the log, agent, spec, author and artifact."""
    yield from unknown(store, {name: asked[name] for name in ("agent", "spec", "author")})
    if asked["artifact"] and (near := find_near(store, Wanted(name=asked["artifact"]))):
        yield near


def has_row(index: Index, value: Value, tables: Reading) -> bool:
    """Whether there is a row of `lookup` for a value."""
    return next(tables.lookup(index, value), None) is not None


def _asked(values: Mapping[str, str]) -> Iterator[_Asked]:
    if values.get("agent"):
        agent = parse_agent(values["agent"])
        if agent.version:
            pair = (agent.id, agent.version)
            yield _Asked("agent", values["agent"], Index.AGENT_VERSION, pair)
        else:
            yield _Asked("agent", agent.id, Index.AGENT, agent.id)
    if values.get("spec"):
        spec, _, version = values["spec"].partition("@")
        if version:
            yield _Asked("spec", values["spec"], Index.SPEC_VERSION, (spec, version))
        else:
            yield _Asked("spec", spec, Index.SPEC, spec)
    if values.get("author"):
        who = identity(values["author"])
        yield _Asked("author", values["author"], Index.AUTHOR, who, MEMBERS_SINCE)
    for what, index, since in (
        ("run", Index.RUN, 1),
        ("trace", Index.TRACE, 1),
        ("workspace", Index.WORKSPACE, MEMBERS_SINCE),
        ("type", Index.ARTIFACT_TYPE, MEMBERS_SINCE),
        ("format", Index.ARTIFACT_FORMAT, MEMBERS_SINCE),
    ):
        text = values.get(what)
        if text:
            yield _Asked(what, text, index, text, since)


def _is_known(store: Store, asked: _Asked) -> bool:
    """Whether a version has it, or may have: an older store has no rows of some."""

    def read(tables: Reading) -> bool:
        return has_row(asked.rows, asked.value, tables) or tables.indexes() < asked.since

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
        rest = ", …" if len(known) > LISTED else ""
        near = f"; known: {', '.join(known[:LISTED])}{rest}"
    return head + near
