"""Staging: content made durable by any worker, for a session elsewhere to take into its set."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable
from typing import BinaryIO, Final, TypeAlias

from castore.content.earlier import EarlierFolder
from castore.content.ingest import Ingestor
from castore.content.matching import FindFile
from castore.database.sink import StageSink, StatCache
from castore.errors import InvalidInput, ObjectNotFound
from castore.model.artifact_set import Content, ExternalContent, FileContent
from castore.model.ids import Id, short
from castore.store.secrets_found import guard_for, refuse
from castore.store.staged import Staged
from castore.store.stages import drop_stages, worker_header
from castore.store.store import Store

__all__ = ["Given", "Staged", "stage"]

_HEAD_BYTES = 512
EXPIRED: Final = "expired"
"""The `state` of what was staged and is not any more, in an ObjectNotFound."""

Given: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Iterable[bytes] | Staged


def stage(
    store: Store,
    content: Given,
    *,
    links: str = "refuse",
    progress: Callable[[int], None] | None = None,
    allow_secrets: Collection[str] = (),
    upload: bytes = b"",
) -> Staged:
    """Store content under a stage of its own, durable on return, in any thread or process.

    `content` is as for `Session.add`; hand the result to the `add` of a session on the same store.
    It is kept from the collector until that commits, or until it is expired like other stages of
    processes that ended. A process that was forked must open the store itself. Where the store is
    a bucket it goes there, below `upload` or one of its own, for a session on any machine. Raises
    InvalidInput, StoreFull, ForkedProcess, SecretsFound but for what `allow_secrets` names; for a
    bucket RemoteError, and ObjectNotFound if `upload` has ended.
    """
    if isinstance(content, Staged):
        return content
    guard = guard_for(store, allow_secrets)
    guard.artifact = hint_of(content)
    session = store.entropy(16)
    cache = StatCache(store.database)
    header = worker_header(store.now(), os.getpid())
    sink = StageSink(store.database, session, header=header, cache=cache)
    try:
        with Ingestor(sink, cache=cache, progress=progress, guard=guard) as ingestor:
            stored, head = store_content(ingestor, content, links)
            refuse(guard, sink.discard)
    except BaseException:
        sink.discard()
        raise
    staged = Staged(store.database.uuid, session, stored, hint_of(content), head)
    far = store.behind.stages if store.behind else None
    if far is None:
        return staged
    try:
        sent: Staged = far.send(staged, upload)
    finally:
        drop_stages(store, [session])
    return sent


def take(store: Store, name: str, staged: Staged) -> Staged:
    """What a worker staged, held here; raises InvalidInput, ObjectNotFound if it expired."""
    if store.behind is not None and store.behind.stages is not None:
        taken: Staged = store.behind.stages.take(name, staged)
        return taken
    if staged.store != store.database.uuid:
        raise InvalidInput(
            f"{name!r} was staged in another store ({staged.store.hex()})",
            fix="stage it in this one",
        )
    id = digest_of(staged.content)
    if not store.database.read(lambda tables: tables.present((id,))):
        raise expired(id, name)
    return staged


def digest_of(content: Content) -> Id:
    """The id of a file's, folder's or external content."""
    if isinstance(content, (FileContent, ExternalContent)):
        return content.digest
    return content.id


def expired(id: Id, name: str = "", run: str = "") -> ObjectNotFound:
    """The error for staged content, or what `run` left, given up before it was committed."""
    what = f"{name!r} ({short(id)})" if name else short(id)
    left = f"what run {run!r} left of" if run else "what was staged for"
    return ObjectNotFound(
        f"{left} {what} has expired and was collected: nothing was committed",
        fix="make the set anew, without --resume" if run else "stage it again",
        id=id.hex(),
        state=EXPIRED,
    )


def hint_of(given: Given) -> str:
    """The name that content was given by, "" if by its bytes."""
    if isinstance(given, Staged):
        return given.hint
    return os.path.basename(given) if isinstance(given, (str, os.PathLike)) else ""


def size_of(given: Given) -> int | None:
    """The size in bytes of content that is a file or in memory, None where it is not known yet."""
    if isinstance(given, (str, os.PathLike)):
        try:
            return os.stat(given).st_size
        except OSError:
            return None
    return len(given) if isinstance(given, (bytes, bytearray)) else None


def store_content(
    ingestor: Ingestor,
    given: Given,
    links: str,
    earlier: EarlierFolder | None = None,
    before: FindFile | None = None,
) -> tuple[Content, bytes]:
    """The stored content, and the first bytes where they are at hand, for guessing.

    `earlier` is the folder that a given one is likely to be much like, `before` finds such a file.
    """
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        if os.path.isdir(path):
            return ingestor.add_folder(path, links=links, earlier=earlier), b""
        return ingestor.add_path(path, earlier=before), b""
    if isinstance(given, (bytes, bytearray, memoryview)):
        data = bytes(given)
        return ingestor.add_bytes(data, before), data[:_HEAD_BYTES]
    if isinstance(given, io.TextIOBase):
        raise InvalidInput("a text file object was given; open it in binary mode")
    read = getattr(given, "read", None)
    if callable(read):
        return ingestor.add_stream(iter(lambda: read(1 << 20), b""), before), b""
    if isinstance(given, (dict, set, Staged)) or not isinstance(given, Iterable):
        raise InvalidInput(
            f"{given!r:.60} cannot be stored: give a path, bytes, a binary file or pieces"
        )
    return ingestor.add_stream(given, before), b""
