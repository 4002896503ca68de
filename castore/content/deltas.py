"""Raw bytes of blocks, deltas included: a delta's dictionary is its bases' bytes, in order.

A hostile store could make one small object cost any amount of work, so everything is bounded:
depth falls strictly from a delta to its bases, and blocks and bytes are counted before they are
decoded. Blocks are decoded from the shallowest up, never by recursion, and a base is kept only
while a delta that needs it is still to come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from castore.content.blocks import Block, Codec, decode_block
from castore.content.codecs import decompress
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import DICTIONARY_BYTES, MIB

# For one object read: blocks that are looked at, raw bytes decoded, and bytes held at once.
CHAIN_BLOCKS: Final = 8192
CHAIN_WORK_BYTES: Final = 2048 * MIB
CHAIN_HELD_BYTES: Final = 96 * MIB


class StoredObject(NamedTuple):
    """Where an object lies: its kind, its block's number and bytes, and its place among members."""

    kind: Kind
    block_number: int
    slot: int
    block: bytes


Load: TypeAlias = Callable[[Id], StoredObject]
"""Finds an object by its id; raises ObjectNotFound. Must be safe to call from several threads."""


def block_place(number: int) -> str:
    """How a block is called in messages."""
    return f"block {number}"


def raw_bytes(block: Block, load: Load, where: str) -> bytes:
    """The decoded bytes of a block, its bases loaded as needed; raises CorruptObject."""
    if block.codec is Codec.RAW:
        return block.frame
    if block.codec is Codec.ZSTD:
        return decompress(block.frame, block.raw_size, where=where)
    return _Chain(load).decode(block, where)


class _Delta(NamedTuple):
    block: Block
    where: str


class _Base(NamedTuple):
    """A base that lies in another delta, if `delta` ≥ 0, else in a block decoded on its own."""

    delta: int
    slot: int


class _Chain:
    """The deltas that one delta needs, found first and then decoded from the shallowest up."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._deltas: dict[int, _Delta] = {}
        self._depths: dict[int, int] = {}
        self._bases: dict[Id, _Base] = {}
        self._waiting: dict[Id, int] = {}
        self._held: dict[Id, bytes] = {}
        self._held_bytes = 0
        self._work = 0

    def decode(self, block: Block, where: str) -> bytes:
        self._collect(_Delta(block, where))
        wanted: dict[int, list[tuple[Id, int]]] = {}
        for id, base in self._bases.items():
            wanted.setdefault(base.delta, []).append((id, base.slot))
        order = sorted(self._deltas, key=lambda number: self._depths[number])
        for number in order:
            delta = self._deltas.pop(number)
            raw = self._apply(delta)
            for id, slot in wanted.get(number, ()):
                self._hold(id, _member(delta.block, slot, raw, id, delta.where))
        return self._apply(_Delta(block, where))

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
        stored = self._load(id)
        where = block_place(stored.block_number)
        if stored.kind is not Kind.CHUNK:
            raise CorruptObject(f"{where}: base {id.hex()} is not a chunk", where=where)
        block = decode_block(stored.block, where)
        _check_member(block, stored.slot, id, where)
        if len(self._bases) >= CHAIN_BLOCKS:
            raise CorruptObject(f"{where}: more than {CHAIN_BLOCKS} bases in all", where=where)
        if block.codec is not Codec.DELTA:
            self._bases[id] = _Base(-1, stored.slot)
            return None
        number = stored.block_number
        self._bases[id] = _Base(number, stored.slot)
        if number in self._depths:
            return None
        self._depths[number] = block.depth
        delta = self._deltas[number] = _Delta(block, where)
        self._count(len(stored.block), delta.where)
        return delta

    def _depth_of(self, id: Id) -> int:
        return self._depths.get(self._bases[id].delta, 0)

    def _apply(self, delta: _Delta) -> bytes:
        block, where = delta
        parts: list[bytes] = []
        size = 0
        for id in block.bases:
            part = self._base_bytes(id)
            size += len(part)
            if size > DICTIONARY_BYTES:
                raise CorruptObject(
                    f"{where}: a dictionary of more than {DICTIONARY_BYTES} bytes", where=where
                )
            parts.append(part)
        self._count(size + block.raw_size, where)
        return decompress(block.frame, block.raw_size, b"".join(parts), where=where)

    def _base_bytes(self, id: Id) -> bytes:
        self._waiting[id] -= 1
        held = self._held.get(id)
        if held is None:
            stored = self._load(id)
            where = block_place(stored.block_number)
            block = decode_block(stored.block, where)
            if block.codec is Codec.DELTA:
                raise CorruptObject(f"{where}: base {id.hex()} moved while read", where=where)
            self._count(block.raw_size, where)
            raw = raw_bytes(block, self._load, where)
            held = _member(block, stored.slot, raw, id, where)
            if self._waiting[id]:
                self._hold(id, held)
        elif not self._waiting[id]:
            del self._held[id]
            self._held_bytes -= len(held)
        return held

    def _hold(self, id: Id, data: bytes) -> None:
        self._held[id] = data
        self._held_bytes += len(data)
        if self._held_bytes > CHAIN_HELD_BYTES:
            raise CorruptObject(f"delta: more than {CHAIN_HELD_BYTES} bytes of bases at once")

    def _count(self, work: int, where: str) -> None:
        self._work += work
        if self._work > CHAIN_WORK_BYTES:
            raise CorruptObject(f"{where}: a delta that takes too much work to read", where=where)


def _check_member(block: Block, slot: int, id: Id, where: str) -> None:
    if not 0 <= slot < len(block.members) or block.members[slot].id != id:
        raise CorruptObject(f"{where}: member {slot} is not {id.hex()}", id=id.hex(), where=where)


def _member(block: Block, slot: int, raw: bytes, id: Id, where: str) -> bytes:
    """The bytes of a chunk in a decoded block, compared with its id."""
    start, end = block.span(slot)
    data = raw[start:end]
    if content_id(data) != id:
        raise CorruptObject(
            f"{where}: the bytes of {id.hex()} do not match it", id=id.hex(), where=where
        )
    return data
