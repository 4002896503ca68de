"""What helps a damaged store: a remote that may have what is damaged, before salvaging the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from castore.database.datafile import RESTORE
from castore.errors import CorruptObject, InvalidInput
from castore.model.names import quoted
from castore.store.config import CONFIG_FILE, KnownRemote, read_config
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
        return _first(store.config().remotes)
    except InvalidInput:
        return ""


def name_clone(folder: Path, error: CorruptObject) -> None:
    """Let an error of a store that does not open name a remote that may have what was in it."""
    try:
        known = read_config(folder / CONFIG_FILE).remotes
    except InvalidInput:
        return
    found = known.get(_first(known))
    if found is None or not error.fix.startswith(RESTORE):
        return
    options = (("--endpoint", found.endpoint), ("--region", found.region))
    said = "".join(f" {option} {quoted(value)}" for option, value in options if value)
    error.fix += f", or, for what was pushed: cas clone {quoted(found.url)} DIR{said}"


def _first(remotes: Mapping[str, KnownRemote]) -> str:
    return _ORIGIN if _ORIGIN in remotes else min(remotes, default="")
