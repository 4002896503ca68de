"""Reading one value of a spec: each verb gives the value, or notes the fault and gives None."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from castore.errors import InvalidName
from castore.model.limits import TEXT_BYTES, parse_size
from castore.spec.faults import Faults, near, shown
from castore.spec.loader import ListNode, MapNode, Node, ScalarNode

_INTEGER: Final = re.compile(r"(0|[1-9]\d{0,8})\Z")
_TRUE: Final = ("true", "True", "TRUE")
_FALSE: Final = ("false", "False", "FALSE")
_SPELLINGS: Final = {
    "md": "markdown", "htm": "html", "ndjson": "jsonl", "yml": "yaml", "txt": "text",
    "py": "python", "jpg": "jpeg", "directory": "folder", "dir": "folder", "plain": "text",
    "plaintext": "text",
    "sqlite3": "sqlite", "db": "sqlite", "feather": "arrow", "tar.gz": "tar", "tgz": "tar",
    "bytes": "binary", "file": "binary", "local": "stored", "cloud": "stored", "remote": "external",
    "utf8": "utf-8", "us-ascii": "ascii", "latin1": "latin-1", "iso-8859-1": "latin-1",
    "cp1252": "windows-1252", "utf16": "utf-16",
}  # fmt: skip


def text(node: Node, what: str, faults: Faults, limit: int = TEXT_BYTES) -> str | None:
    """The scalar as written: no number, date or truth value is made of it."""
    if not isinstance(node, ScalarNode):
        kind = "a list" if isinstance(node, ListNode) else "a mapping"
        faults.add(node.line, node.column, f"{what} is {kind}; text is needed")
        return None
    if node.faulty:
        return None
    if node.void or not node.text.strip():
        fix = 'put it in quotes if the word is meant: "null"' if node.text.strip() else ""
        message = f"{what} has no value"
        faults.add(node.line, node.column, message, fix or "give it a value, or remove the key")
        return None
    if len(node.text) > limit // 4 and len(node.text.encode("utf-8", "replace")) > limit:
        faults.add(node.line, node.column, f"{what} has more than {limit} bytes")
        return None
    return node.text


def line_of_text(node: Node, what: str, faults: Faults, limit: int) -> str | None:
    """Text on one line, printable, without blanks around it."""
    value = text(node, what, faults, limit)
    if value is None:
        return None
    if not value.isprintable() or value != value.strip():
        message = f"{what} {shown(value)} must be one printable line"
        faults.add(node.line, node.column, message)
        return None
    return value


def checked(
    node: Node, what: str, faults: Faults, check: Callable[[str], object], fix: str = ""
) -> str | None:
    """Text that a rule of the model accepts."""
    value = text(node, what, faults)
    if value is None:
        return None
    try:
        check(value)
    except InvalidName as error:
        faults.add(node.line, node.column, error.message, error.fix or fix)
        return None
    return value


def choice(node: Node, what: str, faults: Faults, allowed: Sequence[str]) -> str | None:
    """One of a few words; a near miss is told which word was probably meant."""
    value = text(node, what, faults)
    if value is None or value in allowed:
        return value
    guess = _SPELLINGS.get(value.casefold().lstrip("."), "")
    if guess not in allowed:
        guess = near(value, allowed)
    fix = f"write {guess}" if guess else ""
    message = f"{what} {shown(value)} is unknown; known are {' '.join(allowed)}"
    faults.add(node.line, node.column, message, fix)
    return None


def flag(node: Node, what: str, faults: Faults) -> bool | None:
    """true or false, unquoted."""
    if isinstance(node, ScalarNode) and not node.faulty:
        if node.plain and node.text in _TRUE:
            return True
        if node.plain and node.text in _FALSE:
            return False
        word = node.text.casefold()
        fix = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(word, word)
        fix = f"write {fix}, without quotes" if fix in ("true", "false") else "write true or false"
        faults.add(node.line, node.column, f"{what} is {shown(node.text)}, not true or false", fix)
    elif not isinstance(node, ScalarNode):
        faults.add(node.line, node.column, f"{what} must be true or false", "write true or false")
    return None


def count(node: Node, what: str, faults: Faults) -> int | None:
    """A whole number from 1 to 999,999,999, unquoted."""
    if isinstance(node, ScalarNode):
        if node.faulty:
            return None
        if node.plain and _INTEGER.match(node.text) and node.text != "0":
            return int(node.text)
    faults.add(node.line, node.column, f"{what} must be a whole number, 1 or more", "write 1")
    return None


def size(node: Node, what: str, faults: Faults) -> int | None:
    """Bytes: a number, or one with a unit (5MB = 5,000,000; 5MiB = 5,242,880)."""
    if isinstance(node, ScalarNode) and node.faulty:
        return None
    if isinstance(node, ScalarNode):
        value = parse_size(node.text)
        if value is not None:
            return value
    given = f" {shown(node.text)}" if isinstance(node, ScalarNode) else ""
    message = f"{what}{given} is not a size in bytes"
    faults.add(node.line, node.column, message, "write a number, or one with a unit: 500 5MB 2GiB")
    return None


def texts(node: Node, what: str, faults: Faults, limit: int) -> tuple[str, ...] | None:
    """A list of different one-line texts."""
    if isinstance(node, ScalarNode) and node.faulty:
        return None
    if not isinstance(node, ListNode):
        fix = f"write [{node.text[:60]}]" if isinstance(node, ScalarNode) and node.text else ""
        faults.add(node.line, node.column, f"{what} must be a list", fix)
        return None
    values: list[str] = []
    for item in node.items:
        value = line_of_text(item, f"an item of {what}", faults, limit)
        if value is not None and value in values:
            faults.add(item.line, item.column, f"{what} holds {shown(value)} twice", "remove one")
        elif value is not None:
            values.append(value)
    return tuple(values)


def mapping(node: Node, what: str, faults: Faults, form: str) -> MapNode | None:
    """A mapping; `form` shows the right one."""
    if isinstance(node, MapNode):
        return node
    if not (isinstance(node, ScalarNode) and node.faulty):
        kind = "a list" if isinstance(node, ListNode) else "text"
        faults.add(node.line, node.column, f"{what} is {kind}, not a mapping of keys", form)
    return None
