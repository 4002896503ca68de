"""A remote as a store knows it: the bucket behind a name, and what was noted of it.

A row of `uploads`, by the name of the remote, tells what was seen of the bucket, so that it cannot
go back, and how far a push came, so that the next goes on. Indexes that were fetched or are to be
sent lie in `located`, which may be emptied at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from castore.database.writing import Writing
from castore.errors import CorruptObject, InvalidInput, RemoteMoved, StoreFull
from castore.model.encoding import decode, encode
from castore.model.fields import Fields, read_row
from castore.model.ids import Id
from castore.model.limits import ID_BYTES, MIB
from castore.remote.bucket import REPAIR, Bucket, Seen, create_bucket, look
from castore.remote.index import Catalogue, Index
from castore.remote.keys import UPLOAD_BYTES
from castore.remote.root import Root
from castore.remote.transport import Gone, Transport
from castore.store.store import Store

Result = TypeVar("Result")

_TRIES: Final = 10
_EMPTIED: Final = "see that it is the right place, and mounted"
_KEYS: Final = ("notes", "packs", "serial", "upload", "uuid")
_STATE_BYTES: Final = 4 * MIB
_PACKS_MAX: Final = 32_768


class SentPack(NamedTuple):
    """A pack that a push has sent, and the index of it alone, kept in `located`."""

    pack: Id
    alone: Id


class RemoteState(NamedTuple):
    """What is noted of a remote; without `seen` it was never reached."""

    seen: Seen | None = None
    upload: bytes = b""
    packs: tuple[SentPack, ...] = ()


class Remote:
    """A bucket as one store knows it under a name; for one thread at a time."""

    def __init__(self, store: Store, name: str, bucket: Bucket, state: RemoteState) -> None:
        self.store = store
        self.name = name
        self.bucket = bucket
        self.state = state

    @property
    def transport(self) -> Transport:
        """How the bucket is reached."""
        return self.bucket.transport

    def index(self, id: Id) -> bytes | None:
        """The bytes kept of an index."""
        return self.store.database.read(lambda tables: tables.located(self._key(id)))

    def keep_index(self, id: Id, data: bytes) -> None:
        """Keep an index that was fetched; a full disk only makes the next one slower."""
        with suppress(StoreFull):
            self.store.database.write(lambda tables: tables.put_located(self._key(id), data))

    def at_rest(self, work: Callable[[Root, Catalogue], Result]) -> Result:
        """What `work` makes of a root and all that it leads to, which nobody changes meanwhile.

        Where a collector of the bucket removes what the root led to, all begins anew.
        """
        for _ in range(_TRIES):
            root = self.bucket.read().root
            try:
                return work(root, self.bucket.catalogue(root, self))
            except Gone:
                if self.bucket.read().root.serial == root.serial:
                    raise
        raise RemoteMoved(
            f"{self.bucket.url}: it was collected {_TRIES} times while it was read",
            fix="do the same again",
        )

    def sent(self) -> list[Index]:
        """The indexes of the packs that an interrupted push has sent."""
        found = []
        for pack in self.state.packs:
            data = self.index(pack.alone)
            if data is not None:
                with suppress(CorruptObject):
                    found.append(Index(data, pack.alone))
        return found

    def begin_upload(self, upload: bytes) -> None:
        """Note the upload that packs are sent under from now on."""
        self._note(self.state._replace(upload=upload, packs=()))

    def note_sent(self, pack: Id, index: Id, data: bytes) -> None:
        """Note that a pack was sent, so that it is not sent again; once, however often."""
        if any(sent.pack == pack for sent in self.state.packs):
            return
        state = self.state._replace(packs=(*self.state.packs, SentPack(pack, index)))

        def transact(tables: Writing) -> None:
            tables.put_located(self._key(index), data)
            self._put(tables, state)

        self.store.database.write(transact, room=len(data))
        self.state = state

    def note_seen(self, tables: Writing, *, finished: bool = False) -> None:
        """Note in a transaction what was seen by now; with `finished` that a push has ended."""
        state = self.state._replace(seen=self.bucket.seen)
        if finished:
            for pack in state.packs:
                tables.drop_located(self._key(pack.alone))
            state = state._replace(packs=())
        self._put(tables, state)
        self.state = state

    def drop_unlisted(self, tables: Writing, listed: Iterable[Id]) -> None:
        """Forget the indexes that the root does not list any more."""
        prefix = self._key(b"")
        keep = {self._key(id) for id in listed} | {self._key(p.alone) for p in self.state.packs}
        for key in tables.located_keys(prefix):
            if key not in keep:
                tables.drop_located(key)

    def _note(self, state: RemoteState) -> None:
        self.store.database.write(lambda tables: self._put(tables, state))
        self.state = state

    def _put(self, tables: Writing, state: RemoteState) -> None:
        """Write the row; what another process saw of the bucket meanwhile stays seen."""
        row = tables.upload(self.name)
        noted = decode_state(row).seen if row is not None else None
        seen = state.seen
        if noted and (not seen or (noted.uuid == seen.uuid and noted.serial > seen.serial)):
            state = state._replace(seen=noted)
        tables.put_upload(self.name, encode_state(state))

    def _key(self, index: Id) -> bytes:
        return self.name.encode() + b"\0" + index


def connect(
    store: Store,
    name: str,
    transport: Transport,
    *,
    create: bool = False,
    sleep: Callable[[float], None] | None = None,
) -> Remote:
    """The remote behind a transport; with `create` a place without a bucket becomes one.

    Raises InvalidInput where there is none, or it is of another project; CorruptObject.
    """
    state = noted(store, name)
    identity = look(transport)
    if identity is None and state.seen is not None:
        raise emptied(transport.url)
    if identity is None and not create:
        raise InvalidInput(
            f"{transport.url} is empty: nothing was pushed to it", fix=f"cas push {name}"
        )
    if identity is None:
        identity = create_bucket(transport, store.database.project, store.entropy)
    if identity.project != store.database.project:
        raise InvalidInput(
            f"{transport.url} holds another project ({identity.project.hex()}) than this store "
            f"({store.database.project.hex()})",
            fix=REPAIR if state.seen else f"cas clone {transport.url} DIR, and commit there",
        )
    given: dict[str, Any] = {} if sleep is None else {"sleep": sleep}
    bucket = Bucket(
        transport,
        identity,
        client=store.database.uuid,
        entropy=store.entropy,
        seen=state.seen,
        **given,
    )
    return Remote(store, name, bucket, state)


def emptied(url: str) -> CorruptObject:
    """What to raise where there is no bucket any more."""
    return CorruptObject(
        f"{url} is empty, and was not when it was seen last", where="castore.json", fix=_EMPTIED
    )


def noted(store: Store, name: str) -> RemoteState:
    """What is noted of the remote of this name."""
    row = store.database.read(lambda tables: tables.upload(name))
    return RemoteState() if row is None else decode_state(row)


def encode_state(state: RemoteState) -> bytes:
    """The row of `uploads` for what is noted of a remote."""
    seen = state.seen or Seen(b"", 0, 0)
    return encode(
        {
            "notes": seen.notes,
            "packs": [list(pack) for pack in state.packs],
            "serial": seen.serial,
            "upload": state.upload,
            "uuid": seen.uuid,
        }
    )


def decode_state(row: bytes) -> RemoteState:
    """What such a row tells; raises CorruptObject."""
    fields = Fields(decode(row, limit=_STATE_BYTES, what="uploads"), "uploads", _KEYS)
    uuid = fields.blob("uuid", (0, UPLOAD_BYTES))
    seen = Seen(uuid, fields.integer("serial", 0), fields.integer("notes", 0)) if uuid else None
    return RemoteState(
        seen,
        fields.blob("upload", (0, UPLOAD_BYTES)),
        fields.items("packs", _read_sent, _PACKS_MAX, sort=False),
    )


def _read_sent(value: object, what: str) -> SentPack:
    pack, index = read_row(value, what, bytes, bytes)
    if len(pack) != ID_BYTES or len(index) != ID_BYTES:
        raise CorruptObject(f"{what}: not an id")
    return SentPack(pack, index)
