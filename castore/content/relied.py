"""What a batch relies on: stored objects, and how to make them again should they vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from castore.content.delta_encoder import write_in_full
from castore.content.sink import Batch, Sink, Turn
from castore.errors import Unavailable
from castore.model.ids import Id, Kind

_ATTEMPTS: Final = 8


class Relied(NamedTuple):
    """A stored object that new ones rely on, and how to make it again should it vanish.

    Either `payload` holds its bytes, or `path` names the file that has them.
    """

    id: Id
    kind: Kind
    payload: bytes
    path: str


Restore: TypeAlias = Callable[[list[Relied]], None]
"""Is given what vanished, and has stored it again when it returns."""


class Gathered(NamedTuple):
    """A batch, and how to make again what it relies on: by id, or by looking through `more`.

    `held` is called once it is written: the memory that its blocks lie in may be used again.
    """

    batch: Batch
    relied: dict[Id, Relied]
    more: list[Callable[[], Iterable[Relied]]]
    held: list[Callable[[], None]]

    def again(self, vanished: set[Id]) -> list[Relied]:
        """How to make these again, content before pages."""
        found = {id: self.relied[id] for id in vanished if id in self.relied}
        for relied in chain.from_iterable(again() for again in self.more):
            if relied.id in vanished:
                found.setdefault(relied.id, relied)
        return sorted(found.values(), key=lambda relied: (relied.kind, relied.id))

    def extend(self, later: Gathered) -> None:
        """Add what was gathered later."""
        batch, others = self.batch, later.batch
        batch.blocks.extend(others.blocks)
        batch.indexed.extend(others.indexed)
        batch.relied |= others.relied
        self.relied.update(later.relied)
        self.more.extend(later.more)
        self.held.extend(later.held)


def gathering(turn: Turn) -> Gathered:
    """An empty batch to gather in."""
    return Gathered(Batch(turn=turn), {}, [], [])


def write_again(
    sink: Sink,
    gathered: Gathered,
    vanished: set[Id],
    restore: Restore,
) -> None:
    """Store what vanished, and then the batch that relies on it, until nothing did.

    Raises Unavailable.
    """
    for _ in range(_ATTEMPTS):
        if not vanished:
            return
        write_in_full(gathered.batch, vanished)
        restore(gathered.again(vanished))
        vanished = sink.write(gathered.batch)
    raise Unavailable(
        "objects this session relies on are removed as fast as they are stored again",
        fix="try again when no collection is running",
    )
