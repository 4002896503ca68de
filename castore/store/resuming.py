"""Resuming: a session holds what it goes on from, so that nothing takes it away meanwhile."""

from __future__ import annotations

from castore.content.sink import Batch
from castore.database.sink import StageSink
from castore.database.writing import Writing
from castore.model.artifact_set import ExternalContent
from castore.model.ids import Id
from castore.store.intent import Resumed
from castore.store.stages import encode_staged
from castore.store.staging import digest_of, expired
from castore.store.store import Store


def hold(sink: StageSink, resumed: Resumed, run: str) -> None:
    """Stage what a session goes on from as its own, durable on return.

    From then on the collector keeps it whatever becomes of the incomplete set it was of. Raises
    ObjectNotFound for what was collected since that was read.
    """
    names = held(resumed)
    for artifact in resumed.artifacts.values():
        if not isinstance(artifact.content, ExternalContent):
            sink.stage_entry(artifact.name, encode_staged(artifact))
    vanished = sink.write(Batch(relied=names))
    if vanished:
        id = min(vanished)
        raise expired(id, names[id], run)


def held(resumed: Resumed) -> dict[Id, str]:
    """The stored contents that a session goes on from, each with an artifact's name."""
    return {
        digest_of(artifact.content): artifact.name
        for artifact in resumed.artifacts.values()
        if not isinstance(artifact.content, ExternalContent)
    }


def let_go(store: Store, session: bytes, resumed: Resumed) -> bool:
    """End the stage of a session that added nothing to what it goes on from; if it did, False.

    Its stage stays as well when anything of that was given up meanwhile.
    """
    own = held(resumed)

    def transact(tables: Writing) -> bool:
        if any(id not in own for id in tables.staged_ids(session)):
            return False
        if any(tables.stage(earlier) is None for earlier in resumed.sessions):
            return False
        if resumed.ref is not None and tables.ref(resumed.ref[0]) != resumed.ref[1]:
            return False
        tables.drop_stage(session)
        return True

    return store.database.write(transact)
