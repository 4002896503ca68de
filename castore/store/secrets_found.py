"""Secrets found in what was given: the refusal, and the record of what was let through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from castore.content.secret_guard import Finding, SecretGuard
from castore.content.secret_search import search_secrets
from castore.errors import SecretsFound
from castore.model.manifest import Manifest
from castore.model.names import check_secret_rules
from castore.store.intent import CUT
from castore.store.store import Store

ALLOWED: Final = "secrets.allowed"
_RECORD_BYTES: Final = 1000


def guard_for(store: Store, allowed: Collection[str]) -> SecretGuard:
    """A guard that lets these rules through, and those of the configuration; or InvalidInput."""
    check_secret_rules(allowed, "allow_secrets")
    return SecretGuard(lambda: {*allowed, *store.config().secrets})


def refuse(guard: SecretGuard, discard: Callable[[], None]) -> None:
    """Drop what was staged, and raise SecretsFound, if the guard refused something."""
    if not guard.refused:
        return
    discard()
    found = guard.findings
    rules = list(dict.fromkeys(finding.rule for finding in found))
    count = "a secret" if len(found) == 1 else f"{len(found)} secrets"
    more = " at least" if guard.more else ""
    raise SecretsFound(
        f"{count}{more} found; nothing was published, nothing of it is kept",
        faults=faults_of(found),
        fix="take it out, or list the file in .casignore; if it is no secret, add "
        + " ".join(f"--allow-secret {rule}" for rule in rules),
    )


def faults_of(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as faults: {artifact, check, detail, line}, with rule, file and offset beside."""
    return [
        {
            "artifact": one.artifact,
            "check": "secret",
            "detail": f"{one.rule}{_place(one)}: {one.shown}",
            "line": one.line,
            "rule": one.rule,
            "file": one.path,
            "offset": one.offset,
        }
        for one in found
    ]


def _place(one: Finding) -> str:
    """Where it is, as far as the line does not say."""
    place = f" in {one.path}" if one.path and one.path != one.artifact else ""
    return place if one.line is not None or not one.offset else f"{place} at byte {one.offset}"


def on_record(guard: SecretGuard, draft: Manifest) -> Manifest:
    """The draft, with what was let through in its meta: RULE ARTIFACT FILE:LINE, …"""
    text = _allowed_text(guard)
    return replace(draft, meta={**draft.meta, ALLOWED: text}) if text else draft


def _allowed_text(guard: SecretGuard) -> str:
    rows = dict.fromkeys(_row(one) for one in guard.let_through)
    text = ", ".join(rows)
    data = text.encode("utf-8", "replace")
    if len(data) > _RECORD_BYTES:
        return data[: _RECORD_BYTES - len(CUT.encode())].decode("utf-8", "ignore") + CUT
    return text


def detail(guard: SecretGuard) -> dict[str, Any]:
    """What was let through, for the operation log: (artifact, rule, how often), sorted."""
    counts: dict[tuple[str, str], int] = {}
    for one in guard.let_through:
        key = (one.artifact, one.rule)
        counts[key] = counts.get(key, 0) + 1
    rows = [[artifact, rule, count] for (artifact, rule), count in sorted(counts.items())]
    return {"secrets": rows} if rows else {}


def allowed_notices(guard: SecretGuard) -> list[str]:
    """What people should be told of what was let through, and of what was not searched."""
    return [
        *(f"secret let through: {_row(one)}" for one in guard.let_through),
        *guard.notices,
    ]


def _row(one: Finding) -> str:
    path = f" {one.path}" if one.path and one.path != one.artifact else ""
    return f"{one.rule} {one.artifact}{path}" + (f":{one.line}" if one.line else "")


def masked(text: str | bytes) -> str | bytes:
    """Text less the secrets in it, each of which is told as its rule."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    found: Sequence[Any] = search_secrets(data).matches
    if not found:
        return text
    parts, at = [], 0
    for match in found:
        parts += [data[at : max(at, match.start)], b"[" + match.rule.encode() + b"]"]
        at = max(at, match.end)
    joined = b"".join([*parts, data[at:]])
    return joined.decode("utf-8", "surrogateescape") if isinstance(text, str) else joined
