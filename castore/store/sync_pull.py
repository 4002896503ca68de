"""Pulling: a fetch, and branches here that go forward to where they are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from castore.content.reader import ObjectReader
from castore.database.folded import notes_about
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import RefMoved
from castore.model.ids import Id, Kind, short
from castore.model.manifest import Manifest, encode_manifest
from castore.model.refs import HEADS, REMOTES, TAGS
from castore.remote.transport import Transport
from castore.store.publish import metadata_block
from castore.store.removals import record_forgotten
from castore.store.store import Store
from castore.store.sync_fetch import FetchReport, fetch
from castore.store.sync_plan import Move, descends
from castore.store.taken_back import TakenBack, hint, taken_back

PULL: Final = "pull"


class Rebased(NamedTuple):
    """A version made anew on top of the remote's: the same set under another id.

    `reviewed` tells that something was said for or against the old one, which does not follow.
    """

    branch: str
    old: Id
    old_number: int
    new: Id
    new_number: int
    reviewed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The version as `--json` prints it."""
        return {**self._asdict(), "old": self.old.hex(), "new": self.new.hex()}


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did: what was fetched, the branches that moved, the versions made anew.

    `ahead` are branches that are further here than there; `diverged`, of a dry run, those whose
    versions that are only here would be made anew. `takes_back` is what that takes back of others.
    """

    fetched: FetchReport
    moves: tuple[Move, ...]
    rebased: tuple[Rebased, ...]
    ahead: tuple[str, ...]
    dry_run: bool = False
    diverged: tuple[str, ...] = ()
    takes_back: tuple[TakenBack, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            **self.fetched.as_json(),
            "branches": [
                {"branch": m.name, "old": m.old.hex() or None, "new": m.new.hex()}
                for m in self.moves
            ],
            "rebased": [made.as_json() for made in self.rebased],
            "ahead": list(self.ahead),
            "would_rebase": list(self.diverged),
            "takes_back": [taken.as_json() for taken in self.takes_back],
        }


class _Plan(NamedTuple):
    forward: list[Move]
    diverged: list[Move]
    ahead: list[str]
    taken: list[TakenBack]


def pull(
    store: Store,
    name: str,
    transport: Transport,
    refs: Sequence[str] = (),
    *,
    by: str = "",
    rebase: bool = False,
    contents: bool = True,
    depth: int | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> PullReport:
    """Fetch, then move the branches here forward to those of the remote; new ones are made.

    A branch that has versions on both sides moves only with `rebase`: those of here are made anew
    on top of the remote's, with the same sets, and lose what was said of them. Raises as `fetch`,
    and RefMoved where branches diverged, when the others have moved.
    """
    fetched = fetch(
        store,
        name,
        transport,
        refs,
        by=by,
        contents=contents,
        depth=depth,
        inbox=True,
        dry_run=dry_run,
        progress=progress,
    )
    if dry_run:
        plan = store.database.read(lambda tables: _dry_plan(tables, fetched))
        if plan.diverged and not rebase:
            raise _diverged(name, plan._replace(forward=[]))
        return PullReport(
            fetched,
            tuple(plan.forward),
            (),
            tuple(plan.ahead),
            dry_run=True,
            diverged=tuple(ref.removeprefix(HEADS) for ref, _, _ in plan.diverged),
            takes_back=tuple(plan.taken),
        )
    at = store.now()

    def transact(tables: Writing) -> tuple[_Plan, list[Rebased]]:
        plan = _plan(tables, name, refs)
        for ref, old, new in plan.forward:
            tables.set_if_equals(ref, old or None, new)
        moves, rebased = list(plan.forward), []
        for ref, old, new in plan.diverged if rebase else ():
            made = rebase_onto(tables, ref.removeprefix(HEADS), old, new)
            rebased += made
            tables.set_if_equals(ref, old, made[-1].new)
            moves.append(Move(ref, old, made[-1].new))
        if moves:
            detail = {
                "remote": name,
                "rebased": [[r.branch, r.old, r.new] for r in rebased],
            }
            tables.append_operation(PULL, at=at, by=by, refs=moves, detail=detail)
            tables.bump_generation()
        return plan._replace(forward=moves), rebased

    plan, rebased = store.database.write(transact)
    if plan.diverged and not rebase:
        raise _diverged(name, plan)
    return PullReport(
        fetched,
        tuple(plan.forward),
        tuple(rebased),
        tuple(plan.ahead),
        takes_back=tuple(plan.taken),
    )


def _plan(tables: Reading, remote: str, names: Sequence[str]) -> _Plan:
    """What becomes of each branch that the remote has, of these names or all."""
    prefix = f"{REMOTES}{remote}/"
    wanted = {name.removeprefix(HEADS) for name in names}
    there = {
        HEADS + ref.removeprefix(prefix): id
        for ref, id in tables.refs(prefix)
        if not wanted or ref.removeprefix(prefix) in wanted
    }
    return _compare(tables, there)


def _dry_plan(tables: Reading, fetched: FetchReport) -> _Plan:
    """What a pull would make of each branch, before the versions are here."""
    plan = _Plan([], [], [], [])
    for ref, met in sorted(fetched.met.items()):
        current, id = tables.ref(ref), fetched.there[ref]
        if id in met:
            found = _compare(tables, {ref: id})
            plan.forward.extend(found.forward)
            plan.diverged.extend(found.diverged)
            plan.taken.extend(found.taken)
            plan.ahead.extend(found.ahead)
        elif current is None:
            if not _is_tag(tables, ref):
                plan.forward.append(Move(ref, b"", id))
        elif any(descends(tables, version, current) for version in met):
            plan.forward.append(Move(ref, current, id))
        else:
            plan.diverged.append(Move(ref, current, id))
            name = ref.removeprefix(HEADS)
            theirs = fetched.tips.get(ref)
            if theirs is not None:
                plan.taken.extend(taken_back(tables, name, current, id, rests=met, theirs=theirs))
    return plan


def _is_tag(tables: Reading, ref: str) -> bool:
    """Whether a branch may not be made, since a tag has or had its name."""
    tag = TAGS + ref.removeprefix(HEADS)
    return bool(tables.ref(tag)) or bool(tables.tombstone(tag))


def _compare(tables: Reading, there: Mapping[str, Id]) -> _Plan:
    plan = _Plan([], [], [], [])
    for ref, id in sorted(there.items()):
        current = tables.ref(ref)
        name = ref.removeprefix(HEADS)
        if current == id or _is_tag(tables, ref):
            continue
        if current is None or descends(tables, id, current):
            plan.forward.append(Move(ref, current or b"", id))
        elif descends(tables, current, id):
            plan.ahead.append(name)
        else:
            plan.diverged.append(Move(ref, current, id))
            plan.taken.extend(taken_back(tables, name, current, id))
    return plan


def rebase_onto(tables: Writing, branch: str, old: Id, onto: Id) -> list[Rebased]:
    """Make the versions that only `old` has anew on top of `onto`, the oldest first.

    What was forgotten of them stays so: its bytes may be gone, and nobody asked for them again.
    """
    reader = ObjectReader(tables.load)
    own: list[tuple[Id, Manifest]] = []
    id = old
    while not descends(tables, onto, id):
        manifest = reader.manifest(id)
        own.append((id, manifest))
        if not manifest.parents:
            break
        id = manifest.parents[0]
    renamed: dict[Id, Id] = {}
    made: list[Rebased] = []
    tip, number = onto, reader.manifest(onto).number
    for id, manifest in reversed(own):
        number += 1
        carried = tuple((name, renamed.get(maker, maker)) for name, maker in manifest.carried)
        anew = replace(manifest, parents=(tip,), number=number, carried=carried)
        payload = encode_manifest(anew)
        block, tip = metadata_block(Kind.MANIFEST, payload)
        tables.put_blocks([block], [(Kind.MANIFEST, tip, payload)])
        renamed[id] = tip
        said = any(note.subject == "review" for note in notes_about(tables, id).values())
        made.append(Rebased(branch, id, manifest.number, tip, number, said))
    _forget_anew(tables, made)
    return made


def _forget_anew(tables: Writing, made: Sequence[Rebased]) -> None:
    """What was forgotten is so in its new place, by the same word."""
    said: dict[tuple[int, str, str], list[Id]] = {}
    for version in made:
        removal = tables.forgotten(version.old)
        if removal is not None and tables.forgotten(version.new) is None:
            said.setdefault((removal.at, removal.by, removal.why), []).append(version.new)
    for (at, by, why), ids in said.items():
        record_forgotten(tables, ids, at=at, by=by, why=why)


def _diverged(remote: str, plan: _Plan) -> RefMoved:
    names = [ref.removeprefix(HEADS) for ref, _, _ in plan.diverged]
    first = plan.diverged[0]
    what = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
    moved = f"; {len(plan.forward)} others moved" if plan.forward else ""
    return RefMoved(
        f"{what}: {short(first.old)} here and {short(first.new)} there have each what the other "
        f"lacks{moved}{hint(plan.taken)}",
        fix=f"cas pull --rebase {remote} {names[0]}",
        branches=names,
        takes_back=[taken.as_json() for taken in plan.taken],
    )
