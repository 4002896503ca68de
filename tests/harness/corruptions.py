"""Objects of a closed store made wrong, each in one way, as no flipped bit would make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from castore.content.blocks import Block, Codec, Member, block_head, decode_block
from castore.content.deltas import raw_bytes
from castore.database.tables import ObjectRow, State, number_key, pack_object, read_object
from castore.errors import ObjectNotFound
from castore.model.ids import Id, Kind
from castore.model.limits import DELTA_DEPTH
from castore.model.pages import decode_layout, encode_layout
from tests.store.damage import flip_last


class Unfit(Exception):
    """This corruption cannot be done to this object."""


@dataclass(slots=True)
class Hand:
    """What a corruption may touch: the tables, the object, its row and its block."""

    transaction: lmdb.Transaction[bytes]
    handles: dict[str, object]
    id: Id
    other: Id

    def row(self, id: Id = b"") -> ObjectRow:
        value = self.transaction.get(id or self.id, db=self.handles["objects"])
        assert value is not None
        return read_object(value, id or self.id)

    def data(self, id: Id = b"") -> bytes:
        value = self.transaction.get(number_key(self.row(id).block), db=self.handles["blocks"])
        assert value is not None
        return value

    def put(self, data: bytes) -> None:
        """Another block in the place of its own."""
        self.transaction.put(number_key(self.row().block), data, db=self.handles["blocks"])

    def put_row(self, row: ObjectRow) -> None:
        self.transaction.put(self.id, pack_object(row), db=self.handles["objects"])

    def block(self, id: Id = b"") -> Block:
        return decode_block(self.data(id), "here")

    def raw(self) -> tuple[Block, bytes]:
        """Its block and what that decodes to; not of a delta."""
        block = self.block()
        if block.codec is Codec.DELTA:
            raise Unfit
        return block, raw_bytes(block, _none, "here")

    def rewrite(self, block: Block, raw: bytes) -> None:
        """The block stored raw, with a check that holds."""
        head = block_head(Codec.RAW, block.metadata, 0, (), block.members, raw)
        self.put(head + raw)


def _none(id: Id) -> object:
    raise ObjectNotFound(id.hex())


def _row_missing(hand: Hand) -> None:
    hand.transaction.delete(hand.id, db=hand.handles["objects"])


def _block_missing(hand: Hand) -> None:
    hand.transaction.delete(number_key(hand.row().block), db=hand.handles["blocks"])


def _flipped(hand: Hand) -> None:
    hand.put(flip_last(hand.data()))


def _flipped_head(hand: Hand) -> None:
    data = bytearray(hand.data())
    data[5] ^= 1
    hand.put(bytes(data))


def _cut(hand: Hand) -> None:
    hand.put(hand.data()[: len(hand.data()) // 2])


def _cut_to_head(hand: Hand) -> None:
    hand.put(hand.data()[:20])


def _emptied(hand: Hand) -> None:
    hand.put(b"")


def _other_bytes(hand: Hand) -> None:
    """As long, under its id, and the check of the block holds."""
    block, raw = hand.raw()
    start, end = block.span(hand.row().slot)
    middle = (start + end) // 2
    hand.rewrite(block, raw[:middle] + bytes((raw[middle] ^ 1,)) + raw[middle + 1 :])


def _shorter(hand: Hand) -> None:
    """A byte less, and the tables of the block say so."""
    block, raw = hand.raw()
    start, end = block.span(hand.row().slot)
    if end - start < 2:
        raise Unfit
    members = list(block.members)
    slot = hand.row().slot
    members[slot] = members[slot]._replace(size=end - start - 1)
    hand.rewrite(block._replace(members=tuple(members)), raw[: end - 1] + raw[end:])


def _said_longer(hand: Hand) -> None:
    """The block says one byte more of it than there is."""
    block = hand.block()
    members = list(block.members)
    slot = hand.row().slot
    members[slot] = members[slot]._replace(size=members[slot].size + 1)
    head = block_head(block.codec, block.metadata, block.depth, block.bases, members, block.frame)
    hand.put(head + block.frame)


def _other_name(hand: Hand) -> None:
    """The block holds it under another id."""
    block = hand.block()
    members = [
        Member(bytes((id[0] ^ 1,)) + id[1:], kind, size)
        if id == hand.id
        else Member(id, kind, size)
        for id, kind, size in block.members
    ]
    head = block_head(block.codec, block.metadata, block.depth, block.bases, members, block.frame)
    hand.put(head + block.frame)


def _row_of_another_kind(hand: Hand) -> None:
    row = hand.row()
    kind = Kind.TREE if row.kind is not Kind.TREE else Kind.SET
    hand.put_row(row._replace(kind=kind))


def _member_of_another_kind(hand: Hand) -> None:
    block = hand.block()
    if not block.metadata:
        raise Unfit
    members = [
        Member(id, Kind.TREE if kind is not Kind.TREE else Kind.SET, size)
        if id == hand.id
        else Member(id, kind, size)
        for id, kind, size in block.members
    ]
    head = block_head(block.codec, block.metadata, block.depth, block.bases, members, block.frame)
    hand.put(head + block.frame)


def _row_of_another_slot(hand: Hand) -> None:
    row = hand.row()
    hand.put_row(row._replace(slot=row.slot + 1))


def _row_of_another_block(hand: Hand) -> None:
    hand.put_row(hand.row()._replace(block=hand.row(hand.other).block, slot=0))


def _row_of_no_block(hand: Hand) -> None:
    hand.put_row(hand.row()._replace(block=1 << 40))


def _row_that_says_lost(hand: Hand) -> None:
    hand.put_row(ObjectRow(0, 0, hand.row().kind, State.LOST))


def _row_malformed(hand: Hand) -> None:
    hand.transaction.put(hand.id, b"\1\2\3", db=hand.handles["objects"])


def _rebased(hand: Hand, bases: tuple[Id, ...], depth: int = 0) -> None:
    block = hand.block()
    if block.codec is not Codec.DELTA:
        raise Unfit
    head = block_head(
        block.codec, block.metadata, depth or block.depth, bases, block.members, block.frame
    )
    hand.put(head + block.frame)


def _wrong_base(hand: Hand) -> None:
    bases = hand.block().bases
    if hand.other in bases:
        raise Unfit
    _rebased(hand, (hand.other, *bases[1:]))


def _missing_base(hand: Hand) -> None:
    _rebased(hand, (bytes(32), *hand.block().bases[1:]))


def _base_is_itself(hand: Hand) -> None:
    _rebased(hand, (hand.id,))


def _too_deep(hand: Hand) -> None:
    _rebased(hand, hand.block().bases, DELTA_DEPTH + 1)


def _no_deeper_than_its_base(hand: Hand) -> None:
    """A base says that it rests on what rests on it: a cycle of two blocks."""
    block = hand.block()
    if block.codec is not Codec.DELTA:
        raise Unfit
    below = Hand(hand.transaction, hand.handles, block.bases[0], hand.other)
    base = below.block()
    head = block_head(Codec.DELTA, base.metadata, 1, (hand.id,), base.members, block.frame)
    below.put(head + block.frame)


def _parts_swapped(hand: Hand) -> None:
    """A layout whose chunks are all there, and do not join to its file."""
    block, raw = hand.raw()
    start, end = block.span(hand.row().slot)
    if hand.row().kind is not Kind.LAYOUT:
        raise Unfit
    page = decode_layout(raw[start:end])
    payload = encode_layout(page.level, tuple(reversed(page.parts)))
    assert len(payload) == end - start
    hand.rewrite(block, raw[:start] + payload + raw[end:])


def _parts_resized(hand: Hand) -> None:
    """A layout that moves a byte from its first chunk to its last."""
    block, raw = hand.raw()
    start, end = block.span(hand.row().slot)
    if hand.row().kind is not Kind.LAYOUT:
        raise Unfit
    page = decode_layout(raw[start:end])
    first, *middle, last = page.parts
    parts = (first._replace(size=first.size - 1), *middle, last._replace(size=last.size + 1))
    payload = encode_layout(page.level, parts)
    if len(payload) != end - start:
        raise Unfit
    hand.rewrite(block, raw[:start] + payload + raw[end:])


CORRUPTIONS: Final[dict[str, Callable[[Hand], None]]] = {
    "its row is missing": _row_missing,
    "its block is missing": _block_missing,
    "a bit of its bytes": _flipped,
    "a bit of its header": _flipped_head,
    "its block cut": _cut,
    "its block cut to the header": _cut_to_head,
    "its block empty": _emptied,
    "other bytes": _other_bytes,
    "a byte less": _shorter,
    "said to be longer": _said_longer,
    "stored under another id": _other_name,
    "a row of another kind": _row_of_another_kind,
    "a member of another kind": _member_of_another_kind,
    "a row of another slot": _row_of_another_slot,
    "a row of another block": _row_of_another_block,
    "a row of no block": _row_of_no_block,
    "a row that says lost": _row_that_says_lost,
    "a malformed row": _row_malformed,
    "a wrong base": _wrong_base,
    "a base that is missing": _missing_base,
    "its own base": _base_is_itself,
    "deeper than can be": _too_deep,
    "a cycle of bases": _no_deeper_than_its_base,
    "chunks that do not join to it": _parts_swapped,
    "chunks of other sizes": _parts_resized,
}


def corrupt(folder: Path, how: str, id: Id, other: Id) -> None:
    """Do it to an object of a closed store; `other` is another object. Raises Unfit."""
    with lmdb.open(str(folder), max_dbs=20, map_size=1 << 30, lib_version=0) as environment:
        handles: dict[str, object] = {
            "objects": environment.open_db(b"objects", create=False),
            "blocks": environment.open_db(b"blocks", create=False, integerkey=True),
        }
        with environment.begin(write=True) as transaction:
            CORRUPTIONS[how](Hand(transaction, handles, id, other))
