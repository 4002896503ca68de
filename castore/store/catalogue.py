"""The catalogue: what a store knows of its versions as flat tables, read while they are asked for.

Columns are named so that SQL takes them unquoted. What is not known is None; times are UTC as
`2026-11-22T10:00:00.000000Z`; ids and digests are hex. Incomplete sets are no versions: they have a
table of their own, and of the others only that of checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.errors import InvalidInput, ObjectNotFound, TypeMismatch
from castore.model.ids import Id
from castore.model.limits import ID_BYTES
from castore.model.names import near_names
from castore.model.status import standing
from castore.store.homes import Homes, versions_under
from castore.store.moments import format_moment
from castore.store.notes import AGENT, notes_about
from castore.store.operations import operation_log, operation_record
from castore.store.records import artifact_record, check_record, source_record, version_record
from castore.store.removals import purged_ids
from castore.store.standing import Verdicts, standing_ids
from castore.store.store import Store
from castore.store.version import Version

Row = dict[str, Any]
_TEXT: Final = "VARCHAR"
_SLICE: Final = 1_000


class Table(NamedTuple):
    """A table: its columns with their types in SQL, and where its rows come from."""

    columns: dict[str, str]
    rows: Callable[[Store], Iterator[Row]]


def table(name: str) -> Table:
    """The table of this name; raises InvalidInput, with the near ones."""
    found = TABLES.get(name)
    if found is None:
        near = near_names(name, TABLES) or f": use {', '.join(TABLES)}"
        raise InvalidInput(f"the catalogue has no table {name!r}{near}", value=name)
    return found


def _versions(store: Store, *, complete: bool = True) -> Iterator[Version]:
    """Every version stored, newest first, also what no branch holds any more; or the partials."""
    return (found for found in _sets(store) if found.manifest.complete is complete)


def _sets(store: Store) -> Iterator[Version]:
    for id in versions_under(store, [(Index.TIME, b"")]):
        try:
            yield store.version(id)
        except ObjectNotFound:
            continue


def _version_rows(store: Store) -> Iterator[Row]:
    homes, verdicts = Homes(store), Verdicts(store)
    for version in _versions(store):
        home = homes.of(version)
        yield {
            **_columns(store, "versions", version, verdicts),
            "home": home,
            "label": f"{home or version.branch}@v{version.number}",
        }


def _partial_rows(store: Store) -> Iterator[Row]:
    for version in _versions(store, complete=False):
        yield {**_columns(store, "partials", version), "label": version.label}


def _columns(store: Store, name: str, version: Version, verdicts: Verdicts | None = None) -> Row:
    """The columns of a table that a version's record has, as flat ones."""
    record = version_record(store, version, verdicts=verdicts)
    spec, agent = record["spec"], record["agent"] or {}
    results = [check["result"] for check in record["checks"]]
    flat = {
        **record,
        "time": record["at"],
        "spec": spec["id"],
        "spec_version": spec["version"],
        "agent": agent.get("id"),
        "agent_version": agent.get("version"),
        "checks_passed": results.count("passed"),
        "checks_failed": results.count("failed"),
        "meta": {key: str(value) for key, value in record["meta"].items()},
    }
    return {key: flat[key] for key in TABLES[name].columns if key in flat}


def _artifact_rows(store: Store) -> Iterator[Row]:
    gone = store.database.read(purged_ids)
    for version in _versions(store):
        try:
            members = store.set_of(version).artifacts
        except ObjectNotFound:
            continue  # Forgotten.
        for member in members:
            record = artifact_record(store, version, member, gone)
            yield {
                **{key: record[key] for key in TABLES["artifacts"].columns if key in record},
                "version": version.id.hex(),
                "made_by": record["made_by"]["version"],
            }


def _source_rows(store: Store) -> Iterator[Row]:
    for version in _versions(store):
        for source in version.manifest.sources:
            yield {"version": version.id.hex(), **source_record(source)}


def _check_rows(store: Store) -> Iterator[Row]:
    for version in _sets(store):
        complete = version.manifest.complete
        for check in version.manifest.checks:
            record = check_record(check)
            name = record.pop("check")
            yield {
                "version": version.id.hex(), "check_name": name, **record, "complete": complete,
            }  # fmt: skip


def _note_rows(store: Store) -> Iterator[Row]:
    start = bytes((Index.TARGET,))
    told: tuple[Id, frozenset[Id]] = b"", frozenset()
    while found := store.database.read(partial(_notes_from, start=start)):
        for key, id in found:
            try:
                note = store.reader.note(id)
            except ObjectNotFound:
                continue
            if told[0] != note.target:
                # Rows stand by what the notes are about, which is folded once for all of them.
                told = note.target, _standing(store, note.target)
            start = key + b"\0"
            meta = {name: _plain(value) for name, value in note.meta.items()}
            yield {
                "id": id.hex(),
                "target": note.target.hex(),
                "kind": note.target_kind,
                "subject": note.subject,
                "value": note.value or None,
                "actor": note.by or None,
                "agent": meta.pop(AGENT, None),
                "time": format_moment(note.at),
                "text": note.text or None,
                "stands": id in told[1],
                "meta": meta,
            }


def _standing(store: Store, target: Id) -> frozenset[Id]:
    """The notes about a version or a note that count: not revoked, replaced or dismissed."""
    try:
        version = store.version(target)
    except (ObjectNotFound, TypeMismatch):
        return frozenset(standing(notes_about(store, target)))
    return standing_ids(store, version)


def _notes_from(tables: Reading, start: bytes) -> list[tuple[bytes, Id]]:
    rows = islice(tables.lookup_rows(start), _SLICE)
    return [(key, key[-ID_BYTES:]) for key, _ in rows if key[0] == Index.TARGET]


def _ref_rows(store: Store) -> Iterator[Row]:
    for name, id in store.database.read(lambda tables: tables.refs()):
        kind, _, rest = name.partition("/")
        yield {"ref": name, "kind": _REFS.get(kind, kind), "name": rest, "version": id.hex()}


def _operation_rows(store: Store) -> Iterator[Row]:
    for operation in operation_log(store):
        record = operation_record(operation)
        yield {
            **{key: record[key] for key in ("sequence", "op", "operation", "why", "refs", "hash")},
            "actor": record["by"],
            "time": format_moment(operation.at),
        }


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


_REFS: Final = {"heads": "branch", "tags": "tag"}
_META: Final = "MAP(VARCHAR, VARCHAR)"
TABLES: Final[dict[str, Table]] = {
    "versions": Table(
        {
            "id": _TEXT, "label": _TEXT, "branch": _TEXT, "number": "BIGINT", "home": _TEXT,
            "time": "TIMESTAMPTZ", "message": _TEXT, "set": _TEXT, "parents": "VARCHAR[]",
            "spec": _TEXT, "spec_version": _TEXT, "agent": _TEXT, "agent_version": _TEXT,
            "author": _TEXT, "run": _TEXT, "trace": _TEXT, "workspace": _TEXT, "folder": _TEXT,
            "checks_passed": "BIGINT", "checks_failed": "BIGINT",
            "review": _TEXT, "lifecycle": _TEXT, "operation": _TEXT, "meta": _META,
        },
        _version_rows,
    ),
    "partials": Table(
        {
            "id": _TEXT, "label": _TEXT, "branch": _TEXT, "time": "TIMESTAMPTZ", "message": _TEXT,
            "set": _TEXT, "parents": "VARCHAR[]", "spec": _TEXT, "spec_version": _TEXT,
            "agent": _TEXT, "agent_version": _TEXT, "author": _TEXT, "run": _TEXT, "trace": _TEXT,
            "workspace": _TEXT, "folder": _TEXT, "missing": "VARCHAR[]", "failed": "VARCHAR[]",
            "checks_passed": "BIGINT", "checks_failed": "BIGINT", "operation": _TEXT,
            "meta": _META,
        },
        _partial_rows,
    ),
    "artifacts": Table(
        {
            "version": _TEXT, "name": _TEXT, "type": _TEXT, "format": _TEXT, "title": _TEXT,
            "path": _TEXT, "size": "BIGINT", "digest": _TEXT, "content": _TEXT, "storage": _TEXT,
            "uri": _TEXT, "executable": "BOOLEAN", "made_by": _TEXT,
        },
        _artifact_rows,
    ),
    "sources": Table(
        {
            "version": _TEXT, "artifact": _TEXT, "target": _TEXT, "target_artifact": _TEXT,
            "label": _TEXT, "selector": _TEXT, "uri": _TEXT, "digest": _TEXT, "size": "BIGINT",
            "pinned": "BOOLEAN", "evidence": _TEXT,
        },
        _source_rows,
    ),
    "checks": Table(
        {
            "version": _TEXT, "artifact": _TEXT, "check_name": _TEXT, "result": _TEXT,
            "detail": _TEXT, "complete": "BOOLEAN",
        },
        _check_rows,
    ),
    "notes": Table(
        {
            "id": _TEXT, "target": _TEXT, "kind": _TEXT, "subject": _TEXT, "value": _TEXT,
            "actor": _TEXT, "agent": _TEXT, "time": "TIMESTAMPTZ", "text": _TEXT,
            "stands": "BOOLEAN", "meta": _META,
        },
        _note_rows,
    ),
    "refs": Table({"ref": _TEXT, "kind": _TEXT, "name": _TEXT, "version": _TEXT}, _ref_rows),
    "operations": Table(
        {
            "sequence": "BIGINT", "op": _TEXT, "operation": _TEXT, "time": "TIMESTAMPTZ",
            "actor": _TEXT, "why": _TEXT,
            "refs": 'STRUCT("ref" VARCHAR, "old" VARCHAR, "new" VARCHAR)[]', "hash": _TEXT,
        },
        _operation_rows,
    ),
}  # fmt: skip
