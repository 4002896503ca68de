"""The library: an open store with every verb as a method, for programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from castore.database.operations import Operation
from castore.errors import InvalidInput
from castore.model.fields import MetaValue
from castore.model.manifest import Source
from castore.model.names import check_branch
from castore.store import branches, history, partials, records, tags
from castore.store.backup import BackupReport, backup
from castore.store.blame import Blame, blame
from castore.store.checkout import Checkout, checkout
from castore.store.commit import CommitRequest, commit
from castore.store.context import Context, parse_agent
from castore.store.diff import SetDiff, diff_versions
from castore.store.find import Found, Wanted, find
from castore.store.gate import Judgement, gate
from castore.store.intent import Intent
from castore.store.library_audit import AuditingStore
from castore.store.library_keeping import KeepingStore
from castore.store.library_remotes import RemotesStore
from castore.store.library_review import ReviewingStore
from castore.store.lineage import LIMIT, Begin, impact, lineage
from castore.store.listing import (
    ListedArtifact,
    ListedEntry,
    list_artifacts,
    list_folder,
    named_file,
)
from castore.store.memory import giving_back
from castore.store.operations import operation_log
from castore.store.processes import Streams
from castore.store.report import CommitReport
from castore.store.runs import RunReport, RunRequest, execute
from castore.store.selectors import Resolved, resolve
from castore.store.session import Session
from castore.store.specs import read_spec
from castore.store.staging import Given, Staged, stage
from castore.store.stale import Freshness, stale
from castore.store.stats import StoreStats, VersionStats, store_stats, version_stats
from castore.store.store import Store as OpenStore
from castore.store.undo import Undone, undo
from castore.store.verify import FsckReport, fsck
from castore.store.version import Version
from castore.store.walk import Walk


class Store(AuditingStore, KeepingStore, RemotesStore, ReviewingStore):
    """An open store: commit, read, and ask for history; safe to share between threads.

    Selectors are as on the command line: `name`, `name@v3`, `name~1`, `name:artifact/path`.
    """

    def session(
        self,
        name: str = "",
        *,
        spec: str | os.PathLike[str] | None = None,
        agent: str = "",
        author: str = "",
        run: str = "",
        sources: Sequence[str | Source] = (),
        only: Sequence[str] = (),
        meta: Mapping[str, MetaValue] | None = None,
        context: Context | None = None,
        resume: str = "",
        links: str = "refuse",
        allow_secrets: Sequence[str] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Session:
        """Begin one atomic set on branch `name`, which defaults to the id of `spec`.

        `context` is what the surroundings tell (`Context.from_environ`); `agent` ("name@version"),
        `author` and `run` win over it. `resume` goes on with the incomplete set of that run.
        `allow_secrets` are rules by which secrets may be found, and are let through.
        Raises InvalidInput, InvalidSpec, RefNotFound.
        """
        spec_file = read_spec(Path(spec)) if spec is not None else None
        branch = name or (spec_file.spec.id if spec_file else "")
        if not branch:
            raise InvalidInput("a session needs a name or a spec")
        known = context or Context()
        known = replace(
            known,
            agent=parse_agent(agent) if agent else known.agent,
            author=author or known.author,
            run=resume or run or known.run,
        )
        intent = Intent(
            branch=check_branch(branch),
            spec=spec_file,
            context=known,
            sources=tuple(sources),
            meta=dict(meta or {}),
            only=tuple(only),
            resumed=partials.resume(self, resume, branch) if resume else None,
            allow_secrets=tuple(allow_secrets),
        )
        return Session(self, intent, progress=progress, links=links)

    def stage(
        self,
        content: Given,
        *,
        links: str = "refuse",
        allow_secrets: Sequence[str] = (),
        upload: bytes = b"",
        progress: Callable[[int], None] | None = None,
    ) -> Staged:
        """Make content durable in this thread or process, for a session's `add` in another.

        What comes back is small and pickles. A forked process must open the store itself. In a
        bucket it lies below `upload`, or one of its own, for a session on any machine. Raises
        InvalidInput, StoreFull, ForkedProcess, RemoteError, ObjectNotFound if `upload` has ended.
        """
        return stage(
            self,
            content,
            links=links,
            progress=progress,
            allow_secrets=allow_secrets,
            upload=upload,
        )

    def commit(self, *paths: str, **options: Any) -> CommitReport:
        """Commit files and folders in one call; options are the fields of `CommitRequest`.

        Relative paths start at the working folder unless `cwd` is given.
        """
        cwd = Path(options.pop("cwd", ".")).absolute()
        spec = options.pop("spec", None)
        request = CommitRequest(
            cwd=cwd, paths=paths, spec=Path(spec) if spec is not None else None, **options
        )
        return commit(self, request)

    def execute(
        self,
        *command: str,
        env: Mapping[str, str],
        out: str | os.PathLike[str] | None = None,
        checkout_sources: bool = False,
        streams: Streams | None = None,
        **options: Any,
    ) -> RunReport:
        """Run a command here and commit what it puts into the folder `$CAS_OUT`, as `cas run` does.

        `env` is its whole environment but for what the run adds; options are the fields of
        `CommitRequest`, of which `paths` stay empty. See `castore.store.runs.RunRequest`. Raises
        CommandNotFound, CommandNotExecutable, and what `commit` raises; a command that fails is
        told of by the report's `code`.
        """
        cwd = Path(options.pop("cwd", ".")).absolute()
        spec = options.pop("spec", None)
        made = CommitRequest(cwd=cwd, spec=Path(spec) if spec is not None else None, **options)
        folder = Path(out) if out is not None else None
        request = RunRequest(command, made, env, folder, checkout_sources)
        return execute(self, request, streams=streams)

    def resolve(self, selector: str) -> Resolved:
        """The version, and artifact if it names one, that a selector means."""
        return resolve(self, selector)

    def log(self, rev: str = "", *, limit: int | None = None, **filters: str) -> Iterator[Version]:
        """Versions newest first, of `rev` or of all branches; filters as in `history.Filter`."""
        return history.log(self, rev, limit=limit, only=history.Filter(**filters))

    def open(self, selector: str) -> BinaryIO:
        """The file that `name:artifact` or `name:folder/path` means, as a seekable verified stream.

        Raises TypeMismatch for a folder, RefNotFound, CorruptObject.
        """
        file = named_file(self, resolve(self, selector))
        return self.reader.open(file.digest, file.size)

    def read_bytes(self, selector: str) -> bytes:
        """All bytes of one file; compared with its digest as a whole."""
        file = named_file(self, resolve(self, selector))
        return b"".join(self.reader.stream(file.digest, file.size))

    def artifacts(self, selector: str) -> list[ListedArtifact]:
        """The artifacts of a version, by name, each with the version that made it."""
        return list_artifacts(self, self.resolve(selector).version)

    def files(self, selector: str, *, recursive: bool = True) -> Iterator[ListedEntry]:
        """What a version, a folder artifact or a folder in one holds, as lazy entries."""
        return list_folder(self, self.resolve(selector), recursive=recursive)

    def checkout(
        self,
        selector: str,
        destination: str | os.PathLike[str] | None = None,
        *,
        artifacts: Sequence[str] = (),
        force: bool = False,
    ) -> Checkout:
        """Write a version's artifacts below a folder, verified; raises WouldOverwrite."""
        target = Path(destination) if destination is not None else None
        version = self.resolve(selector).version
        return checkout(self, version, artifacts, target, force=force)

    def diff(self, new: str, old: str = "") -> SetDiff:
        """What `new` changed against `old`, or against its first parent."""
        version = self.resolve(new).version
        if old:
            return diff_versions(self, self.resolve(old).version, version)
        parents = version.manifest.parents
        before = OpenStore.version(self, parents[0], version.branch) if parents else None
        return diff_versions(self, before, version)

    def find(
        self, name: str = "", *, digest: str = "", type: str = "", format: str = ""
    ) -> Iterator[Found]:
        """Artifacts by glob of the name, content digest, type or format, newest version first."""
        return find(self, Wanted(name=name, digest=digest, type=type, format=format))

    def lineage(self, what: Begin, *, depth: int | None = None, limit: int = LIMIT) -> Walk:
        """What a version, an artifact, a digest or a file was made from, up to `depth` edges.

        See `castore.store.lineage.lineage`. Raises RefNotFound, InvalidInput.
        """
        return lineage(self, what, depth=depth, limit=limit)

    def impact(self, what: Begin, *, depth: int | None = None, limit: int = LIMIT) -> Walk:
        """What was made from a version, an artifact, a URI, a digest or a file, newest first.

        See `castore.store.lineage.impact`. Raises RefNotFound, InvalidInput.
        """
        return impact(self, what, depth=depth, limit=limit)

    def blame(self, what: Begin) -> list[Blame]:
        """Who made and who last changed an artifact, each of a version, or a file on disk.

        See `castore.store.blame.blame`. Raises RefNotFound, InvalidInput, ObjectNotFound.
        """
        return blame(self, what)

    def stale(
        self, rev: str = "", *, spec: str | os.PathLike[str] | None = None
    ) -> Iterator[Freshness]:
        """What of `rev`, or of all tips, was made under another spec or from other sources.

        See `castore.store.stale.stale`. Raises RefNotFound, InvalidInput, InvalidSpec.
        """
        return stale(self, rev, spec=Path(spec) if spec is not None else None)

    def gate(
        self,
        what: Begin,
        *,
        require: Sequence[str] = (),
        policy: bytes | None = None,
        expect: str = "",
        spec: str | os.PathLike[str] | None = None,
    ) -> Judgement:
        """Whether a version, or the one with these bytes on disk, may go out; every reason if not.

        See `castore.store.gate.gate`. Raises RefNotFound, InvalidInput, RefMoved, InvalidSpec.
        """
        file = Path(spec) if spec is not None else None
        return gate(self, what, require=require, policy=policy, expect=expect, spec=file)

    def stats(self) -> StoreStats:
        """Logical, unique and stored bytes, and what saved how many."""
        return store_stats(self)

    def version_stats(self, selector: str, *, alone: bool = True) -> VersionStats:
        """The figures of one version; without `alone` other versions but its parent are not read.

        Raises RefNotFound, ObjectNotFound for a version that was forgotten.
        """
        return version_stats(self, self.resolve(selector).version, alone=alone)

    @giving_back
    def fsck(self, *, full: bool = False) -> FsckReport:
        """Look for damage: refs and closures, with `full` every stored byte as well."""
        return fsck(self, full=full)

    def operations(self, limit: int | None = None) -> Iterator[Operation]:
        """The operation log, newest first: every ref that moved, when, by whom and why."""
        return operation_log(self, limit)

    def undo(
        self, sequence: int | None = None, *, by: str = "", why: str = "", dry_run: bool = False
    ) -> Undone:
        """Take back the ref moves of an operation, by default of the newest that moved a branch.

        Raises RefMoved when a ref is elsewhere by now, RefNotFound, InvalidInput, ObjectNotFound.
        """
        return undo(self, sequence, by=by, why=why, dry_run=dry_run)

    @giving_back
    def backup(
        self,
        destination: str | os.PathLike[str],
        *,
        compact: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> BackupReport:
        """Copy the live store to a folder, verified, or add to a copy what is new.

        Raises WouldOverwrite, Conflict, CorruptObject, StoreFull.
        """
        return backup(self, Path(destination), compact=compact, dry_run=dry_run, progress=progress)

    def record(self, version: Version, *, artifacts: bool = True) -> dict[str, Any]:
        """A version as `--json` prints it."""
        return records.version_record(self, version, artifacts=artifacts)

    def branches(self) -> list[Version]:
        """The tip of every branch."""
        return branches.list_branches(self)

    def tag(self, name: str, selector: str, *, by: str = "") -> Version:
        """Name a version for ever, and give it back; raises TagExists."""
        version = self.resolve(selector).version
        tags.create_tag(self, name, version, by=by)
        return version

    def tags(self) -> list[tuple[str, Version]]:
        """Every tag and its version."""
        return tags.list_tags(self)

    def partials(self) -> list[partials.Partial]:
        """Every incomplete set that can be resumed or discarded."""
        return partials.list_partials(self)
