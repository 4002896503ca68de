"""Deltas of chunks decoded in one go, for a reader that compares what comes out with its id.

Nothing is compared on the way: neither the checks of headers nor the bytes of bases. What lies
below is looked up in one view of the store. Where the bases of a delta are all members of one
block, in order, and nothing else needs that block - as in the history of most files - zstd decodes
from one into the other and back, and no level is copied. What is damaged, or needs more than a
few MiB, is left to castore.content.deltas, which tells why.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, Final, Protocol, TypeAlias

from castore.content.blocks import Block, Codec, Sketch, sketch_block
from castore.content.codecs import declared_size, decompress, decompress_chain, stored_frame
from castore.content.kept import Decoded, KeptBlocks
from castore.errors import CastoreError
from castore.model.ids import Id
from castore.model.limits import BLOCK_RAW_BYTES, DICTIONARY_BYTES, ID_BYTES, MIB

# What is stored and what is decoded, of everything below one delta.
_MOST_BYTES: Final = 32 * MIB
_MOST_WORK: Final = 512 * MIB
_MOST_BASES: Final = 4096


class Rows(Protocol):
    """One view of the store, as a descent sees it."""

    def place(self, id: Id) -> tuple[int, int] | None:
        """The block number and slot of a chunk, None if it is not stored."""
        ...

    def lying(self, id: Id, known: Container[int]) -> tuple[int, int, bytes] | None:
        """As `place`, with the block itself unless its number is known; None if that is missing."""
        ...


View: TypeAlias = Callable[[Callable[[Rows], Any]], Any]
"""Calls a function with one view of the store, perhaps again from the start; gives its result."""


class _TooMuch(Exception):
    """What is asked is left to castore.content.deltas."""


class _Node:
    """One block below: what it says, where its dictionary lies, and how many need its bytes."""

    __slots__ = ("depth", "frame", "raw", "said", "size", "sources", "starts", "used", "users")

    def __init__(self, said: Sketch, raw: bytes | None = None) -> None:
        self.said = said
        self.depth = said.depth if raw is None else 0
        self.size = said.raw_size
        self.frame = said.frame
        self.raw = raw
        self.sources: list[tuple[_Node, int, int]] = []
        self.starts: list[int] | None = None
        # Bytes that are at hand are not let go of: others have them.
        self.users = 0 if raw is None else 1
        self.used = 0

    @property
    def only(self) -> _Node | None:
        """The block that is the dictionary as a whole, if nothing else needs that."""
        if len(self.sources) != 1:
            return None
        below, start, end = self.sources[0]
        whole = below.users == 1 and not start and end == below.size
        return below if whole and below.raw is None else None

    def span(self, slot: int) -> tuple[int, int]:
        """Where a member lies in the raw bytes."""
        if self.starts is None:
            self.starts = self.said.starts
        if slot + 1 >= len(self.starts) or self.starts[-1] != self.size:
            raise _TooMuch
        return self.starts[slot], self.starts[slot + 1]


def decode_chunks(
    block: Block, view: View, kept: KeptBlocks, beside: Sequence[Id] = ()
) -> bytes | None:
    """The raw bytes of a delta of chunks, not compared with anything.

    Blocks on the way that hold some of `beside`, which are read next, are kept, and those that are
    needed in part only, as their neighbours need the rest. None where it did not come off:
    castore.content.deltas does it, or says what is wrong.
    """
    ids = b"".join(block.bases)
    top = Sketch(block.codec, block.depth, block.raw_size, ids, b"", block.frame)
    try:
        if declared_size(block.frame) != block.raw_size:
            return None
        nodes, wanted = view(lambda rows: _Gathering(rows, kept).below(top, beside))
        raw = _decoded(nodes)
        for number, node in wanted.items():
            members = node.said.ids
            each = [members[at : at + ID_BYTES] for at in range(0, len(members), ID_BYTES)]
            kept.hold(number, Decoded(tuple(each), node.said.starts, node.raw or b""))
        return raw
    except (_TooMuch, CastoreError):
        return None


class _Gathering:
    """Finds the blocks that one delta needs."""

    def __init__(self, rows: Rows, kept: KeptBlocks) -> None:
        self._rows = rows
        self._kept = kept
        self._nodes: dict[int, _Node] = {}
        self._bytes = 0
        self._bases = 0

    def below(self, top: Sketch, beside: Sequence[Id]) -> tuple[list[_Node], dict[int, _Node]]:
        """Everything below a delta and then itself, each behind its bases; what is to be kept."""
        first = _Node(top)
        todo = [first]
        while todo:
            node = todo.pop()
            todo += self._expand(node)
        if sum([node.size for node in self._nodes.values()]) > _MOST_WORK:
            raise _TooMuch
        return _ordered(first), self._wanted(beside)

    def _wanted(self, ids: Sequence[Id]) -> dict[int, _Node]:
        """The blocks found, by number, that are to be kept; they have one user more.

        They hold some of these, or more than was asked of them: that is for files beside this one.
        """
        wanted: dict[int, _Node] = {}
        for id in ids:
            place = self._rows.place(id)
            node = self._nodes.get(place[0]) if place is not None else None
            if place is not None and node is not None and node.depth:
                wanted[place[0]] = node
        for number, node in self._nodes.items():
            if node.raw is None and node.used < node.size:
                wanted[number] = node
        for node in wanted.values():
            node.users += 1
        return wanted

    def _expand(self, node: _Node) -> list[_Node]:
        """Find what a delta rests on; those of it that are deltas and were not seen before."""
        bases = node.said.bases
        new: list[_Node] = []
        below, slot = self._find(bases[:ID_BYTES], new)
        if slot == 0 and below.raw is None and below.said.is_made_of(bases):
            self._bases += 1
            node.sources = [(below, 0, below.size)]
            below.users += 1
            below.used += below.size
        else:
            self._expand_each(node, new)
        for below, _, _ in node.sources:
            if below.depth >= node.depth:
                raise _TooMuch
        if self._bases > _MOST_BASES:
            raise _TooMuch
        return new

    def _expand_each(self, node: _Node, new: list[_Node]) -> None:
        """Find the bases one by one; those that lie together are one piece."""
        bases, sources = node.said.bases, node.sources
        size = 0
        for at in range(0, len(bases), ID_BYTES):
            below, slot = self._find(bases[at : at + ID_BYTES], new)
            start, end = below.span(slot)
            size += end - start
            below.used += end - start
            if sources and sources[-1][0] is below and sources[-1][2] == start:
                sources[-1] = (below, sources[-1][1], end)
            else:
                sources.append((below, start, end))
                below.users += 1
        self._bases += len(bases) // ID_BYTES
        if size > DICTIONARY_BYTES:
            raise _TooMuch

    def _find(self, id: Id, new: list[_Node]) -> tuple[_Node, int]:
        nodes = self._nodes
        place = self._rows.lying(id, nodes)
        if place is None:
            raise _TooMuch
        number, slot, data = place
        node = nodes.get(number)
        if node is None:
            node = nodes[number] = self._read(number, data)
            if node.depth:
                new.append(node)
        return node, slot

    def _read(self, number: int, data: bytes) -> _Node:
        said = sketch_block(data)
        if said is None:
            raise _TooMuch
        codec, depth, raw_size, bases, _, frame = said
        kept = self._kept.get(number)
        if kept is not None and len(kept.raw) == raw_size:
            return _Node(said, kept.raw)
        delta = codec == Codec.DELTA
        if delta != bool(bases) or delta != bool(depth) or not 0 < raw_size <= BLOCK_RAW_BYTES:
            raise _TooMuch
        if codec == Codec.RAW:
            return _Node(said, frame)
        self._bytes += len(frame)
        if self._bytes > _MOST_BYTES or declared_size(frame) != raw_size:
            raise _TooMuch
        return _Node(said)


def _ordered(top: _Node) -> list[_Node]:
    """A block and all below it, each right behind those it needs: so the fewest are held at once.

    Depth falls from each to those below it, so there are no circles.
    """
    order: list[_Node] = []
    seen: set[int] = set()
    todo = [(top, False)]
    while todo:
        node, ready = todo.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            todo.append((node, True))
            todo += [(below, False) for below, _, _ in reversed(node.sources)]
    return order


def _decoded(nodes: list[_Node]) -> bytes:
    """The bytes of the last of these, each of which comes behind those it needs."""
    passed: set[int] = set()
    for node in nodes:
        only = node.only
        if only is not None:
            passed.add(id(only))
    raw, held = b"", 0
    for node in nodes:
        if node.raw is not None or id(node) in passed:
            continue
        raw, freed = _run(node)
        node.raw = raw
        held += len(raw) - freed
        if held > _MOST_BYTES or len(raw) != node.size:
            raise _TooMuch
    return raw


def _run(node: _Node) -> tuple[bytes, int]:
    """The bytes of a block by way of all those below it that nothing else needs.

    And how many bytes were let go of, which nothing needs any more.
    """
    if not node.depth:
        return decompress(node.frame, node.size), 0
    frames = [node.frame]
    below = node.only
    while below is not None:
        frames.append(below.frame)
        node, below = below, below.only
    freed = 0
    if not node.depth:
        first = frames.pop()
    else:
        pieces = [memoryview(below.raw or b"")[start:end] for below, start, end in node.sources]
        first = stored_frame(pieces, sum([len(piece) for piece in pieces]))
        for below, _, _ in node.sources:
            below.users -= 1
            if not below.users:
                freed += below.size
                below.raw = None
    frames.reverse()
    return decompress_chain(first, frames), freed
