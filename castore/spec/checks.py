"""Checking one artifact against its declaration: format first, then the checks the spec names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO, Final

from castore.spec.declaration import Checks, Declared
from castore.spec.formats.archives import check_tar, check_zip
from castore.spec.formats.config_text import check_toml, check_yaml
from castore.spec.formats.documents import check_pdf
from castore.spec.formats.images import check_gif, check_jpeg, check_png, check_webp
from castore.spec.formats.json_text import check_json, check_jsonl
from castore.spec.formats.markup import check_svg, check_xml
from castore.spec.formats.python_source import check_python
from castore.spec.formats.source import FAILED, PASSED, SKIPPED, Finding, Source
from castore.spec.formats.tables import check_arrow, check_parquet, check_sqlite
from castore.spec.formats.tabular import check_csv, check_tsv
from castore.spec.formats.text import check_encoding, check_text
from castore.spec.results import CheckResult
from castore.spec.schema_check import check_schema

DETAIL_CHARACTERS: Final = 300

_FORMATS: Final[Mapping[str, Callable[[Source], list[Finding]]]] = {
    "markdown": check_text,
    "text": check_text,
    "html": check_text,
    "json": check_json,
    "jsonl": check_jsonl,
    "csv": check_csv,
    "tsv": check_tsv,
    "yaml": check_yaml,
    "toml": check_toml,
    "xml": check_xml,
    "svg": check_svg,
    "python": check_python,
    "pdf": check_pdf,
    "png": check_png,
    "jpeg": check_jpeg,
    "gif": check_gif,
    "webp": check_webp,
    "parquet": check_parquet,
    "arrow": check_arrow,
    "zip": check_zip,
    "tar": check_tar,
    "sqlite": check_sqlite,
}
_TEXTS: Final = frozenset(
    (
        "markdown",
        "text",
        "html",
        "json",
        "jsonl",
        "csv",
        "tsv",
        "yaml",
        "toml",
        "xml",
        "svg",
        "python",
    )
)


def check_artifact(
    declared: Declared,
    *,
    size: int,
    open: Callable[[], BinaryIO],
    schema: bytes | None,
    is_folder: bool,
) -> list[CheckResult]:
    """Every result for one artifact: its format, then each check declared.

    `open` gives a new seekable, buffered reader of the `size` bytes at each call (never for a
    folder, whose size is the bytes of all files below); `schema` is the content of the file that
    `checks.schema` names, None if there is none. The files of a glob are given one by one with
    `is_folder=False`, the folder of them once with True: what is checked is each file, and
    `non_empty` the folder too. Nothing in the artifact is executed;
    memory stays below some 300 MiB whatever it holds, and what is too big for a check is
    skipped, never guessed. Never raises for what the bytes are; errors of `open` pass through.
    """
    encoding = declared.checks.encoding or "utf-8"
    source = Source(size, open, encoding)
    results = _results("format", _format(declared, source, is_folder))
    sound = all(result.result != FAILED for result in results)
    return results + _declared_checks(declared, source, schema, is_folder, sound)


def _format(declared: Declared, source: Source, is_folder: bool) -> list[Finding]:
    if is_folder:
        if declared.format == "folder" or declared.is_glob:
            return []
        fix = f"declare `format: folder`, or `path: {declared.path}/*` for the files in it"
        return [Finding(f"is a folder; the spec declares {declared.format}: {fix}")]
    if declared.format == "folder" and not declared.is_glob:
        return [Finding("is a file; the spec declares a folder")]
    check = _FORMATS.get(declared.format)
    if check is None:
        return []
    if source.size == 0 and declared.format not in (
        "markdown",
        "text",
        "html",
        "python",
        "yaml",
        "toml",
    ):
        return [Finding(f"is empty, which no {declared.format} file is")]
    return check(source)


def _declared_checks(
    declared: Declared, source: Source, schema: bytes | None, is_folder: bool, sound: bool
) -> list[CheckResult]:
    checks = declared.checks
    if is_folder and declared.is_glob:
        checks = Checks(non_empty=checks.non_empty)
    results: list[CheckResult] = []
    if checks.schema:
        results += _results("schema", _schema(declared, source, schema, is_folder, sound))
    if checks.max_size >= 0:
        wrong = f"{source.size} bytes, more than {checks.max_size}"
        results += _results("max_size", [Finding(wrong)] if source.size > checks.max_size else [])
    if checks.min_size >= 0:
        wrong = f"{source.size} bytes, fewer than {checks.min_size}"
        results += _results("min_size", [Finding(wrong)] if source.size < checks.min_size else [])
    if checks.non_empty:
        results += _results("non_empty", _non_empty(declared, source, is_folder))
    if checks.encoding:
        results += _results("encoding", _encoding(declared, source, is_folder))
    return results


def _schema(
    declared: Declared, source: Source, schema: bytes | None, is_folder: bool, sound: bool
) -> list[Finding]:
    if declared.format not in ("json", "jsonl", "yaml", "toml"):
        detail = f"a JSON Schema applies to json, jsonl, yaml and toml, not to {declared.format}"
        return [Finding(detail, result=SKIPPED)]
    if is_folder:
        return [Finding("applies to each file, not to the folder", result=SKIPPED)]
    if schema is None:
        return [Finding(f"the schema file {declared.checks.schema!r} is not there")]
    if not sound:
        return [Finding(f"not looked at: the file is not {declared.format}", result=SKIPPED)]
    return check_schema(source, declared.format, schema, declared.checks.schema)


def _non_empty(declared: Declared, source: Source, is_folder: bool) -> list[Finding]:
    if source.size == 0:
        return [Finding("is empty")]
    if is_folder or declared.format not in _TEXTS:
        return []
    if all(not block.strip() for block in source.blocks()):
        return [Finding("holds nothing but white space")]
    return []


def _encoding(declared: Declared, source: Source, is_folder: bool) -> list[Finding]:
    if is_folder or declared.format not in _TEXTS:
        return [Finding(f"{declared.format} has no text encoding", result=SKIPPED)]
    return check_encoding(source)


def _results(check: str, findings: Iterable[Finding]) -> list[CheckResult]:
    results = [
        CheckResult(check, finding.result, _short(finding.detail), finding.line)
        for finding in findings
    ]
    return results or [CheckResult(check, PASSED)]


def _short(detail: str) -> str:
    """One storable line: no control characters or lone surrogates, at most 300 characters."""
    line = "".join(c if c.isprintable() else " " for c in detail[: DETAIL_CHARACTERS + 1])
    return line if len(line) <= DETAIL_CHARACTERS else line[: DETAIL_CHARACTERS - 1] + "…"
