"""Deltas whose bases are hostile: every reader gives the right bytes or a named error, and ends.

What a delta rests on is altered under it: blocks that say other depths, bases, sizes and members
with a right check, rows that lead elsewhere, objects that are gone, flipped bytes.
"""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.content.blocks import Block, Codec, Member, decode_block, encode_block
from castore.content.chains import Chains
from castore.content.codecs import compress
from castore.content.deltas import StoredObject, raw_bytes
from castore.content.encoder import encode_chunks
from castore.content.kept import KeptBlocks
from castore.content.reader import ObjectReader
from castore.errors import (
    CorruptObject,
    InvalidInput,
    ObjectNotFound,
    TypeMismatch,
    UnsupportedFormat,
)
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import BLOCK_RAW_BYTES, DELTA_DEPTH
from castore.model.pages import Part
from tests.content.memory_sink import MemorySink
from tests.content.samples import chunk, noise, prose

RAISED = (CorruptObject, ObjectNotFound, TypeMismatch, UnsupportedFormat)
BLOCKS = 8
# Below one delta of `build`: at most so many looks at what it rests on, and so much memory.
LOOKS = 4_000
MEMORY = 32 << 20


class World(MemorySink):
    """Blocks on one another, the chunks in them, and how often something was looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: dict[Id, bytes] = {}
        self.looks = 0

    def load(self, id: Id) -> StoredObject:
        self.looks += 1
        return super().load(id)

    def place(self, id: Id) -> tuple[int, int] | None:
        self.looks += 1
        return super().place(id)


def build(dice: Random) -> World:
    """Some plain chunks, and deltas of one to three members on some of all before."""
    world = World()
    texts = [prose(dice.randint(800, 3_000), dice.getrandbits(20)), noise(900, str(dice.random()))]
    for block in encode_chunks([(content_id(text), text) for text in texts]):
        world.put(block.data)
    depths = dict.fromkeys((content_id(text) for text in texts), 0)
    world.chunks = {content_id(text): text for text in texts}
    for number in range(BLOCKS):
        bases = dice.sample(sorted(depths), dice.randint(1, min(3, len(depths))))
        dictionary = b"".join(world.chunks[id] for id in bases)
        made = [
            b"%d %d" % (number, at) + dictionary[dice.randrange(300) :][:2_000]
            for at in range(dice.randint(1, 3))
        ]
        depth = 1 + max(depths[id] for id in bases)
        raw = b"".join(made)
        frame = compress(raw, dictionary)
        members = tuple(map(chunk, made))
        world.put(
            encode_block(Block(Codec.DELTA, False, depth, len(raw), tuple(bases), members, frame))
        )
        depths.update((content_id(data), depth) for data in made)
        world.chunks.update((content_id(data), data) for data in made)
    return world


def other_frame(dice: Random, block: Block) -> bytes:
    """A frame of something else, of much more than is said, or of nothing that zstd knows."""
    how = dice.randrange(5)
    if how == 0:
        return compress(bytes(dice.choice((block.raw_size, 1, 50 << 20))))
    if how == 1:
        return compress(dice.randbytes(block.raw_size), dice.randbytes(100))
    if how == 2:
        # Declares 1 TiB.
        return b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\0\0"
    if how == 3:
        return block.frame[: dice.randrange(len(block.frame))]
    return block.frame + block.frame


def altered(dice: Random, block: Block, ids: list[Id]) -> Block:
    """The block with something else in one of its fields."""
    how = dice.randrange(7)
    if how == 0:
        return block._replace(depth=dice.choice((0, 1, block.depth + 1, DELTA_DEPTH)))
    if how == 1:
        # Among them itself, what rests on it, and one base many times.
        bases = tuple(dice.choices(ids, k=dice.choice((1, 2, 3, 100))))
        return block._replace(bases=bases, codec=Codec.DELTA, depth=max(1, block.depth))
    if how == 2:
        return block._replace(bases=tuple(reversed(block.bases)))
    if how == 3:
        return block._replace(frame=other_frame(dice, block))
    if how == 4:
        members = list(block.members)
        dice.shuffle(members)
        return block._replace(members=tuple(members))
    if how == 5:
        size = dice.choice((0, 1, block.raw_size + 1, BLOCK_RAW_BYTES))
        return block._replace(
            raw_size=size, members=(Member(block.members[0].id, Kind.CHUNK, size),)
        )
    codec = dice.choice(list(Codec))
    bases = block.bases if codec is Codec.DELTA else ()
    return block._replace(codec=codec, bases=bases, depth=min(block.depth, len(bases)))


def spoil(dice: Random, world: World) -> None:
    """One alteration."""
    ids = sorted(world.chunks)
    number = dice.choice(sorted(world.blocks))
    how = dice.randrange(8)
    if how < 4:
        try:
            block = altered(dice, decode_block(world.blocks[number], "block"), ids)
            world.blocks[number] = encode_block(block)
        except (InvalidInput, *RAISED):
            return
    elif how == 4:
        data = bytearray(world.blocks[number])
        for _ in range(dice.choice((1, 20))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        world.blocks[number] = bytes(data)
    elif how == 5:
        one, two = dice.choices(sorted(world.blocks), k=2)
        world.blocks[one], world.blocks[two] = world.blocks[two], world.blocks[one]
    elif how == 6:
        kind, place, slot = world.rows.get(dice.choice(ids), (Kind.CHUNK, 1, 0))
        slot = dice.choice((slot, slot + 1, 2**15))
        world.rows[dice.choice(ids)] = dice.choice((kind, Kind.LAYOUT, Kind.SET)), place, slot
    else:
        world.lose([dice.choice(ids)])


def attempt(reader: ObjectReader, part: Part) -> bytes | None:
    """What is read, None for a named error; any other is a failure."""
    try:
        return reader.chunk(part)
    except RAISED:
        return None


def check(world: World) -> int:
    """Read every chunk in every way; how many could be read."""
    readable = 0
    carefully = ObjectReader(world.load)
    for id, data in world.chunks.items():
        world.looks = 0
        for reader in (world.reader, carefully):
            found = attempt(reader, Part(id, len(data)))
            assert found in (None, data)
            readable += found is not None
        assert world.looks < LOOKS, world.looks
    for number, stored in world.blocks.items():
        for trusting in (False, True):
            try:
                block = decode_block(stored, "block")
                size = block.raw_size
                raw = raw_bytes(block, world.load, "block", KeptBlocks(), trusting=trusting)
            except RAISED:
                continue
            assert len(raw) == size, number
    chains = Chains(carefully, world.load)
    parts = [Part(id, len(data)) for id, data in world.chunks.items()]
    for at in range(len(parts)):
        chains.bases(parts[at : at + 3], 3_000)
    return readable


@given(st.integers(0, 2**32))
def test_what_is_not_spoiled_is_read(seed: int) -> None:
    world = build(Random(seed))
    assert check(world) == 2 * len(world.chunks)


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_hostile_bases_give_no_wrong_bytes_and_no_other_error(seed: int, spoils: int) -> None:
    dice = Random(seed)
    world = build(dice)
    for _ in range(spoils):
        spoil(dice, world)
    check(world)


def test_hostile_bases_take_little_memory() -> None:
    for seed in range(20):
        dice = Random(seed)
        world = build(dice)
        for _ in range(4):
            spoil(dice, world)
        tracemalloc.start()
        try:
            check(world)
            assert tracemalloc.get_traced_memory()[1] < MEMORY, seed
        finally:
            tracemalloc.stop()


def attack(seeds: int) -> None:
    """Read worlds that were spoiled once."""
    for seed in range(seeds):
        dice = Random(seed)
        world = build(dice)
        spoil(dice, world)
        check(world)


def test_a_reader_that_compares_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def member(self: ObjectReader, id: Id, kind: Kind, stored: StoredObject, *_: object) -> bytes:
        return self._member(id, stored)

    monkeypatch.setattr(ObjectReader, "_check", member)
    with pytest.raises(AssertionError):
        attack(200)


@pytest.mark.parametrize("size", [1 << 40, 50 << 20, 1])
def test_a_delta_that_declares_another_size_is_refused(size: int) -> None:
    """Memory for what a frame declares is taken before a byte of it is decoded."""
    world = build(Random(1))
    number = max(world.blocks)
    block = decode_block(world.blocks[number], "block")
    head = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little")
    world.blocks[number] = encode_block(block._replace(frame=head + b"\x01\0\0"))
    for reader in (world.reader, ObjectReader(world.load)):
        with pytest.raises(CorruptObject, match="declares"):
            reader.chunk(Part(block.members[0].id, block.members[0].size))
