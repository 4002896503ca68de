"""Patterns of paths: `*`, `?` and `[…]` within one component, `**` across folders."""

from __future__ import annotations

import re
from collections.abc import Callable

from castore.errors import InvalidInput

_WILD = frozenset("*?[")


def split_glob(pattern: str) -> tuple[str, str]:
    """The place before the first component with a wildcard, and the pattern from there on.

    `out/*.md` is (`out`, `*.md`), `*.md` is (``, `*.md`); without wildcards the pattern is "".
    """
    parts = pattern.split("/")
    for index, part in enumerate(parts):
        if _WILD.intersection(part):
            return "/".join(parts[:index]), "/".join(parts[index:])
    return pattern, ""


def match_glob(pattern: str) -> Callable[[str], bool]:
    """Whether a relative path matches, as a function; raises InvalidInput for a broken pattern.

    Wildcards match names that begin with a dot only where the pattern has the dot.
    """
    parts = pattern.split("/")
    expression = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            expression += r"[^/.][^/]*(?:/[^/.][^/]*)*" if last else r"(?:[^/.][^/]*/)*"
        else:
            expression += _component(part, pattern) + ("" if last else "/")
    compiled = re.compile(expression + r"\Z", re.DOTALL)
    return lambda path: compiled.match(path) is not None


def _component(part: str, pattern: str) -> str:
    if not part or "**" in part:
        raise InvalidInput(f"pattern {pattern!r}: an empty component, or '**' beside other text")
    expression = r"(?=[^/.])" if part[0] in _WILD else ""
    at = 0
    while at < len(part):
        character = part[at]
        at += 1
        if character == "*":
            expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "[":
            end = part.find("]", at + (2 if part[at : at + 1] == "!" else 1))
            if end < 0:
                raise InvalidInput(f"pattern {pattern!r}: '[' without ']'")
            expression += _set(part[at:end], pattern)
            at = end + 1
        else:
            expression += re.escape(character)
    return expression


def _set(inside: str, pattern: str) -> str:
    negated = inside.startswith("!")
    body = inside[1:] if negated else inside
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", body)
    expression = f"(?!/)[{'^' if negated else ''}{escaped}]"
    try:
        re.compile(expression)
    except re.error:
        raise InvalidInput(f"pattern {pattern!r}: a set that is no range") from None
    return expression
