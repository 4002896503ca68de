"""The verbs of remotes as coroutines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from castore.aio.review import AsyncReviewing
from castore.remote.census import BucketStats
from castore.remote.collect import BucketReport
from castore.store.bundle_take import ImportReport
from castore.store.bundle_write import BundleReport
from castore.store.config import KnownRemote
from castore.store.externals_verify import Verdict
from castore.store.heal_report import HealReport
from castore.store.internalize import Brought
from castore.store.library import Store
from castore.store.sync_fetch import FetchReport
from castore.store.sync_pull import PullReport
from castore.store.sync_repair import RemoteRepair
from castore.store.sync_report import PushReport
from castore.store.verify_report import FsckReport


class AsyncRemotes(AsyncReviewing):
    """The verbs of remotes for asyncio; they are those of `castore.Store` and raise the same."""

    async def add_remote(
        self,
        name: str,
        place: str,
        *,
        endpoint: str = "",
        region: str = "",
        options: Mapping[str, str] | None = None,
    ) -> KnownRemote:
        """Give the bucket at a URL or path a name, once it has shown that it can be trusted."""
        return await self.run(
            Store.add_remote, name, place, endpoint=endpoint, region=region, options=options
        )

    async def remote(self, name: str) -> KnownRemote:
        """The bucket of this name; raises RefNotFound."""
        return await self.run(Store.remote, name)

    async def remotes(self) -> Mapping[str, KnownRemote]:
        """Every bucket that has a name here, by that name."""
        return await self.run(Store.remotes)

    async def remove_remote(self, name: str, *, by: str = "") -> KnownRemote:
        """Take a name away, and what was seen of its bucket, which stays; raises RefNotFound."""
        return await self.run(Store.remove_remote, name, by=by)

    async def begin_upload(self) -> bytes:
        """Register in a bucket that is a store what all `stage` for one commit; that ends it."""
        return await self.run(Store.begin_upload)

    async def push(
        self,
        remote: str = "",
        *refs: str,
        by: str = "",
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> PushReport:
        """Send branches and tags, or all, to a remote."""
        return await self.run(
            Store.push,
            remote,
            *refs,
            by=by,
            dry_run=dry_run,
            options=options,
            progress=progress,
        )

    async def fetch(
        self,
        remote: str = "",
        *refs: str,
        by: str = "",
        depth: int | None = None,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> FetchReport:
        """Bring branches and tags, or all, from a remote; branches here stay."""
        return await self.run(
            Store.fetch,
            remote,
            *refs,
            by=by,
            depth=depth,
            dry_run=dry_run,
            options=options,
            progress=progress,
        )

    async def pull(
        self,
        remote: str = "",
        *refs: str,
        by: str = "",
        rebase: bool = False,
        depth: int | None = None,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> PullReport:
        """Fetch, and move branches here forward."""
        return await self.run(
            Store.pull,
            remote,
            *refs,
            by=by,
            rebase=rebase,
            depth=depth,
            dry_run=dry_run,
            options=options,
            progress=progress,
        )

    async def create_bundle(
        self,
        path: str | os.PathLike[str],
        *refs: str,
        since: Sequence[str] = (),
        force: bool = False,
        by: str = "",
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> BundleReport:
        """Write branches and tags, or all, to one new file."""
        return await self.run(
            Store.create_bundle,
            path,
            *refs,
            since=since,
            force=force,
            by=by,
            dry_run=dry_run,
            progress=progress,
        )

    async def import_bundle(
        self,
        path: str | os.PathLike[str],
        *refs: str,
        rebase: bool = False,
        by: str = "",
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> ImportReport:
        """Take in branches and tags of a bundle, or all."""
        return await self.run(
            Store.import_bundle,
            path,
            *refs,
            rebase=rebase,
            by=by,
            dry_run=dry_run,
            progress=progress,
        )

    async def verify_external(
        self,
        selector: str,
        *artifacts: str,
        quick: bool = False,
        proxies: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Verdict]:
        """Compare external artifacts of a version with what is at their addresses now."""
        return await self.run(
            Store.verify_external,
            selector,
            *artifacts,
            quick=quick,
            proxies=proxies,
            progress=progress,
        )

    async def internalize(
        self,
        selector: str,
        *artifacts: str,
        by: str = "",
        proxies: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Brought:
        """Store the bytes of external artifacts of a version whose digests it says."""
        return await self.run(
            Store.internalize, selector, *artifacts, by=by, proxies=proxies, progress=progress
        )

    async def gc_remote(
        self,
        remote: str = "",
        *,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> BucketReport:
        """Remove from a remote what none of its refs needs."""
        return await self.run(
            Store.gc_remote,
            remote,
            dry_run=dry_run,
            options=options,
            progress=progress,
        )

    async def heal(
        self,
        remote: str = "",
        *,
        by: str = "",
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> HealReport:
        """Put in what is damaged or missing here, as a remote has it."""
        how: dict[str, Any] = {"dry_run": dry_run, "options": options, "progress": progress}
        return await self.run(Store.heal, remote, by=by, **how)

    async def heal_remote(
        self,
        remote: str = "",
        *,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> HealReport:
        """Send what is damaged or missing in a remote."""
        how: dict[str, Any] = {"dry_run": dry_run, "options": options, "progress": progress}
        return await self.run(Store.heal_remote, remote, **how)

    async def repair_remote(
        self,
        remote: str = "",
        *,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> RemoteRepair:
        """Give a remote without a readable root a copy of it."""
        return await self.run(Store.repair_remote, remote, dry_run=dry_run, options=options)

    async def fsck_remote(
        self,
        remote: str = "",
        *,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> FsckReport:
        """Fetch and compare every byte of a remote."""
        return await self.run(
            Store.fsck_remote,
            remote,
            options=options,
            progress=progress,
        )

    async def stats_remote(
        self, remote: str = "", *, options: Mapping[str, str] | None = None
    ) -> BucketStats:
        """What a remote holds and what that takes."""
        return await self.run(Store.stats_remote, remote, options=options)
