"""JSON diffs: what was added, removed or changed, by path (JSON Pointer, RFC 6901)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

from castore.store.diff_text import Budget, gaps, match

CHANGES: Final = 1_000
"""Changes kept in one diff; the rest is counted."""
VALUE_CHARACTERS: Final = 2_000
"""The longest value, as JSON text, that a change carries in full."""
_SHOWN: Final = 120
_DEPTH: Final = 200


class Number(NamedTuple):
    """A JSON number that is no plain integer, as written: 1.0 and 1.00 differ."""

    text: str


class Unreadable(Exception):
    """The text is not JSON that can be compared by path; the message says why."""


@dataclass(frozen=True, slots=True)
class JsonChange:
    """One difference: `change` is added, removed or changed; values are JSON text, "" for none.

    `path` counts in the new document, for what was removed in the old one.
    """

    path: str
    change: str
    old: str = ""
    new: str = ""

    def line(self) -> str:
        """The change on one line, long values cut."""
        if self.change == "changed":
            return f"~ {self.path}: {_cut(self.old)} → {_cut(self.new)}"
        return f"{'+' if self.new else '-'} {self.path}: {_cut(self.new or self.old)}"

    def as_json(self) -> dict[str, Any]:
        """The change as data; a value too long to carry is left out and `omitted` says so."""
        record: dict[str, Any] = {"path": self.path, "change": self.change}
        for key, text in (("old", self.old), ("new", self.new)):
            if len(text) > VALUE_CHARACTERS:
                record["omitted"] = True
            elif text:
                record[key] = json.loads(text)
        return record


@dataclass(frozen=True, slots=True)
class JsonDiff:
    """The changes between two documents; `note` says what a bound left out."""

    changes: tuple[JsonChange, ...]
    note: str = ""

    def lines(self) -> Iterator[str]:
        """One line for each change."""
        yield from (change.line() for change in self.changes)
        if self.note:
            yield f"({self.note})"

    def as_json(self) -> dict[str, Any]:
        """The diff as data: note, changes."""
        return {
            "note": self.note or None,
            "changes": [change.as_json() for change in self.changes],
        }


def diff_json(old: str, new: str) -> JsonDiff:
    """The differences of two JSON documents by path; lists are aligned by equal items.

    At most CHANGES changes. Raises Unreadable for what cannot be compared so (not JSON, a key
    twice in one object, nested deeper than 200 levels): compare the text instead.
    """
    before, after = _parse(old), _parse(new)
    collector = _Collector()
    try:
        _compare(before, after, "", collector)
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    notes = []
    if collector.more:
        notes.append(f"{collector.more} further changes left out")
    if collector.budget.exhausted:
        notes.append("lists too different to align are compared by position")
    return JsonDiff(tuple(collector.changes), "; ".join(notes))


class _Collector:
    """The changes found so far, bounded."""

    def __init__(self) -> None:
        self.changes: list[JsonChange] = []
        self.more = 0
        self.budget = Budget()

    def add(self, path: str, change: str, old: Any = None, new: Any = None) -> None:
        if len(self.changes) >= CHANGES:
            self.more += 1
            return
        self.changes.append(
            JsonChange(
                path or "/",
                change,
                "" if change == "added" else _dump(old),
                "" if change == "removed" else _dump(new),
            )
        )


def _parse(text: str) -> Any:
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_unique,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None
    if _too_deep(value):
        raise Unreadable(f"nested deeper than {_DEPTH} levels")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON value")


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below.extend(child for child in item.values() if type(child) in (dict, list))
            elif type(item) is list:
                below.extend(child for child in item if type(child) in (dict, list))
        if not below:
            return False
        level = below
    return True


def _compare(old: Any, new: Any, path: str, found: _Collector) -> None:
    if type(old) is dict and type(new) is dict:
        for key in old:
            below = f"{path}/{_escape(key)}"
            if key not in new:
                found.add(below, "removed", old=old[key])
            else:
                _compare(old[key], new[key], below, found)
        for key in new:
            if key not in old:
                found.add(f"{path}/{_escape(key)}", "added", new=new[key])
    elif type(old) is list and type(new) is list:
        _compare_lists(old, new, path, found)
    elif type(old) is not type(new) or old != new:
        found.add(path, "changed", old, new)


def _compare_lists(old: list[Any], new: list[Any], path: str, found: _Collector) -> None:
    before, after = [_dump(item) for item in old], [_dump(item) for item in new]
    if before == after:
        return
    for i, i_end, j, j_end in gaps(match(before, after, found.budget), len(old), len(new)):
        paired = min(i_end - i, j_end - j)
        for step in range(paired):
            _compare(old[i + step], new[j + step], f"{path}/{j + step}", found)
        for at in range(i + paired, i_end):
            found.add(f"{path}/{at}", "removed", old=old[at])
        for at in range(j + paired, j_end):
            found.add(f"{path}/{at}", "added", new=new[at])


def _dump(value: Any) -> str:
    """The value as JSON text, keys sorted, numbers as written."""
    pieces: list[str] = []
    _write(value, pieces.append)
    return "".join(pieces)


def _write(value: Any, put: Callable[[str], None]) -> None:
    if type(value) is dict:
        put("{")
        for index, key in enumerate(sorted(value)):
            put((", " if index else "") + json.dumps(key, ensure_ascii=False) + ": ")
            _write(value[key], put)
        put("}")
    elif type(value) is list:
        put("[")
        for index, item in enumerate(value):
            if index:
                put(", ")
            _write(item, put)
        put("]")
    elif isinstance(value, Number):
        put(value.text)
    else:
        put(json.dumps(value, ensure_ascii=False))


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
