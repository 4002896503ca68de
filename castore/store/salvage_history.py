"""Salvaging history: which entries of the operation log can be believed, and where refs were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from castore.database.operations import Operation
from castore.database.reading import Index
from castore.database.relics import Entry, Relics
from castore.errors import CastoreError
from castore.model.ids import Id
from castore.model.manifest import Manifest
from castore.model.refs import HEADS, PARTIALS, TAGS
from castore.store.homes import versions_under
from castore.store.store import Store

_TRIED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Moved:
    """A ref that is not where it was: its version is lost. `now` is b"" for one that is gone.

    `others` are versions it was at in between that are lost as well.
    """

    name: str
    was: Id
    now: Id
    others: tuple[Id, ...] = ()


@dataclass(slots=True)
class Believed:
    """The log that can be believed, in order; the sequences that are lost; and refs at its end."""

    entries: list[Entry] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    last: int = 0

    @property
    def whole(self) -> bool:
        """Whether every entry up to the newest known one is there."""
        return not self.lost


def believed(relics: Relics) -> Believed:
    """The entries that those behind them, or `heads.log`, say are unchanged.

    Where one is missing, pages that nothing leads to are asked. The newest entries of all have
    nothing behind them: `heads.log` knows them if they were acknowledged.
    """
    found = _believe(relics, relics.entries)
    if found.lost or relics.unreadable:
        relics.look_closer()
    if not relics.stray_entries:
        return found
    candidates = dict(relics.entries)
    for sequence in found.lost:
        candidates.pop(sequence, None)
    # From the newest back: an entry tells the hash of the one before it.
    strays: dict[int, list[Entry]] = {}
    for entry in relics.stray_entries:
        strays.setdefault(entry.sequence, []).append(entry)
    for sequence in sorted(found.lost, reverse=True):
        after = candidates.get(sequence + 1)
        wanted = relics.heads.get(sequence) or (after.prev if after else b"")
        for entry in strays.get(sequence, ()):
            if entry.hash == wanted:
                candidates[sequence] = entry
    return _believe(relics, candidates)


def _believe(relics: Relics, entries: Mapping[int, Entry]) -> Believed:
    last = max([*entries, *relics.heads], default=0)
    found = Believed(last=last)
    # Ends of `heads.log` that were cut away, or keys that were damaged, must not cost memory.
    known = sorted({sequence for sequence in (*entries, *relics.heads) if sequence > 0})
    expected = 1
    for sequence in known:
        found.lost += range(expected, min(sequence, expected + _TRIED))
        expected = sequence + 1
        entry = entries.get(sequence)
        if entry is not None and _is_sound(entry, entries, relics.heads):
            found.entries.append(entry)
        else:
            found.lost.append(sequence)
    return found


def _is_sound(entry: Entry, entries: Mapping[int, Entry], heads: Mapping[int, Id]) -> bool:
    noted = heads.get(entry.sequence)
    if noted is not None:
        return noted == entry.hash
    after = entries.get(entry.sequence + 1)
    if after is None or after.prev == entry.hash:
        return True
    # One of the two was altered: the one after, unless something vouches for it.
    vouched = heads.get(after.sequence) == after.hash
    beyond = entries.get(after.sequence + 1)
    return not vouched and (beyond is None or beyond.prev != after.hash)


def replayed(operations: Iterator[Operation]) -> dict[str, list[Id]]:
    """Every place each ref was at, oldest first; b"" where it was taken away."""
    places: dict[str, list[Id]] = {}
    for operation in operations:
        for name, _, new in operation.refs:
            places.setdefault(name, []).append(new)
    return places


def find_refs(
    store: Store,
    relics: Relics,
    log: Believed,
    places: Mapping[str, Sequence[Id]],
    gone: frozenset[Id] = frozenset(),
) -> tuple[dict[str, Id], list[Moved]]:
    """Where refs are to be, b"" for a name that stays taken; and those that were elsewhere.

    Of versions in `gone`, which were let go of, nothing is said.

    The log says it if it is whole, else the table of refs as far as it can be read. A ref whose
    version is lost goes back to the newest place it was at that is not.
    """
    wanted = _wanted(store, relics, log, places)
    refs: dict[str, Id] = {}
    moved: list[Moved] = []
    for name, id in sorted(wanted.items()):
        if not id or _fits(store, name, id):
            if id or relics.refs.get(name) == b"" or name.startswith(TAGS):
                refs[name] = id
            continue
        earlier = [] if name.startswith(TAGS) else [p for p in places.get(name, ()) if p]
        now = next((p for p in reversed(earlier[-_TRIED:]) if _fits(store, name, p)), b"")
        if not now and name.startswith(HEADS):
            now = _latest(store, name.removeprefix(HEADS))
        if now:
            refs[name] = now
        lost = () if name.startswith(TAGS) else _lost_since(store, places.get(name, ()), now)
        moved.append(
            Moved(
                name, id, now, tuple(other for other in lost if other != id and other not in gone)
            )
        )
    return refs, moved


def manifest_of(store: Store, id: Id) -> Manifest | None:
    """The manifest of this id, None if it is not in the store or not a manifest."""
    try:
        return store.reader.manifest(id)
    except CastoreError:
        return None


def _lost_since(store: Store, places: Sequence[Id], now: Id) -> Iterator[Id]:
    """The versions that a ref was at after it was at `now`, and that are not there."""
    begin = len(places)
    while begin and places[begin - 1] not in (now, b""):
        begin -= 1
    unlike = dict.fromkeys(places[begin:])
    return (id for id in unlike if manifest_of(store, id) is None)


def _fits(store: Store, name: str, id: Id) -> bool:
    """Whether a ref may name this: a version that is there, a complete one unless it is partial."""
    manifest = manifest_of(store, id)
    if manifest is None:
        return False
    return manifest.complete != name.startswith(PARTIALS) or not name.startswith(
        (HEADS, TAGS, PARTIALS)
    )


def _newest(store: Store, ids: set[Id]) -> Id:
    known = [(m.number, id) for id in ids if id and (m := manifest_of(store, id)) is not None]
    return max(known)[1] if known else b""


def _wanted(
    store: Store, relics: Relics, log: Believed, places: Mapping[str, Sequence[Id]]
) -> dict[str, Id]:
    noted = {name: ids[-1] for name, ids in places.items()}
    if log.whole and (not relics.damage or log.last in relics.heads):
        return noted
    if not relics.damage and not any(where.startswith("ref ") for where, _ in relics.unreadable):
        return dict(relics.refs)
    noted.update(relics.refs)
    for name, ids in relics.stray_refs.items():
        if name not in noted:
            noted[name] = _newest(store, ids)
    return noted


def _latest(store: Store, branch: str) -> Id:
    """The version of the highest number that was made for a branch, b"" for none."""
    best: tuple[int, Id] = (0, b"")
    for id in versions_under(store, [(Index.TIME, b"")]):
        manifest = manifest_of(store, id)
        if manifest is not None and manifest.branch == branch and manifest.complete:
            best = max(best, (manifest.number, id))
    return best[1]
