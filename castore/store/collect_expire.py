"""Giving up incomplete sets that nobody went on with: dead sessions and sealed partials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TypeAlias

from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.model.ids import Id
from castore.model.refs import PARTIALS, split_partial
from castore.store.collect_roots import content_ids
from castore.store.intent import UNKNOWN_RUN
from castore.store.partials import unless_gone
from castore.store.stages import StageHeader, decode_header, staged_sessions
from castore.store.store import Store

Attempt: TypeAlias = tuple[str, str]
"""The run and the branch of an incomplete set."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Incomplete sets to give up: their sessions and refs, each with its run and branch.

    A ref comes with the id it names. `ids` are roots that they no longer are. They began before
    the moment `before`.
    """

    before: int = 0
    sessions: tuple[tuple[bytes, Attempt], ...] = ()
    refs: tuple[tuple[str, Id], ...] = ()
    ids: tuple[Id, ...] = ()

    @property
    def partials(self) -> tuple[Attempt, ...]:
        """(run, branch) of all."""
        refs = (split_partial(name) for name, _ in self.refs)
        return tuple(dict.fromkeys(chain((attempt for _, attempt in self.sessions), refs)))

    def names(self, *, refs: bool) -> Iterator[bytes | str]:
        """What counts as no root: the sessions, and the refs unless the log holds them anyway."""
        yield from (session for session, _ in self.sessions)
        yield from (name for name, _ in self.refs if refs)


def expired_partials(store: Store, before: int) -> Expired:
    """The incomplete sets begun before a moment (microseconds UTC) that nobody works on.

    One that a session goes on with is worked on.
    """
    busy = store.database.read(lambda tables: _busy(tables, before))
    sessions: list[tuple[bytes, Attempt]] = []
    refs: list[tuple[str, Id]] = []
    ids: list[Id] = []
    for stage in staged_sessions(store):
        attempt = _attempt(stage.header)
        if attempt in busy or not stage.header.lapsed(before):
            continue
        sessions.append((stage.id, attempt))
        ids += (id for artifact in stage.artifacts.values() for id in content_ids(artifact))
        ids += store.database.read(
            lambda tables, session=stage.id: list(tables.staged_ids(session))  # type: ignore[misc]
        )
    for name, id in store.database.read(lambda tables: tables.refs(PARTIALS)):
        version = unless_gone(store, name, id, partial(store.version, id))
        if version and version.manifest.at < before and split_partial(name) not in busy:
            refs.append((name, id))
            ids.append(id)
    return Expired(before, tuple(sessions), tuple(refs), tuple(dict.fromkeys(ids)))


def _attempt(header: StageHeader) -> Attempt:
    return header.run or UNKNOWN_RUN, header.branch


def _busy(tables: Reading, before: int) -> set[Attempt]:
    """Run and branch of every session that still fills its stage, as far as can be known."""
    headers = [decode_header(stage.header) for stage in tables.stages()]
    return {
        _attempt(header)
        for header in headers
        if header.branch and header.alive and not header.lapsed(before)
    }


def expire(store: Store, given_up: Expired, *, by: str) -> Expired:
    """Take these sessions and refs away, with an entry in the log, and tell which.

    Refs that moved stay, and what somebody goes on with by now.
    """
    if not (given_up.sessions or given_up.refs):
        return given_up
    at = store.now()

    def transact(tables: Writing) -> Expired:
        busy = _busy(tables, given_up.before)
        refs = tuple(
            (name, id)
            for name, id in given_up.refs
            if split_partial(name) not in busy and tables.remove_if_equals(name, id)
        )
        sessions = tuple(
            (session, attempt)
            for session, attempt in given_up.sessions
            if attempt not in busy and tables.stage(session)
        )
        taken = replace(given_up, sessions=sessions, refs=refs)
        if not (sessions or refs):
            return taken
        for session, _ in sessions:
            tables.drop_stage(session)
        tables.bump_generation()
        tables.append_operation(
            "partial-expire",
            at=at,
            by=by,
            refs=[(name, id, b"") for name, id in refs],
            detail={"partials": [list(attempt) for attempt in taken.partials]},
        )
        return taken

    return store.database.write(transact, urgent=True)
