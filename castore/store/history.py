"""History: versions newest first, over one branch or all, and what filters leave of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.model.artifact_set import Content
from castore.model.ids import Id
from castore.model.status import identity
from castore.model.values import frozen
from castore.store.context import parse_agent
from castore.store.moments import parse_moment
from castore.store.notes import ids_in_state, on_line
from castore.store.selectors import branch_names, first_parents, resolve_version, tip
from castore.store.standing import Verdicts, check_state, is_in_state, row_state
from castore.store.store import Store
from castore.store.version import Version

# Look-ups of an ancestor, above which a walk is not slower.
_PLACED: Final = 20_000


@frozen
class Filter:
    """What a version must have: text equal, `spec` and `agent` as `id` or `id@version`.

    `author` is an identity, by e-mail whatever its case, else as written: the same as for `audit`.
    `artifact` keeps versions in which this artifact differs from the first parent's; `since` and
    `until` are times as people type them; `review` and `lifecycle` are what the notes come to.
    "" does not filter.
    """

    agent: str = ""
    spec: str = ""
    author: str = ""
    artifact: str = ""
    since: str = ""
    until: str = ""
    review: str = ""
    lifecycle: str = ""


def log(
    store: Store, rev: str = "", *, limit: int | None = None, only: Filter | None = None
) -> Iterator[Version]:
    """Versions newest first, children before parents: the history of `rev`, or of all branches.

    Raises RefNotFound for an unknown `rev`, InvalidInput for a time that cannot be read.
    """
    if rev:
        starts = [resolve_version(store, rev)]
    else:
        found = (tip(store, name) for name in branch_names(store))
        starts = [version for version in found if version is not None]
    tips = {start.branch: start.id for start in starts}
    only = only or Filter()
    matches = _matcher(store, only)
    count = 0
    versions = _in_state(store, starts, only)
    for version in walk(store, starts) if versions is None else versions:
        if limit is not None and count >= limit:
            return
        if matches(version):
            count += 1
            yield version if rev else at_home(store, version, tips)


def at_home(store: Store, version: Version, tips: Mapping[str, Id]) -> Version:
    """The version under the branch it was committed to, while that branch still holds it."""
    home = version.manifest.branch
    if home == version.branch or home not in tips:
        return version
    found = store.database.read(lambda tables: tables.ancestor(tips[home], version.number))
    return Version(version.id, version.manifest, home) if found == version.id else version


def walk(store: Store, starts: list[Version]) -> Iterator[Version]:
    """Every ancestor of `starts` once, newest first; a child stands before its parents.

    Only clocks that disagree between the writers of two branches can put a shared ancestor before
    the older-dated tip of one of them, as in git.
    """
    heap: list[tuple[int, int, Id, int, Version]] = []
    seen: set[Id] = set()

    def push(version: Version, child_at: int) -> None:
        if version.id not in seen:
            seen.add(version.id)
            at = min(version.manifest.at, child_at)
            heapq.heappush(heap, (-at, -version.number, version.id, at, version))

    for start in starts:
        push(start, start.manifest.at)
    while heap:
        *_, at, version = heapq.heappop(heap)
        yield version
        for parent in version.manifest.parents:
            earlier = store.version_here(parent, version.branch) if parent not in seen else None
            if earlier is not None:
                push(earlier, at)


def _in_state(store: Store, starts: Sequence[Version], only: Filter) -> Iterator[Version] | None:
    """What may be in a state that is asked for, in the order of `walk`, from the index of states.

    None where there is no such index, or walking is better: for many, and where some are not on a
    first-parent line of `starts`.
    """
    wanted = [(Index.REVIEW, only.review), (Index.LIFECYCLE, only.lifecycle)]
    indexed = [(index, row) for index, state in wanted if (row := row_state(index, state))]
    if not indexed:
        return None

    def read(tables: Reading) -> list[dict[int, Id]] | None:
        most = _PLACED // (1 + len(starts))
        ids = set(islice(ids_in_state(tables, *indexed[0]), most + 1))
        lines = [on_line(tables, ids, start.id, start.number) for start in starts]
        placed = {id for line in lines for id in line.values()}
        return None if len(ids) > most or placed != ids else lines

    lines = store.database.read(read)
    return None if lines is None else _merged(store, starts, lines)


def _merged(
    store: Store, starts: Sequence[Version], lines: Sequence[Mapping[int, Id]]
) -> Iterator[Version]:
    """The versions of several lines, each given by number, newest first and each once."""

    def one(start: Version, line: Mapping[int, Id]) -> Iterator[tuple[int, int, Id, Version]]:
        at = start.manifest.at
        for _, id in sorted(line.items(), reverse=True):
            version = store.version(id, start.branch)
            at = min(at, version.manifest.at)
            yield -at, -version.number, id, version

    seen: set[Id] = set()
    merged = heapq.merge(*map(one, starts, lines), key=lambda row: row[:3])
    for *_, id, version in merged:
        if id not in seen:
            seen.add(id)
            yield version


def _matcher(store: Store, only: Filter) -> Callable[[Version], bool]:
    tests: list[Callable[[Version], bool]] = []
    if only.agent:
        agent = parse_agent(only.agent)
        tests.append(lambda v: v.manifest.agent.id == agent.id)
        if agent.version:
            tests.append(lambda v: v.manifest.agent.version == agent.version)
    if only.spec:
        spec, _, wanted = only.spec.partition("@")
        tests.append(lambda v: v.manifest.spec.known and v.manifest.spec.id == spec)
        if wanted:
            tests.append(lambda v: v.manifest.spec.version == wanted)
    if only.author:
        author = identity(only.author)
        tests.append(lambda v: identity(v.manifest.author) == author)
    if only.since:
        since = parse_moment(only.since, store.now())
        tests.append(lambda v: v.manifest.at >= since)
    if only.until:
        until = parse_moment(only.until, store.now(), last=True)
        tests.append(lambda v: v.manifest.at <= until)
    verdicts = Verdicts(store)
    for index, state in ((Index.REVIEW, only.review), (Index.LIFECYCLE, only.lifecycle)):
        if state:
            check_state(index, state)
            tests.append(lambda v, i=index, s=state: is_in_state(store, v, i, s, verdicts))  # type: ignore[misc]
    if only.artifact:
        tests.append(lambda v: changes_artifact(store, v, only.artifact))
    return lambda version: all(test(version) for test in tests)


def changes_artifact(store: Store, version: Version, name: str) -> bool:
    """Whether this artifact is not the same in `version` as in its first parent.

    Not for a forgotten version; one that was forgotten is passed over to the parent before it.
    """
    if store.forgotten(version) is not None:
        return False
    before = None
    for earlier in islice(first_parents(store, version), 1, None):
        # What a forgotten version held is not known: the one before it is the last that is.
        if store.forgotten(earlier) is None:
            before = _content(store, earlier, name)
            break
    return _content(store, version, name) != before


def _content(store: Store, version: Version, name: str) -> Content | None:
    artifact = store.set_of(version).get(name)
    return artifact.content if artifact else None
