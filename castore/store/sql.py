"""SQL over the catalogue, through DuckDB, which is loaded only here and only when it is asked for.

The tables a statement names are written to files in a temporary folder, taken into a database
there, and asked for with that database opened for reading only and everything else shut: no other
file, no network, no extension, no setting, no Python value.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from castore.errors import CastoreError, InvalidInput, StoreFull, WouldOverwrite
from castore.model.names import near_names
from castore.store.catalogue import TABLES, Table, table
from castore.store.store import Store

MEMORY: Final = "512MB"
"""What DuckDB may hold in memory; beyond that it writes to the temporary folder."""
_FETCHED: Final = 1_000
_DATABASE: Final = "catalogue.duckdb"
_ZONED: Final = "TIMESTAMP WITH TIME ZONE"
_IN_UTC: Final = "TIMESTAMP"
"""What such a time is cast to: that of the zone set, UTC."""
_LISTING: Final = r"\s*(show|describe)\b"
_LOCKED: Final = {
    "TimeZone": "UTC",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}


class Answer:
    """What a statement gave: the names of its columns, and its rows, once, while it is open.

    Close it, or use it in a `with`: its temporary folder goes then.
    """

    def __init__(self, connection: Any, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self.columns: tuple[str, ...] = ()

    def _ask(self, statement: str) -> None:
        """Ask a statement that was checked to be one that reads."""
        ask = self._connection.execute
        try:
            described = ask(f"DESCRIBE {statement}").fetchall()
        except _errors():
            # What cannot be described, as EXPLAIN, has no times; a fault is told by asking.
            described = []
        types = [str(row[1]) for row in described]
        if not any(_ZONED in kind for kind in types):
            ask(statement)
            self.columns = tuple(row[0] for row in self._connection.description or ())
            return
        # DuckDB hands out times with a zone only where another package is installed.
        names = [f"c{number}" for number in range(len(types))]
        casts = ", ".join(
            f"CAST({name} AS {kind.replace(_ZONED, _IN_UTC)})"
            for name, kind in zip(names, types, strict=True)
        )
        inner = f"({statement.strip().rstrip(';')}\n) AS _({', '.join(names)})"
        ask(f"SELECT {casts} FROM {inner}")  # noqa: S608  # In a database shut off from all else.
        self.columns = tuple(str(row[0]) for row in described)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The rows, of text, numbers, truth values, None, lists and dicts; times as text in UTC.

        A number that is none or infinite is None.
        Raises InvalidInput for what only shows while it is computed.
        """
        try:
            while rows := self._connection.fetchmany(_FETCHED):
                yield from (tuple(map(_plain, row)) for row in rows)
        except _errors() as error:
            raise _translated(error) from None

    def close(self) -> None:
        """End it and remove its temporary files."""
        if self._connection is not None:
            self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sql(store: Store, statement: str) -> Answer:
    """What one SELECT (also WITH, FROM, SHOW, DESCRIBE, EXPLAIN) over the catalogue gives.

    The tables are those of `castore.store.catalogue`; only those the statement names are read.
    Memory is bounded by MEMORY, whatever the store holds; the temporary folder takes the rest.
    Raises InvalidInput for a statement that is wrong or does more than read, CastoreError where
    DuckDB is not installed.
    """
    duckdb = _duckdb()
    _check(duckdb, statement)
    folder = Path(tempfile.mkdtemp(prefix="castore-sql-"))
    answer = Answer(None, folder)
    try:
        for name in _named(statement):
            _take_in(store, table(name), name, folder)
        with _connect(folder):
            pass
        answer._connection = _connect(folder, read_only=True)
        for option, value in _LOCKED.items():
            answer._connection.execute(f"SET {option} = {_quoted(value)}")
        answer._ask(statement)
    except duckdb.Error as error:
        answer.close()
        raise _translated(error) from None
    except BaseException:
        answer.close()
        raise
    return answer


def write_parquet(store: Store, name: str, path: Path) -> None:
    """Write one table of the catalogue as a new Parquet file, in bounded memory.

    Raises WouldOverwrite where something is, InvalidInput for an unknown table, CastoreError where
    DuckDB is not installed.
    """
    duckdb = _duckdb()
    found = table(name)
    if path.exists():
        raise WouldOverwrite(f"{str(path)!r} is there already", fix="name another file with -o")
    folder = Path(tempfile.mkdtemp(prefix=".castore-export-", dir=path.absolute().parent))
    try:
        _take_in(store, found, name, folder)
        with _connect(folder) as connection:
            connection.execute(f'COPY "{name}" TO {_quoted(folder / "out")} (FORMAT parquet)')
        (folder / "out").rename(path)
    except duckdb.Error as error:
        raise _translated(error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(duckdb: Any, statement: str) -> None:
    """Refuse what is not one statement that reads."""
    try:
        found = duckdb.extract_statements(statement)
    except duckdb.Error as error:
        raise _translated(error) from None
    kinds = duckdb.StatementType
    if len(found) != 1 or found[0].type not in (kinds.SELECT, kinds.EXPLAIN):
        raise InvalidInput(
            "the catalogue can only be read, by one statement", fix='cas sql "SELECT …"'
        )


def _named(statement: str) -> list[str]:
    """The tables a statement may mean: those whose name is a word of it."""
    words = set(re.findall(r"[a-z_]+", statement.lower()))
    named = [name for name in TABLES if name in words]
    return list(TABLES) if not named and re.match(_LISTING, statement, re.IGNORECASE) else named


def _take_in(store: Store, found: Table, name: str, folder: Path) -> None:
    """Put the rows of a table into the database in `folder`, over a file of lines of JSON."""
    lines = folder / f"{name}.jsonl"
    try:
        with lines.open("w", encoding="ascii") as file:
            for row in found.rows(store):
                file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise StoreFull(f"{str(folder)!r} cannot be written: {error.strerror}") from None
    columns = ", ".join(f"'{key}': {_quoted(kind)}" for key, kind in found.columns.items())
    with _connect(folder) as connection:
        read = f"read_json(?, format = 'newline_delimited', columns = {{{columns}}})"
        connection.execute(f'CREATE TABLE "{name}" AS FROM {read}', [str(lines)])
    lines.unlink()


def _connect(folder: Path, *, read_only: bool = False) -> Any:
    config = {"memory_limit": MEMORY, "temp_directory": str(folder)}
    return _duckdb().connect(str(folder / _DATABASE), read_only=read_only, config=config)


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise CastoreError(
            "SQL and Parquet need DuckDB, which is not installed",
            fix="pip install 'duckdb>=2.0'",
        ) from None
    return duckdb


def _errors() -> type[Exception]:
    found: type[Exception] = _duckdb().Error
    return found


def _translated(error: Exception) -> InvalidInput:
    """The error as castore tells it; a table that is not there is compared with those that are."""
    text = str(error).strip()
    absent = re.search(r"Table with name (\S+) does not exist", text)
    if absent:
        name = absent[1].strip('"')
        near = near_names(name, TABLES) or f": they are {', '.join(TABLES)}"
        return InvalidInput(f"there is no table {name!r}{near}", fix='cas sql "show tables"')
    fix = 'cas sql "describe versions"' if text.startswith("Binder Error") else ""
    return InvalidInput(f"the statement cannot be answered: {text}", fix=fix)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case datetime():
            return value.isoformat(timespec="microseconds") + ("" if value.tzinfo else "Z")
        case date() | time():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case float():
            # Neither NaN nor infinity has a form in JSON.
            return value if isfinite(value) else None
        case str() | int() | None:
            return value
    return str(value)
