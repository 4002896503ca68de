"""Columns: what a table or CSV of versions shows of each, and how far it can be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from castore.cli.screen import clean, first_line, short_ids
from castore.errors import InvalidInput
from castore.model.names import near_names

Record = Mapping[str, Any]
UNKNOWN: Final = "unknown"
MARKS: Final = {"claimed": "~", "signed": "+"}
"""What stands behind a value in a table; what castore observed has no mark."""
LEGEND: Final = "~ claimed by its maker, + signed, unmarked: observed by castore"
_TRUST: Final = "_trust"


def _pair(record: Record, key: str) -> str:
    found = record[key]
    if not found or found["id"] is None:
        return ""
    return f"{found['id']}@{found['version']}" if found["version"] else str(found["id"])


def _label(record: Record) -> str:
    return f"{record['branch']}@v{record['number']}"


def _artifacts(record: Record) -> str:
    return ", ".join(found["name"] for found in record["artifacts"] or ())


def _checks(record: Record) -> str:
    results = [check["result"] for check in record["checks"]]
    counts = ((results.count(word), word) for word in ("passed", "failed", "skipped"))
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def _sources(record: Record) -> str:
    names = [found["label"] or found["uri"] or found["selector"] for found in record["sources"]]
    return ", ".join(names)


def _reviewers(record: Record) -> str:
    return ", ".join(
        f"{found['by']} {found['verdict']}" + " (not counted)" * (not found["counts"])
        for found in record["reviewers"]
    )


def _forgotten(record: Record) -> str:
    removal = record["forgotten"]
    return (
        " ".join((removal["at"], removal["by"] or UNKNOWN, removal["why"] or "")) if removal else ""
    )


def _meta(record: Record) -> str:
    return ", ".join(f"{key}={value}" for key, value in record["meta"].items())


def _text(key: str) -> Callable[[Record], str]:
    return lambda record: "" if record[key] is None else str(record[key])


_COLUMNS: Final[dict[str, Callable[[Record], str]]] = {
    "label": _label,
    "id": _text("id"),
    "at": _text("at"),
    "agent": lambda record: _pair(record, "agent"),
    "spec": lambda record: _pair(record, "spec"),
    "author": _text("author"),
    "artifacts": _artifacts,
    "message": _text("message"),
    "run": _text("run"),
    "trace": _text("trace"),
    "workspace": _text("workspace"),
    "checks": _checks,
    "sources": _sources,
    "review": _text("review"),
    "reviewers": _reviewers,
    "lifecycle": _text("lifecycle"),
    "branch": _text("branch"),
    "number": _text("number"),
    "parents": lambda record: ", ".join(record["parents"]),
    "set": _text("set"),
    "folder": _text("folder"),
    "meta": _meta,
    "operation": _text("operation"),
    "deployments": lambda record: ", ".join(record["deployments"]),
    "forgotten": _forgotten,
}
_NONE: Final = (
    "spec", "artifacts", "message", "checks", "sources", "reviewers", "parents", "meta",
    "deployments", "forgotten",
)  # fmt: skip
"""The columns whose emptiness is known: there are none."""
_IDS: Final = ("id", "set", "parents")
_TRUSTED: Final = ("agent", "spec", "author", "run", "trace", "checks", "sources", "reviewers")
SHOWN: Final = (
    "label",
    "at",
    "agent",
    "spec",
    "author",
    "artifacts",
    "checks",
    "sources",
    "review",
    "reviewers",
    "lifecycle",
)
NAMES: Final = tuple(
    name
    for column in _COLUMNS
    for name in ([column, column + _TRUST] if column in _TRUSTED else [column])
)
"""Every column, in the order of a CSV."""


def parse_columns(text: str) -> list[str]:
    """The columns written as `agent,spec,run`; raises InvalidInput, with the near ones."""
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in NAMES:
            raise InvalidInput(
                f"there is no column {name!r}{near_names(name, NAMES)}",
                value=name,
                fix=f"--columns {','.join(_COLUMNS)}",
            )
    if not chosen:
        raise InvalidInput("--columns names no column")
    return chosen


def cells(record: Record, columns: Sequence[str]) -> list[str]:
    """The texts of a version for a CSV, in full; what is not known, and what is not, is empty."""
    return [_cell(record, name) for name in columns]


def shown(record: Record, columns: Sequence[str], *, short: bool) -> list[str]:
    """The texts of a version for a table: one line each, minutes, and marks; with `short` ids so.

    What is not known says `unknown`, what is known not to be `none`.
    """
    found = []
    for name in columns:
        text = _cell(record, name)
        if name in _IDS and short:
            text = short_ids(text)
        elif name == "at":
            text = f"{text[:10]} {text[11:16]}Z"
        elif name == "message":
            text = first_line(text)
        mark = MARKS.get(record["trust"].get(name) or "", "")
        found.append(clean(text) + mark if text else _empty(record, name))
    return found


def _empty(record: Record, name: str) -> str:
    """What a table says where there is no text; what a forgotten version held is not known."""
    if name == "artifacts" and record["artifacts"] is None:
        return "forgotten"
    return "none" if name in _NONE else UNKNOWN


def _cell(record: Record, name: str) -> str:
    if name.endswith(_TRUST):
        return record["trust"].get(name.removesuffix(_TRUST)) or ""
    return _COLUMNS[name](record)
