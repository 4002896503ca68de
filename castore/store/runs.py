"""Runs: a command makes a set in a folder of its own, and what it made is committed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from castore.errors import CastoreError, InvalidInput
from castore.model.encoding import encode
from castore.model.fields import MetaValue
from castore.model.ids import Id, short
from castore.model.limits import META_BYTES
from castore.model.manifest import Source
from castore.model.names import check_branch, check_secret_rules, quoted
from castore.model.refs import partial_ref
from castore.store.checkout import checkout
from castore.store.commit import CommitRequest, commit
from castore.store.context import Context, default_run
from castore.store.gather import check_declared
from castore.store.intent import OUTPUT, Intent
from castore.store.partials import find_partials, resume
from castore.store.processes import Child, Ended, Streams, find_command, run_child
from castore.store.publish import replayed
from castore.store.records import source_record
from castore.store.report import CommitReport
from castore.store.run_folder import make_empty, new_folder, remove
from castore.store.run_meta import fitted, git_facts, run_meta
from castore.store.said import encode_said
from castore.store.selectors import first_parents, tip
from castore.store.sources import OBSERVED, doubts, parse_source
from castore.store.specs import SpecFile, only_spec, read_spec
from castore.store.store import Store
from castore.store.version import Version

# What the facts of a run need at the least beside the meta that is given.
_META_ROOM: Final = 1 << 10
_HEX: Final = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run, and how to commit what it makes.

    `commit` says under which spec or name, from which sources, with what message; its paths stay
    empty. `env` is the whole environment of the command, less the variables that the run adds;
    its TMPDIR is where folders are made. `out` is the folder for the outputs, absent or empty; it
    stays. Without it a temporary one is made, which stays only where not everything was committed.
    Without `keep_output` nothing that the command prints is kept: `run.output` in meta is False.
    """

    command: tuple[str, ...]
    commit: CommitRequest
    env: Mapping[str, str] = field(default_factory=dict)
    out: Path | None = None
    checkout_sources: bool = False
    keep_output: bool = True


@dataclass(frozen=True, slots=True)
class RunReport:
    """What came of a run.

    `ended` is None where the operation had been done before and nothing ran. `report` is of what
    the run itself committed or sealed; `version` is the version or partial that there is now, by
    whomever, None for none. `by_command` says that the command made it. `kept` is the folder that
    still holds outputs; `warnings` tell why nothing was sealed.
    """

    run: str
    branch: str
    ended: Ended | None
    version: Version | None = None
    report: CommitReport | None = None
    by_command: bool = False
    kept: Path | None = None
    fix: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The exit code: that of the command."""
        return self.ended.code if self.ended else 0


class Run:
    """One run, from before its command to after it; a context manager that tidies up.

    Made by `begin`. `env` is the command's environment, `out` the folder for its outputs;
    `warnings` tell what speaks against its sources, before anything runs.
    """

    def __init__(self, store: Store, request: RunRequest, branch: str) -> None:
        self.store = store
        self.request = request
        self.branch = branch
        self.name = request.commit.context.run
        self._ref = partial_ref(self.name, branch)
        self._before = tip(store, branch)
        self._partial_before = self._partial()
        self._git = git_facts(request.env)
        self._home = Path(new_folder(request.env))
        self.out = Path(os.path.abspath(request.out or self._home / "out"))
        self._keep = False
        try:
            make_empty(self.out)
            self._sources, self._paths = self._read_sources()
            self.warnings = tuple(doubts(store, self._sources))
            self._check_said()
            self.env = {**request.env, **self._variables()}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._keep = self._keep or (kind is not None and bool(os.listdir(self.out)))
        self.close()

    def execute(self, streams: Streams, *, started: Callable[[Child], None] | None = None) -> Ended:
        """Run the command to its end; raises CommandNotFound, CommandNotExecutable."""
        return run_child(self.request.command, self.env, streams=streams, started=started)

    def commit(self, ended: Ended, *, progress: Callable[[int], None] | None = None) -> RunReport:
        """Commit what a command made that ended well, unless it committed this branch itself.

        Raises what a commit raises, with the folder that holds the outputs as `out`.
        """
        made = self._committed()
        if made is not None:
            return self._by_command(ended, made)
        try:
            report = commit(self.store, self._commit_request(ended), progress=progress)
        except BaseException as error:
            self._keep = True
            if isinstance(error, CastoreError):
                error.attributes["out"] = str(self.out)
            raise
        return self._told(ended, version=report.version, report=report)

    def seal(self, ended: Ended, *, progress: Callable[[int], None] | None = None) -> RunReport:
        """Keep what a command made that failed as an incomplete set, to go on with.

        Where the command itself committed this branch or left an incomplete set of this run, that
        stands and nothing is sealed. The outputs stay in their folder. Raises nothing of castore's.
        """
        made = self._committed()
        if made is not None:
            return self._by_command(ended, made)
        partial = self._partial()
        if partial is not None and partial != self._partial_before:
            return self._by_command(ended, self.store.version(partial, self.branch))
        self._keep = bool(os.listdir(self.out))
        request = replace(self._commit_request(ended), partial=True)
        try:
            report = commit(self.store, request, progress=progress)
        except CastoreError as error:
            return self._told(ended, warnings=(f"nothing was sealed: {error.message}",))
        told = self._replaced(partial) if not self.request.commit.resume else ()
        return self._told(
            ended, version=report.version, report=report, fix=self._again(), warnings=told
        )

    def close(self) -> None:
        """Remove what is temporary; the outputs stay where not all of them were committed."""
        if self._keep and self.out.parent == self._home:
            for entry in os.listdir(self._home):
                if entry != self.out.name:
                    remove(self._home / entry)
        else:
            remove(self._home)

    def _commit_request(self, ended: Ended) -> CommitRequest:
        asked = self.request.commit
        said: dict[str, MetaValue] = dict(asked.meta)
        if asked.resume:
            earlier = resume(self.store, asked.resume, self.branch).said
            said = {**(earlier.meta if earlier else {}), **said}
        facts = run_meta(self.request.command, self.env, ended, self._git)
        if not self.request.keep_output:
            facts[OUTPUT] = False
        room = {key: value for key, value in said.items() if key not in facts}
        return replace(
            asked,
            paths=(str(self.out),),
            sources=self._sources,
            meta={**asked.meta, **fitted(facts, room)},
            passing=True,
        )

    def _read_sources(self) -> tuple[tuple[Source, ...], tuple[Path | None, ...]]:
        """The sources, resolved once, and where each can be read; the file that lists them."""
        asked = self.request.commit
        sources: list[Source] = []
        paths: list[Path | None] = []
        for number, given in enumerate(asked.sources):
            source = given
            if not isinstance(source, Source):
                source = parse_source(self.store, source, folder=asked.cwd)
            _check_artifact(asked.spec, source)
            path = None
            if self.request.checkout_sources and source.target:
                path = _check_out(self.store, source, self._home / "sources" / str(number))
            if path is not None:
                source = replace(source, evidence=OBSERVED)
            sources.append(source)
            paths.append(path)
        listed = [
            {**source_record(source), "path": str(path) if path else None}
            for source, path in zip(sources, paths, strict=True)
        ]
        (self._home / "sources.json").write_text(json.dumps(listed, indent=2) + "\n")
        return tuple(sources), tuple(paths)

    def _check_said(self) -> None:
        """Refuse what no version could say; raises InvalidInput."""
        asked = self.request.commit
        encode_said(
            Intent(self.branch, context=asked.context, sources=self._sources, meta=asked.meta),
            self._sources,
            self.store.now(),
            asked.message,
        )

    def _variables(self) -> dict[str, str]:
        """What the command is told, so that what it commits itself joins this run."""
        context = self.request.commit.context
        agent = context.agent
        told = {
            "CAS_OUT": str(self.out),
            "CAS_SOURCES": str(self._home / "sources.json"),
            "CAS_STORE": self.store.url or str(self.store.folder.absolute()),
            "CAS_RUN": self.name,
            "CAS_TRACE": context.trace,
            "CAS_WORKSPACE": context.workspace,
            "CAS_AUTHOR": context.author,
            "CAS_AGENT": f"{agent.id}@{agent.version}" if agent.version else agent.id,
            "CAS_OPERATION_ID": context.operation,
        }
        trace = context.trace.lower()
        if len(trace) == 32 and trace.strip("0") and not trace.strip(_HEX):
            span = self.store.entropy(8).hex()
            told["TRACEPARENT"] = self.request.env.get("TRACEPARENT") or f"00-{trace}-{span}-01"
        return {name: value for name, value in told.items() if value}

    def _committed(self) -> Version | None:
        """The newest version of this branch that was made in this run since it began."""
        now = tip(self.store, self.branch)
        known = self._before.number if self._before else 0
        for version in first_parents(self.store, now) if now else ():
            if version.number <= known:
                return None
            if version.manifest.run == self.name:
                return version
        return None

    def _replaced(self, earlier: Id | None) -> tuple[str, ...]:
        """That the incomplete set of an earlier attempt of this run gave way."""
        if earlier is None:
            return ()
        place = f"{short(earlier)}, which {self._ref} was; it is in the operation log"
        return (f"this took the place of an earlier attempt, {place}",)

    def _partial(self) -> Id | None:
        return self.store.database.read(lambda tables: tables.ref(self._ref))

    def _by_command(self, ended: Ended, version: Version) -> RunReport:
        """The command itself left this; what it put into the folder beside stays."""
        self._keep = bool(os.listdir(self.out))
        return self._told(ended, version=version, by_command=True)

    def _told(self, ended: Ended, **facts: Any) -> RunReport:
        kept = self.out if self._keep or self.request.out is not None else None
        return RunReport(self.name, self.branch, ended, kept=kept, **facts)

    def _again(self) -> str:
        """The command that runs this once more and keeps what is good."""
        asked = self.request.commit
        words = ["cas", "run"]
        if isinstance(asked.spec, SpecFile):
            words += ["--spec", quoted(os.path.relpath(asked.spec.path, asked.cwd))]
        if not isinstance(asked.spec, SpecFile) or asked.spec.spec.id != self.branch:
            words += ["--name", self.branch]
        words += [f"--only {quoted(name)}" for name in asked.only]
        words += [] if self.request.keep_output else ["--no-output"]
        return " ".join([*words, "--resume", self.name, "--", *map(quoted, self.request.command)])


def begin(store: Store, request: RunRequest) -> Run | RunReport:
    """Make a run ready, or tell of it where its operation id was honoured before.

    All that can be refused is refused here, before the command runs. Raises CommandNotFound,
    CommandNotExecutable, InvalidSpec, RefNotFound, InvalidInput, WouldOverwrite.
    """
    find_command(request.command, request.env)
    asked = request.commit
    check_secret_rules(asked.allow_secrets, "allow_secrets")
    spec = _spec(asked)
    branch = check_branch(asked.name or (spec.spec.id if spec else ""))
    context = _context(store, asked)
    earlier = replayed(store, branch, context.operation)
    if earlier is not None:
        report = CommitReport(earlier, replayed=True, written=False)
        return RunReport(context.run, branch, None, version=earlier, report=report)
    if spec is not None:
        check_declared(spec.spec, asked.only, "--only")
    if asked.only and tip(store, branch) is None:
        raise InvalidInput(
            f"--only needs a version to carry the rest from; {branch} has none",
            fix="run it once without --only",
        )
    if asked.resume:
        find_partials(store, asked.resume, branch)
    if len(encode(dict(asked.meta))) > META_BYTES - _META_ROOM:
        raise InvalidInput(f"meta takes more than {META_BYTES - _META_ROOM} bytes")
    asked = replace(asked, spec=spec, name=branch, context=context)
    return Run(store, replace(request, commit=asked), branch)


def execute(store: Store, request: RunRequest, *, streams: Streams | None = None) -> RunReport:
    """Run a command and commit what it made, or keep it as a partial where the command failed.

    `streams` takes the output as it comes; by default only its end is kept. Raises as `begin`,
    and what a commit raises.
    """
    run = begin(store, request)
    if isinstance(run, RunReport):
        return run
    with run:
        ended = run.execute(streams or Streams(lambda _: None))
        return run.seal(ended) if ended.code else run.commit(ended)


def _context(store: Store, asked: CommitRequest) -> Context:
    run = asked.resume or asked.context.run or default_run(store.now(), store.entropy)
    return replace(asked.context, run=run)


def _spec(asked: CommitRequest) -> SpecFile | None:
    if isinstance(asked.spec, SpecFile):
        return asked.spec
    path = asked.cwd / asked.spec if asked.spec is not None else None
    if path is None and not asked.name:
        path = only_spec(asked.cwd)
    if path is not None:
        return read_spec(path)
    if not asked.name:
        raise InvalidInput(
            f"a run needs --spec or --name: there is not one single *.spec.yaml in "
            f"{str(asked.cwd)!r}",
            fix="cas run --name NAME -- COMMAND",
        )
    return None


def _check_artifact(spec: Path | SpecFile | None, source: Source) -> None:
    if isinstance(spec, SpecFile) and source.artifact:
        check_declared(spec.spec, (source.artifact,), "--source")


def _check_out(store: Store, source: Source, folder: Path) -> Path | None:
    """Write a version or artifact, verified; its place, None where some of it lies elsewhere."""
    version = store.version(source.target)
    name = source.target_artifact
    done = checkout(store, version, (name,) if name else (), folder)
    if done.external:
        return None
    if not name:
        return done.destination
    place, path = store.set_of(version).get(name), source.label.partition(":")[2]
    return done.destination / (place.path if place else "") / path.partition("/")[2].strip("/")
