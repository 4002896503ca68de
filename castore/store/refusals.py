"""Refusals: why a set did not become the next version, with everything needed to go on."""

from __future__ import annotations

from castore.errors import IncompleteSet, RefMoved
from castore.model.ids import Id, short
from castore.store.conformance import Conformance
from castore.store.intent import UNKNOWN_RUN, Intent, resume_command
from castore.store.version import Version


def refusal(intent: Intent, version: Version, conformance: Conformance) -> IncompleteSet:
    """The error for a set with faults, which is kept as the partial `version`."""
    run = version.manifest.run or UNKNOWN_RUN
    count = len(conformance.faults)
    spec = version.manifest.spec
    return IncompleteSet(
        f"{count} fault{'s' if count != 1 else ''} against spec {spec.id} {spec.version}; "
        f"nothing was published, what is good is kept as partial/{run}/{version.branch}",
        missing=conformance.missing,
        failed=conformance.failed,
        faults=conformance.faults,
        fix=resume_command(intent, run),
        partial=version.id.hex(),
        run=run,
        branch=version.branch,
    )


def moved(lost: Version, tip: Id | None, expected: Version | None) -> RefMoved:
    """The error for a branch that was not at `expected` but at `tip`; `lost` is kept."""
    branch = lost.branch
    return RefMoved(
        f"{_elsewhere(branch, tip, expected)}; your version is kept as {lost.short}, see "
        "cas branch --lost",
        fix=f"cas diff {branch} {lost.short}" if tip else f"cas show {lost.short}",
        branch=branch,
        expected=expected.id.hex() if expected else None,
        actual=tip.hex() if tip else None,
        lost=lost.id.hex(),
    )


def would_be_moved(branch: str, tip: Version | None, expected: Version) -> RefMoved:
    """The same before anything is stored."""
    return RefMoved(
        _elsewhere(branch, tip.id if tip else None, expected),
        fix=f"cas log {branch}" if tip else "leave out --parent",
        branch=branch,
        expected=expected.id.hex(),
        actual=tip.id.hex() if tip else None,
    )


def _elsewhere(branch: str, tip: Id | None, expected: Version | None) -> str:
    before = f"{expected.short} (v{expected.number})" if expected else "no version"
    return f"branch {branch} was expected at {before} and is at {short(tip) if tip else 'nothing'}"
