"""The gate: whether a version may go out, and every reason why not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from castore.content.absent import look_for
from castore.errors import CastoreError, InvalidInput, NotApproved, NotFound, RefMoved, RefNotFound
from castore.model.ids import Id
from castore.model.names import near_names, quoted
from castore.model.status import Status, fold
from castore.model.values import frozen
from castore.spec.parse import REQUIREMENTS
from castore.store.find import Wanted, find
from castore.store.lineage import Begin
from castore.store.notes import notes_about
from castore.store.pinning import digest_file
from castore.store.policy import Policy, approval, policy_in_force, unsigned
from castore.store.recognition import as_path, recognise_set
from castore.store.removals import removal_text
from castore.store.selectors import resolve
from castore.store.specs import read_spec
from castore.store.stale import Today
from castore.store.store import Store
from castore.store.tombstones import refuse_purged
from castore.store.version import Version

COMPLETE: Final = "complete"
APPROVED: Final = "approved"
VALID: Final = "valid"
FRESH: Final = "fresh"
SIGNED: Final = "signed"
LIFECYCLE: Final = "lifecycle"
KNOWN: Final = "known"
DEFAULT: Final = (APPROVED, VALID)
JUDGED: Final = 100
"""Versions that hold the bytes of one file on disk, of which the newest that passes counts."""


@frozen
class Refusal:
    """One reason why a version does not pass: which requirement it misses, and what may help.

    `requirement` is one of REQUIREMENTS, "lifecycle" for a version that was withdrawn, or "known"
    for bytes that no version has.
    """

    requirement: str
    detail: str
    artifact: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """The reason as data."""
        return {
            "requirement": self.requirement,
            "artifact": self.artifact or None,
            "detail": self.detail,
            "fix": self.fix or None,
        }


@frozen
class Judgement:
    """What the gate says of one version; `notes` tell what was compared with what."""

    version: Version
    require: tuple[str, ...]
    reasons: tuple[Refusal, ...] = ()
    approvers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The judgement as data."""
        return {
            "id": self.version.id.hex(),
            "label": self.version.label,
            "passed": self.passed,
            "require": list(self.require),
            "reasons": [reason.as_json() for reason in self.reasons],
            "approvers": list(self.approvers),
            "notes": list(self.notes),
        }

    def error(self) -> NotApproved:
        """What a gate that is shut raises: every reason, in words and as data."""
        named = f"{self.version.label} {self.version.id.hex()}"
        return _shut(named, self.reasons, self.as_json())


def _shut(what: str, reasons: Sequence[Refusal], record: dict[str, Any]) -> NotApproved:
    lines = [f"{what} does not pass"]
    for reason in reasons:
        artifact = f"{reason.artifact}: " if reason.artifact else ""
        lines.append(f"{reason.requirement}: {artifact}{reason.detail}")
    fix = next((reason.fix for reason in reasons if reason.fix), "")
    return NotApproved("\n".join(lines), fix=fix, **record)


def _unknown(path: Path, detail: str, require: Sequence[str]) -> NotApproved:
    """What is raised for bytes that no version has."""
    reason = Refusal(KNOWN, detail, fix="cas status")
    record = {
        "id": None,
        "label": None,
        "passed": False,
        "require": list(require),
        "reasons": [reason.as_json()],
        "approvers": [],
        "notes": [],
    }
    return _shut(repr(os.fspath(path)), [reason], record)


def gate(
    store: Store,
    what: Begin,
    *,
    require: Sequence[str] = (),
    policy: bytes | None = None,
    expect: str = "",
    spec: Path | None = None,
    cwd: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Judgement:
    """Judge a version by its requirements, by default those of the policy, else approved and valid.

    `what` is a branch or tag, with or without a selector, or a full id; or a path (text that begins
    with `.` or `/`): a folder is the newest version with exactly its files that passes, and none of
    the others may have been rejected or withdrawn; a file the newest version that holds it and
    passes. What was withdrawn, forgotten or purged, or is incomplete never passes. `policy` are the
    bytes of a policy file, `expect` the full id that must be meant, `spec` the file that fresh
    compares with.
    Raises NotApproved for bytes that no version has, RefNotFound, InvalidInput for a short id,
    RefMoved if another id is meant.
    """
    asked = tuple(dict.fromkeys(require))
    for word in asked:
        if word not in REQUIREMENTS:
            raise InvalidInput(
                f"{word!r} cannot be required{near_names(word, REQUIREMENTS)}",
                fix=f"--require {','.join(REQUIREMENTS)}",
            )
    if expect and not re.fullmatch("[0-9a-f]{64}", expect):
        raise InvalidInput(f"{expect!r} is not the full id of a version, 64 hex digits")
    given = read_spec(spec) if spec is not None else None
    judge = _Judge(store, asked, policy, Today(store, given, cwd))
    path = as_path(what)
    if path is None:
        version = _exact(store, str(what))
        _expected(version, expect, str(what))
        return judge.judge(version)
    if not os.path.lexists(path):
        raise NotFound(f"{os.fspath(path)!r} does not exist", fix=look_for(path))
    return _on_disk(store, path, expect, judge, progress)


def _exact(store: Store, text: str) -> Version:
    """The version that a branch, tag or full id means."""
    try:
        resolved = resolve(store, text, prefixes=False)
    except (RefNotFound, InvalidInput) as error:
        if os.path.lexists(text):
            # Never judged by what it may mean: `out` is a branch, `./out` a folder.
            error.fix = f"cas gate {quoted(f'./{text}')}"
        elif not error.fix and re.match(r"[0-9a-f]{6,63}(?![0-9a-f])", text):
            meant = resolve(store, text).version
            error.fix = f"cas gate {meant.id.hex()}"
        raise
    if resolved.artifact is not None:
        raise InvalidInput(
            f"{text!r} names an artifact; a set is judged as a whole",
            fix=f"cas gate {quoted(text.partition(':')[0])}",
        )
    return resolved.version


def _expected(version: Version, expect: str, what: str) -> None:
    if expect and version.id.hex() != expect:
        raise RefMoved(
            f"{what} is {version.label} {version.id.hex()}, not {expect}",
            fix=f"cas diff {expect} {version.id.hex()}",
            id=version.id.hex(),
            expected=expect,
        )


def _on_disk(
    store: Store,
    path: Path,
    expect: str,
    judge: _Judge,
    progress: Callable[[int], None] | None,
) -> Judgement:
    """The judgement of the newest version with these bytes that passes, else of the newest."""
    alike: tuple[Version, ...] = ()
    if path.is_dir():
        try:
            alike = recognise_set(store, path, progress).versions
        except RefNotFound as error:
            raise _unknown(path, error.message, judge.require) from None
        candidates: Iterator[Version] = iter(alike)
    else:
        candidates = _holders(store, path)
    newest: Judgement | None = None
    for version in islice(candidates, JUDGED):
        if expect and version.id.hex() != expect:
            continue
        judged = judge.judge(version)
        if judged.passed:
            return judge.beside(judged, alike)
        newest = newest or judged
    if newest is not None:
        return newest
    if expect:
        raise RefMoved(f"{os.fspath(path)!r} is not what {expect} holds", expected=expect)
    raise _unknown(path, "no version holds these bytes", judge.require)


def _holders(store: Store, path: Path) -> Iterator[Version]:
    """The versions with an artifact, or a file in one, that has the bytes of a file."""
    digest, _ = digest_file(path)
    seen: set[Id] = set()
    for found in find(store, Wanted(digest=digest.hex())):
        if found.version.id not in seen:
            seen.add(found.version.id)
            yield found.version


class _Judge:
    """Judges versions by one list of requirements."""

    def __init__(
        self, store: Store, require: tuple[str, ...], policy: bytes | None, today: Today
    ) -> None:
        self._store = store
        self.require = require
        self._policy = policy
        self._today = today

    def judge(self, version: Version) -> Judgement:
        """Every reason against a version."""
        policy = policy_in_force(self._store, version, self._policy)
        require = self.require or policy.require or DEFAULT
        status = self._status(version.id, policy)
        reasons = [*_lifecycle(version, status), *self._gone(version)]
        approvers: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if not version.manifest.complete:
            reasons += _incomplete(version)
        if APPROVED in require:
            found = approval(self._store, version, policy)
            approvers = found.approvers
            fix = _to_approve(version, status, policy)
            reasons += (Refusal(APPROVED, reason, fix=fix) for reason in found.reasons)
        if VALID in require:
            reasons += _invalid(version, status)
        # Nothing of a forgotten version can be compared.
        if FRESH in require and self._store.forgotten(version) is None:
            fresh = self._today.judge(version)
            reasons += (
                Refusal(FRESH, stale.detail, stale.artifact, fresh.refresh) for stale in fresh.stale
            )
            notes = _compared(fresh.compared, fresh.absent, fresh.unchecked)
        if SIGNED in require:
            reasons += self._unsigned(version, policy)
        return Judgement(version, require, tuple(reasons), approvers, notes)

    def beside(self, judged: Judgement, alike: Sequence[Version]) -> Judgement:
        """A judgement that passed, unless another version with the same bytes was turned down."""
        policy = policy_in_force(self._store, judged.version, self._policy)
        reasons = []
        for version in alike:
            if version.id == judged.version.id:
                continue
            status = self._status(version.id, policy)
            named = f"{version.label}, which has the same bytes, was"
            if status.lifecycle == "withdrawn":
                reasons.append(Refusal(LIFECYCLE, f"{named} withdrawn"))
            if status.rejecters:
                who = ", ".join(status.rejecters)
                reasons.append(Refusal(APPROVED, f"{named} rejected by {who}"))
        return Judgement(
            judged.version, judged.require, tuple(reasons), judged.approvers, judged.notes
        )

    def _gone(self, version: Version) -> Iterator[Refusal]:
        """That content was forgotten or purged: what is not there cannot go out."""
        fix = f"cas show {quoted(version.label)}"
        removal = self._store.forgotten(version)
        if removal is not None:
            yield Refusal(COMPLETE, f"forgotten on {removal_text(removal)}", fix=fix)
            return
        members = self._store.set_of(version)
        try:
            self._store.database.read(lambda tables: refuse_purged(tables, members))
        except InvalidInput as error:
            yield Refusal(COMPLETE, error.message.partition(";")[0], fix=fix)

    def _status(self, id: Id, policy: Policy) -> Status:
        return fold(notes_about(self._store, id), id, dismissals=not policy.forbid_dismiss)

    def _unsigned(self, version: Version, policy: Policy) -> Iterator[Refusal]:
        fix = f"cas sign {quoted(version.label)}"
        try:
            for reason in unsigned(self._store, version, policy):
                yield Refusal(SIGNED, reason, fix=fix)
        except CastoreError as error:
            yield Refusal(SIGNED, error.message, fix=error.fix)


def _to_approve(version: Version, status: Status, policy: Policy) -> str:
    """What helps a version to be approved; where its author may not, who does not count."""
    label = quoted(version.label)
    if status.rejecters:
        return f"cas show {label}"
    if policy.not_author and version.manifest.author:
        return f"cas approve {label}, by another than {version.manifest.author}"
    return f"cas approve {label}"


def _lifecycle(version: Version, status: Status) -> Iterator[Refusal]:
    if status.lifecycle == "withdrawn":
        yield Refusal(LIFECYCLE, "withdrawn", fix=f"cas log {quoted(version.branch)}")


def _incomplete(version: Version) -> Iterator[Refusal]:
    manifest = version.manifest
    fix = f"cas partial show {quoted(manifest.run)}"
    for name in manifest.missing:
        yield Refusal(COMPLETE, "is missing", name, fix)
    for name in manifest.failed:
        yield Refusal(COMPLETE, "failed its checks", name, fix)
    if not manifest.missing and not manifest.failed:
        yield Refusal(COMPLETE, "the set is incomplete", fix=fix)


def _invalid(version: Version, status: Status) -> Iterator[Refusal]:
    """Checks that did not pass; that an optional artifact is absent is no fault."""
    for check in version.manifest.checks:
        absent = check.check == "present" and check.result == "skipped"
        if check.result != "passed" and not absent:
            detail = f"{check.check} {check.result}" + (f": {check.detail}" if check.detail else "")
            yield Refusal(VALID, detail, check.artifact)
    if status.validation == "failed":
        yield Refusal(VALID, "a validation of it failed", fix=f"cas show {quoted(version.label)}")


def _compared(compared: str, absent: str, unchecked: Sequence[str]) -> tuple[str, ...]:
    found = [f"fresh: compared with the spec of {compared}: {absent}"] if absent else []
    return (*found, *(f"fresh: not compared: {text}" for text in unchecked))
