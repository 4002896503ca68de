"""Audit: which versions an agent, a person, a run or a source stands behind, newest first.

What can be asked for has rows in `lookup`; the versions that all of these rows lead to alike are
read and compared, so an answer costs what it tells, however many versions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from castore.database.folded import SINCE
from castore.database.indexes import MEMBERS_SINCE, Index, Value
from castore.database.reading import Reading
from castore.errors import ObjectNotFound
from castore.model.ids import Id
from castore.model.manifest import Manifest
from castore.model.status import identity
from castore.model.values import frozen
from castore.store.audit_source import Line, Rows, made_from, source_of
from castore.store.context import parse_agent
from castore.store.deployments import deployed_versions
from castore.store.homes import Homes, versions_under
from castore.store.moments import parse_moment, parse_period
from castore.store.notes import known_as
from castore.store.records import version_record
from castore.store.selectors import first_parents, resolve_version
from castore.store.standing import Verdicts, check_state, is_in_state, row_state, status_of
from castore.store.store import Store
from castore.store.version import Version, version_in


@frozen
class Criteria:
    """What a version must have, all of it; "" does not filter.

    `agent` and `spec` are an id or `id@version`, `author` a person by e-mail or as written, `type`
    and `format` those of any of its artifacts. `source` is a version or an artifact of one by a
    selector, where a branch alone means any of its versions, a URI, or a digest or version id in
    full. `review` and `lifecycle` are what the notes about it come to. `deployed` is
    an environment where it is deployed, or ANYWHERE. `since` and `until` are times as people type
    them, both included; `during` is a period such as `last month`. `rev` is a version by a
    selector: it and those before it along first parents.
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
    deployed: str = ""
    since: str = ""
    until: str = ""
    during: str = ""
    rev: str = ""


ANYWHERE: Final = "*"
"""As an environment: any of them."""
_NEVER: Final = 1 << 30
# Versions read in one view of the store, at most: a manifest may be big.
_AT_ONCE: Final = 16


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
    source = source_of(store, criteria.source) if criteria.source else None
    if source is not None:
        tests.append(_source_test(source))
    since, until = _times(criteria, store.now())
    version = store.database.read(Reading.indexes)
    rows = [(test.rows, test.value) for test in tests if test.since <= version]
    start = resolve_version(store, criteria.rev) if criteria.rev else None
    if criteria.deployed:
        found = iter(_deployed(store, criteria.deployed, since, until))
    elif isinstance(source, Line):
        found = source.users(rows, since, until)
    elif start is not None and not rows:
        found = _history(store, start, since, until)
    else:
        found = versions_under(store, rows or [(Index.TIME, b"")], since=since, until=until)
    if start is not None:
        found = filter(Line(store, start.id).holds, found)
    return islice(_matching(store, found, tests), limit)


def indexed(store: Store, criteria: Criteria) -> bool:
    """Whether `lookup` has rows for each criterion: not so in an older store before a rebuild."""
    version = store.database.read(Reading.indexes)
    return all(test.since <= version or test.since == _NEVER for test in _tests(store, criteria))


def audit_record(
    store: Store, version: Version, verdicts: Verdicts | None = None
) -> dict[str, Any]:
    """A version as `cas audit --json` prints it: with artifacts, and who gave a verdict on it."""
    record = version_record(store, version, artifacts=True, verdicts=verdicts)
    status = status_of(store, version, verdicts)
    verdicts = verdicts or Verdicts(store)
    counted = verdicts.counted(version, status)
    said = [(who, "approved", known_as(who) in counted) for who in status.approvers]
    said += [(who, "rejected", True) for who in status.rejecters]
    record["reviewers"] = [
        {"by": who, "verdict": verdict, "counts": counts} for who, verdict, counts in said
    ]
    record["deployments"] = list(status.deployments)
    record["trust"] = {**record["trust"], "reviewers": "claimed" if said else None}
    return record


def _deployed(store: Store, environment: str, since: int, until: int | None) -> list[Id]:
    """The versions deployed to an environment, or ANYWHERE, of these times, newest first."""
    found = {
        version.id: version.manifest.at
        for place, version in store.database.read(deployed_versions)
        if environment in (place, ANYWHERE)
    }
    within = [id for id, at in found.items() if since <= at and (until is None or at <= until)]
    return sorted(within, key=lambda id: (found[id], id), reverse=True)


def _history(store: Store, start: Version, since: int, until: int | None) -> Iterator[Id]:
    """A version and those before it, of these times: of other branches nothing is read."""
    for version in first_parents(store, start):
        at = version.manifest.at
        if since <= at and (until is None or at <= until):
            yield version.id


def _times(criteria: Criteria, now: int) -> tuple[int, int | None]:
    """From when and until when, both included; None for no end."""
    since = parse_moment(criteria.since, now) if criteria.since else 0
    until = parse_moment(criteria.until, now, last=True) if criteria.until else None
    if criteria.during:
        first, last = parse_period(criteria.during, now)
        since, until = max(since, first), last if until is None else min(until, last)
    return since, until


def _matching(store: Store, found: Iterator[Id], tests: list[_Test]) -> Iterator[Version]:
    """Those of `found` that meet every test and are at home, some at a time, ever more."""
    homes = Homes(store)
    size = 1
    while ids := list(islice(found, size)):
        some = store.database.read(partial(_versions, ids))
        some = [version for version in some if all(test.holds(version) for test in tests)]
        for version, home in zip(some, homes.of_all(some), strict=True):
            if home is not None:
                yield Version(version.id, version.manifest, home)
        size = min(4 * size, _AT_ONCE)


def _versions(ids: Sequence[Id], tables: Reading) -> list[Version]:
    """The versions with these ids, but for those that a collection took since."""
    found = []
    for id in ids:
        try:
            found.append(version_in(tables, id))
        except ObjectNotFound:
            continue
    return found


def _tests(store: Store, criteria: Criteria) -> list[_Test]:
    """The criteria that were given, but for the source."""
    tests = [*_of_makers(criteria), *_of_members(store, criteria), *_of_notes(store, criteria)]
    if criteria.author:
        who = identity(criteria.author)
        tests.append(
            _Test(Index.AUTHOR, who, lambda v: identity(v.manifest.author) == who, MEMBERS_SINCE)
        )
    return tests


def _source_test(source: Rows | Line) -> _Test:
    if isinstance(source, Rows):
        return _Test(Index.SOURCE, source.value, partial(made_from, source))
    # A branch has no rows of its own: the versions come from `Line.users`.
    return _Test(Index.SOURCE, b"", partial(made_from, source), _NEVER)


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
            yield _Test(
                Index.SPEC,
                spec,
                lambda v: v.manifest.spec.known and v.manifest.spec.id == spec,
            )
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
            holds = partial(_is_in, store, index, state, Verdicts(store))
            row = row_state(index, state)
            yield _Test(index, row or state, holds, SINCE if row else _NEVER)


def _is_in(store: Store, index: Index, state: str, verdicts: Verdicts, version: Version) -> bool:
    return is_in_state(store, version, index, state, verdicts)


def _always(_: Version) -> bool:
    return True
