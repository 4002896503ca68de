"""Collecting: a bucket without what no ref needs, beside writers that go on.

The order makes it safe, whatever the time: keys are listed first; then the root is read and what
its refs need is marked; packs that are half dead are written anew under an upload of its own; the
root is replaced, by compare-and-swap, only if it still has the refs and indexes that were marked;
then only that is deleted which was listed and which neither the new root leads to nor an upload it
knows. A writer that relied on what went finds that out before its own root lands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from castore.content.blocks import decode_block, decode_head
from castore.content.delta_encoder import encode_plain
from castore.content.deltas import raw_bytes
from castore.content.encoder import encode_metadata
from castore.content.reader import ObjectReader
from castore.content.sink import EncodedBlock
from castore.errors import CorruptObject, RemoteMoved
from castore.model.edges import needs
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import MIB
from castore.remote.bucket import CHECK, Bucket, IndexCache
from castore.remote.fetching import BlockFetcher, FarObjects, FetchedBlock, spot_place
from castore.remote.index import Index, Indexed, IndexWriter, PackName
from castore.remote.keys import (
    INDEXES,
    LISTS,
    PACKS,
    UPLOAD_BYTES,
    index_key,
    list_key,
    pack_key,
    upload_of,
)
from castore.remote.marks import Held, Marks, pack_size
from castore.remote.root import IndexName, Root
from castore.remote.sending import PackQueue
from castore.remote.transport import Gone
from castore.remote.uploads import registered

ROUNDS_KEPT: Final = 2
"""An upload that was registered more than so many rounds ago is given up."""
_TRIES: Final = 20
# So many packs below this size are put together: each is a request for whoever clones.
_SMALL_PACKS: Final = 64
_SMALL_BYTES: Final = 1 * MIB


@dataclass(frozen=True, slots=True)
class BucketReport:
    """What a collection of a bucket did, or with `dry_run` would do.

    `live` and `dead` are objects that indexes named; of `packs` some were `rewritten`. `deleted`
    objects of the bucket took `freed` bytes, and `written` bytes were written anew. `evicted`
    uploads were given up: their writers begin anew.
    """

    live: int
    dead: int
    packs: int
    rewritten: int
    deleted: int
    freed: int
    written: int
    evicted: int
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__}


class _Changed(Exception):
    """Refs or indexes of the root are others than those that were marked."""


def collect_bucket(
    bucket: Bucket,
    cache: IndexCache,
    entropy: Callable[[int], bytes],
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BucketReport:
    """Remove from a bucket what no ref needs, and what was forgotten or purged.

    Notes stay for ever. Packs of which less than half is alive, or with something purged in them,
    are written anew, and small ones where they are many. May be interrupted at any moment. Raises
    CorruptObject for a bucket that lacks something, with nothing removed; RemoteMoved where others
    write faster than it can be read.
    """
    for _ in range(_TRIES):
        # Before the root is read: what comes later is not looked at.
        listed = {
            item.key: item.size
            for prefix in (PACKS, INDEXES, LISTS)
            for item in bucket.transport.list(prefix)
        }
        root = bucket.read().root
        try:
            collection = _Collection(bucket, cache, entropy, progress, listed, root)
            return collection.run(dry_run=dry_run)
        except _Changed:
            continue
        except Gone:
            # Another collection may have removed it: then the root leads elsewhere by now.
            if bucket.read().root.indexes == root.indexes:
                raise
    raise RemoteMoved(
        f"{bucket.url}: others wrote to it {_TRIES} times while it was read", fix="try again later"
    )


class _Collection:
    def __init__(
        self,
        bucket: Bucket,
        cache: IndexCache,
        entropy: Callable[[int], bytes],
        progress: Callable[[int], None] | None,
        listed: Mapping[str, int],
        root: Root,
    ) -> None:
        self._bucket = bucket
        self._cache = cache
        self._entropy = entropy
        self._progress = progress
        self._listed = listed
        self._root = root
        self._catalogue = bucket.catalogue(self._root, cache)
        self._fetcher = BlockFetcher(bucket.transport)
        self._far = FarObjects(self._catalogue, self._fetcher)
        self._written = 0

    def run(self, *, dry_run: bool) -> BucketReport:
        self._refuse_headless()
        marks = self._marked()
        packs = marks.packs()
        anew = {pack for pack, held in packs.items() if self._written_anew(held)}
        small = {pack for pack, held in packs.items() if pack_size(held) < _SMALL_BYTES}
        if len(small) > _SMALL_PACKS:
            anew |= small
        dead = sum(index.members_count for index in self._catalogue.indexes) - marks.live
        report = BucketReport(
            live=marks.live,
            dead=dead,
            packs=len(packs),
            rewritten=len(anew),
            deleted=0,
            freed=0,
            written=0,
            evicted=len(self._root.uploads) - len(self._kept_uploads()),
            dry_run=dry_run,
        )
        if dry_run:
            uploads = self._kept_uploads()
            empty = {pack for pack, held in packs.items() if not any(h.members for h in held)}
            gone = self._gone(replace(self._root, uploads=uploads), anew | empty)
        elif dead or anew:
            gone = self._gone(self._rewritten(packs, anew, marks))
        elif self._root.uploads or self._gone(self._root):
            gone = self._gone(self._replace(b"", self._root.indexes))
        else:
            gone = []
        if not dry_run:
            self._bucket.transport.delete(gone)
        freed = sum(self._listed[key] for key in gone)
        return replace(report, deleted=len(gone), freed=freed, written=self._written)

    def _refuse_headless(self) -> None:
        packs = any(key.startswith(PACKS) for key in self._listed)
        if packs and self._root.refs and not self._root.indexes:
            raise CorruptObject(
                f"{self._bucket.url}: its root has refs and no index, and there are packs: nothing "
                "is removed",
                where="root",
                fix=CHECK,
            )

    def _marked(self) -> Marks:
        """Everything that refs need, all notes, and what deltas rest on that stay."""
        marks = Marks(self._catalogue)
        reader = ObjectReader(self._far.load)
        root = self._root
        stack = [*root.refs.values(), *self._catalogue.ids_of(Kind.NOTE)]
        while stack:
            id = stack.pop()
            if id in root.purged:
                continue
            kind = marks.mark(id)
            if kind is None or kind is Kind.CHUNK:
                continue
            found, payload = reader.object(id)
            needed = needs(found, payload, forgotten=id in root.forgotten)
            stack.extend(edge.target for edge in needed)
            if self._progress is not None:
                self._progress(len(payload))
        return marks

    def _written_anew(self, pack: Sequence[Held]) -> bool:
        """Whether a pack is not kept as it is."""
        live = sum(held.spot.stored for held in pack if held.members)
        if 2 * live < pack_size(pack):
            return True
        if not self._root.purged:
            return False
        # A purge is not done while bytes of it lie in a pack, indexed or not.
        doubtful = [held.spot for held in pack if len(held.members) < held.spot.members]
        return any(self._fetcher.each(doubtful, self._holds_purged))

    def _holds_purged(self, fetched: Sequence[FetchedBlock]) -> bool:
        return any(
            member.id in self._root.purged
            for spot, data in fetched
            for member in decode_head(data, spot_place(spot))[0].members
        )

    def _rewritten(
        self, packs: dict[PackName, list[Held]], anew: set[PackName], marks: Marks
    ) -> Root:
        """Write what has to be, then the root without what is dead."""
        upload = self._entropy(UPLOAD_BYTES)
        self._bucket.update(partial(registered, upload=upload))
        writer = IndexWriter()
        moving: list[Held] = []
        for pack, blocks in packs.items():
            for held in blocks:
                if not held.members:
                    continue
                if pack in anew or not marks.stays(held.spot):
                    moving.append(held)
                else:
                    writer.add_spot(held.spot, held.members)
        self._move(moving, marks, upload, writer)
        return self._replace(upload, self._put_indexes(upload, writer))

    def _kept_uploads(self) -> dict[bytes, int]:
        """The uploads that this round does not give up."""
        round = self._root.gc_round + 1
        return {
            upload: at for upload, at in self._root.uploads.items() if round - at <= ROUNDS_KEPT
        }

    def _move(
        self, moving: Sequence[Held], marks: Marks, upload: bytes, writer: IndexWriter
    ) -> None:
        """Write blocks into new packs, without what in them is dead."""

        def arrived(_: Id, index: IndexWriter, size: int) -> None:
            writer.add_writer(index)
            self._written += size

        members = {(*held.spot.pack, held.spot.offset): held.members for held in moving}

        def make(fetched: Sequence[FetchedBlock]) -> list[EncodedBlock]:
            found: list[EncodedBlock] = []
            for block in fetched:
                place = (*block.spot.pack, block.spot.offset)
                found += self._anew(block, members[place], marks.stays(block.spot))
            return found

        with PackQueue(self._bucket.transport, upload, self._entropy, arrived) as queue:
            for blocks in self._fetcher.each([held.spot for held in moving], make):
                for block in blocks:
                    queue.add(block.data, range(len(block.members)))

    def _anew(
        self, fetched: FetchedBlock, members: Sequence[Indexed], stands: bool
    ) -> list[EncodedBlock]:
        """A block as it is where all in it is alive, else blocks of what is; compared with ids."""
        where = spot_place(fetched.spot)
        data = bytes(fetched.data)
        block = decode_block(data, where)
        raw = raw_bytes(block, self._far.load, where)
        chosen: list[tuple[Kind, Id, bytes]] = []
        for member in sorted(members, key=lambda member: member.slot):
            start, end = block.span(member.slot)
            payload = raw[start:end]
            held = block.members[member.slot]
            wrong = held.kind is not Kind.LAYOUT and object_id(held.kind, payload) != held.id
            if wrong or (held.id, held.kind) != (member.id, member.kind):
                raise CorruptObject(
                    f"{where}: the bytes of {member.id.hex()} are wrong",
                    id=member.id.hex(),
                    where=where,
                    fix=CHECK,
                )
            chosen.append((member.kind, member.id, payload))
        if stands and len(chosen) == len(block.members):
            return [EncodedBlock(data, block.members, block.raw_size, block.bases)]
        if block.metadata:
            return encode_metadata(chosen)
        return encode_plain([(id, payload) for _, id, payload in chosen])

    def _put_indexes(self, upload: bytes, writer: IndexWriter) -> tuple[IndexName, ...]:
        if not writer.blocks:
            return ()
        return (self._bucket.put_index(upload, writer, self._cache),)

    def _replace(self, upload: bytes, indexes: tuple[IndexName, ...]) -> Root:
        """The root without what is dead, if it still has what was marked; raises _Changed."""
        marked = self._root

        def landed(root: Root) -> bool:
            return bool(upload) and root.indexes == indexes

        def change(root: Root) -> Root:
            same = (root.refs, root.indexes, root.notes, root.forgotten, root.purged)
            if same != (
                marked.refs, marked.indexes, marked.notes, marked.forgotten, marked.purged
            ):  # fmt: skip
                raise _Changed
            if upload and upload not in root.uploads:
                raise _Changed
            round = root.gc_round + 1
            uploads = {
                known: at
                for known, at in root.uploads.items()
                if known != upload and round - at <= ROUNDS_KEPT
            }
            return replace(root, indexes=indexes, uploads=uploads, gc_round=round)

        return self._bucket.update(change, landed=landed, upload=upload)

    def _gone(self, root: Root, dropped: Iterable[PackName] = ()) -> list[str]:
        """What was listed and is needed by nobody any more."""
        kept = {index_key(index.upload, index.id) for index in root.indexes}
        kept |= {list_key(page.upload, page.id) for page in root.pages}
        names = {pack for index in self._named(root) for pack in index.packs()}
        kept |= {pack_key(*pack) for pack in names - set(dropped)}
        return [
            key
            for key in sorted(self._listed)
            if key not in kept
            and (upload := upload_of(key)) is not None
            and upload not in root.uploads
        ]

    def _named(self, root: Root) -> Iterable[Index]:
        return self._bucket.catalogue(root, self._cache).indexes
