"""What a rebase takes back: versions made anew keep their sets, whatever others did before them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from castore.content.reader import ObjectReader
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.errors import ObjectNotFound, RefMoved, TagExists
from castore.model.artifact_set import Artifact
from castore.model.ids import Id
from castore.model.refs import HEADS
from castore.store.sync_plan import Move, descends

_SHOWN: Final = 10
BACK: Final = "changes back or removes"


class TakenBack(NamedTuple):
    """Artifacts of others that a branch made anew has otherwise than they left them.

    Those `back` only they changed or added; `replaced` were changed here as well.
    """

    branch: str
    back: tuple[str, ...]
    replaced: tuple[str, ...]

    @property
    def words(self) -> str:
        """The same as people read it."""
        said = [(f"{BACK}: ", self.back), ("puts its own in the place of: ", self.replaced)]
        return "; ".join(before + _listed(names) for before, names in said if names)

    def as_json(self) -> dict[str, Any]:
        """The same as data."""
        return {
            "branch": self.branch,
            "changed_back_or_removed": list(self.back),
            "replaced": list(self.replaced),
        }


def taken_back(
    tables: Reading,
    branch: str,
    old: Id,
    onto: Id,
    *,
    rests: Iterable[Id] = (),
    theirs: Sequence[Artifact] | None = None,
) -> list[TakenBack]:
    """What the versions that only `old` has, made anew on top of `onto`, take back, if anything.

    Where `onto` is not here yet, it rests on `rests`, and `theirs` are its artifacts.
    """
    reader = ObjectReader(tables.load)
    if theirs is None:
        theirs = _artifacts(tables, reader, onto)
    ours = _artifacts(tables, reader, old)
    if theirs is None or ours is None:
        return []
    base = _base(tables, reader, old, tuple(rests) or (onto,))
    mine = {artifact.name: artifact for artifact in ours}
    before = _artifacts(tables, reader, base) if base else []
    # What both began with is not known where that was forgotten: then both may have changed it.
    known = None if before is None else {artifact.name: artifact for artifact in before}
    found: tuple[list[str], list[str]] = ([], [])
    for name, left in _left(theirs, known):
        now = mine.get(name)
        if now != left:
            both = now is not None and (known is None or known.get(name) != now)
            found[both].append(name)
    return [TakenBack(branch, *map(tuple, found))] if any(found) else []


def hint(taken: Sequence[TakenBack]) -> str:
    """What a message that proposes a rebase says of it, for the first branch; "" for nothing."""
    more = "; …" if len(taken) > 1 else ""
    return f"; in {taken[0].branch!r} --rebase {taken[0].words}{more}" if taken else ""


def beaten(
    database: Database, error: RefMoved | TagExists, moves: Sequence[Move]
) -> RefMoved | TagExists:
    """What is told of moves in a bucket that is the store, where somebody else was faster."""
    said, taken = "", list[TakenBack]()
    if moves and moves[0].new:
        move = moves[0]

        def read(tables: Reading) -> list[TakenBack]:
            tip = tables.ref(move.ref) if move.ref.startswith(HEADS) else None
            return taken_back(tables, move.name, move.new, tip) if tip else []

        taken = database.read(read)
        said = f"; the version made here is kept in the cache{hint(taken)}"
    return type(error)(
        error.message + said,
        fix="the same again with --rebase, after those of others",
        **{**error.attributes, "takes_back": [one.as_json() for one in taken]},
    )


def _left(
    theirs: Sequence[Artifact], known: dict[str, Artifact] | None
) -> list[tuple[str, Artifact | None]]:
    """How others left what they changed, added or removed; None: removed."""
    left: list[tuple[str, Artifact | None]] = [
        (one.name, one) for one in theirs if known is None or known.get(one.name) != one
    ]
    names = {one.name for one in theirs}
    return sorted([*left, *((name, None) for name in known or () if name not in names)])


def _base(tables: Reading, reader: ObjectReader, old: Id, onto: Sequence[Id]) -> Id:
    """The newest version of this line that the others come after as well; b"" for none."""
    id = old
    while not any(descends(tables, other, id) for other in onto):
        parents: tuple[Id, ...] = ()
        # History may be cut there.
        with suppress(ObjectNotFound):
            parents = reader.manifest(id).parents
        if not parents:
            return b""
        id = parents[0]
    return id


def _artifacts(tables: Reading, reader: ObjectReader, version: Id) -> Sequence[Artifact] | None:
    """What is in a version; None where that was forgotten, or was not fetched."""
    if tables.forgotten(version) is not None:
        return None
    with suppress(ObjectNotFound):
        return reader.set(reader.manifest(version).set).artifacts
    return None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
