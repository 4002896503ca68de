"""What helps a damaged store: a remote that may have what is damaged, before salvaging the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from castore.errors import InvalidInput
from castore.store.store import Store
from castore.store.verify_report import SALVAGE, FsckReport

_ORIGIN: Final = "origin"
# What no remote has, or what nothing can be put into.
_OWN: Final = frozenset({"page", "process", "store", "heads.log", "operation", "stage"})


def with_remotes(store: Store, report: FsckReport) -> FsckReport:
    """The report of a store, which helps by way of a remote where one may have what is damaged."""
    may_have = report.only_lost or report.fix == SALVAGE
    if report.ok or not may_have or store.url or any(f.kind in _OWN for f in report.findings):
        return report
    name = remote_for(store)
    return replace(report, helps=f"cas heal {name}") if name else report


def remote_for(store: Store) -> str:
    """The remote to name where one may help: `origin`, or the first; "" for none."""
    try:
        known = store.config().remotes
    except InvalidInput:
        return ""
    return _ORIGIN if _ORIGIN in known else min(known, default="")
