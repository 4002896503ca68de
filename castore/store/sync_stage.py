"""Staging in a bucket: what workers anywhere make lies below an upload until one commit names it.

A worker sends packs below an upload that root knows, and hands over the index of them. Whoever
takes it reads what is not content: folders, and lists of chunks, down to what the bucket has
already. Content stays where it is. The commit replaces root, by one compare-and-swap, only while
all those uploads are still registered: then no collector has taken anything below them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import Final

from castore.content.reader import ObjectReader
from castore.database.sink import StageSink
from castore.database.writing import Writing
from castore.errors import InvalidInput, ObjectNotFound, RemoteMoved
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Id
from castore.model.limits import INDEX_BYTES, KIB
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue, Index, IndexWriter
from castore.remote.keys import UPLOAD_BYTES, index_key
from castore.remote.pack import NONCE_BYTES
from castore.remote.root import Root
from castore.remote.transport import Gone, KeyAbsent, Transport
from castore.remote.uploads import registered, renewed
from castore.store.staged import Staged
from castore.store.stages import worker_header
from castore.store.staging import EXPIRED, digest_of, expired
from castore.store.store import Store
from castore.store.sync_need import Moved, find_content
from castore.store.sync_proof import Lacking, Part, Parts, prove
from castore.store.sync_remote import Remote, connect
from castore.store.sync_send import PackSender
from castore.store.sync_take import Intake
from castore.store.sync_walk import LackWalk

_ROWS_BYTES: Final = 4 * KIB
_TRIES: Final = 20


class BucketStages:
    """The `FarStages` of a cache; for any thread. `parts` are what was taken and not published."""

    def __init__(self, store: Store, name: str, transport: Transport) -> None:
        self._store = store
        self._name = name
        self._transport = transport
        self._lock = RLock()
        self._known: Remote | None = None
        self._seen: tuple[Root, Catalogue] | None = None
        self._fetcher = BlockFetcher(transport)
        self.parts = Parts()

    def begin_upload(self) -> bytes:
        """Register an upload for all that is staged for one commit, which ends it."""
        remote = connect(self._store, self._name, self._transport, create=True)
        return self._begin(remote)

    def send(self, staged: Staged, upload: bytes) -> Staged:
        """Take what is staged here to the bucket, below an upload or one of its own.

        Raises ObjectNotFound where the upload has ended, RemoteError, OutcomeUnknown.
        """
        remote = connect(self._store, self._name, self._transport, create=True)
        for _ in range(_TRIES):
            try:
                return remote.at_rest(partial(self._sent, remote, staged, upload))
            except Moved:
                continue
        raise RemoteMoved("what was staged was moved again and again", fix="stage it again")

    def take(self, name: str, staged: Staged) -> Staged:
        """Hold here what a worker staged, without its content; `session` keeps it in the cache.

        What the bucket has of it is looked at down to the last chunk's name: see `prove`.
        """
        id = digest_of(staged.content)
        with self._lock:
            if staged.store != self._remote().bucket.identity.uuid:
                raise InvalidInput(
                    f"{name!r} was staged in another store ({staged.store.hex()})",
                    fix="stage it in this one",
                )
            index = self._index(staged)
            for fresh in (False, True):
                with suppress(Lacking, Gone):
                    return self._taken(name, staged, index, fresh=fresh)
        raise expired(id, name)

    def _begin(self, remote: Remote) -> bytes:
        upload = self._store.entropy(UPLOAD_BYTES)
        remote.bucket.update(partial(registered, upload=upload), upload=upload)
        return upload

    def _keep(self, remote: Remote, root: Root, upload: bytes) -> None:
        """Have the upload of others outlast collections; raises ObjectNotFound where it ended."""

        def change(root: Root) -> Root | None:
            if upload not in root.uploads:
                raise ended(upload)
            return renewed(root, upload)

        if change(root) is not None:
            remote.bucket.update(change, upload=upload)

    def _sent(
        self, remote: Remote, staged: Staged, upload: bytes, root: Root, there: Catalogue
    ) -> Staged:
        id = digest_of(staged.content)
        there_now = replace(staged, store=remote.bucket.identity.uuid, session=b"")
        if upload:
            self._keep(remote, root, upload)
        need = find_content(self._store, id, there, root.purged)
        if id in root.purged:
            raise InvalidInput(f"{id.hex()} was purged from {self._transport.url}", id=id.hex())
        if not need.objects:
            return there_now
        upload = upload or self._begin(remote)
        sent = PackSender(remote, upload, there, noted=False).send(need)
        writer = IndexWriter()
        for index in sent.indexes:
            writer.add_index(index)
        name, data = writer.finish(self._store.entropy(NONCE_BYTES))
        if len(data) > _ROWS_BYTES:
            self._transport.put(index_key(upload, name), data)
            data = b""
        return replace(there_now, upload=upload, index=name, rows=data)

    def _remote(self) -> Remote:
        if self._known is None:
            self._known = connect(self._store, self._name, self._transport)
        return self._known

    def _there(self, *, fresh: bool) -> tuple[Root, Catalogue]:
        """A root and what it leads to, as it was a while ago or is now."""
        if self._seen is None or fresh:
            self._seen = self._remote().at_rest(lambda root, there: (root, there))
        return self._seen

    def _index(self, staged: Staged) -> Index | None:
        """The index of what was staged; None where nothing was sent, or that is gone."""
        if not staged.index:
            return None
        data = staged.rows
        if not data:
            key = index_key(staged.upload, staged.index)
            try:
                data = self._transport.get(key, 0, INDEX_BYTES + 1).data
            except KeyAbsent:
                return None
        return Index(data, staged.index)

    def _taken(self, name: str, staged: Staged, index: Index | None, *, fresh: bool) -> Staged:
        """What is staged, looked at and held; raises Lacking, Gone.

        What leans on the bucket must do so as it is now.
        """
        id = digest_of(staged.content)
        root, there = self._there(fresh=fresh)
        part: Part | None = None
        if index is not None:
            part = prove(name, staged.content, staged.upload, index, root, there, self._fetcher)
        if not fresh and (part is None or part.leans):
            raise Lacking(f"{id.hex()} may need what is there no more", id=id.hex())
        if part is None and not there.has(id):
            raise Lacking(f"{id.hex()}, staged for {name!r}, is not there", id=id.hex())
        both = there if part is None else Catalogue((*there.indexes, part.index))
        session = self._hold(staged, root, both)
        if part is not None and not there.has(id):
            self.parts.add(part)
        return replace(staged, session=session)

    def _hold(self, staged: Staged, root: Root, both: Catalogue) -> bytes:
        """Keep in the cache what of it is not content, and that the bucket has the rest."""
        content = staged.content
        far = FarObjects(both, self._fetcher)
        walk = LackWalk(self._store, both, ObjectReader(far.load), root, contents=False)
        if isinstance(content, TreeContent):
            walk.folders([content.id])
        elif isinstance(content, FileContent):
            walk.leave([content.digest])
        session = self._store.entropy(16)
        header = worker_header(self._store.now(), os.getpid())
        sink = StageSink(self._store.database, session, header=header)
        try:
            intake = Intake(self._store, sink, self._fetcher, far, walk.lack)
            intake.promises()
            intake.objects()
            id = digest_of(content)
            self._store.database.write(partial(_stage, session=session, header=header, id=id))
        except BaseException:
            sink.discard()
            raise
        return session


def _stage(tables: Writing, session: bytes, header: bytes, id: Id) -> None:
    tables.put_stage(session, header)
    tables.add_stage_batch(session, (id,))


def ended(upload: bytes) -> ObjectNotFound:
    """The error for an upload that was published, or given up by collections of the bucket."""
    return ObjectNotFound(
        f"upload {upload.hex()} has ended: nothing more can be staged below it",
        fix="begin another, and stage everything again",
        id=upload.hex(),
        state=EXPIRED,
    )
