"""Faults planted into the protocol of buckets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from castore.remote.collect import _Collection
from castore.remote.keys import INDEXES, LISTS, PACKS, UPLOAD_BYTES
from castore.remote.memory import MemoryTransport
from castore.remote.root import Root, seal_notes
from castore.remote.sending import PackQueue
from castore.store import sync_push
from castore.store.sync_need import Need
from castore.store.sync_push import _Push
from castore.store.sync_remote import Remote
from castore.store.sync_send import PackSender


class Mutant(NamedTuple):
    """A fault: what it does, and what plants it into this process."""

    says: str
    plant: Callable[[], None]


def _relied_unchecked() -> None:
    Need.stands = lambda _self, _there: True  # type: ignore[method-assign]


def _listed_late() -> None:
    original = _Collection._gone

    def gone(self: Any, root: Root, dropped: Any = ()) -> list[str]:
        self._listed = {
            item.key: item.size
            for prefix in (PACKS, INDEXES, LISTS)
            for item in self._bucket.transport.list(prefix)
        }
        return original(self, root, dropped)

    _Collection._gone = gone  # type: ignore[method-assign]


class _Believing:
    """A bucket whose root knows of an upload, for whoever asks."""

    def __init__(self, bucket: Any, upload: bytes) -> None:
        self._bucket = bucket
        self._upload = upload

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def update(self, change: Any, **options: Any) -> Root:
        def believing(root: Root) -> Any:
            return change(replace(root, uploads={**root.uploads, self._upload: 0}))

        found: Root = self._bucket.update(believing, **options)
        return found


def _never_evicted() -> None:
    original = _Push._publish

    def publish(self: Any, upload: bytes, *given: Any) -> Root:
        bucket = self._bucket
        self._bucket = _Believing(bucket, upload)
        try:
            return original(self, upload, *given)
        finally:
            self._bucket = bucket

    _Push._publish = publish  # type: ignore[method-assign]


def _unregistered() -> None:
    def register(self: Any) -> bytes:
        upload: bytes = self._store.entropy(UPLOAD_BYTES)
        self._remote.begin_upload(upload)
        return upload

    _Push._register = register  # type: ignore[method-assign]
    _never_evicted()


def _same_names() -> None:
    original = PackQueue.__init__

    def register(self: Any) -> bytes:
        upload: bytes = self._store.database.uuid
        self._bucket.update(
            lambda root: replace(root, uploads={**root.uploads, upload: root.gc_round})
        )
        self._remote.begin_upload(upload)
        return upload

    def init(self: Any, transport: Any, upload: bytes, _entropy: Any, arrived: Any) -> None:
        original(self, transport, upload, bytes, arrived)

    _Push._register = register  # type: ignore[method-assign]
    PackQueue.__init__ = init  # type: ignore[method-assign]


def _writes_unknown() -> None:
    Root.wrote = lambda _self, _client, _write: False  # type: ignore[method-assign]


def _unconditional() -> None:
    def blind(self: MemoryTransport, key: str, data: bytes, etag: str) -> str:
        return self.put(key, data)

    MemoryTransport.replace = blind  # type: ignore[method-assign]


def _uploads_unheeded() -> None:
    original = _Collection._gone

    def gone(self: Any, root: Root, dropped: Any = ()) -> list[str]:
        return original(self, replace(root, uploads={}), dropped)

    _Collection._gone = gone  # type: ignore[method-assign]


def _notes_replaced() -> None:
    original = _Push._publish

    def publish(self: Any, *given: Any) -> Root:
        seen = self._there.ids_of(sync_push.Kind.NOTE) | self.plan.need.notes
        sync_push.seal_notes = lambda _ids: seal_notes(seen)
        try:
            return original(self, *given)
        finally:
            sync_push.seal_notes = seal_notes

    _Push._publish = publish  # type: ignore[method-assign]


def _marked_unchecked() -> None:
    def blind(self: Any, upload: bytes, indexes: Any) -> Root:
        def change(root: Root) -> Root:
            uploads = {known: at for known, at in root.uploads.items() if known != upload}
            return replace(root, indexes=indexes, uploads=uploads, gc_round=root.gc_round + 1)

        found: Root = self._bucket.update(change, upload=upload)
        return found

    _Collection._replace = blind  # type: ignore[method-assign]


def _resumed_whole() -> None:
    original = PackSender._standing

    def standing(self: Any, need: Any) -> Any:
        need.among = lambda _tables, ids: [True] * len(ids)
        try:
            return original(self, need)
        finally:
            del need.among

    PackSender._standing = standing  # type: ignore[method-assign]


def _stale_readers() -> None:
    def at_once(self: Remote, work: Any) -> Any:
        root = self.bucket.read().root
        return work(root, self.bucket.catalogue(root, self))

    Remote.at_rest = at_once  # type: ignore[method-assign]


MUTANTS = {
    "relied-unchecked": Mutant("a push does not look again what it relied on", _relied_unchecked),
    "listed-late": Mutant("a collection lists keys after it replaced root", _listed_late),
    "unregistered": Mutant("packs are sent under an upload that root does not know", _unregistered),
    "never-evicted": Mutant("a push does not see that its upload was given up", _never_evicted),
    "same-names": Mutant("packs are named by what is in them, uploads by their store", _same_names),
    "writes-unknown": Mutant("an answer that was lost is not looked for", _writes_unknown),
    "unconditional": Mutant("root is replaced whoever wrote it last", _unconditional),
    "uploads-unheeded": Mutant("a collection removes what is being sent", _uploads_unheeded),
    "notes-replaced": Mutant("a push tells of the notes that it knew of", _notes_replaced),
    "marked-unchecked": Mutant("a collection keeps what it marked alone", _marked_unchecked),
    "resumed-whole": Mutant("a push goes on from all that it sent, needed or not", _resumed_whole),
    "read-once": Mutant("a root is not read again where what it led to went", _stale_readers),
}
