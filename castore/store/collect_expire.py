"""Giving up incomplete sets that nobody went on with: dead sessions and sealed partials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from castore.database.writing import Writing
from castore.model.ids import Id
from castore.model.refs import PARTIALS, split_partial
from castore.store.collect_roots import content_ids
from castore.store.intent import UNKNOWN_RUN
from castore.store.stages import staged_sessions
from castore.store.store import Store


@dataclass(frozen=True, slots=True)
class Expired:
    """Incomplete sets to give up: (run, branch) of all, their sessions, refs, and what they hold.

    A ref comes with the id it names. `ids` are roots that they no longer are.
    """

    partials: tuple[tuple[str, str], ...] = ()
    sessions: tuple[bytes, ...] = ()
    refs: tuple[tuple[str, Id], ...] = ()
    ids: tuple[Id, ...] = ()

    def names(self, *, refs: bool) -> Iterator[bytes | str]:
        """What counts as no root: the sessions, and the refs unless the log holds them anyway."""
        return chain(self.sessions, (name for name, _ in self.refs if refs))


def expired_partials(store: Store, before: int) -> Expired:
    """The incomplete sets begun before a moment (microseconds UTC) whose process is gone."""
    partials: list[tuple[str, str]] = []
    sessions: list[bytes] = []
    refs: list[tuple[str, Id]] = []
    ids: list[Id] = []
    for stage in staged_sessions(store):
        if stage.header.alive or stage.header.at >= before:
            continue
        partials.append((stage.header.run or UNKNOWN_RUN, stage.header.branch))
        sessions.append(stage.id)
        ids += (id for artifact in stage.artifacts.values() for id in content_ids(artifact))
        ids += store.database.read(
            lambda tables, session=stage.id: list(tables.staged_ids(session))  # type: ignore[misc]
        )
    for name, id in store.database.read(lambda tables: tables.refs(PARTIALS)):
        if store.version(id).manifest.at < before:
            partials.append(split_partial(name))
            refs.append((name, id))
            ids.append(id)
    return Expired(
        tuple(dict.fromkeys(partials)), tuple(sessions), tuple(refs), tuple(dict.fromkeys(ids))
    )


def expire(store: Store, given_up: Expired, *, by: str) -> None:
    """Take these sessions and refs away, with an entry in the log; refs that moved stay."""
    if not (given_up.sessions or given_up.refs):
        return
    at = store.now()

    def transact(tables: Writing) -> None:
        moved = []
        for name, id in given_up.refs:
            if tables.remove_if_equals(name, id):
                moved.append((name, id, b""))
        for session in given_up.sessions:
            tables.drop_stage(session)
        tables.bump_generation()
        detail = {"partials": [list(partial) for partial in given_up.partials]}
        tables.append_operation("partial-expire", at=at, by=by, refs=moved, detail=detail)

    store.database.write(transact, urgent=True)
