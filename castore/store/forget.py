"""Forgetting: versions are cut from their sets, so that a collection may take their bytes.

The manifests stay, with their place in history and lineage, and say by whom, when and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput
from castore.model.ids import Id
from castore.store.collect import CollectRequest, collect
from castore.store.deployments import deployed_places
from castore.store.presence import require_stored
from castore.store.removals import record_forgotten
from castore.store.retention import PINNED, Rules, judge, named_by, named_or_deployed
from castore.store.selectors import resolve_version
from castore.store.store import Store
from castore.store.version import Version


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """What to forget: the versions `revs` mean, or what `rules` let go of `branches`.

    Without `branches` the rules are about all of them, which `everywhere` must say. A version that
    a branch, a tag, a pin or another ref names directly, or that is deployed, is forgotten only
    with `force`, and only where it is one of `revs`. `by` and `why` are for the record.
    """

    revs: tuple[str, ...] = ()
    rules: Rules = Rules()
    branches: tuple[str, ...] = ()
    everywhere: bool = False
    force: bool = False
    dry_run: bool = False
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """The versions that were forgotten, or with `dry_run` would be, and what stays by reason.

    `already` counts versions that were forgotten before. Bytes are known after a dry run, as
    stored: `freed` is how many more the next collection frees, `collectable` how many it frees in
    all. `record` is the entry of the operation log, None if nothing was forgotten.
    """

    dry_run: bool
    versions: tuple[Version, ...]
    kept: tuple[tuple[str, int], ...] = ()
    already: int = 0
    freed: int | None = None
    collectable: int | None = None
    record: Operation | None = None

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "dry_run": self.dry_run,
            "versions": [
                {"id": version.id.hex(), "label": version.label} for version in self.versions
            ],
            "kept": [{"reason": reason, "versions": count} for reason, count in self.kept],
            "already_forgotten": self.already,
            "freed_bytes": self.freed,
            "collectable_bytes": self.collectable,
            "operation": self.record.sequence if self.record else None,
        }


def forget(store: Store, request: ForgetRequest) -> ForgetReport:
    """Forget versions: their content answers no more at once, and the next `gc` frees it.

    The grace of the operation log does not keep it; what other versions hold too stays. Raises
    RefNotFound, InvalidInput, and Conflict for a version of `revs` that something names directly,
    or that is deployed.
    """
    _check(request)
    kept: Counter[str] = Counter()
    already = 0
    if request.revs:
        found = {v.id: v for v in (resolve_version(store, rev) for rev in request.revs)}
        versions = [v for v in found.values() if store.forgotten(v) is None]
        already = len(found) - len(versions)
        store.database.read(lambda tables: _refuse(tables, request, versions))
    else:
        judged = judge(store, request.rules, request.branches)
        versions, kept = judged.go, Counter(judged.kept.values())
    if request.dry_run:
        return _estimated(store, versions, kept, already)
    record = None
    if versions:
        versions, record = store.database.write(
            lambda tables: _record(tables, request, versions, store.now()), urgent=True
        )
    return ForgetReport(False, tuple(versions), _sorted(kept), already, record=record)


def _check(request: ForgetRequest) -> None:
    if request.revs and (request.rules.given() or request.branches or request.everywhere):
        raise InvalidInput(
            "name versions, or give rules for branches, not both", fix="cas forget --help"
        )
    if request.revs:
        return
    if not request.rules.given():
        raise InvalidInput(
            "which versions? name them, or say which stay",
            fix="cas forget REV, or cas forget --keep-last 10 --all -n",
        )
    if bool(request.branches) == request.everywhere:
        raise InvalidInput(
            "rules need --name NAME for one branch, or --all for every one, and not both",
            fix="cas forget --keep-last 10 --all -n",
        )


def _refuse(tables: Reading, request: ForgetRequest, versions: Sequence[Version]) -> None:
    """Raise for a version that may not go: an incomplete one, or one that is named or deployed."""
    named = {} if request.force else named_by(tables)
    places = {} if request.force else deployed_places(tables)
    for version in versions:
        if not version.manifest.complete:
            raise InvalidInput(
                f"{version.label} is an incomplete set",
                fix=f"cas partial discard {version.manifest.run}",
            )
        if version.id in named:
            reason = named[version.id]
            raise Conflict(
                f"{version.label} ({version.short}) is {reason}: forgetting it takes away what "
                "that leads to",
                fix=f"cas unpin {version.short}" if reason == PINNED else "--force, if it must go",
                id=version.id.hex(),
                named_by=reason,
            )
        if version.id in places:
            raise Conflict(
                f"{version.label} ({version.short}) is deployed to {places[version.id]}",
                fix="--force, if it must go",
                id=version.id.hex(),
                named_by="deployment",
            )


def _record(
    tables: Writing, request: ForgetRequest, versions: Sequence[Version], at: int
) -> tuple[list[Version], Operation | None]:
    """Cut the versions that may still go; none of those that were named may have become a ref's."""
    chosen = [version for version in versions if tables.forgotten(version.id) is None]
    if request.revs:
        _refuse(tables, request, chosen)
        for version in chosen:
            require_stored(tables, version)
    else:
        named = named_or_deployed(tables)
        here = tables.present([version.id for version in chosen])
        chosen = [v for v in chosen if v.id not in named and v.id in here]
    if not chosen:
        return [], None
    ids = [version.id for version in chosen]
    record = record_forgotten(tables, ids, at=at, by=request.by, why=request.why)
    return chosen, record


def _estimated(
    store: Store, versions: Sequence[Version], kept: Counter[str], already: int
) -> ForgetReport:
    ids: frozenset[Id] = frozenset(version.id for version in versions)
    before = collect(store, CollectRequest(dry_run=True)).freed
    after = before
    if ids:
        after = collect(store, CollectRequest(dry_run=True, forgotten=ids)).freed
    return ForgetReport(
        True, tuple(versions), _sorted(kept), already, freed=after - before, collectable=after
    )


def _sorted(kept: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(kept.items(), key=lambda item: (-item[1], item[0])))
