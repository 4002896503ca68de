"""Decoded blocks are kept by what they take in memory, however small they are."""

from __future__ import annotations

import sys

from castore.content.kept import KEPT_BYTES, Decoded, KeptBlocks


def decoded(number: int, members: int, size: int) -> Decoded:
    ids = tuple((number << 16 | at).to_bytes(32, "big") for at in range(members))
    return Decoded(ids, [1000 + at * size for at in range(members + 1)], bytes(members * size))


def taken(block: Decoded) -> int:
    things = (block, block.ids, *block.ids, block.starts, *block.starts, block.raw)
    return sum(map(sys.getsizeof, things))


def test_what_is_kept_fits_its_bound_though_blocks_are_tiny() -> None:
    for members, size in ((1, 20), (40, 3), (1, 900), (300, 4000)):
        kept = KeptBlocks()
        blocks = {number: decoded(number, members, size) for number in range(60_000 // members)}
        for number, block in blocks.items():
            kept.hold(number, block)
        held = [block for number, block in blocks.items() if kept.get(number) is block]
        assert held
        assert sum(map(taken, held)) <= KEPT_BYTES
        if sum(map(taken, blocks.values())) > KEPT_BYTES:
            assert len(held) < len(blocks)
            assert kept.get(0) is None


def test_the_block_asked_for_last_is_kept_the_longest() -> None:
    kept = KeptBlocks()
    for number in range(40):
        kept.hold(number, decoded(number, 1, 1 << 20))
        kept.get(0)
    assert kept.get(0) is not None
    assert kept.get(1) is None
    assert kept.get(39) is not None
