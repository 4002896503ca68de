"""Audit: which versions an agent, a person, a run or a source stands behind, newest first.

What can be asked for has rows in `lookup`; the versions that all of these rows lead to alike are
read and compared, so an answer costs what it tells, however many versions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from castore.database.folded import SINCE, STATES
from castore.database.indexes import MEMBERS_SINCE, Index, Value
from castore.database.reading import Reading
from castore.errors import InvalidInput, ObjectNotFound
from castore.model.ids import Id, parse_id
from castore.model.limits import ID_BYTES
from castore.model.manifest import Manifest
from castore.model.status import identity
from castore.model.values import frozen
from castore.store.context import parse_agent
from castore.store.homes import Homes, versions_under
from castore.store.moments import parse_moment
from castore.store.records import version_record
from castore.store.selectors import resolve
from castore.store.standing import check_state, is_in_state, status_of
from castore.store.store import Store
from castore.store.version import Version


@frozen
class Criteria:
    """What a version must have, all of it; "" does not filter.

    `agent` and `spec` are an id or `id@version`, `author` a person by e-mail or as written, `type`
    and `format` those of any of its artifacts. `source` is a version or an artifact of one by a
    selector, a URI, or a digest or version id in full. `review` and `lifecycle` are what the notes
    about it come to. `since` and `until` are times as people
    type them, both included.
    """

    agent: str = ""
    spec: str = ""
    author: str = ""
    run: str = ""
    trace: str = ""
    workspace: str = ""
    type: str = ""
    format: str = ""
    source: str = ""
    review: str = ""
    lifecycle: str = ""
    since: str = ""
    until: str = ""


_NEVER: Final = 1 << 30


class _Test(NamedTuple):
    """One criterion: where `lookup` has its rows, and whether a version itself meets it."""

    rows: Index
    value: Value
    holds: Callable[[Version], bool]
    since: int = 1
    """The first version of the indexes that has these rows; NEVER for what has none in any."""


def audit(store: Store, criteria: Criteria, *, limit: int | None = None) -> Iterator[Version]:
    """The versions on all branches and tags that meet every criterion, newest first.

    Incomplete sets and losers of a race are left out; a forgotten version is told of, but its
    artifacts are not known any more. Nothing is walked where `lookup` has rows for a criterion:
    `indexed` tells; only `review` none and `lifecycle` draft, which need no note, have none. Raises
    InvalidInput, RefNotFound, Ambiguous for what cannot be understood.
    """
    tests = _tests(store, criteria)
    now = store.now()
    since = parse_moment(criteria.since, now) if criteria.since else 0
    until = parse_moment(criteria.until, now, end_of_day=True) if criteria.until else None
    return islice(_matching(store, tests, since, until), limit)


def indexed(store: Store, criteria: Criteria) -> bool:
    """Whether `lookup` has rows for each criterion: not so in an older store before a rebuild."""
    version = store.database.read(Reading.indexes)
    return all(test.since <= version or test.since == _NEVER for test in _tests(store, criteria))


def audit_record(store: Store, version: Version) -> dict[str, Any]:
    """A version as `cas audit --json` prints it: as elsewhere, and who gave a verdict on it."""
    record = version_record(store, version)
    status = status_of(store, version)
    verdicts = [(who, "approved") for who in status.approvers]
    verdicts += [(who, "rejected") for who in status.rejecters]
    record["reviewers"] = [{"by": who, "verdict": verdict} for who, verdict in verdicts]
    record["trust"] = {**record["trust"], "reviewers": "claimed" if verdicts else None}
    return record


def _matching(store: Store, tests: list[_Test], since: int, until: int | None) -> Iterator[Version]:
    homes = Homes(store)
    version = store.database.read(Reading.indexes)
    rows = [(test.rows, test.value) for test in tests if test.since <= version]
    for id in versions_under(store, rows or [(Index.TIME, b"")], since=since, until=until):
        try:
            found = store.version(id)
        except ObjectNotFound:
            # A collection took it since its row was read.
            continue
        if not all(test.holds(found) for test in tests):
            continue
        home = homes.of(found)
        if home is not None:
            yield Version(id, found.manifest, home)


def _tests(store: Store, criteria: Criteria) -> list[_Test]:
    """The criteria that were given."""
    tests = [*_of_makers(criteria), *_of_members(store, criteria), *_of_notes(store, criteria)]
    if criteria.author:
        who = identity(criteria.author)
        tests.append(
            _Test(Index.AUTHOR, who, lambda v: identity(v.manifest.author) == who, MEMBERS_SINCE)
        )
    if criteria.source:
        tests.append(_of_source(store, criteria.source))
    return tests


def _of_makers(criteria: Criteria) -> Iterator[_Test]:
    if criteria.agent:
        agent = parse_agent(criteria.agent)
        if agent.version:
            pair = (agent.id, agent.version)
            yield _Test(Index.AGENT_VERSION, pair, lambda v: v.manifest.agent == agent)
        else:
            yield _Test(Index.AGENT, agent.id, lambda v: v.manifest.agent.id == agent.id)
    if criteria.spec:
        spec, _, version = criteria.spec.partition("@")
        if version:
            pair = (spec, version)
            yield _Test(Index.SPEC_VERSION, pair, lambda v: _spec(v.manifest) == pair)
        else:
            yield _Test(Index.SPEC, spec, lambda v: v.manifest.spec.id == spec)
    if criteria.run:
        yield _Test(Index.RUN, criteria.run, lambda v: v.manifest.run == criteria.run)
    if criteria.trace:
        yield _Test(Index.TRACE, criteria.trace, lambda v: v.manifest.trace == criteria.trace)
    if criteria.workspace:
        where = criteria.workspace
        yield _Test(Index.WORKSPACE, where, lambda v: v.manifest.workspace == where, MEMBERS_SINCE)


def _spec(manifest: Manifest) -> tuple[str, str]:
    return manifest.spec.id, manifest.spec.version


def _of_members(store: Store, criteria: Criteria) -> Iterator[_Test]:
    type, format = criteria.type, criteria.format

    def holds(version: Version) -> bool:
        try:
            artifacts = store.set_of(version).artifacts
        except ObjectNotFound:
            return False
        types = not type or any(artifact.type == type for artifact in artifacts)
        return types and (not format or any(artifact.format == format for artifact in artifacts))

    if type:
        yield _Test(Index.ARTIFACT_TYPE, type, holds, MEMBERS_SINCE)
    if format:
        # With both, one look at the set is enough.
        yield _Test(Index.ARTIFACT_FORMAT, format, _always if type else holds, MEMBERS_SINCE)


def _of_notes(store: Store, criteria: Criteria) -> Iterator[_Test]:
    for index, state in ((Index.REVIEW, criteria.review), (Index.LIFECYCLE, criteria.lifecycle)):
        if state:
            check_state(index, state)
            holds = partial(_is_in, store, index, state)
            yield _Test(index, state, holds, SINCE if state in STATES[index] else _NEVER)


def _is_in(store: Store, index: Index, state: str, version: Version) -> bool:
    return is_in_state(store, version, index, state)


def _always(_: Version) -> bool:
    return True


def _of_source(store: Store, what: str) -> _Test:
    """The test for a source, by what names it; raises RefNotFound, Ambiguous, InvalidInput."""
    if "://" in what or what.startswith("file:"):
        return _Test(
            Index.SOURCE, what, lambda v: any(source.uri == what for source in v.manifest.sources)
        )
    if len(what) == 2 * ID_BYTES and not what.strip("0123456789abcdef"):
        id = parse_id(what)
        return _Test(
            Index.SOURCE,
            id,
            lambda v: any(id in (source.target, source.digest) for source in v.manifest.sources),
        )
    resolved = resolve(store, what)
    if resolved.path:
        raise InvalidInput(f"{what!r}: a source is a version or an artifact, not a file in one")
    target = resolved.version.id
    name = resolved.artifact.name if resolved.artifact else ""
    return _Test(Index.SOURCE, target, lambda v: _took(v.manifest, target, name))


def _took(manifest: Manifest, target: Id, artifact: str) -> bool:
    """Whether this version, or this artifact of it, is among the sources: sets have all theirs."""
    return any(
        source.target == target and (not artifact or source.target_artifact in ("", artifact))
        for source in manifest.sources
    )
