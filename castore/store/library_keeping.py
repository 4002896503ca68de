"""The library's verbs for what stays and what goes: collection, forgetting, purging, pins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from castore.store import pins
from castore.store.collect import CollectRequest, collect
from castore.store.collect_report import CollectReport
from castore.store.forget import ForgetReport, ForgetRequest, forget
from castore.store.memory import giving_back
from castore.store.purge import PurgeReport, PurgeRequest, purge
from castore.store.repack import RepackReport, repack
from castore.store.retention import Rules
from castore.store.selectors import resolve
from castore.store.store import Store
from castore.store.version import Version
from castore.store.why import Why, why


class KeepingStore(Store):
    """An open store that frees, forgets, purges and keeps: a part of `castore.Store`."""

    @giving_back
    def gc(
        self,
        *,
        grace: int | None = None,
        expire_partials: int | None = None,
        dry_run: bool = False,
        by: str = "",
    ) -> CollectReport:
        """Free what nothing keeps; ages are microseconds, `grace` None is as configured.

        See `castore.store.collect.CollectRequest`. Raises CorruptObject, Locked.
        """
        request = CollectRequest(grace, expire_partials, dry_run=dry_run, by=by)
        return collect(self, request)

    @giving_back
    def repack(
        self,
        *,
        dry_run: bool = False,
        by: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> RepackReport:
        """Store as deltas of the version before what was stored plainly; ids stay.

        See `castore.store.repack`. Raises CorruptObject, StoreFull.
        """
        return repack(self, dry_run=dry_run, by=by, progress=progress)

    def forget(
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
        """Let go of versions, or of what `rules` do not keep of branch `name` or of all.

        See `castore.store.forget`. Raises RefNotFound, InvalidInput, Conflict for a version that a
        branch, tag or pin names.
        """
        request = ForgetRequest(
            revs=selectors,
            rules=rules or Rules(),
            branches=(name,) if name else (),
            everywhere=all_branches,
            force=force,
            dry_run=dry_run,
            by=by,
            why=why,
        )
        return forget(self, request)

    def pin(self, selector: str, *, why: str = "", by: str = "") -> Version:
        """Keep a version whatever becomes of branches and tags, and give it back."""
        version = resolve(self, selector).version
        pins.pin(self, version, by=by, why=why)
        return version

    @giving_back
    def purge(
        self,
        *selectors: str,
        reason: str,
        include: Sequence[str] = (),
        dry_run: bool = False,
        by: str = "",
    ) -> PurgeReport:
        """Make artifacts, or files in them, go for ever, out of the data file too.

        See `castore.store.purge`. Raises InvalidInput, RefNotFound, Conflict, Locked.
        """
        request = PurgeRequest(selectors, reason, tuple(include), dry_run=dry_run, by=by)
        return purge(self, request)

    def unpin(self, selector: str, *, by: str = "") -> Version:
        """End a pin; raises RefNotFound if there is none."""
        version = resolve(self, selector).version
        pins.unpin(self, version, by=by)
        return version

    def pins(self) -> list[pins.Pin]:
        """Every pinned version."""
        return pins.list_pins(self)

    def why(self, what: str) -> Why:
        """What keeps a version, an artifact, an id or a digest: a shortest chain from a root."""
        return why(self, what)
