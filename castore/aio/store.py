"""The verbs of an open store as coroutines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from castore.aio.bridge import each, given
from castore.aio.remotes import AsyncRemotes
from castore.aio.session import AsyncSession
from castore.database.operations import Operation
from castore.model.fields import MetaValue
from castore.model.manifest import Source
from castore.store.backup import BackupReport
from castore.store.blame import Blame
from castore.store.checkout import Checkout
from castore.store.collect_report import CollectReport
from castore.store.context import Context
from castore.store.diff import SetDiff
from castore.store.find import Found
from castore.store.forget import ForgetReport
from castore.store.gate import Judgement
from castore.store.library import Store
from castore.store.lineage import LIMIT, Begin
from castore.store.listing import ListedArtifact, ListedEntry, named_file
from castore.store.partials import Partial
from castore.store.pins import Pin
from castore.store.processes import Streams
from castore.store.purge import PurgeReport
from castore.store.reindex import ReindexReport
from castore.store.repack import RepackReport
from castore.store.report import CommitReport
from castore.store.retention import Rules
from castore.store.runs import RunReport
from castore.store.selectors import Resolved
from castore.store.sql import Answer
from castore.store.staging import Given, Staged
from castore.store.stale import Freshness
from castore.store.stats import StoreStats, VersionStats
from castore.store.undo import Undone
from castore.store.verify import FsckReport
from castore.store.version import Version
from castore.store.walk import Walk
from castore.store.why import Why

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_PIECES: Final = 8


class AsyncStore(AsyncRemotes):
    """An open store for asyncio; `store` is the one it wraps, for what has no coroutine here.

    Methods are those of `castore.Store` and raise what they raise; what is given as `progress` is
    called in a thread.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def close(self) -> None:
        """Release the store; further use raises."""
        await self.run(Store.close)

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
    ) -> AsyncSession:
        """One atomic set, as `Store.session`, for `async with`.

        What is wrong with the arguments is raised on entering.
        """
        return AsyncSession(
            lambda: self.store.session(
                name, spec=spec, agent=agent, author=author, run=run, sources=sources, only=only,
                meta=meta, context=context, resume=resume, links=links,
                allow_secrets=allow_secrets, progress=progress
            )
        )  # fmt: skip

    async def stage(
        self,
        content: Given | AsyncIterable[bytes],
        *,
        links: str = "refuse",
        allow_secrets: Sequence[str] = (),
        upload: bytes = b"",
        progress: Callable[[int], None] | None = None,
    ) -> Staged:
        """Make content durable for a session elsewhere to take."""
        with given(content) as plain:
            return await self.run(
                Store.stage, plain, links=links, allow_secrets=allow_secrets, upload=upload,
                progress=progress,
            )  # fmt: skip

    async def commit(self, *paths: str, **options: Any) -> CommitReport:
        """Commit files and folders in one call; options are the fields of `CommitRequest`."""
        return await asyncio.to_thread(partial(self.store.commit, *paths, **options))

    async def execute(
        self,
        *command: str,
        env: Mapping[str, str],
        out: str | os.PathLike[str] | None = None,
        checkout_sources: bool = False,
        streams: Streams | None = None,
        **options: Any,
    ) -> RunReport:
        """Run a command here and commit what it puts into `$CAS_OUT`, as `Store.execute`."""
        ran = partial(
            self.store.execute, *command, env=env, out=out, checkout_sources=checkout_sources,
            streams=streams, **options
        )  # fmt: skip
        return await asyncio.to_thread(ran)

    async def resolve(self, selector: str) -> Resolved:
        """The version, and artifact if it names one, that a selector means."""
        return await self.run(Store.resolve, selector)

    def log(
        self, rev: str = "", *, limit: int | None = None, **filters: str
    ) -> AsyncIterator[Version]:
        """Versions newest first, of `rev` or of all branches."""
        return each(lambda: self.store.log(rev, limit=limit, **filters))

    async def read_bytes(self, selector: str) -> bytes:
        """All bytes of one file; compared with its digest as a whole."""
        return await self.run(Store.read_bytes, selector)

    def stream(self, selector: str) -> AsyncIterator[bytes]:
        """The bytes of one file in pieces, each verified, the whole before the last one."""

        def pieces() -> Iterator[bytes]:
            file = named_file(self.store, self.store.resolve(selector))
            return self.store.reader.stream(file.digest, file.size)

        return each(pieces, _PIECES)

    async def artifacts(self, selector: str) -> list[ListedArtifact]:
        """The artifacts of a version, by name, each with the version that made it."""
        return await self.run(Store.artifacts, selector)

    def files(self, selector: str, *, recursive: bool = True) -> AsyncIterator[ListedEntry]:
        """What a version, a folder artifact or a folder in one holds."""
        return each(lambda: self.store.files(selector, recursive=recursive))

    async def checkout(
        self,
        selector: str,
        destination: str | os.PathLike[str] | None = None,
        *,
        artifacts: Sequence[str] = (),
        force: bool = False,
    ) -> Checkout:
        """Write a version's artifacts below a folder, verified."""
        return await self.run(
            Store.checkout, selector, destination, artifacts=artifacts, force=force
        )

    async def diff(self, new: str, old: str = "") -> SetDiff:
        """What `new` changed against `old`, or against its first parent."""
        return await self.run(Store.diff, new, old)

    def find(
        self, name: str = "", *, digest: str = "", type: str = "", format: str = ""
    ) -> AsyncIterator[Found]:
        """Artifacts by glob of the name, content digest, type or format, newest version first."""
        return each(lambda: self.store.find(name, digest=digest, type=type, format=format))

    def audit(self, *, limit: int | None = None, **criteria: str) -> AsyncIterator[Version]:
        """The versions that meet every criterion, newest first."""
        return each(lambda: self.store.audit(limit=limit, **criteria))

    def catalogue(self, name: str = "versions") -> AsyncIterator[dict[str, Any]]:
        """The rows of a table of the catalogue."""
        return each(lambda: self.store.catalogue(name))

    async def sql(self, statement: str) -> Answer:
        """What a statement that reads the catalogue gives; its rows are read without waiting."""
        return await self.run(Store.sql, statement)

    async def write_parquet(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write a table of the catalogue as a new Parquet file."""
        await self.run(Store.write_parquet, name, path)

    async def statement(self, selector: str) -> str:
        """A version as an in-toto statement with SLSA provenance, in JSON; not signed."""
        return await self.run(Store.statement, selector)

    async def openlineage(self, selector: str) -> list[dict[str, Any]]:
        """The making of a version as OpenLineage events."""
        return await self.run(Store.openlineage, selector)

    async def ro_crate(
        self, selector: str, folder: str | os.PathLike[str] | None = None
    ) -> dict[str, Any]:
        """The metadata of a version as an RO-Crate 1.1; with `folder` that is made as well."""
        return await self.run(Store.ro_crate, selector, folder)

    async def stats(self) -> StoreStats:
        """Logical, unique and stored bytes, and what saved how many."""
        return await self.run(Store.stats)

    async def version_stats(self, selector: str, *, alone: bool = True) -> VersionStats:
        """The figures of one version, and what it holds beyond others."""
        return await self.run(Store.version_stats, selector, alone=alone)

    async def fsck(self, *, full: bool = False) -> FsckReport:
        """Look for damage: refs and closures, with `full` every stored byte as well."""
        return await self.run(Store.fsck, full=full)

    async def reindex(self, *, progress: Callable[[int], None] | None = None) -> ReindexReport:
        """Make every derived table again, in one transaction."""
        return await self.run(Store.reindex, progress=progress)

    async def record(self, version: Version, *, artifacts: bool = True) -> dict[str, Any]:
        """A version as `--json` prints it."""
        return await self.run(Store.record, version, artifacts=artifacts)

    async def branches(self) -> list[Version]:
        """The tip of every branch."""
        return await self.run(Store.branches)

    async def tag(self, name: str, selector: str, *, by: str = "") -> Version:
        """Name a version for ever, and give it back."""
        return await self.run(Store.tag, name, selector, by=by)

    async def tags(self) -> list[tuple[str, Version]]:
        """Every tag and its version."""
        return await self.run(Store.tags)

    async def partials(self) -> list[Partial]:
        """Every incomplete set that can be resumed or discarded."""
        return await self.run(Store.partials)

    def operations(self, limit: int | None = None) -> AsyncIterator[Operation]:
        """The operation log, newest first."""
        return each(lambda: self.store.operations(limit))

    async def undo(
        self, sequence: int | None = None, *, by: str = "", why: str = "", dry_run: bool = False
    ) -> Undone:
        """Take back the ref moves of an operation."""
        return await self.run(Store.undo, sequence, by=by, why=why, dry_run=dry_run)

    async def gc(
        self,
        *,
        grace: int | None = None,
        expire_partials: int | None = None,
        dry_run: bool = False,
        by: str = "",
    ) -> CollectReport:
        """Free what nothing keeps; ages are microseconds, `grace` None is as configured."""
        return await self.run(
            Store.gc, grace=grace, expire_partials=expire_partials, dry_run=dry_run, by=by
        )

    async def repack(
        self,
        *,
        dry_run: bool = False,
        by: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> RepackReport:
        """Store as deltas what was stored plainly; `progress` is called in a thread."""
        return await self.run(Store.repack, dry_run=dry_run, by=by, progress=progress)

    async def forget(
        self,
        *selectors: str,
        rules: Rules | None = None,
        name: str = "",
        all_branches: bool = False,
        force: bool = False,
        dry_run: bool = False,
        by: str = "",
        why: str = "",
    ) -> ForgetReport:
        """Let go of versions, or of what `rules` do not keep of branch `name` or of all."""
        return await self.run(
            Store.forget,
            *selectors,
            rules=rules,
            name=name,
            all_branches=all_branches,
            force=force,
            dry_run=dry_run,
            by=by,
            why=why,
        )

    async def pin(self, selector: str, *, why: str = "", by: str = "") -> Version:
        """Keep a version whatever becomes of branches and tags, and give it back."""
        return await self.run(Store.pin, selector, why=why, by=by)

    async def purge(
        self,
        *selectors: str,
        reason: str,
        include: Sequence[str] = (),
        dry_run: bool = False,
        by: str = "",
    ) -> PurgeReport:
        """Make artifacts, or files in them, go for ever, out of the data file too."""
        return await self.run(
            Store.purge, *selectors, reason=reason, include=include, dry_run=dry_run, by=by
        )

    async def unpin(self, selector: str, *, by: str = "") -> Version:
        """End a pin; raises RefNotFound if there is none."""
        return await self.run(Store.unpin, selector, by=by)

    async def pins(self) -> list[Pin]:
        """Every pinned version."""
        return await self.run(Store.pins)

    async def lineage(self, what: Begin, *, depth: int | None = None, limit: int = LIMIT) -> Walk:
        """What a version, an artifact, a digest or a file was made from."""
        return await self.run(Store.lineage, what, depth=depth, limit=limit)

    async def impact(self, what: Begin, *, depth: int | None = None, limit: int = LIMIT) -> Walk:
        """What was made from a version, an artifact, a URI, a digest or a file."""
        return await self.run(Store.impact, what, depth=depth, limit=limit)

    async def blame(self, what: Begin) -> list[Blame]:
        """Who made and who last changed an artifact, each of a version, or a file on disk."""
        return await self.run(Store.blame, what)

    def stale(
        self, rev: str = "", *, spec: str | os.PathLike[str] | None = None
    ) -> AsyncIterator[Freshness]:
        """What was made under another spec or from other sources than today's."""
        return each(lambda: self.store.stale(rev, spec=spec))

    async def gate(
        self,
        what: Begin,
        *,
        require: Sequence[str] = (),
        policy: bytes | None = None,
        expect: str = "",
        spec: str | os.PathLike[str] | None = None,
    ) -> Judgement:
        """Whether a version, or the one with these bytes on disk, may go out."""
        return await self.run(
            Store.gate, what, require=require, policy=policy, expect=expect, spec=spec
        )

    async def why(self, what: str) -> Why:
        """What keeps a version, an artifact, an id or a digest: a shortest chain from a root."""
        return await self.run(Store.why, what)

    async def backup(
        self,
        destination: str | os.PathLike[str],
        *,
        compact: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> BackupReport:
        """Copy the live store to a folder, verified, or add to a copy what is new."""
        return await self.run(
            Store.backup, destination, compact=compact, dry_run=dry_run, progress=progress
        )
