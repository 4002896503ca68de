"""Retention: which versions of a branch the rules keep, and for which reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from castore.database.reading import Reading
from castore.errors import InvalidInput, RefNotFound
from castore.model.ids import Id
from castore.model.names import near_names
from castore.model.refs import HEADS, LOST, PARTIALS, TAGS
from castore.store.deployments import deployed_places
from castore.store.history import at_home, walk
from castore.store.selectors import branch_names, tip
from castore.store.standing import Verdicts, status_of
from castore.store.store import Store
from castore.store.version import Version

PINNED: Final = "pinned"


@dataclass(frozen=True, slots=True)
class Rules:
    """What stays: the newest `last` of each branch, what is not older than `within` microseconds.

    Also what counts as approved, if so asked. The newest version of each branch, what is deployed
    and whatever a tag, a pin or another ref names stays in any case, so `tagged` or `deployed`
    alone keeps no more.
    """

    last: int = 0
    within: int | None = None
    approved: bool = False
    tagged: bool = False
    deployed: bool = False

    def given(self) -> bool:
        """Whether there is any rule."""
        return self != Rules()


@dataclass(slots=True)
class Judged:
    """The versions that rules let go, newest first, and for those that stay the reason by id."""

    go: list[Version] = field(default_factory=list)
    kept: dict[Id, str] = field(default_factory=dict)


def judge(store: Store, rules: Rules, branches: Sequence[str]) -> Judged:
    """Judge every version of these branches, none named: of all; what any of them keeps stays.

    A version that a branch not named holds too stays for that branch. Forgotten versions are left
    out. Raises RefNotFound, InvalidInput without rules.
    """
    if not rules.given():
        raise InvalidInput("no rule says what to keep", fix="--keep-last 10")
    names = branch_names(store)
    for name in branches:
        if name not in names:
            raise RefNotFound(
                f"no branch is called {name!r}{near_names(name, names)}", fix="cas branch"
            )
    chosen = list(branches) or names
    named = store.database.read(named_or_deployed)
    verdicts = Verdicts(store)
    judged = Judged()
    seen: dict[Id, Version] = {}
    for name in chosen:
        newest = tip(store, name)
        for place, version in enumerate(walk(store, [newest] if newest else [])):
            if version.id in judged.kept or store.forgotten(version) is not None:
                continue
            reason = named.get(version.id) or _reason(store, rules, version, place, verdicts)
            if reason:
                judged.kept[version.id] = reason
                seen.pop(version.id, None)
            else:
                seen[version.id] = version
    for name in names if seen else ():
        newest = None if name in chosen else tip(store, name)
        for version in walk(store, [newest] if newest else []):
            if seen.pop(version.id, None) is not None:
                judged.kept[version.id] = f"also on branch {name}"
    tips = {name: newest.id for name in names if (newest := tip(store, name))}
    judged.go = [at_home(store, version, tips) for version in sorted(seen.values(), key=_newest)]
    return judged


def _newest(version: Version) -> tuple[int, int, Id]:
    return -version.manifest.at, -version.number, version.id


def named_by(tables: Reading) -> dict[Id, str]:
    """Of each version that something names directly what that is, in words."""
    words = {HEADS: "newest of", TAGS: "tagged", PARTIALS: "incomplete set", LOST: "lost"}
    found: dict[Id, str] = dict.fromkeys((id for id, _ in tables.pins()), PINNED)
    for name, id in tables.refs():
        prefix = next((prefix for prefix in words if name.startswith(prefix)), "")
        found[id] = f"{words.get(prefix, 'named by')} {name.removeprefix(prefix)}"
    return found


def named_or_deployed(tables: Reading) -> dict[Id, str]:
    """As `named_by`, and of each version that is deployed where."""
    places = deployed_places(tables)
    return {id: f"deployed to {where}" for id, where in places.items()} | named_by(tables)


def _reason(store: Store, rules: Rules, version: Version, place: int, verdicts: Verdicts) -> str:
    if place < rules.last:
        return f"one of the last {rules.last}"
    if rules.within is not None and version.manifest.at >= store.now() - rules.within:
        return "recent"
    if rules.approved and status_of(store, version, verdicts).review == "approved":
        return "approved"
    return ""
