"""Shared stores: a bucket used as a store, by way of a cache on this machine.

Whatever is opened reads the bucket's root first. What is written is durable in the cache, then in
the bucket, and only then acknowledged; what the bucket refuses is kept as `lost/` in the cache.
Files come when they are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from castore.database.environment import Database
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import (
    CastoreError,
    CorruptObject,
    ObjectNotFound,
    RefMoved,
    RemoteError,
    StoreNotFound,
    TagExists,
)
from castore.model.ids import Id
from castore.model.refs import HEADS, TAGS, lost_ref
from castore.remote.bucket import look
from castore.remote.index import Catalogue
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.store.cache_opening import damaged, open_cache, open_database
from castore.store.caches import CACHE_BYTES, CacheUse, cache_folder, may_be_over, shrink, trim
from castore.store.config import ON_DEMAND, KnownRemote
from castore.store.opening import FOLDER, clock, is_store
from castore.store.publish import COMMIT
from castore.store.remotes import naming_repair, open_remote, place_url
from castore.store.removals import FORGET, PURGE, PURGE_END
from castore.store.shared_refs import (
    REFRESH,
    arrived,
    arrived_before,
    follow,
    known,
    news,
    put_back,
)
from castore.store.staging import expired
from castore.store.store import PROMISED, Behind, Store
from castore.store.sync_bring import bring
from castore.store.sync_clone import ORIGIN
from castore.store.sync_fetch import FETCH, fetch
from castore.store.sync_need import find_need
from castore.store.sync_plan import Move
from castore.store.sync_pull import rebase_onto
from castore.store.sync_push import push_moves
from castore.store.sync_remote import connect, emptied, noted
from castore.store.sync_removals import lacks, removals_of
from castore.store.sync_stage import BucketStages
from castore.store.taken_back import beaten, taken_back
from castore.store.undo import UNDO

_TRIES: Final = 20
_SHARED: Final = (HEADS, TAGS)
_REMOVING: Final = frozenset({FORGET, PURGE_END, UNDO})


def open_shared(
    place: str,
    caches: Path,
    *,
    endpoint: str = "",
    region: str = "",
    options: Mapping[str, str] | None = None,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
    user_config: Callable[[], Path] | None = None,
    root: Path | None = None,
    make: Callable[[Database], Store] | None = None,
    cache_bytes: int | None = None,
    offline: bool = False,
) -> Store:
    """The bucket at a URL as a store; its cache is below the folder `caches`, made if need be.

    An empty place becomes a bucket with the first version. Recorded paths are relative to `root`.
    `make` makes the store of a database. Contents in the cache take `cache_bytes`, else as
    configured, when the store is closed. With `offline` the bucket is not asked: what the cache has
    is read, and nothing written. Raises RemoteError where the bucket is not reached, InvalidInput,
    CorruptObject, StoreNotFound where offline there is no cache.
    """
    found = KnownRemote(place_url(place), endpoint.rstrip("/"), region, ON_DEMAND)
    found.check()
    home = cache_folder(caches, found)

    def made(database: Database) -> Store:
        if make is not None:
            return make(database)
        return Store(database, now=now, entropy=entropy, user_config=user_config, root=root)

    if offline:
        return _offline(home, found, made)
    transport = open_remote(found, options=options)
    with naming_repair(ORIGIN, found.url, folder=home):
        try:
            identity = look(transport)
            use = CacheUse(home)
            try:
                database = open_cache(home, found, identity, now, entropy)
            except BaseException:
                use.close()
                raise
        except BaseException:
            transport.close()
            raise
        store = made(database)
        shared = _Shared(store, found.url, transport, use, cache_bytes)
        store.behind = shared.behind
        try:
            shared.refresh()
        except BaseException as error:
            store.close()
            if isinstance(error, CorruptObject):
                raise damaged(error, found.url) from None
            raise
    store.bring = shared.bring
    database.acknowledge = shared.acknowledge
    return store


def _offline(home: Path, found: KnownRemote, made: Callable[[Database], Store]) -> Store:
    """What a cache knows of a bucket, without asking it."""
    if not is_store(home / FOLDER):
        raise StoreNotFound(
            f"{found.url} was never read on this machine: there is no cache of it",
            fix="the same without --offline",
        )
    use = CacheUse(home)
    try:
        store = made(open_database(home / FOLDER, found.url))
    except BaseException:
        use.close()
        raise
    store.behind = Behind(found.url, use.close, seen_at=use.seen_at, owing=use.owing)
    store.offline = True
    store.database.sealed = partial(_sealed, found.url)
    store.bring = _not_brought
    return store


def _sealed(url: str) -> RemoteError:
    return RemoteError(
        f"{url} is read offline: what is written counts when it is there",
        fix="the same without --offline",
    )


def _not_brought(
    store: Store,
    ids: Sequence[Id],
    *,
    sharing: Set[Id] | None = None,  # noqa: ARG001
) -> None:
    raise RemoteError(
        f"a file of {store.url} is not in the cache: {ids[0].hex()}",
        fix="the same without --offline",
    )


class _Shared:
    """What joins a cache to its bucket."""

    def __init__(
        self,
        store: Store,
        url: str,
        transport: Transport,
        use: CacheUse,
        cache_bytes: int | None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._use = use
        self._cache_bytes = cache_bytes
        self._tries = 0
        self._stages = BucketStages(store, ORIGIN, transport)
        self.behind = Behind(url, self.close, self._stages)
        self._closed = False

    def bring(self, store: Store, ids: Sequence[Id], *, sharing: Set[Id] | None = None) -> None:
        """Fetch files that are read."""
        staged = self._stages.parts.indexes
        with naming_repair(ORIGIN, self._transport.url, folder=store.folder):
            bring(store, ORIGIN, self._transport, ids, staged, sharing=sharing)

    def refresh(self) -> None:
        """Make refs here what they are in the bucket; versions that never got there are lost."""
        there: Mapping[str, Id] = {}
        if look(self._transport) is None:
            if noted(self._store, ORIGIN).seen is not None:
                raise emptied(self._transport.url)
        else:
            fetched = fetch(self._store, ORIGIN, self._transport, contents=False)
            there = fetched.there
            self.behind.purged = tuple(place.selector for place in fetched.places)
        if self._store.database.read(partial(news, there=there)):
            self._store.database.write(partial(follow, there=there, at=self._store.now()))
        self._use.note_seen(self._store.now())
        if self._use.owing and not self._lacking():
            self._use.note_owing(owing=False)
        self.behind.seen_at, self.behind.owing = self._use.seen_at, self._use.owing

    def _lacking(self) -> bool:
        """Whether the bucket lacks a note that is here, or was not told of what was removed."""
        known = connect(self._store, ORIGIN, self._transport)

        def lacking(root: Root, there: Catalogue) -> bool:
            removals = self._store.database.read(partial(removals_of, root=root))
            return lacks(root, removals) or bool(find_need(self._store, (), there).notes)

        return known.at_rest(lacking)

    def close(self) -> None:
        """Let what is too much go, if nobody else uses the cache, and give the bucket back."""
        if self._closed:
            return
        self._closed = True
        try:
            # That nothing can be let go just now is not worth failing for.
            with suppress(CastoreError):
                self._trim()
        finally:
            self._store.database.close()
            self._transport.close()
            self._use.close()

    def _trim(self) -> None:
        store = self._store
        most = self._cache_bytes
        if most is None:
            most = store.config().cache
        most = CACHE_BYTES if most is None else most
        if may_be_over(store.database, most) and self._use.alone():
            known = connect(store, ORIGIN, self._transport)
            known.at_rest(lambda _, there: trim(store, there, most))
            shrink(self._use.home, store.database)

    def _anew(self, operation: Operation, move: Move) -> None:
        """Make a version that was refused anew after those of others, and send that."""

        said = self.behind.took_back.pop(move.new, ())

        def transact(tables: Writing) -> Id:
            tip = tables.ref(move.ref) or b""
            taken = taken_back(tables, move.name, move.new, tip) if tip else []
            made = rebase_onto(tables, move.name, move.new, tip)[-1].new if tip else move.new
            tables.set_if_equals(move.ref, tip or None, made)
            lost = lost_ref(move.name, move.new)
            refs = [(move.ref, tip, made)]
            if tables.remove_if_equals(lost, move.new):
                refs.append((lost, move.new, b""))
            # Told before this is acknowledged: that may fail again, and name another.
            self.behind.renamed[move.new] = made
            self.behind.took_back[made] = (*said, *(f"{one.branch}: {one.words}" for one in taken))
            tables.append_operation(
                COMMIT,
                op_id=operation.op_id,
                at=operation.at,
                by=operation.by,
                why=operation.why,
                refs=refs,
                detail={**operation.detail, "rebased": move.new},
            )
            tables.bump_generation()
            return made

        self._tries += 1
        try:
            made = self._store.database.write(transact)
        finally:
            self._tries -= 1
        # Refused again on the way, it has another name by now.
        self.behind.renamed[move.new] = self.behind.renamed.pop(made, made)

    def _follow_again(self, moves: Sequence[Move]) -> None:
        """Refresh where another process, that did so meanwhile, took what has arrived for lost."""

        def missed(tables: Reading) -> bool:
            heads = [move for move in moves if move.new and move.ref.startswith(HEADS)]
            return not all(known(tables, m.new, tables.ref(m.ref) or b"") for m in heads)

        # It is there: that it is not seen here just now is not worth failing for.
        with suppress(CastoreError):
            if self._store.database.read(missed):
                self.refresh()

    def _owe(self, *, owing: bool) -> None:
        """Remember whether something was said that the bucket has not."""
        if owing is not self.behind.owing:
            self._use.note_owing(owing=owing)
            self.behind.owing = owing

    def acknowledge(self, operation: Operation) -> None:
        """Take to the bucket what was written here; raises RefMoved where another was faster."""
        moves = [Move(*move) for move in operation.refs if move[0].startswith(_SHARED)]
        if operation.op == PURGE:
            # The bucket is told at the end: that it may not be reached erases nothing less here.
            self._owe(owing=True)
        if _from_there(operation) or not (moves or _told(operation)):
            return
        try:
            self._send(operation, moves)
        except BaseException:
            # What is not known to be there does not count, here neither.
            with suppress(CastoreError):
                self._store.database.write(partial(put_back, moves=moves, at=self._store.now()))
            raise
        self._follow_again(moves)

    def _send(self, operation: Operation, moves: Sequence[Move]) -> None:
        try:
            parts = self._stages.parts
            done = push_moves(
                self._store, ORIGIN, self._transport, moves, by=operation.by, parts=parts
            )
            self.behind.waits = self.behind.waits or done.waits
            self._owe(owing=False)
        except ObjectNotFound as error:
            self.refresh()
            if error.attributes.get("state") != PROMISED:
                raise
            # Taken, and by now neither in the bucket nor staged.
            raise expired(bytes.fromhex(error.attributes["id"])) from None
        except (RefMoved, TagExists) as error:
            self.refresh()
            if self._store.database.read(partial(arrived, moves=moves)):
                # Another process sent it along with a version after it.
                return
            if operation.op == COMMIT and self._arrived_before(operation, moves[0]):
                return
            if self.behind.rebase and operation.op == COMMIT and self._tries < _TRIES:
                self._anew(operation, moves[0])
                return
            raise beaten(self._store.database, error, moves) from None
        except CastoreError as error:
            if not moves:
                self._owe(owing=True)
                error.message += "; what was said is kept here, and goes with the next write"
                error.fix = error.fix or "cas push"
            raise

    def _arrived_before(self, operation: Operation, move: Move) -> bool:
        """Whether this is an attempt again at what got to the bucket: then that is its version."""
        before = self._store.database.read(partial(arrived_before, operation=operation, move=move))
        if before:
            self.behind.renamed[move.new] = before
        return bool(before)


def _from_there(operation: Operation) -> bool:
    """Whether an operation is of what the bucket has."""
    return operation.op in (REFRESH, FETCH) and operation.detail.get("remote") == ORIGIN


def _told(operation: Operation) -> bool:
    """Whether an operation is of notes or removals that the bucket is to have."""
    detail = operation.detail
    brought = bool(detail.get("notes")) and detail.get("remote") != ORIGIN
    return brought or "note" in detail or operation.op in _REMOVING
