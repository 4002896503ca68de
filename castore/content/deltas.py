"""Raw bytes of blocks, deltas included: a delta's dictionary is its bases' bytes, in order.

A hostile store could make one small object cost any amount of work, so everything is bounded:
depth falls strictly from a delta to its bases, and blocks and bytes are counted before they are
decoded. Blocks are decoded from the shallowest up, never by recursion, and a base is kept only
while a delta that needs it is still to come. Bytes are copied as little as can be: what a level
costs is what makes long chains slow to read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

from castore.content.blocks import METADATA_BASES, Block, Codec, decode_block
from castore.content.codecs import decompress
from castore.content.kept import KeptBlocks
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import DICTIONARY_BYTES, MIB

# For one object read: bases in all, bytes decoded, and bytes held at once.
CHAIN_BLOCKS: Final = 8192
CHAIN_WORK_BYTES: Final = 2048 * MIB
CHAIN_HELD_BYTES: Final = 96 * MIB
CHAIN_KEPT_BYTES: Final = 16 * MIB
FAR_BLOCKS: Final = 1 << 61
"""Numbers from here on are of blocks that lie in a bucket or a bundle, as they were met."""
_CHUNKS: Final = frozenset((Kind.CHUNK,))


class StoredObject(NamedTuple):
    """Where an object lies: its kind, its block's number and bytes, and its place among members."""

    kind: Kind
    block_number: int
    slot: int
    block: bytes


Load: TypeAlias = Callable[[Id], StoredObject]
"""Finds an object by its id; raises ObjectNotFound. Must be safe to call from several threads."""

LoadAll: TypeAlias = Callable[[Sequence[Id]], list[StoredObject]]
"""Finds some objects in one view of the store, in the order of their ids; as Load otherwise."""


def block_place(number: int) -> str:
    """How a block is called in messages."""
    if number >= FAR_BLOCKS:
        return f"a block that was fetched ({number - FAR_BLOCKS})"
    return f"block {number}"


def raw_bytes(
    block: Block,
    load: Load,
    where: str,
    kept: KeptBlocks | None = None,
    *,
    trusting: bool = False,
) -> bytes:
    """The decoded bytes of a block, its bases loaded as needed; raises CorruptObject.

    What a delta rests on is taken from `kept`; metadata is put there too, chunks are not: memory
    that was not touched before takes longer than decoding into what was. With `trusting` chunks
    that are bases are not compared with their ids: for callers that compare what they get, and ask
    again without it, to hear which base is wrong.
    """
    if block.codec is Codec.RAW:
        return block.frame
    if block.codec is Codec.ZSTD:
        return decompress(block.frame, block.raw_size, where=where)
    return _Chain(load, kept, trusting).decode(block, where)


def raw_view(head: Block, frame: memoryview, load: Load, where: str) -> memoryview:
    """As `raw_bytes`, for a block whose frame lies elsewhere: what is not encoded stays there."""
    if head.codec is Codec.RAW:
        return frame
    if head.codec is Codec.ZSTD:
        return memoryview(decompress(frame, head.raw_size, where=where))
    return memoryview(raw_bytes(head._replace(frame=bytes(frame)), load, where))


class _Delta(NamedTuple):
    block: Block
    where: str


class _Plain(NamedTuple):
    """A block without bases, where its members begin, and its raw bytes."""

    block: Block
    starts: list[int]
    raw: bytes


class _Base(NamedTuple):
    """A base that lies in another delta, if `delta` ≥ 0, else in a block decoded on its own."""

    delta: int
    slot: int


class _Span(NamedTuple):
    """Bytes of a decoded block that are not copied."""

    raw: bytes
    start: int
    end: int


class _Chain:
    """The deltas that one delta needs, found first and then decoded from the shallowest up."""

    def __init__(self, load: Load, kept: KeptBlocks | None, trusting: bool) -> None:
        self._load = load
        self._kept = kept
        self._trusting = trusting
        self._deltas: dict[int, _Delta] = {}
        self._depths: dict[int, int] = {}
        self._bases: dict[Id, _Base] = {}
        # Where the members of deltas lie: most bases of one lie together.
        self._members: dict[Id, _Base] = {}
        self._waiting: dict[Id, int] = {}
        self._held: dict[Id, _Span] = {}
        self._held_bytes = 0
        self._work = 0
        self._allowed = _CHUNKS
        self._plain: OrderedDict[int, _Plain] = OrderedDict()

    def decode(self, block: Block, where: str) -> bytes:
        self._allowed = METADATA_BASES if block.metadata else _CHUNKS
        self._collect(_Delta(block, where))
        wanted: dict[int, list[tuple[Id, int]]] = {}
        for id, base in self._bases.items():
            wanted.setdefault(base.delta, []).append((id, base.slot))
        order = sorted(self._deltas, key=lambda number: self._depths[number])
        for number in order:
            delta = self._deltas.pop(number)
            raw = self._apply(delta)
            if self._kept is not None and block.metadata:
                self._kept.keep(number, delta.block, raw)
            self._hold_members(delta, raw, wanted.get(number, ()))
        return self._apply(_Delta(block, where))

    def _hold_members(self, delta: _Delta, raw: bytes, wanted: Sequence[tuple[Id, int]]) -> None:
        """Hold what deltas above need of a decoded one: in place, or copied if that is little."""
        block, where = delta
        starts = list(accumulate((member.size for member in block.members), initial=0))
        used = sum(block.members[slot].size for _, slot in wanted)
        for id, slot in wanted:
            span = _Span(raw, starts[slot], starts[slot + 1])
            if 2 * used < len(raw):
                data = raw[span.start : span.end]
                span = _Span(data, 0, len(data))
            self._hold(id, self._checked(span, id, block.members[slot].kind, where))

    def _collect(self, top: _Delta) -> None:
        todo = [top]
        while todo:
            block, where = todo.pop()
            for id in block.bases:
                self._waiting[id] = self._waiting.get(id, 0) + 1
                if id not in self._bases:
                    found = self._find(id)
                    if found is not None:
                        todo.append(found)
                if self._depth_of(id) >= block.depth:
                    raise CorruptObject(
                        f"{where}: base {id.hex()} is not shallower than its delta", where=where
                    )

    def _find(self, id: Id) -> _Delta | None:
        """Note where base `id` lies; its block, if that is a delta not seen before."""
        if len(self._bases) >= CHAIN_BLOCKS:
            raise CorruptObject(f"delta: more than {CHAIN_BLOCKS} bases in all")
        if id in self._members:
            self._bases[id] = self._members[id]
            return None
        stored = self._load(id)
        if self._take_kept(id, stored):
            return None
        number, slot, block, where = self._look(id, stored)
        if block.codec is not Codec.DELTA:
            self._bases[id] = _Base(-1, slot)
            return None
        self._bases[id] = _Base(number, slot)
        if number in self._depths:
            return None
        self._depths[number] = block.depth
        self._count(len(block.frame), where)
        for at, member in enumerate(block.members):
            self._members.setdefault(member.id, _Base(number, at))
        delta = self._deltas[number] = _Delta(block, where)
        return delta

    def _take_kept(self, id: Id, stored: StoredObject) -> bool:
        """Take a base from a block that was decoded before, if it is kept."""
        if self._kept is None or stored.kind not in self._allowed:
            return False
        decoded = self._kept.get(stored.block_number)
        if decoded is None or not decoded.holds(stored.slot, id):
            return False
        data = _Span(decoded.raw, *decoded.starts[stored.slot : stored.slot + 2])
        self._bases[id] = _Base(-1, stored.slot)
        where = block_place(stored.block_number)
        self._hold(id, self._checked(data, id, stored.kind, where))
        return True

    def _look(self, id: Id, stored: StoredObject) -> tuple[int, int, Block, str]:
        """The block number, slot, block and place of a base."""
        number, slot = stored.block_number, stored.slot
        where = block_place(number)
        if stored.kind not in self._allowed:
            raise CorruptObject(
                f"{where}: base {id.hex()} is a {stored.kind.name.lower()}", where=where
            )
        plain = self._plain.get(number)
        if plain is not None:
            block = plain.block
        elif number in self._deltas:
            block = self._deltas[number].block
        else:
            block = decode_block(stored.block, where)
            if len(block.members) > 1 and block.codec is not Codec.DELTA:
                self._keep(number, block, where)
        if not 0 <= slot < len(block.members) or block.members[slot].id != id:
            raise CorruptObject(
                f"{where}: member {slot} is not {id.hex()}", id=id.hex(), where=where
            )
        return number, slot, block, where

    def _keep(self, number: int, block: Block, where: str) -> None:
        """Decode a solid block and keep it: bases that follow each other share blocks."""
        self._count(block.raw_size, where)
        starts = list(accumulate((member.size for member in block.members), initial=0))
        raw = raw_bytes(block, self._load, where)
        self._plain[number] = _Plain(block, starts, raw)
        if self._kept is not None and block.metadata:
            self._kept.keep(number, block, raw)
        while sum(len(plain.raw) for plain in self._plain.values()) > CHAIN_KEPT_BYTES:
            self._plain.popitem(last=False)

    def _depth_of(self, id: Id) -> int:
        return self._depths.get(self._bases[id].delta, 0)

    def _apply(self, delta: _Delta) -> bytes:
        block, where = delta
        spans: list[_Span] = []
        size = 0
        for id in block.bases:
            span = self._base_bytes(id, block.depth)
            size += span.end - span.start
            if size > DICTIONARY_BYTES:
                raise CorruptObject(
                    f"{where}: a dictionary of more than {DICTIONARY_BYTES} bytes", where=where
                )
            if spans and spans[-1].raw is span.raw and spans[-1].end == span.start:
                spans[-1] = _Span(span.raw, spans[-1].start, span.end)
            else:
                spans.append(span)
        self._count(size + block.raw_size, where)
        return decompress(block.frame, block.raw_size, _joined(spans), where=where)

    def _base_bytes(self, id: Id, above: int) -> _Span:
        self._waiting[id] -= 1
        held = self._held.get(id)
        if held is None:
            return self._plain_bytes(id, above)
        if not self._waiting[id]:
            del self._held[id]
            self._held_bytes -= held.end - held.start
        return held

    def _plain_bytes(self, id: Id, above: int) -> _Span:
        """The bytes of a base that lay in no delta when it was found.

        Repacking may have made a delta of it since, less deep than the one it is needed for.
        """
        number, slot, block, where = self._look(id, self._load(id))
        if block.depth >= above:
            raise CorruptObject(
                f"{where}: base {id.hex()} is not shallower than its delta", where=where
            )
        plain = self._plain.get(number)
        if plain is not None:
            span = _Span(plain.raw, plain.starts[slot], plain.starts[slot + 1])
        else:
            self._count(block.raw_size, where)
            span = _Span(raw_bytes(block, self._load, where), *block.span(slot))
        return self._checked(span, id, block.members[slot].kind, where)

    def _hold(self, id: Id, span: _Span) -> None:
        self._held[id] = span
        self._held_bytes += span.end - span.start
        if self._held_bytes > CHAIN_HELD_BYTES:
            raise CorruptObject(f"delta: more than {CHAIN_HELD_BYTES} bytes of bases at once")

    def _checked(self, span: _Span, id: Id, kind: Kind, where: str) -> _Span:
        """The bytes of a base, compared with its id; a layout's root has only its block's check."""
        if kind is Kind.LAYOUT or (kind is Kind.CHUNK and self._trusting):
            return span
        if object_id(kind, span.raw[span.start : span.end]) != id:
            raise CorruptObject(
                f"{where}: the bytes of {id.hex()} do not match it", id=id.hex(), where=where
            )
        return span

    def _count(self, work: int, where: str) -> None:
        self._work += work
        if self._work > CHAIN_WORK_BYTES:
            raise CorruptObject(f"{where}: a delta that takes too much work to read", where=where)


def _joined(spans: Sequence[_Span]) -> bytes | memoryview:
    """The bytes of these spans; one is not copied."""
    if len(spans) == 1:
        raw, start, end = spans[0]
        return raw if end - start == len(raw) else memoryview(raw)[start:end]
    return b"".join([memoryview(raw)[start:end] for raw, start, end in spans])
