"""The library's verbs of remotes: the buckets that have a name in a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from castore.remote.census import BucketStats
from castore.remote.collect import BucketReport
from castore.store import remotes, sync
from castore.store.bundle_take import ImportReport, import_bundle
from castore.store.bundle_write import BundleReport, create_bundle
from castore.store.config import KnownRemote
from castore.store.externals_verify import Verdict, verify_external
from castore.store.heal_report import HealReport
from castore.store.internalize import Brought, internalize
from castore.store.selectors import resolve
from castore.store.store import Store
from castore.store.sync_fetch import FetchReport
from castore.store.sync_pull import PullReport
from castore.store.sync_repair import RemoteRepair
from castore.store.sync_report import PushReport
from castore.store.verify_report import FsckReport


class RemotesStore(Store):
    """An open store that knows buckets by name, and bundles: a part of `castore.Store`."""

    def add_remote(
        self,
        name: str,
        place: str,
        *,
        endpoint: str = "",
        region: str = "",
        options: Mapping[str, str] | None = None,
    ) -> KnownRemote:
        """Give the bucket at a URL or path a name, once it has shown that it can be trusted.

        `options` are obstore's own and may hold credentials; they are not kept. See
        `castore.store.remotes`. Raises InvalidInput, Conflict, RemoteError.
        """
        return remotes.add_remote(
            self, name, place, endpoint=endpoint, region=region, options=options
        )

    def remote(self, name: str) -> KnownRemote:
        """The bucket of this name; raises RefNotFound."""
        return remotes.remote(self, name)

    def remotes(self) -> Mapping[str, KnownRemote]:
        """Every bucket that has a name here, by that name."""
        return remotes.remotes(self)

    def remove_remote(self, name: str, *, by: str = "") -> KnownRemote:
        """Take a name away, and what was seen of its bucket, which stays; raises RefNotFound."""
        return remotes.remove_remote(self, name, by=by)

    def begin_upload(self) -> bytes:
        """Register in a bucket that is a store what all `stage` for one commit; that ends it.

        b"" for a store of its own, which needs none. Raises RemoteError.
        """
        far = self.behind.stages if self.behind else None
        return b"" if far is None else far.begin_upload()

    def push(
        self,
        remote: str = "",
        *refs: str,
        by: str = "",
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> PushReport:
        """Send branches and tags, or all, to a remote, by default `origin` or the only one.

        See `castore.store.sync_push.push`. Raises RefMoved and TagExists with nothing moved,
        RemoteMoved, RemoteError, OutcomeUnknown.
        """
        return sync.push(
            self, remote, refs, by=by, dry_run=dry_run, options=options, progress=progress
        )

    def fetch(
        self,
        remote: str = "",
        *refs: str,
        by: str = "",
        depth: int | None = None,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> FetchReport:
        """Bring branches and tags, or all, from a remote; branches here stay where they are.

        With `depth` so many versions of each line come, 0 for all.
        See `castore.store.sync_fetch.fetch`. Raises RefNotFound, CorruptObject, RemoteError.
        """
        return sync.fetch(
            self,
            remote,
            refs,
            by=by,
            depth=depth,
            dry_run=dry_run,
            options=options,
            progress=progress,
        )

    def pull(
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
        """Fetch, and move branches here forward; with `rebase` put those of here after theirs.

        With `depth` so many versions of each line come, 0 for all.
        See `castore.store.sync_pull.pull`. Raises RefMoved where branches diverged, and as `fetch`.
        """
        return sync.pull(
            self,
            remote,
            refs,
            by=by,
            rebase=rebase,
            depth=depth,
            dry_run=dry_run,
            options=options,
            progress=progress,
        )

    def create_bundle(
        self,
        path: str | os.PathLike[str],
        *refs: str,
        since: Sequence[str] = (),
        force: bool = False,
        by: str = "",
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> BundleReport:
        """Write branches and tags, or all, to one new file, without what versions `since` have.

        See `castore.store.bundle_write.create_bundle`. Raises RefNotFound, WouldOverwrite,
        InvalidInput, StoreFull.
        """
        return create_bundle(
            self,
            Path(path),
            refs,
            since=since,
            force=force,
            by=by,
            dry_run=dry_run,
            progress=progress,
        )

    def import_bundle(
        self,
        path: str | os.PathLike[str],
        *refs: str,
        rebase: bool = False,
        by: str = "",
        dry_run: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> ImportReport:
        """Take in branches and tags of a bundle, or all: branches move forward, all or none.

        See `castore.store.bundle_take.import_bundle`. Raises ObjectNotFound where what the bundle
        begins after is not here, RefMoved, TagExists, Conflict, CorruptObject; then no ref moved.
        """
        return import_bundle(
            self, Path(path), refs, rebase=rebase, by=by, dry_run=dry_run, progress=progress
        )

    def verify_external(
        self,
        selector: str,
        *artifacts: str,
        quick: bool = False,
        proxies: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Verdict]:
        """Compare external artifacts of a version with what is at their addresses now.

        See `castore.store.externals_verify.verify_external`; `proxies` are by scheme.
        """
        version = resolve(self, selector).version
        return list(
            verify_external(
                self, version, artifacts, quick=quick, proxies=proxies, progress=progress
            )
        )

    def internalize(
        self,
        selector: str,
        *artifacts: str,
        by: str = "",
        proxies: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Brought:
        """Store the bytes of external artifacts of a version whose digests it says; no id changes.

        See `castore.store.internalize`. Raises CorruptObject for other bytes, RemoteError.
        """
        version = resolve(self, selector).version
        return internalize(self, version, artifacts, by=by, proxies=proxies, progress=progress)

    def gc_remote(
        self,
        remote: str = "",
        *,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> BucketReport:
        """Remove from a remote what none of its refs needs; see `castore.remote.collect`."""
        return sync.collect_remote(
            self, remote, dry_run=dry_run, options=options, progress=progress
        )

    def heal(
        self,
        remote: str = "",
        *,
        by: str = "",
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> HealReport:
        """Put in what is damaged or missing here, as a remote has it; see `castore.store.heal`."""
        return sync.heal(self, remote, by=by, dry_run=dry_run, options=options, progress=progress)

    def heal_remote(
        self,
        remote: str = "",
        *,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> HealReport:
        """Send what is damaged or missing in a remote; see `castore.store.heal_bucket`."""
        return sync.heal_remote(self, remote, dry_run=dry_run, options=options, progress=progress)

    def repair_remote(
        self,
        remote: str = "",
        *,
        dry_run: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> RemoteRepair:
        """Give a remote without a readable root a copy of it; see `castore.remote.repair`."""
        return sync.repair_remote(self, remote, dry_run=dry_run, options=options)

    def fsck_remote(
        self,
        remote: str = "",
        *,
        options: Mapping[str, str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> FsckReport:
        """Fetch and compare every byte of a remote; see `castore.store.sync_verify`."""
        return sync.verify_remote(self, remote, options=options, progress=progress)

    def stats_remote(
        self, remote: str = "", *, options: Mapping[str, str] | None = None
    ) -> BucketStats:
        """What a remote holds and what that takes; see `castore.remote.census`."""
        return sync.remote_stats(self, remote, options=options)
