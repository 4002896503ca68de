"""Conformance: whether a set answers to its spec, fault by fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from castore.content.reader import ObjectReader
from castore.content.trees import walk_tree
from castore.errors import InvalidSpec
from castore.model.artifact_set import (
    Artifact,
    Content,
    ExternalContent,
    FileContent,
    TreeContent,
)
from castore.model.manifest import CheckResult
from castore.model.pages import FILE
from castore.spec.checks import check_artifact
from castore.spec.declaration import Declared, Spec
from castore.spec.guess import guess_format
from castore.spec.results import CheckResult as CheckedBySpec
from castore.spec.schema_check import schema_fault
from castore.store.specs import SpecFile

DETAIL_BYTES: Final = 300
RECORDED_FAULTS: Final = 32
_GUESSED: Final = frozenset({"json", "jsonl", "csv", "tsv", "yaml", "toml", "xml", "python"})
_GUESSED_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Conformance:
    """The report kept with a version; `faults` are {artifact, check, detail, line} for people."""

    checks: tuple[CheckResult, ...] = ()
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and nothing failed."""
        return not self.faults


def conform(
    reader: ObjectReader,
    spec: Spec,
    schemas: Mapping[str, bytes],
    artifacts: Mapping[str, Artifact],
) -> Conformance:
    """Check every artifact declared by `spec` or present in `artifacts`; reports every fault."""
    checks: list[CheckResult] = []
    faults: list[dict[str, Any]] = []
    missing: list[str] = []
    warnings: list[str] = []
    for declared in spec.artifacts:
        artifact = artifacts.get(declared.name)
        if artifact is None:
            result = "failed" if declared.required else "skipped"
            detail = _absence(declared)
            checks.append(CheckResult(declared.name, "present", result, detail))
            if declared.required:
                missing.append(declared.name)
                faults.append(_fault(declared.name, "present", detail, None))
            continue
        schema = schemas.get(declared.checks.schema)
        for found in _check(reader, declared, artifact, schema):
            detail = _bounded(found.detail)
            checks.append(CheckResult(declared.name, found.check, found.result, detail))
            if found.result == "failed":
                faults.append(_fault(declared.name, found.check, found.detail, found.line))
            elif found.result == "skipped":
                warnings.append(_unchecked(declared.name, found.check, found.detail))
    for name in sorted(artifacts.keys() - {declared.name for declared in spec.artifacts}):
        detail = f"spec {spec.id} {spec.version} declares no artifact of this name"
        checks.append(CheckResult(name, "declared", "failed", detail))
        faults.append(_fault(name, "declared", detail, None))
    failed = {fault["artifact"] for fault in faults} - set(missing)
    return Conformance(
        _recorded(checks), tuple(missing), tuple(sorted(failed)), tuple(faults), tuple(warnings)
    )


def guess_artifact(content: Content, hint: str, head: bytes) -> tuple[str, str]:
    """The (format, type) that a file's name and first bytes suggest, where neither is declared."""
    if isinstance(content, FileContent):
        return guess_format(hint, head)
    if isinstance(content, ExternalContent):
        return guess_format(hint)
    return "folder", guess_format(hint)[1] if "." in hint else "folder"


def check_on_disk(
    declared: Declared,
    path: Path,
    schemas: Mapping[str, bytes],
    *,
    folder: int = -1,
    below: str = "",
) -> tuple[list[dict[str, Any]], list[str]]:
    """The faults and warnings a declared artifact at `path` would have, or one file of a glob.

    The folder of a glob is checked when its bytes are told by `folder`, a file of one is named by
    `below`; of other folders only that they are what is declared.
    """
    is_folder = folder >= 0 or path.is_dir()
    found = check_artifact(
        declared,
        size=max(0, folder) if is_folder else path.stat().st_size,
        open=_no_bytes if is_folder else lambda: path.open("rb"),
        schema=schemas.get(declared.checks.schema),
        is_folder=is_folder,
    )
    whole = folder >= 0 or not is_folder
    faults, warnings = [], []
    for result in found:
        detail = f"{below}: {result.detail}" if below else result.detail
        if result.result == "failed" and (whole or result.check == "format"):
            faults.append(_fault(declared.name, result.check, detail, result.line))
        elif result.result == "skipped":
            warnings.append(_unchecked(declared.name, result.check, detail))
    return faults, warnings


def guessed_on_disk(name: str, path: Path, content: FileContent) -> list[str]:
    """The warnings of `guessed_faults` for a file that is not stored."""
    if content.size > _GUESSED_BYTES:
        return []
    format, type = guess_format(path.name)
    if format not in _GUESSED:
        return []
    declared = Declared(name=name, type=type, format=format, path=name)
    found = check_artifact(
        declared, size=content.size, open=lambda: path.open("rb"), schema=None, is_folder=False
    )
    return _guessed_wrong(declared, found)


def check_schemas(spec: SpecFile) -> None:
    """Refuse a spec whose JSON Schemas cannot be used; raises InvalidSpec with every fault."""
    faults = []
    for declared in spec.spec.artifacts:
        name = declared.checks.schema
        detail = schema_fault(spec.files[name]) if name else ""
        if detail:
            message = f"artifact {declared.name!r}: the schema {name!r} cannot be used: {detail}"
            fix = f"mend {name}"
            faults.append({"line": declared.line, "column": 1, "message": message, "fix": fix})
    if faults:
        where = spec.path.name
        raise InvalidSpec(
            f"{where}:{faults[0]['line']}: {faults[0]['message']}",
            faults=faults,
            where=where,
            fix=str(faults[0]["fix"]),
        )


def guessed_faults(reader: ObjectReader, artifact: Artifact) -> list[str]:
    """Warnings for a small file whose guessed format it does not keep; never a refusal."""
    content = artifact.content
    if (
        artifact.format not in _GUESSED
        or not isinstance(content, FileContent)
        or content.size > _GUESSED_BYTES
    ):
        return []
    declared = Declared(
        name=artifact.name,
        type=artifact.type,
        format=artifact.format,
        path=artifact.path,
    )
    return _guessed_wrong(declared, _check(reader, declared, artifact, None))


def _guessed_wrong(declared: Declared, results: Sequence[CheckedBySpec]) -> list[str]:
    return [
        f"{declared.name}: looks like {declared.format} but: {found.detail}"
        for found in results
        if found.result == "failed"
    ][:3]


def _unchecked(artifact: str, check: str, detail: str) -> str:
    return f"{artifact}: {check} not checked: {detail}"


def _check(
    reader: ObjectReader, declared: Declared, artifact: Artifact, schema: bytes | None
) -> list[CheckedBySpec]:
    content = artifact.content
    if isinstance(content, ExternalContent):
        return []
    if isinstance(content, FileContent):
        return check_artifact(
            declared,
            size=content.size,
            open=_opener(reader, content),
            schema=schema,
            is_folder=False,
        )
    found = check_artifact(
        declared, size=content.size, open=_no_bytes, schema=schema, is_folder=True
    )
    if declared.is_glob:
        found += _check_files(reader, declared, content, schema)
    return found


def _check_files(
    reader: ObjectReader, declared: Declared, folder: TreeContent, schema: bytes | None
) -> list[CheckedBySpec]:
    """The checks of each file of a glob; what failed says in which file, the rest is summed up."""
    results: list[CheckedBySpec] = []
    for path, entry in walk_tree(reader.tree_page, folder.id):
        if entry.kind != FILE:
            continue
        file = FileContent(entry.id, entry.size, entry.mode)
        found = check_artifact(
            declared, size=file.size, open=_opener(reader, file), schema=schema, is_folder=False
        )
        name = path.decode("utf-8", "replace")
        results += [
            replace(result, detail=f"{name}: {result.detail}")
            for result in found
            if result.result != "passed"
        ]
    return results


def _opener(reader: ObjectReader, content: FileContent) -> Callable[[], BinaryIO]:
    return lambda: reader.open(content.digest, content.size)


def _no_bytes() -> BinaryIO:
    raise IsADirectoryError("a folder has no bytes of its own")


def _absence(declared: Declared) -> str:
    if declared.storage == "external":
        return f"it is external, and no uri is known: give {declared.name}=URI"
    return f"nothing {'matches' if declared.is_glob else 'at'} {declared.path}"


def _fault(artifact: str, check: str, detail: str, line: int | None) -> dict[str, Any]:
    return {"artifact": artifact, "check": check, "detail": detail, "line": line}


def _bounded(detail: str) -> str:
    data = detail.encode("utf-8", "replace")
    if len(data) <= DETAIL_BYTES:
        return data.decode()
    return data[:DETAIL_BYTES].decode("utf-8", "ignore") + "…"


def _recorded(checks: list[CheckResult]) -> tuple[CheckResult, ...]:
    """At most 32 faults an artifact and check go into the manifest; all of them are reported."""
    counts: dict[tuple[str, str], int] = {}
    kept = []
    for check in checks:
        key = (check.artifact, check.check)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= RECORDED_FAULTS:
            kept.append(check)
        elif counts[key] == RECORDED_FAULTS + 1:
            total = sum((c.artifact, c.check) == key for c in checks)
            more = f"and {total - RECORDED_FAULTS} more"
            kept.append(CheckResult(check.artifact, check.check, check.result, more))
    return tuple(kept)
