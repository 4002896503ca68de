"""Searching bytes for secrets: one pass for the anchors of all rules, then the rules around them.

The pass is hyperscan's, some 3 GB/s for all anchors at once; what Python offers takes forty times
as long. Rules are looked at only where an anchor stands.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from castore.content.secret_rules import BEFORE, RULES, Rule, compiled, is_genuine
from castore.model.limits import SECRET_ANCHORS

_URL_REACH: Final = 400

Scan = Callable[[Any, Callable[..., bool]], bool]


class Match(NamedTuple):
    """A secret in some bytes: where it begins and ends, the rule's id, and a start to show.

    What tells that it is one goes on to `reach`: after a password in an address comes the host.
    """

    start: int
    end: int
    reach: int
    rule: str
    shown: str


class Searched(NamedTuple):
    """What a search found; `whole` is false where there were more anchors than are looked at."""

    matches: list[Match]
    whole: bool


_scanners = threading.local()


def search_secrets(data: bytes | bytearray | memoryview) -> Searched:
    """The secrets in `data`, by place; each thread has an engine of its own."""
    seen: dict[tuple[int, int], Match] = {}
    hits: list[tuple[int, int]] = []

    def hit(rule: int, _start: int, end: int, _flags: int, _context: object) -> bool:
        hits.append((rule, end))
        return len(hits) >= SECRET_ANCHORS

    whole = _scan(data, hit)
    looked: dict[int, int] = {}
    for number, end in hits:
        rule = _ANCHORS[number][0]
        match = _look(rule, _ANCHORS[number][1], data, end, looked)
        if match is not None:
            seen.setdefault((match.start, match.end), match)
    return Searched([seen[place] for place in sorted(seen)], whole)


def _look(rule: Rule, anchor: bytes, data: Any, end: int, looked: dict[int, int]) -> Match | None:
    pattern = compiled(rule)
    match: re.Match[bytes] | None
    if rule.search:
        # Many ends of one long address are looked at once.
        if end < looked.get(id(rule), 0):
            return None
        match = pattern.search(data, max(0, end - _URL_REACH), end + _URL_REACH)
        looked[id(rule)] = match.end() if match is not None else end
    else:
        match = pattern.match(data, _start(rule, data, end - len(anchor)))
    if match is None or not is_genuine(rule, match):
        return None
    return Match(
        match.start(), match.end("secret"), match.end(), rule.id, _shown(rule, match, anchor)
    )


def _start(rule: Rule, data: Any, anchor: int) -> int:
    """Where a match with the anchor at `anchor` can only begin."""
    if rule.lead is None:
        return anchor
    begin = max(0, anchor - BEFORE)
    at = bytes(data[begin : anchor + len(rule.lead)]).rfind(rule.lead)
    return anchor if at < 0 else begin + at


def _shown(rule: Rule, match: re.Match[bytes], anchor: bytes) -> str:
    """What stands before the secret, and of it only what all of its kind begin with."""
    whole, secret = bytes(match[0]), bytes(match["secret"])
    before = whole[: match.start("secret") - match.start()]
    start = before.split(b"\n")[0][-40:]
    if rule.id != "private-key":
        start = before[-40:] + (anchor if secret.startswith(anchor) else b"")
    text = start.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip() + "…"


_ANCHORS: Final = [(rule, anchor) for rule in RULES for anchor in rule.anchors]


def _scan(data: Any, hit: Callable[..., bool]) -> bool:
    """Report every anchor in `data`; False if `hit` ended it."""
    scanner = getattr(_scanners, "scan", None)
    if scanner is None:
        scanner = _scanners.scan = _engine()
    done: bool = scanner(data, hit)
    return done


def _engine() -> Scan:
    # Not loaded where nothing new is read.
    import hyperscan

    database = hyperscan.Database()
    expressions = [a if rule.search else re.escape(a) for rule, a in _ANCHORS]
    database.compile(
        expressions=expressions,
        ids=list(range(len(expressions))),
        flags=[hyperscan.HS_FLAG_DOTALL] * len(expressions),
    )

    def scan(data: Any, hit: Callable[..., bool]) -> bool:
        try:
            database.scan(data, match_event_handler=hit)
        except hyperscan.ScanTerminated:
            return False
        return True

    return scan
