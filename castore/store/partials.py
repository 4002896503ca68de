"""Partials: incomplete sets, sealed after a refusal or left by another end, and going on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from castore.database.writing import Writing
from castore.errors import Ambiguous, ObjectNotFound, RefNotFound
from castore.model.artifact_set import (
    Artifact,
    ArtifactSet,
    ExternalContent,
    FileContent,
    TreeContent,
)
from castore.model.ids import Id
from castore.model.manifest import Manifest, decode_manifest
from castore.model.names import near_names, quoted
from castore.model.refs import PARTIALS, partial_ref, split_partial
from castore.store.intent import EXIT, OUTPUT, UNKNOWN_RUN, Resumed, ran_command
from castore.store.moments import format_moment
from castore.store.said import later
from castore.store.stages import INTERRUPTED, StagedSession, StageHeader, staged_sessions
from castore.store.store import Store
from castore.store.version import Version

Read = TypeVar("Read")

KILLED: Final = "killed"
UNSEEN: Final = "unseen"
_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Partial:
    """One incomplete set: `sealed` for its faults against the spec or on purpose, or a stage.

    A stage is what a commit left that `failed` by another error (`reason`), was `interrupted`, or
    was `killed`: its process died. Of an `unseen` one, in another container, that is not known.
    `version` is the sealed manifest, None for a stage; `command` goes on with it.
    """

    run: str
    branch: str
    kind: str
    at: int
    author: str
    artifacts: tuple[str, ...]
    missing: tuple[str, ...]
    failed: tuple[str, ...]
    command: str
    version: Version | None = None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The partial as `--json` prints it."""
        return {
            "run": self.run,
            "branch": self.branch,
            "kind": self.kind,
            "reason": self.reason or None,
            "at": format_moment(self.at),
            "author": self.author or None,
            "artifacts": list(self.artifacts),
            "missing": list(self.missing),
            "failed": list(self.failed),
            "command": self.command,
            "id": self.version.id.hex() if self.version else None,
        }


def list_partials(store: Store, *, cwd: Path | None = None) -> list[Partial]:
    """Every incomplete set, newest first; sessions whose process still runs are left out.

    The commands that go on with refused ones are to be typed in `cwd`, or else in `store.root`.
    """
    refs = store.database.read(lambda tables: tables.refs(PARTIALS))
    sealed = [_sealed(store, ref, id, cwd) for ref, id in refs]
    left = [
        _left(stage)
        for stage in staged_sessions(store)
        if stage.header.branch and not stage.header.alive
    ]
    found = [*(one for one in sealed if one is not None), *left]
    return sorted(found, key=lambda partial: -partial.at)


def _none(run: str, branch: str, known: Iterable[Partial]) -> RefNotFound:
    """That a run left none, of this branch where one is named, with what it or near runs left."""
    of = f" of branch {branch}" if branch else ""
    left = [partial for partial in known if partial.branch]
    branches = sorted({partial.branch for partial in left if partial.run == run})
    if branches:
        near = near_names(branch, branches) or f"; it left those of {', '.join(branches[:_LISTED])}"
    else:
        near = near_names(run, sorted({partial.run for partial in left}))
    return RefNotFound(f"no incomplete set{of} of run {run!r}{near}", fix="cas partial list")


def unless_gone(store: Store, ref: str, id: Id, read: Callable[[], Read]) -> Read | None:
    """What `read` finds of what a partial ref named, None where that was given up meanwhile."""
    try:
        return read()
    except ObjectNotFound:
        if store.database.read(lambda tables: tables.ref(ref)) == id:
            raise
        return None


def find_partials(
    store: Store, run: str, branch: str = "", *, cwd: Path | None = None
) -> list[Partial]:
    """The incomplete sets of a run, of one branch; raises RefNotFound, Ambiguous over branches.

    Where the run has no other, also those whose process is in another container: whoever names the
    run is taken to know that it ended.
    """
    seen = list_partials(store, cwd=cwd)
    unseen = [_left(stage) for stage in staged_sessions(store) if stage.header.unseen]
    for partials in (seen, unseen):
        found = [
            partial
            for partial in partials
            if partial.run == run and partial.branch and branch in ("", partial.branch)
        ]
        if found:
            break
    else:
        raise _none(run, branch, (*seen, *unseen))
    branches = sorted({partial.branch for partial in found})
    if len(branches) > 1:
        raise Ambiguous(
            f"run {run!r} left incomplete sets of several branches: {', '.join(branches)}",
            candidates=branches,
            fix=f"--name {branches[0]}",
        )
    return found


def resume(store: Store, run: str, branch: str) -> Resumed:
    """What is good of the incomplete sets of this run and branch; raises RefNotFound.

    Artifacts of a stage count when their content is stored; they are newer than those of a sealed
    set and win. Of what attempts said of themselves the newest holds. What the sealed one carried
    is not kept: it is carried from today's tip with the same `only`, and made without.
    """
    unseen = find_partials(store, run, branch)[0].kind == UNSEEN
    artifacts: dict[str, Artifact] = {}
    titles: dict[str, str] = {}
    locations: dict[str, tuple[str, str]] = {}
    said: list[Manifest] = []
    parents: tuple[Id, ...] | None = None
    ref = partial_ref(run, branch)
    id = store.database.read(lambda tables: tables.ref(ref))
    sealed = unless_gone(store, ref, id, lambda: _read(store, id, branch)) if id else None
    if sealed is not None:
        version, members = sealed
        said.append(version.manifest)
        parents = version.manifest.parents
        carried = {name for name, _ in version.manifest.carried}
        left_out = carried | set(version.manifest.failed)
        artifacts = {a.name: a for a in members.artifacts if a.name not in left_out}
        titles = dict(version.manifest.titles)
        locations = {name: (uri, tag) for name, uri, tag in version.manifest.locations}
    stages = _stages(store, run, branch, unseen=unseen)
    if sealed is None and not stages:
        raise _none(run, branch, ())
    for stage in stages:
        artifacts.update(_stored(store, stage))
        if stage.header.said:
            said.append(decode_manifest(stage.header.said))
    newest: Manifest | None = None
    for one in sorted(said, key=lambda manifest: manifest.at):
        newest = later(newest, one)
    return Resumed(
        artifacts=artifacts,
        titles=titles,
        locations=locations,
        sources=newest.sources if newest else (),
        ref=(ref, id) if id and sealed else None,
        sessions=tuple(stage.id for stage in stages),
        said=newest,
        parents=parents,
    )


def discard_partials(store: Store, run: str, branch: str = "", *, by: str) -> list[Partial]:
    """Give up the incomplete sets of a run; gc may then take what only they held."""
    found = find_partials(store, run, branch)
    branch = found[0].branch
    unseen = found[0].kind == UNSEEN
    stages = [stage.id for stage in _stages(store, run, branch, unseen=unseen)]
    ref = partial_ref(run, branch)
    at = store.now()

    def transact(tables: Writing) -> None:
        id = tables.ref(ref)
        refs = []
        if id and tables.remove_if_equals(ref, id):
            refs.append((ref, id, b""))
        for session in stages:
            tables.drop_stage(session)
        tables.bump_generation()
        detail = {"branch": branch, "run": run, "stages": stages}
        tables.append_operation(
            "partial-discard", op_id="", at=at, by=by, why="", refs=refs, detail=detail
        )

    store.database.write(transact, urgent=True)
    return found


def _stages(store: Store, run: str, branch: str, *, unseen: bool) -> list[StagedSession]:
    """The stages that this run left of a branch, or with `unseen` those of other containers."""
    return [
        stage
        for stage in staged_sessions(store)
        if (stage.header.run, stage.header.branch) == (run, branch)
        and (stage.header.unseen if unseen else not stage.header.alive)
    ]


def _read(store: Store, id: Id, branch: str) -> tuple[Version, ArtifactSet]:
    version = store.version(id, branch)
    return version, store.set_of(version)


def _sealed(store: Store, ref: str, id: Id, cwd: Path | None) -> Partial | None:
    run, branch = split_partial(ref)
    found = unless_gone(store, ref, id, lambda: _read(store, id, branch))
    if found is None:
        return None
    version, members = found
    manifest = version.manifest
    bad = {*manifest.failed}
    path = manifest.spec.path
    if path and cwd is not None:
        path = os.path.relpath(store.root / path, cwd)
    spec = f" --spec {quoted(path)}" if path else ""
    name = "" if manifest.spec.path and manifest.spec.id == branch else f" --name {branch}"
    names = [a.name for a in members.artifacts]
    carried = {made for made, _ in manifest.carried}
    made = sorted({*names, *manifest.missing, *manifest.failed} - carried)
    only = "".join(f" --only {quoted(one)}" for one in made) if carried else ""
    ran = ran_command(manifest.meta)
    quiet = " --no-output" if manifest.meta.get(OUTPUT) is False else ""
    again = f"cas run{spec}{name}{only}{quiet} --resume {run} -- {ran}"
    return Partial(
        run=run,
        branch=branch,
        kind="sealed",
        at=manifest.at,
        author=manifest.author,
        artifacts=tuple(one for one in names if one not in bad),
        missing=manifest.missing,
        failed=manifest.failed,
        command=again if ran else f"cas commit{spec}{name}{only} --resume {run}",
        version=version,
        reason=_ended(manifest) if ran else "",
    )


def _ended(manifest: Manifest) -> str:
    """How the command of a run ended, where that was not well."""
    code = manifest.meta.get(EXIT)
    return f"its command ended with exit code {code}" if isinstance(code, int) and code else ""


def _left(stage: StagedSession) -> Partial:
    header = stage.header
    return Partial(
        run=header.run or UNKNOWN_RUN,
        branch=header.branch,
        kind=header.ended or _end(header),
        at=header.at,
        author=header.author,
        artifacts=tuple(sorted(stage.artifacts)),
        missing=(),
        failed=(),
        command=header.command,
        reason=header.why,
    )


def _end(header: StageHeader) -> str:
    if header.unseen:
        return UNSEEN
    return KILLED if header.pid else INTERRUPTED


def _stored(store: Store, stage: StagedSession) -> dict[str, Artifact]:
    """What of a stage is stored; external artifacts are not: a stage does not keep their URIs."""
    ids: dict[str, Id] = {}
    for name, artifact in stage.artifacts.items():
        content = artifact.content
        if isinstance(content, FileContent):
            ids[name] = content.digest
        elif isinstance(content, TreeContent):
            ids[name] = content.id
    present = store.database.read(lambda tables: tables.present(list(ids.values())))
    return {
        name: artifact
        for name, artifact in stage.artifacts.items()
        if not isinstance(artifact.content, ExternalContent) and ids[name] in present
    }
