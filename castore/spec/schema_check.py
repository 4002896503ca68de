"""The `schema` check: JSON Schema over json, jsonl, yaml, toml; violations by path and line.

Nothing a schema refers to is ever fetched. Before anything is validated the number of steps is
bounded (schema_cost): jsonschema-rs takes 4^n time and memory to list errors of nested `anyOf`s.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from castore.model.limits import MIB
from castore.spec.formats.config_text import toml_value
from castore.spec.formats.json_stream import NotJson
from castore.spec.formats.json_text import json_lines, parse
from castore.spec.formats.source import SKIPPED, WHOLE, Finding, Source, capped
from castore.spec.json_lines import Path, lines_of
from castore.spec.schema_cost import Shape, measure, shape_of
from castore.spec.yaml_values import NotPlain, Positions, yaml_documents

SCHEMA_BYTES: Final = 1 * MIB
VIOLATIONS: Final = 1000
"""The most violations that are listed one by one."""
STEPS: Final = 20_000_000
LISTING_STEPS: Final = 100_000
_VALUES: Final = 500_000
_LOCATED_BYTES: Final = 8 * MIB
_BACKTRACKS: Final = 100_000
_REMOTE: Final = "castore never fetches"
_GENERIC: Final = "does not satisfy the schema; too big or too branched to list the places"


class BadSchema(Exception):
    """The schema itself cannot be used."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    validator: Any
    shape: Shape


def check_schema(source: Source, format: str, schema: bytes, name: str) -> list[Finding]:
    """Every violation of the schema in file `name` by a sound `format` file, up to 1,000."""
    try:
        compiled = _compile(schema)
    except BadSchema as error:
        return [Finding(f"the schema {name!r} cannot be used: {error}")]
    check = {"json": _check_json, "jsonl": _check_jsonl, "yaml": _check_yaml, "toml": _check_toml}
    return capped(check[format](source, compiled), VIOLATIONS)


def schema_fault(schema: bytes) -> str:
    """Why these bytes are no JSON Schema that can be used, or "" if they are one."""
    try:
        _compile(schema)
    except BadSchema as error:
        return str(error)
    return ""


@lru_cache(maxsize=8)
def _compile(schema: bytes) -> _Compiled:
    import jsonschema_rs

    if len(schema) > SCHEMA_BYTES:
        raise BadSchema(f"{len(schema)} bytes, more than {SCHEMA_BYTES}")
    try:
        value = parse(schema)
    except NotJson as error:
        raise BadSchema(error.finding.detail) from None
    if not isinstance(value, dict | bool):
        raise BadSchema("it is neither an object nor true or false")
    shape = shape_of(value)
    options = jsonschema_rs.FancyRegexOptions(
        backtrack_limit=_BACKTRACKS, size_limit=1 * MIB, dfa_size_limit=1 * MIB
    )
    try:
        validator = jsonschema_rs.validator_for(value, pattern_options=options, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise BadSchema(_reason(error)) from None
    return _Compiled(validator, shape)


def _reason(error: Exception) -> str:
    message = str(getattr(error, "message", "") or error).split("\n")[0]
    if "not present in a registry" in message:
        uri = message.split("'")[1]
        return f"it refers to {uri!r}; {_REMOTE} schemas: put the definition under its own $defs"
    return message[:250]


def _check_json(source: Source, compiled: _Compiled) -> Iterator[Finding]:
    if source.size > WHOLE:
        detail = f"{source.size} bytes; JSON is validated up to {WHOLE // MIB} MiB"
        yield Finding(detail, result=SKIPPED)
        return
    data = source.whole()
    yield from _judge_json(data, compiled)


def _judge_json(data: bytes, compiled: _Compiled) -> Iterator[Finding]:
    if data.count(b",") + data.count(b"[") + data.count(b"{") > _VALUES:
        yield Finding(f"more than {_VALUES} values are not validated", result=SKIPPED)
        return

    def locate(paths: list[Path]) -> dict[Path, int]:
        return lines_of(data, paths) if len(data) <= _LOCATED_BYTES else {}

    try:
        value = parse(data)
    except NotJson as error:
        yield Finding(f"not looked at: {error.detail}", error.line, SKIPPED)
        return
    yield from _violations(value, compiled, locate)


def _check_jsonl(source: Source, compiled: _Compiled) -> Iterator[Finding]:
    try:
        for number, line in json_lines(source):
            for finding in _judge_json(line, compiled):
                yield finding._replace(line=number)
    except NotJson as error:
        yield error.finding


def _check_yaml(source: Source, compiled: _Compiled) -> Iterator[Finding]:
    try:
        documents = yaml_documents(source.whole())
    except NotPlain as error:
        yield Finding(f"not validated: {error}", error.line, SKIPPED)
        return
    for value, positions in documents:
        yield from _violations(value, compiled, _locator(positions))


def _locator(positions: Positions) -> Callable[[list[Path]], dict[Path, int]]:
    return lambda paths: {path: positions[path] for path in paths if path in positions}


def _check_toml(source: Source, compiled: _Compiled) -> Iterator[Finding]:
    value, findings = toml_value(source.whole().decode("utf-8", "replace"))
    if findings:
        yield from findings
        return
    yield from _violations(_jsonable(value), compiled, lambda _: {})


def _jsonable(value: Any) -> Any:
    """TOML's dates and times as the text they are in JSON; at most as deep as tomllib recursed."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else value.isoformat()


def _violations(
    value: Any, compiled: _Compiled, locate: Callable[[list[Path]], dict[Path, int]]
) -> Iterator[Finding]:
    size = measure(value)
    steps = compiled.shape.steps(size)
    if steps > STEPS:
        yield Finding(f"validating takes more than {STEPS} steps: not done", result=SKIPPED)
        return
    validator = compiled.validator
    try:
        if validator.is_valid(value):
            return
        if (
            size.values > LISTING_STEPS
            or compiled.shape.branches(size) * size.values > LISTING_STEPS
        ):
            yield Finding(_GENERIC)
            return
        errors = list(itertools.islice(validator.iter_errors(value), VIOLATIONS + 1))
    except (ValueError, RecursionError) as error:
        yield Finding(f"not validated: {str(error)[:200]}", result=SKIPPED)
        return
    paths: list[Path] = [tuple(error.instance_path) for error in errors]
    lines = locate(paths)
    for violation, path in zip(errors, paths, strict=True):
        yield Finding(f"{_dotted(path)}: {_message(violation)}", lines.get(path))


def _message(error: Any) -> str:
    """The violation in words; the value itself, which may be long, is cut by the caller."""
    message = str(error.message)
    return message if len(message) <= 220 else f"{message[:120]} … {message[-95:]}"


def _dotted(path: Path) -> str:
    """A JSON path such as $.rows[3].name; odd names in brackets and quotes."""
    out = ["$"]
    for part in path:
        if isinstance(part, int):
            out.append(f"[{part}]")
        elif part.isidentifier() and len(part) <= 60:
            out.append(f".{part}")
        else:
            out.append(f"[{part[:60]!r}]")
    text = "".join(out)
    return text if len(text) <= 150 else f"{text[:70]}…{text[-75:]}"
