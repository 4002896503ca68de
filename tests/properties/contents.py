"""What the state machine stores, and which of it has bytes in common.

A file is one chunk below 16 KiB; of two longer ones a chunk is the same only if they begin with the
same 256 KiB or are equal: `shares` says so without cutting anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from hypothesis import strategies as st

_HEAD = random.Random(7).randbytes(300_000)
_TEXT = random.Random(8).randbytes(3_000).hex().encode()
NEEDLE = 32
ANOTHER = b"what nobody ever purges, longer than anything that is drawn at random" * 2

KIN = st.integers(0, 3)
NAMES = st.sampled_from(["a", "b.txt", "ünï", "data"])
CONTENTS = st.one_of(
    st.binary(max_size=64),
    st.integers(0, 3).map(lambda n: bytes([n]) * 300_000),
    st.integers(0, 2).map(lambda n: (b"line %d of a file\n" % n) * 40_000),
    # Each has the chunks of the first: one cannot be purged without the others.
    KIN.map(lambda number: begun(number)),
    # One can be stored as what it changed in another.
    st.integers(0, 5).map(lambda n: _TEXT[: 1000 * n] + b"edit %d" % n + _TEXT[1000 * n :]),
)
SETS = st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=3)


def begun(number: int) -> bytes:
    """A file that begins as all others of these do, and so has chunks of them."""
    return _HEAD + random.Random(number).randbytes(20_000 * number)


def shares(one: bytes, other: bytes) -> bool:
    """Whether two files have a chunk in common."""
    return bool(one) and (one == other or (one.startswith(_HEAD) and other.startswith(_HEAD)))


def dead(purged: Iterable[bytes], data: bytes) -> bool:
    """Whether nobody reads or stores this content any more."""
    return any(shares(data, gone) for gone in purged)


def alive(purged: Iterable[bytes], content: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """The files of a version as they are read: None for one that was purged."""
    gone = list(purged)
    return {name: None if dead(gone, data) else data for name, data in content.items()}


def needle(data: bytes) -> bytes:
    """The beginning of a content, by which it would be found; b"" where that tells nothing.

    Only of short content, which is stored as it is where that is shorter than its compressed form.
    """
    head = data[:NEEDLE]
    return head if NEEDLE <= len(data) <= 64 and len(set(head)) > 16 else b""
