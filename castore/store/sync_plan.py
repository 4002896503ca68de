"""Plans of a push: which refs move, and whether each may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from castore.content.reader import ObjectReader
from castore.database.reading import Reading
from castore.errors import Conflict, RefMoved, RefNotFound, TagExists
from castore.model.ids import Id, short
from castore.model.names import near_names
from castore.model.refs import HEADS, TAGS
from castore.remote.root import Root


class Move(NamedTuple):
    """A ref of a bucket that is set: from where, b"" for a new one, to where."""

    ref: str
    old: Id
    new: Id

    @property
    def name(self) -> str:
        """The name of the branch or tag."""
        return self.ref.partition("/")[2]


def chosen_refs(tables: Reading, names: Sequence[str]) -> dict[str, Id]:
    """The branches and tags of these names, or all of them; raises RefNotFound."""
    every = dict((*tables.refs(HEADS), *tables.refs(TAGS)))
    return refs_named(every, names, "no branch or tag is called", "cas branch")


def refs_named(refs: Mapping[str, Id], names: Sequence[str], lack: str, fix: str) -> dict[str, Id]:
    """Those of these refs that are named, in full or as branch or tag; all without names.

    Raises RefNotFound, which says `lack` before a name.
    """
    if not names:
        return dict(refs)
    chosen: dict[str, Id] = {}
    for name in names:
        found = [ref for ref in (name, HEADS + name, TAGS + name) if ref in refs]
        if not found:
            known = [ref.partition("/")[2] for ref in refs]
            raise RefNotFound(f"{lack} {name!r}{near_names(name, known)}", fix=fix)
        chosen[found[0]] = refs[found[0]]
    return chosen


def plan_moves(tables: Reading, chosen: dict[str, Id], root: Root, remote: str) -> list[Move]:
    """The refs of the bucket that are to move; all may, or RefMoved or TagExists is raised."""
    moves: list[Move] = []
    for ref, new in sorted(chosen.items()):
        old = root.refs.get(ref, b"")
        if old == new:
            continue
        name = ref.partition("/")[2]
        if ref.startswith(TAGS):
            if old or ref in root.tombs:
                what = f"is {short(old)} there" if old else "was deleted there"
                raise TagExists(
                    f"tag {name!r} {what}, and {short(new)} here: tags never move; nothing was "
                    "sent",
                    fix=f"cas tag --delete {name}",
                )
        elif old and not descends(tables, new, old):
            raise RefMoved(
                f"{remote}'s {name!r} is at {short(old)}, which {short(new)} here does not come "
                "after; nothing was sent",
                fix=f"cas pull {remote} {name}",
                branch=name,
                remote=old.hex(),
                local=new.hex(),
            )
        if not old:
            _refuse_shared_name(ref, name, chosen, root)
        moves.append(Move(ref, old, new))
    return moves


def descends(tables: Reading, new: Id, old: Id) -> bool:
    """Whether `old` is `new` or comes before it, along any parents, as far as is stored."""
    known, goal = tables.step(new), tables.step(old)
    if known is None or goal is None:
        return new == old
    if tables.ancestor(new, goal.number) == old:
        return True
    reader = ObjectReader(tables.load)
    seen, waiting = {new}, [new]
    while waiting:
        id = waiting.pop()
        if tables.step(id) is None:
            continue
        parents = reader.manifest(id).parents
        if old in parents:
            return True
        news = [parent for parent in parents if parent not in seen]
        seen.update(news)
        waiting.extend(news)
    return False


def moved_elsewhere(url: str, move: Move, there: Id) -> RefMoved:
    """The error for a ref that somebody else moved."""
    now = short(there) if there else "gone"
    made = short(move.new) if move.new else "a deletion"
    after = f"after {short(move.old)}" if move.old else "as the first"
    return RefMoved(
        f"{move.name!r} is {now} in {url}; {made} was made {after}",
        branch=move.name,
        remote=there.hex() or None,
        local=move.new.hex() or None,
    )


def still_open(root: Root, move: Move) -> bool:
    """Whether a ref may still move as planned: nobody moved it, or took or ended its name."""
    ref, old, new = move
    there = root.refs.get(ref, b"")
    if there == new:
        return True
    if not new or there:
        return there == old
    other = (TAGS if ref.startswith(HEADS) else HEADS) + move.name
    return not old and not {ref, other} & (root.refs.keys() | root.tombs)


def moved_refs(
    refs: Mapping[str, Id], moves: Sequence[Move], tombs: frozenset[str]
) -> dict[str, Id]:
    """The refs of a root after these moves, without those that were ended."""
    after = {**refs, **{move.ref: move.new for move in moves}}
    return {ref: id for ref, id in after.items() if id and ref not in tombs}


def _refuse_shared_name(ref: str, name: str, chosen: dict[str, Id], root: Root) -> None:
    other = (TAGS if ref.startswith(HEADS) else HEADS) + name
    if other in root.refs or other in root.tombs or other in chosen:
        raise Conflict(
            f"{name!r} is a {'tag' if other.startswith(TAGS) else 'branch'} there: a branch and a "
            "tag may not share a name",
            fix="choose another name",
        )
