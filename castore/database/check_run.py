"""One run of the structural checks: what it saw so far, and what it found wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from castore.content.blocks import Block
from castore.content.deltas import Load
from castore.content.kept import KeptBlocks
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.tables import NEXT_BLOCK_KEY
from castore.model.ids import Id


class Problem(NamedTuple):
    """One thing that is wrong: the table, block or file, what, and the object hurt, if known."""

    where: str
    detail: str
    id: Id = b""


@dataclass(slots=True)
class Pass:
    """What one run of the checks has seen so far."""

    next_block: int
    last_sequence: int
    gc_epoch: int
    live: int = 0
    keys: int = 0
    problems: list[Problem] = field(default_factory=list)
    kept: KeptBlocks = field(default_factory=KeptBlocks)
    on_block: OnBlock | None = None

    def add(self, where: str, detail: str, id: Id = b"") -> None:
        """Take note of a problem."""
        self.problems.append(Problem(where, detail, id))

    def drain(self) -> list[Problem]:
        """The problems since the last call."""
        found, self.problems = self.problems, []
        return found


OnBlock: TypeAlias = Callable[[int, Block, Load], None]
"""Is given each whole block, its number, and what loads other objects in the same view."""


def begin(reading: Reading) -> Pass:
    """A run over the store as it is now."""
    return Pass(
        next_block=reading.integer(NEXT_BLOCK_KEY.decode()),
        last_sequence=reading.last_sequence(),
        gc_epoch=reading.gc_epoch(),
    )


def in_view(
    database: Database, run: Pass, check: Callable[[Reading, Pass], None]
) -> Iterator[Problem]:
    """What `check` adds in one view."""
    database.read(lambda reading: check(reading, run))
    yield from run.drain()
