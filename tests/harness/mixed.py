"""Mixed content: files of noise, text, words, zeros and parts of others, and edits of them."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from random import Random
from typing import Final

MIB: Final = 1 << 20
_TEXT_BYTES: Final = 2 * MIB
_LETTERS: Final = string.ascii_letters.encode()
_PIECES: Final = (1, 3, 12, 40)
_RECENT: Final = 6


def prose(seed: int) -> bytes:
    """Words and numbers in lines, which pack to a third."""
    dice = Random(f"prose {seed}")
    words = [dice.randbytes(dice.randint(1, 4)).hex().encode() for _ in range(3000)]
    lines = []
    for number in range(_TEXT_BYTES // 60):
        lines.append(b"%06d %b" % (number, b" ".join(dice.choices(words, k=9))))
    return b"\n".join(lines)


@dataclass(slots=True)
class Maker:
    """Makes files from dice, of `text`, of noise, and of what it made before."""

    dice: Random
    text: bytes
    recent: list[bytes] = field(default_factory=list)

    def small(self) -> bytes:
        """A file of one piece of at most some KiB."""
        return self._made(self._piece(int(2 ** self.dice.uniform(0, 14))))

    def mixed(self) -> bytes:
        """A file of pieces of anything, of some bytes to some ten MiB."""
        sizes = [int(2 ** self.dice.uniform(4, 20)) for _ in range(self.dice.choice(_PIECES))]
        return self._made(b"".join([self._piece(size) for size in sizes]))

    def turns(self, size: int) -> bytes:
        """A file of text and noise in turns, of about `size` bytes: neither alone fills a read."""
        pieces: list[bytes] = []
        left = size
        while left > 0:
            length = self.dice.randint(100_000, MIB)
            pieces.append(self._text(length) if len(pieces) % 2 else self.dice.randbytes(length))
            left -= length
        return self._made(b"".join(pieces))

    def edited(self, data: bytes) -> bytes:
        """The file with some places inserted into, deleted, overwritten or moved."""
        dice, new = self.dice, bytearray(data)
        for _ in range(dice.randint(1, 5)):
            at = dice.randrange(len(new) + 1)
            how = dice.randrange(4)
            if how == 0:
                new[at:at] = self._piece(dice.choice((10, 1000, 100_000, MIB)))
            elif how == 1:
                del new[at : at + dice.choice((1, 1000, 300_000))]
            elif how == 2:
                over = dice.randbytes(dice.choice((1, 100, 50_000)))
                new[at : at + len(over)] = over
            else:
                end = at + dice.randint(1, MIB)
                moved = new[at:end]
                del new[at:end]
                to = dice.randrange(len(new) + 1)
                new[to:to] = moved
        return self._made(bytes(new))

    def _made(self, data: bytes) -> bytes:
        self.recent = [*self.recent, data][-_RECENT:]
        return data

    def _piece(self, size: int) -> bytes:
        dice = self.dice
        how = dice.randrange(6)
        if how == 0:
            return dice.randbytes(size)
        if how == 1:
            return self._text(size)
        if how == 2:
            return b"".join([b"row %06d of it, value 7\n" % n for n in range(size // 26 + 1)])
        if how == 3:
            return bytes(size)
        if how == 4 and self.recent:
            whole = dice.choice(self.recent)
            at = dice.randrange(len(whole) + 1)
            return whole[at : at + size]
        # Text and noise by turns within a chunk.
        parts = []
        for _ in range(size // 4000 + 1):
            parts += [dice.randbytes(dice.randint(1, 4000)), self._text(dice.randint(1, 4000))]
        return b"".join(parts)

    def _text(self, size: int) -> bytes:
        """Text that was not there before: with other letters."""
        at = self.dice.randrange(max(1, len(self.text) - size))
        others = bytes(self.dice.sample(_LETTERS, len(_LETTERS)))
        return self.text[at : at + size].translate(bytes.maketrans(_LETTERS, others))
