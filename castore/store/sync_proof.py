"""Proof: that a bucket can hold what a worker staged there, without a byte of content fetched.

What is believed of nobody: that an index is the one that was named, that folders and lists of
chunks are what their ids say or lead to known chunks only, that all they need is named by it or by
the bucket, that sizes and numbers of entries are what is said of them where they are named, that
nothing rests on what is not there, that packs are there and as long as they must be. What the bytes
of chunks are, and that they are as many as an index says, is compared when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple

from castore.content.layouts import layout_size
from castore.content.reader import ObjectReader
from castore.errors import CorruptObject, InvalidInput
from castore.model.artifact_set import Content, ExternalContent, TreeContent
from castore.model.ids import Id, Kind
from castore.model.pages import TREE, Branching, decode_layout, decode_tree
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue, Index, IndexWriter, PackName
from castore.remote.keys import PACKS, pack_key
from castore.remote.pack import NONCE_BYTES
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.store.staging import digest_of
from castore.store.sync_need import Need

_CONTENT: Final = (Kind.CHUNK, Kind.LAYOUT)


class Lacking(CorruptObject):
    """What was staged is not whole any more, or never was."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker staged, as far as it is proven: `alive` are the members that are needed.

    `relied` is what it needs of the bucket, `rests` what its blocks rest on there, each less deep
    than the number.
    """

    name: str
    id: Id
    upload: bytes
    index: Index
    alive: list[bool]
    relied: frozenset[Id]
    rests: Mapping[Id, int]

    @property
    def leans(self) -> bool:
        """Whether it needs anything of the bucket that it did not bring."""
        return bool(self.relied or self.rests)

    def lacks(self, root: Root, there: Catalogue) -> bool:
        """Whether it cannot be published any more: its upload ended, or what it needs went."""
        return self.upload not in root.uploads or not (
            all(there.has(id) for id in self.relied)
            and all(there.supports(base, depth) for base, depth in self.rests.items())
        )

    def members(self) -> set[Id]:
        """The ids of what it is to publish."""
        return {self.index.member(row).id for row, alive in enumerate(self.alive) if alive}

    def longest(self) -> dict[PackName, int]:
        """How long each pack must be at least."""
        found: dict[PackName, int] = {}
        for row in range(self.index.blocks_count):
            spot = self.index.block(row)
            end = spot.offset + spot.stored
            found[spot.pack] = max(found.get(spot.pack, 0), end)
        return found


def prove(
    name: str,
    content: Content,
    upload: bytes,
    index: Index,
    root: Root,
    there: Catalogue,
    fetcher: BlockFetcher,
) -> Part:
    """That all a content needs is in an index or in the bucket; raises Lacking, Gone."""
    return _Proof(name, content, upload, index, root, there, fetcher).run()


class _Claim(NamedTuple):
    """An object that is named, and its kind (None: a file), bytes and entries as said there."""

    id: Id
    kind: Kind | None
    size: int
    entries: int = -1


def _claims(kind: Kind, payload: bytes) -> list[_Claim]:
    """What a folder page or a list of chunks says of what it names; raises CorruptObject."""
    if kind is Kind.LAYOUT:
        page = decode_layout(payload)
        below = Kind.LAYOUT if page.level else Kind.CHUNK
        return [_Claim(part.id, below, part.size) for part in page.parts]
    return [
        _Claim(row.id, Kind.TREE, row.size, row.entries)
        if isinstance(row, Branching)
        else _Claim(row.id, Kind.TREE if row.kind == TREE else None, row.size)
        for row in decode_tree(payload).entries
    ]


class _Proof:
    def __init__(
        self,
        name: str,
        content: Content,
        upload: bytes,
        index: Index,
        root: Root,
        there: Catalogue,
        fetcher: BlockFetcher,
    ) -> None:
        self._name = name
        self._content = content
        self._upload = upload
        self._index = index
        self._root = root
        self._there = there
        self._everywhere = Catalogue((*there.indexes, index))
        self._reader = ObjectReader(FarObjects(self._everywhere, fetcher).load)
        self._alive = [False] * index.members_count
        self._blocks: set[int] = set()
        self._relied: set[Id] = set()
        self._rests: dict[Id, int] = {}
        self._stack: list[_Claim] = []
        self._sizes: dict[Id, tuple[int, int]] = {}

    def run(self) -> Part:
        if any(pack.upload != self._upload for pack in self._index.packs()):
            raise self._lacking(digest_of(self._content), "lies below another upload")
        start = digest_of(self._content)
        kind = Kind.TREE if isinstance(self._content, TreeContent) else None
        size = -1 if isinstance(self._content, ExternalContent) else self._content.size
        self._stack.append(_Claim(start, kind, size))
        while self._stack:
            self._look(self._stack.pop())
        return Part(
            self._name,
            start,
            self._upload,
            self._index,
            self._alive,
            frozenset(self._relied),
            self._rests,
        )

    def _look(self, claim: _Claim) -> None:
        id, expected = claim.id, claim.kind
        if id in self._root.purged:
            raise InvalidInput(
                f"{id.hex()}, which is part of {self._name!r}, was purged from the bucket; it may "
                "not come back",
                id=id.hex(),
            )
        kind = self._there.kind(id)
        if kind is not None:
            self._relied.add(id)
        else:
            row = self._index.row_of(id)
            if row < 0:
                raise self._lacking(id, "is named by no index")
            kind = self._index.member(row).kind
        if kind is not expected and (expected or kind not in _CONTENT):
            raise self._lacking(id, f"is a {kind.name.lower()} there")
        if id not in self._relied:
            self._mark(id, kind)
        self._compare(claim, kind)

    def _compare(self, claim: _Claim, kind: Kind) -> None:
        """Raise for what has another size, or number of entries, than is said where it is named."""
        found = self._sizes.get(claim.id)
        if found is None:
            payload = b"" if kind is Kind.CHUNK else self._reader.object(claim.id)[1]
            found = self._sizes[claim.id] = self._measured(claim.id, kind, payload)
        size, entries = found
        if claim.size not in (-1, size):
            raise self._lacking(claim.id, f"has {size} bytes, not {claim.size}")
        if claim.entries not in (-1, entries):
            raise self._lacking(claim.id, f"has {entries} entries, not {claim.entries}")

    def _measured(self, id: Id, kind: Kind, payload: bytes) -> tuple[int, int]:
        """The bytes of an object, and of a folder page the entries."""
        if kind is Kind.TREE:
            rows = decode_tree(payload).entries
            entries = sum(row.entries if isinstance(row, Branching) else 1 for row in rows)
            return sum(row.size for row in rows), entries
        if kind is Kind.LAYOUT:
            return layout_size(payload), -1
        place = self._everywhere.locate(id)
        assert place is not None, "its kind was told by an index"
        return self._everywhere.indexes[place[0]].member(place[1]).size, -1

    def _mark(self, id: Id, kind: Kind) -> None:
        """Note a member of the index as needed, and look at all below it and what it rests on."""
        row = self._index.row_of(id)
        if row < 0 or self._alive[row]:
            return
        self._alive[row] = True
        block = self._index.member(row).block
        if block not in self._blocks:
            self._blocks.add(block)
            self._rest(block)
        if kind is Kind.CHUNK:
            return
        found, payload = self._reader.object(id)
        if found is not kind:
            raise self._lacking(id, "is not what its index says")
        self._sizes[id] = self._measured(id, kind, payload)
        self._stack += _claims(kind, payload)

    def _rest(self, block: int) -> None:
        """What a block rests on must be there, or lie here, less deep."""
        spot = self._index.block(block)
        for base in spot.bases:
            if self._there.supports(base, spot.depth):
                self._rests[base] = min(spot.depth, self._rests.get(base, spot.depth))
                continue
            row = self._index.row_of(base)
            if row < 0:
                raise self._lacking(base, "is what a delta rests on, and not there")
            member = self._index.member(row)
            if self._index.block(member.block).depth >= spot.depth:
                raise self._lacking(base, "is too deep for a delta to rest on")
            self._mark(base, member.kind)

    def _lacking(self, id: Id, why: str) -> Lacking:
        return Lacking(
            f"{id.hex()}, which what was staged for {self._name!r} needs, {why}",
            id=id.hex(),
            where=self._index.where,
        )


class Parts:
    """What sessions took of what workers staged, until a commit publishes it; for any thread."""

    def __init__(self) -> None:
        self._parts: dict[Id, Part] = {}
        self._lock = Lock()

    def add(self, part: Part) -> None:
        """Keep what was taken; of several with one id the last."""
        with self._lock:
            self._parts[part.id] = part

    @property
    def indexes(self) -> tuple[Index, ...]:
        """Where all of it lies."""
        return tuple(part.index for part in self._all())

    def over(self, there: Catalogue) -> Catalogue:
        """What a bucket has, and what lies there to be published."""
        parts = self._all()
        if not parts:
            return there
        writer = IndexWriter()
        for part in parts:
            writer.add_index(part.index, part.alive)
        if not writer.blocks:
            return there
        id, data = writer.finish(bytes(NONCE_BYTES))
        return Catalogue((*there.indexes, Index(data, id)))

    def used(self, need: Need, there: Catalogue) -> list[Part]:
        """What a push relies on that its bucket does not have yet."""
        parts = self._all()
        left = {id for id in need.relied | need.rests.keys() if parts and not there.has(id)}
        named = left & {part.id for part in parts}
        found = [part for part in parts if part.id in named]
        for part in found:
            left -= part.members()
        others = [part for part in parts if part.id not in named]
        return found + [part for part in others if left & part.members()]

    def drop(self, parts: Sequence[Part]) -> None:
        """Forget what a root leads to now, or what is gone."""
        with self._lock:
            for part in parts:
                if self._parts.get(part.id) is part:
                    del self._parts[part.id]

    def ending(self, parts: Sequence[Part]) -> set[bytes]:
        """The uploads that end with these: nothing else that was taken lies below them."""
        gone = {part.id for part in parts}
        kept = {part.upload for part in self._all() if part.id not in gone}
        return {part.upload for part in parts} - kept

    def _all(self) -> list[Part]:
        with self._lock:
            return list(self._parts.values())


def find_short(transport: Transport, parts: Sequence[Part]) -> list[Part]:
    """Those of these parts whose packs are not there as a whole."""
    uploads = {part.upload for part in parts}
    sizes = {
        item.key: item.size
        for upload in sorted(uploads)
        for item in transport.list(f"{PACKS}{upload.hex()}/")
    }
    return [
        part
        for part in parts
        if any(sizes.get(pack_key(*pack), 0) < end for pack, end in part.longest().items())
    ]
