"""The review policy of a spec, read at a glance: showing versions must not wait for a YAML parser.

Only specs in the plain form that people write are read so; of any other nothing is said, and the
parser decides. What is said is what the parser says of a spec that it accepts.
"""

from __future__ import annotations

import re
from typing import Final

from castore.model.limits import SPEC_BYTES
from castore.spec.declaration import ReviewPolicy

_WORD: Final = r"[A-Za-z0-9][A-Za-z0-9_.+@/-]*"
_REMARK: Final = r"(?: +#.*)?"
_NAME: Final = r"[a-z_]+"
_WORDS: Final = rf"\[ *(?:{_WORD}(?: *, *{_WORD})*)? *\]"
_ENTRY: Final = rf"{_NAME}: +(?:{_WORDS}|[^ ,:#&*!|>@`%?\"'{{}}\[\]][^,:#\"'{{}}\[\]]*)"
# A scalar in quotes, or a list or mapping of words, that ends on its line.
_CLOSED: Final = rf"(?:\"[^\"\\]*\"|'[^']*'|{_WORDS}|{{ *(?:{_ENTRY}(?:, *{_ENTRY})*)? *}})"
# What opens nothing, or closes it again: such a line never makes the next one its own.
_HARMLESS: Final = re.compile(
    rf" *#.*|[^\"'{{\[]*(?: #.*)?| *(?:- +)?(?:{_NAME}: +)?{_CLOSED}{_REMARK} *"
)
_TOP: Final = re.compile(r"(?:[a-z_]+:(?: .*)?|- .*| .*|#.*|)")
_BLOCK: Final = re.compile(rf"review: *{_REMARK}")
_FLOW: Final = re.compile(rf"review: +{{(?P<keys>[^{{}}\"'#]*)}}{_REMARK} *")
_PAIR: Final = re.compile(rf" *({_NAME}): +(\[[^\[\]]*\]|{_WORD}) *")
_LINE: Final = re.compile(rf"( +)({_NAME}): +(\[[^\[\]]*\]|{_WORD}){_REMARK} *")
_APART: Final = re.compile(r",(?![^\[]*\])")
_LIST: Final = re.compile(rf"\[ *({_WORD}(?: *, *{_WORD})*)? *\]")
_FLAGS: Final = ("not_author", "humans_only", "signed", "forbid_dismiss")
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")
_VOID: Final = ("null", "Null", "NULL")


def review_at_a_glance(data: bytes) -> ReviewPolicy | None:
    """The `review:` of a spec that the parser accepts; None where only the parser can tell."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    # Other line breaks and control characters are not printable.
    if len(data) > SPEC_BYTES or not all(map(str.isprintable, lines)):
        return None
    if not all(_HARMLESS.fullmatch(line) and _TOP.fullmatch(line) for line in lines):
        return None
    # Where this one stands at the margin, so does every other key of the spec.
    if not any(line.startswith("spec:") for line in lines):
        return None
    starts = [number for number, line in enumerate(lines) if line.startswith("review")]
    if not starts:
        return ReviewPolicy()
    if len(starts) > 1:
        return None
    pairs = _pairs(lines[starts[0] :])
    return None if pairs is None else _policy(pairs)


def _pairs(lines: list[str]) -> list[tuple[str, str]] | None:
    """The keys and values under the first line, as they are written."""
    if flow := _FLOW.fullmatch(lines[0]):
        matches = [_PAIR.fullmatch(part) for part in _APART.split(flow["keys"])]
        if None in matches:
            return None
        return [(found[1], found[2]) for found in matches if found]
    if not _BLOCK.fullmatch(lines[0]):
        return None
    pairs: list[tuple[str, str]] = []
    indents: set[str] = set()
    for line in lines[1:]:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith((" ", "-")):
            break
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        indents.add(found[1])
        pairs.append((found[2], found[3]))
    return pairs if len(indents) == 1 else None


def _policy(pairs: list[tuple[str, str]]) -> ReviewPolicy | None:
    given = dict(pairs)
    approvals = given.pop("approvals", "1")
    listed = _LIST.fullmatch(given.pop("reviewers", "[]"))
    flags = {key: given.pop(key, "false") for key in _FLAGS}
    if len(given) or len({key for key, _ in pairs}) < len(pairs) or listed is None:
        return None
    reviewers = tuple(name.strip() for name in listed[1].split(",")) if listed[1] else ()
    plain = (
        _NUMBER.fullmatch(approvals)
        and len(set(reviewers)) == len(reviewers)
        and not any(name in _VOID or len(name) > 255 for name in reviewers)
        and all(value in ("true", "false") for value in flags.values())
    )
    if not plain:
        return None
    said = {key: value == "true" for key, value in flags.items()}
    return ReviewPolicy(approvals=int(approvals), reviewers=reviewers, **said)
