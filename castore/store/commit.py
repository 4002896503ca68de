"""Committing from paths: what `cas commit` does, as one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from castore.errors import InvalidInput
from castore.model.fields import MetaValue
from castore.model.manifest import Source
from castore.store.assembly import check_only
from castore.store.context import Context
from castore.store.externals import Ask, record_external
from castore.store.gather import (
    Gathered,
    Given,
    Input,
    branch_for,
    gather_declared,
    gather_plain,
    sort_arguments,
)
from castore.store.intent import AnyTip, Intent, Resumed
from castore.store.partials import find_partials, resume
from castore.store.preview import Preview, preview_inputs
from castore.store.publish import replayed
from castore.store.refusals import would_be_moved
from castore.store.report import CommitReport
from castore.store.said import check_bound
from castore.store.selectors import resolve_version, tip
from castore.store.session import Session
from castore.store.sources import parse_sources
from castore.store.specs import SpecFile, only_spec, read_spec, relative
from castore.store.store import Store
from castore.store.version import Version


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What to commit and how, as `cas commit` takes it; relative paths start at `cwd`.

    `paths` are PATH, NAME=PATH or NAME=- as typed; `stdin` serves the latter. `parent` is a
    selector that the tip must equal. `resume` is the run to go on with. `links` says what to do
    with symbolic links: refuse, skip or follow (inside the folder only). A `passing` folder will
    go away: it is not recorded, and its files win over what `resume` kept. `allow_secrets` are
    rules by which secrets may be found, and are let through. `ask` is asked of external artifacts
    that are no files here.
    """

    cwd: Path
    paths: tuple[str, ...] = ()
    spec: Path | SpecFile | None = None
    name: str = ""
    only: tuple[str, ...] = ()
    message: str = ""
    context: Context = Context()
    sources: tuple[str | Source, ...] = ()
    meta: Mapping[str, MetaValue] = field(default_factory=dict)
    parent: str = ""
    partial: bool = False
    resume: str = ""
    if_changed: bool = False
    links: str = "refuse"
    stdin: BinaryIO | None = None
    passing: bool = False
    allow_secrets: tuple[str, ...] = ()
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    intent: Intent
    gathered: Gathered


def commit(
    store: Store, request: CommitRequest, *, progress: Callable[[int], None] | None = None
) -> CommitReport:
    """Commit what the request names; raises IncompleteSet, RefMoved, InvalidInput and others."""
    spec = _spec(request)
    earlier = replayed(store, request.name or _branch(spec), request.context.operation)
    if earlier is not None:
        return CommitReport(earlier, replayed=True, written=False)
    plan = _plan(store, request, spec)
    expect: Version | AnyTip = AnyTip.TIP
    if request.parent:
        expect = resolve_version(store, request.parent, default=plan.intent.branch)
    with Session(store, plan.intent, progress=progress, links=request.links) as session:
        for notice in _notices(request, plan):
            session.warn(notice)
        # Addresses first: what is wrong with them is known before content is stored.
        for found in sorted(plan.gathered.inputs, key=lambda found: not found.uri):
            _add(session, found, request)
        session.commit(
            request.message,
            expect=expect,
            if_changed=request.if_changed,
            partial=request.partial,
        )
    assert session.report is not None
    return session.report


def preview(store: Store, request: CommitRequest) -> Preview:
    """What `commit` would store and warn of, by name and in bytes, without writing anything.

    Raises RefMoved where the branch is not at the parent asked for, and as `commit` before that.
    """
    plan = _plan(store, request, _spec(request))
    earlier = replayed(store, plan.intent.branch, request.context.operation)
    parent = tip(store, plan.intent.branch)
    if request.parent and earlier is None:
        expected = resolve_version(store, request.parent, default=plan.intent.branch)
        if parent is None or parent.id != expected.id:
            raise would_be_moved(plan.intent.branch, parent, expected)
    found = preview_inputs(store, plan.intent, plan.gathered, parent, request.links)
    stands = earlier or (parent if request.if_changed and found.identical else None)
    return replace(found, warnings=(*_notices(request, plan), *found.warnings), stands=stands)


def _notices(request: CommitRequest, plan: _Plan) -> list[str]:
    """What people must know before anything of it is stored."""
    unused = only_spec(request.cwd) if request.paths and plan.intent.spec is None else None
    notices = []
    if unused is not None and not request.name:
        notices = [f"{unused.name} was not used: to commit under it add --spec {unused.name}"]
    return [*notices, *plan.gathered.warnings]


def _plan(store: Store, request: CommitRequest, spec: SpecFile | None) -> _Plan:
    given = sort_arguments(request.paths, request.cwd)
    resumed = None
    name = request.name
    context = request.context
    if request.resume:
        found = find_partials(store, request.resume, name or _branch(spec))
        name = found[0].branch
        resumed = resume(store, request.resume, name)
        context = replace(context, run=request.resume)
    gathered = _gather(request, spec, given, resumed)
    intent = Intent(
        branch=branch_for(name, gathered),
        spec=spec,
        context=context,
        sources=parse_sources(store, request.sources, folder=request.cwd),
        meta=request.meta,
        only=request.only,
        folder=_folder(store, request, gathered) if not spec else "",
        arguments=request.paths,
        resumed=resumed,
        spec_given=_spec_given(request, spec),
        message=request.message,
        allow_secrets=request.allow_secrets,
    )
    _check_before(store, request, intent, gathered)
    return _Plan(intent, gathered)


def _check_before(store: Store, request: CommitRequest, intent: Intent, gathered: Gathered) -> None:
    """Refuse what can be known to be refused before anything is stored."""
    parent = tip(store, intent.branch) if intent.only else None
    check_only(intent, parent)
    if request.stdin is None:
        for found in gathered.inputs:
            if found.stdin:
                raise InvalidInput(f"{found.name}=-: there is no standard input")
    if request.partial:
        return
    names = {found.name for found in gathered.inputs}
    names.update(intent.resumed.artifacts if intent.resumed else ())
    names.update(one.name for one in (store.set_of(parent).artifacts if parent else ()))
    if intent.spec is not None:
        names.update(one.name for one in intent.spec.spec.artifacts if one.required)
    sources = [one for one in intent.sources if isinstance(one, Source)]
    check_bound(sources, names)


def _folder(store: Store, request: CommitRequest, gathered: Gathered) -> str:
    """The folder to record, with which `status` will compare."""
    if gathered.folder is None or request.passing:
        return ""
    return relative(gathered.folder, store.root)


def _spec_given(request: CommitRequest, spec: SpecFile | None) -> str:
    """The spec as it is to be typed in the folder of the request."""
    if isinstance(request.spec, Path):
        return str(request.spec)
    return relative(spec.path, request.cwd) if spec and request.spec else ""


def _branch(spec: SpecFile | None) -> str:
    return spec.spec.id if spec else ""


def _spec(request: CommitRequest) -> SpecFile | None:
    if isinstance(request.spec, SpecFile):
        return request.spec
    if request.spec is not None:
        return read_spec(request.cwd / request.spec)
    if request.paths or (request.resume and request.name):
        return None
    found = only_spec(request.cwd)
    if found is not None:
        return read_spec(found)
    if request.resume:
        return None
    raise InvalidInput(
        f"nothing to commit: no PATH, no --spec, and not one single *.spec.yaml in "
        f"{str(request.cwd)!r}",
        fix="cas commit PATH",
    )


def _gather(
    request: CommitRequest, spec: SpecFile | None, given: Given, resumed: Resumed | None
) -> Gathered:
    have = tuple(resumed.artifacts) if resumed and not request.passing else ()
    if spec is not None:
        return gather_declared(spec, given, request.cwd, only=request.only, have=have)
    if resumed is not None and resumed.ref is None and not request.paths:
        raise InvalidInput(
            f"run {request.resume!r} was interrupted without a spec: name the same paths again",
            fix="cas partial list",
        )
    return gather_plain(given, request.cwd, only=request.only, have=have, links=request.links)


def _add(session: Session, found: Input, request: CommitRequest) -> None:
    if found.stdin and request.stdin is not None:
        session.add(found.name, request.stdin)
    elif found.uri:
        declared = session.intent.spec.spec.get(found.name) if session.intent.spec else None
        expected = declared.digest if declared is not None else b""
        seen = record_external(found.name, found.uri, expected, request.cwd, request.ask)
        for warning in seen.warnings:
            session.warn(warning)
        session.add_external(found.name, seen.uri, seen.content, seen.etag)
    elif found.glob:
        session.add_matching(found.name, found.path, found.glob)
    else:
        session.add(found.name, found.path)
