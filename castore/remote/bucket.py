"""The bucket: who it is, its root read with suspicion and replaced by compare-and-swap."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from castore.errors import (
    CastoreError,
    CorruptObject,
    InvalidInput,
    OutcomeUnknown,
    RemoteMoved,
    RemoteUnavailable,
    UnsupportedFormat,
)
from castore.model.ids import Id
from castore.model.limits import INDEX_BYTES, MIB, ROOT_BYTES
from castore.remote.index import Catalogue, Index, IndexWriter
from castore.remote.keys import IDENTITY, ROOT, UPLOAD_BYTES, index_key, list_key, root_key
from castore.remote.pack import NONCE_BYTES
from castore.remote.root import IndexName, Root, decode_root, encode_root
from castore.remote.transport import Gone, KeyAbsent, Transport

_FORMAT: Final = 1
_UUID_BYTES: Final = 16
_IDENTITY_BYTES: Final = 4096
_LIST_BYTES: Final = 4 * MIB
# What helps where the root is gone: copies of it are kept.
REPAIR: Final = "cas remote repair NAME"
CHECK: Final = "cas fsck --remote NAME"
ROOTS_KEPT: Final = 20
ATTEMPTS: Final = 100
_PAUSE_FIRST: Final = 0.02
_PAUSE_MOST: Final = 2.0


class BucketIdentity(NamedTuple):
    """Which bucket it is and which project's versions it holds, 16 bytes each."""

    project: bytes
    uuid: bytes


class Seen(NamedTuple):
    """What was seen of a bucket before: it may not go back behind that."""

    uuid: bytes
    serial: int
    notes: int


class View(NamedTuple):
    """A root as it was read, and the tag by which it may be replaced."""

    root: Root
    etag: str


class IndexCache(Protocol):
    """Keeps the bytes of indexes that were fetched; it may forget any at any time."""

    def index(self, id: Id) -> bytes | None:
        """The bytes kept of an index."""

    def keep_index(self, id: Id, data: bytes) -> None:
        """Keep them."""


def look(transport: Transport) -> BucketIdentity | None:
    """Which bucket this is; None for a place where there is none yet.

    Ends the making of one that was interrupted. Raises CorruptObject for one that lost its root.
    """
    try:
        return read_identity(transport)
    except KeyAbsent:
        try:
            root = decode_root_of(transport, transport.get(ROOT, 0, ROOT_BYTES + 1).data)
        except KeyAbsent:
            return None
        identity = BucketIdentity(root.project, root.uuid)
        put_identity(transport, identity)
        return identity


def read_identity(transport: Transport) -> BucketIdentity:
    """What `castore.json` says; raises KeyAbsent, CorruptObject, UnsupportedFormat."""
    return _read_identity(transport.get(IDENTITY, 0, _IDENTITY_BYTES).data, transport.url)


def put_identity(transport: Transport, identity: BucketIdentity) -> None:
    """Write `castore.json`, unless somebody else did."""
    with suppress(RemoteMoved):
        transport.put(IDENTITY, identity_text(identity), if_absent=True)


def encode_same_root(root: Root) -> bytes:
    """The bytes of a root whose long lists are as they were read."""
    return encode_root(root, _no_page)


def create_bucket(
    transport: Transport, project: bytes, entropy: Callable[[int], bytes]
) -> BucketIdentity:
    """Make a place a bucket of this project, or take the one that somebody else made meanwhile."""
    root = Root(project, entropy(_UUID_BYTES))
    data = encode_root(root, _no_page)
    with suppress(RemoteMoved, OutcomeUnknown):
        transport.put(ROOT, data, if_absent=True)
    identity = look(transport)
    if identity is None:
        raise RemoteUnavailable(f"{transport.url}: what was written cannot be read back")
    return identity


class Bucket:
    """An existing bucket; for one thread at a time.

    `client` (16 bytes) is who writes; `seen` what it saw of this bucket before. `sleep` is given
    seconds between attempts when others write at once. Raises CorruptObject if it is not the
    bucket that was seen.
    """

    def __init__(
        self,
        transport: Transport,
        identity: BucketIdentity,
        *,
        client: bytes,
        entropy: Callable[[int], bytes],
        seen: Seen | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if seen is not None and seen.uuid != identity.uuid:
            raise CorruptObject(
                f"{transport.url} is another bucket ({identity.uuid.hex()}) than the one it was "
                f"({seen.uuid.hex()})",
                where=IDENTITY,
                fix=REPAIR,
            )
        self.transport = transport
        self.identity = identity
        self._client = client
        self._entropy = entropy
        self._sleep = sleep
        self._serial = seen.serial if seen else 0
        self._notes = seen.notes if seen else 0

    @property
    def url(self) -> str:
        """Where it is."""
        return self.transport.url

    @property
    def seen(self) -> Seen:
        """What was seen of it until now, to be remembered."""
        return Seen(self.identity.uuid, self._serial, self._notes)

    def read(self) -> View:
        """The root as it is now.

        Raises CorruptObject where there is none, it is malformed, of another bucket, or older than
        one that was seen before.
        """
        root, etag = self._read()
        if (root.project, root.uuid) != self.identity:
            raise self._damaged("its root is of another bucket than castore.json says", REPAIR)
        if root.serial < self._serial:
            raise self._damaged(
                f"its root is older ({root.serial}) than the one seen before ({self._serial}): "
                "it was put back, or the server withholds what was written",
                fix=REPAIR,
            )
        if root.notes.notes < self._notes:
            raise self._damaged(
                f"it has {root.notes.notes} notes where {self._notes} were seen before", REPAIR
            )
        self._serial, self._notes = root.serial, root.notes.notes
        return View(root, etag)

    def _read(self) -> tuple[Root, str]:
        """The root, whose pages a collector may have removed since it was read: then another is."""
        before = ""
        while True:
            try:
                got = self.transport.get(ROOT, 0, ROOT_BYTES + 1)
            except KeyAbsent:
                raise self._damaged(
                    "it has no root: it was removed, or never arrived", fix=REPAIR
                ) from None
            try:
                return decode_root_of(self.transport, got.data), got.etag
            except Gone:
                if got.etag == before:
                    raise
                before = got.etag

    def update(
        self,
        change: Callable[[Root], Root | None],
        *,
        landed: Callable[[Root], bool] = lambda _: False,
        upload: bytes = b"",
    ) -> Root:
        """Replace the root by what `change` makes of it, until that lands; the root it is then.

        `change` is called again for each root found meanwhile; None leaves that as it is, and what
        it raises ends the attempt. `landed` tells from a root that this change is in it already.
        Pages of long lists go below `upload`. Raises RemoteMoved where others are always faster,
        OutcomeUnknown where nothing tells whether it landed: the same update again does no harm.
        """
        write = self._entropy(UPLOAD_BYTES)
        unknown: OutcomeUnknown | None = None
        for attempt in range(ATTEMPTS):
            view = self.read()
            if view.root.wrote(self._client, write) or (unknown and landed(view.root)):
                return view.root
            if view.root.features:
                raise UnsupportedFormat(
                    f"{self.url}: writing needs {', '.join(view.root.features)}, "
                    "which this castore does not know"
                )
            changed = change(view.root)
            if changed is None:
                return view.root
            serial = view.root.serial + 1
            writes = view.root.noting(self._client, write)
            changed = replace(changed, serial=serial, writes=writes)
            data = self._encoded(changed, upload)
            try:
                self.transport.replace(ROOT, data, view.etag)
            except RemoteMoved:
                self._pause(attempt)
                continue
            except OutcomeUnknown as error:
                unknown = error
                self._pause(attempt)
                continue
            self._serial, self._notes = serial, changed.notes.notes
            self._keep_for_repair(serial, data)
            return changed
        if unknown is not None:
            raise OutcomeUnknown(
                f"{self.url}: nothing tells whether the last write landed: {unknown.message}",
                fix="do the same again: it does no harm",
            )
        raise RemoteMoved(
            f"{self.url}: others wrote to it {ATTEMPTS} times in a row", fix="do the same again"
        )

    def catalogue(self, root: Root, cache: IndexCache) -> Catalogue:
        """All indexes that a root lists; raises CorruptObject."""
        return Catalogue([self._index(name, cache) for name in root.indexes])

    def put_index(self, upload: bytes, writer: IndexWriter, cache: IndexCache) -> IndexName:
        """Store an index below an upload; what a root lists it as."""
        id, data = writer.finish(self._entropy(NONCE_BYTES))
        index = Index(data, id)
        self.transport.put(index_key(upload, id), data)
        cache.keep_index(id, data)
        return IndexName(upload, id, index.blocks_count, index.members_count, len(data))

    def _index(self, name: IndexName, cache: IndexCache) -> Index:
        kept = cache.index(name.id)
        if kept is not None:
            with suppress(CorruptObject):
                return Index(kept, name.id)
        index = self.fetch_index(name)
        cache.keep_index(name.id, index.data)
        return index

    def fetch_index(self, name: IndexName) -> Index:
        """An index as it is in the bucket now; raises Gone, CorruptObject."""
        try:
            data = self.transport.get(index_key(name.upload, name.id), 0, INDEX_BYTES + 1).data
        except KeyAbsent:
            raise Gone(
                f"{self.url} is damaged: index {name.id.hex()}, which its root lists, is gone",
                where="index",
            ) from None
        return Index(data, name.id)

    def _encoded(self, root: Root, upload: bytes) -> bytes:
        def write_page(id: Id, data: bytes) -> bytes:
            if not upload:
                raise InvalidInput("a long list changes only with an upload")
            self.transport.put(list_key(upload, id), data)
            return upload

        data = encode_root(root, write_page)
        if len(data) > ROOT_BYTES:
            raise InvalidInput(
                f"{self.url}: its root would have {len(data)} bytes, more than {ROOT_BYTES}",
                fix="cas gc --remote, or use several buckets",
            )
        return data

    def _keep_for_repair(self, serial: int, data: bytes) -> None:
        """Copies that nothing but a repair reads: one that is missing does no harm."""
        with suppress(CastoreError):
            self.transport.put(root_key(serial), data)
            if serial > ROOTS_KEPT:
                self.transport.delete([root_key(serial - ROOTS_KEPT)])

    def _pause(self, attempt: int) -> None:
        share = int.from_bytes(self._entropy(2)) / 65535
        self._sleep(min(_PAUSE_MOST, _PAUSE_FIRST * 2 ** min(attempt, 10)) * share)

    def _damaged(self, what: str, fix: str = "") -> CorruptObject:
        return CorruptObject(f"{self.url} is damaged: {what}", where=ROOT, fix=fix)


def decode_root_of(transport: Transport, data: bytes) -> Root:
    """The root with these bytes, its pages fetched; raises CorruptObject, UnsupportedFormat."""

    def read_page(upload: bytes, id: Id) -> bytes:
        try:
            return transport.get(list_key(upload, id), 0, _LIST_BYTES + 1).data
        except KeyAbsent:
            raise Gone(
                f"{transport.url}: a page of its root, {id.hex()}, is gone", where=ROOT, fix=REPAIR
            ) from None

    try:
        return decode_root(data, read_page)
    except Gone:
        raise
    except CorruptObject as error:
        raise CorruptObject(
            f"{transport.url} is damaged: {error.message}", where=ROOT, fix=REPAIR
        ) from None


def identity_text(identity: BucketIdentity) -> bytes:
    """What `castore.json` says of a bucket."""
    value = {
        "castore": _FORMAT,
        "project": identity.project.hex(),
        "uuid": identity.uuid.hex(),
    }
    return json.dumps(value).encode() + b"\n"


def _read_identity(data: bytes, url: str) -> BucketIdentity:
    try:
        value = json.loads(data)
        version = value["castore"]
        identity = BucketIdentity(bytes.fromhex(value["project"]), bytes.fromhex(value["uuid"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _malformed(url) from None
    if "encryption" in value:
        raise UnsupportedFormat(f"{url} is encrypted; this castore cannot read it")
    if version != _FORMAT:
        raise UnsupportedFormat(f"{url} has format {version!r:.40}; this castore knows {_FORMAT}")
    if any(len(part) != _UUID_BYTES for part in identity):
        raise _malformed(url)
    return identity


def _malformed(url: str) -> CorruptObject:
    return CorruptObject(
        f"{url} is damaged: its {IDENTITY} is malformed", where=IDENTITY, fix=REPAIR
    )


def _no_page(_id: Id, _data: bytes) -> bytes:
    raise InvalidInput("a new bucket has no long lists")
