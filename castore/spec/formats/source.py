"""What a format check reads from, within bounds, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from castore.model.limits import KIB, MIB

BLOCK: Final = 256 * KIB
WHOLE: Final = 32 * MIB
"""The most that is read into memory at once."""
LISTED: Final = 100
"""The most faults that are listed one by one."""

FAILED: Final = "failed"
SKIPPED: Final = "skipped"
PASSED: Final = "passed"


class Finding(NamedTuple):
    """What is wrong (failed), why something was not looked at (skipped), or a remark (passed)."""

    detail: str
    line: int | None = None
    result: str = FAILED


@dataclass(frozen=True, slots=True)
class Source:
    """An artifact's bytes: `open` gives a seekable reader of `size` bytes, each time a new one."""

    size: int
    open: Callable[[], BinaryIO]
    encoding: str = "utf-8"

    def piece(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on; fewer where the file ends."""
        with self.open() as file:
            file.seek(max(0, start))
            return read_up_to(file, length)

    def head(self, length: int) -> bytes:
        """The first bytes."""
        return self.piece(0, length)

    def tail(self, length: int) -> bytes:
        """The last bytes."""
        return self.piece(self.size - length, min(length, self.size))

    def whole(self) -> bytes:
        """All of it; only for what is at most WHOLE."""
        return self.piece(0, min(self.size, WHOLE))

    def blocks(self, length: int = BLOCK) -> Iterator[bytes]:
        """All of it, block by block."""
        with self.open() as file:
            while block := file.read(length):
                yield block


def read_up_to(file: BinaryIO, length: int) -> bytes:
    """`length` bytes, or all there are; readers may give less than was asked for."""
    pieces: list[bytes] = []
    while length > 0 and (piece := file.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def too_big(source: Source, limit: int, what: str) -> list[Finding]:
    """Says that a file above `limit` bytes was not looked into."""
    if source.size <= limit:
        return []
    detail = f"{source.size} bytes; {what} is checked up to {limit // MIB} MiB"
    return [Finding(detail, result=SKIPPED)]


def capped(findings: Iterator[Finding], limit: int = LISTED) -> list[Finding]:
    """The first `limit` findings, and a last one that says that there are more."""
    kept: list[Finding] = []
    for finding in findings:
        if len(kept) == limit:
            kept.append(Finding(f"more than {limit} faults; the rest is not listed"))
            break
        kept.append(finding)
    return kept
