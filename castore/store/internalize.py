"""Internalizing: the bytes of external artifacts stored here, and no id changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from castore.content.ingest import Ingestor
from castore.database.sink import StageSink
from castore.database.writing import Writing
from castore.errors import CorruptObject, ObjectNotFound, RemoteError
from castore.model.artifact_set import ExternalContent
from castore.remote.elsewhere import reach
from castore.store.collect_roots import INTERNALIZE
from castore.store.externals_verify import external_artifacts, told
from castore.store.stages import worker_header
from castore.store.store import Store, held_file
from castore.store.version import Version


@dataclass(frozen=True, slots=True)
class Brought:
    """What bringing in did: artifacts whose bytes are here now, were here, or are not pinned."""

    version: Version
    brought: tuple[str, ...]
    held: tuple[str, ...]
    unpinned: tuple[str, ...]
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "id": self.version.id.hex(),
            "label": self.version.label,
            "brought": list(self.brought),
            "held": list(self.held),
            "unpinned": list(self.unpinned),
            "bytes": self.bytes,
        }


def internalize(
    store: Store,
    version: Version,
    names: Sequence[str] = (),
    *,
    by: str = "",
    proxies: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Brought:
    """Store the bytes of external artifacts here; no id changes, and versions stay as they are.

    Only what has a known digest: other bytes are refused, CorruptObject, and nothing of them kept
    but until a collection. They stay as long as a version says their digest. Raises RemoteError,
    ObjectNotFound for what was purged, StoreFull.
    """
    brought: list[str] = []
    held: list[str] = []
    unpinned: list[str] = []
    size = 0
    for artifact, content, uri, _ in external_artifacts(store, version, names):
        if not content.digest:
            unpinned.append(artifact.name)
        elif held_file(store, content) is not None:
            held.append(artifact.name)
        else:
            size += _bring(store, version, artifact.name, content, uri, by, proxies, progress)
            brought.append(artifact.name)
    return Brought(version, tuple(brought), tuple(held), tuple(unpinned), size)


def _bring(
    store: Store,
    version: Version,
    name: str,
    content: ExternalContent,
    uri: str,
    by: str,
    proxies: Mapping[str, str] | None,
    progress: Callable[[int], None] | None,
) -> int:
    if store.database.read(lambda tables: tables.purged(content.digest)) is not None:
        raise ObjectNotFound(
            f"{name!r} of {version.label} was purged, and is not taken in again",
            id=content.digest.hex(),
            state="purged",
        )
    if not uri:
        raise RemoteError(f"{name!r} of {version.label}: no address is recorded")
    session = store.entropy(16)
    sink = StageSink(store.database, session, header=worker_header(store.now(), os.getpid()))
    ingestor = Ingestor(sink)
    try:
        with reach(uri, proxies) as found:
            limit = content.size if content.size >= 0 else found.size
            stored = ingestor.add_stream(told(found.pieces, progress, limit))
        if stored.digest != content.digest:
            raise CorruptObject(
                f"{uri} is {stored.digest.hex()}, and {name!r} of {version.label} is "
                f"{content.digest.hex()}: it changed since it was recorded",
                id=content.digest.hex(),
                where=uri,
                fix=f"cas verify-external {version.label}",
            )
        ingestor.flush()
        at = store.now()

        def transact(tables: Writing) -> None:
            # The collector takes this for a root, whatever it has marked until now.
            detail = {"artifact": name, "held": [content.digest], "version": version.id}
            tables.append_operation(INTERNALIZE, at=at, by=by, detail=detail)
            tables.bump_generation()
            tables.drop_stage(session)

        store.database.write(transact)
    except BaseException:
        sink.discard()
        raise
    finally:
        ingestor.close()
    return stored.size
