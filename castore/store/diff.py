"""Diffs of versions: what differs in artifacts, spec, sources and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from castore.model.artifact_set import (
    Artifact,
    Content,
    ExternalContent,
    FileContent,
    TreeContent,
)
from castore.model.ids import Id, short
from castore.model.manifest import Manifest, Source, SpecPin
from castore.store.diff_trees import FileChange, diff_folders
from castore.store.records import source_record
from castore.store.store import Store
from castore.store.version import Version

FILES: Final = 10_000
"""Changed files kept for one folder artifact; the rest is counted."""


@dataclass(frozen=True, slots=True)
class ArtifactChange:
    """One artifact that differs; `old` or `new` is None where it is not in the set.

    `fields` says which of content, mode, type, format, path differ; `files` are the changed files
    of a folder, at most FILES of them, `more_files` counts the others.
    """

    name: str
    old: Artifact | None
    new: Artifact | None
    fields: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()
    more_files: int = 0

    @property
    def change(self) -> str:
        """Added, removed or changed."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of the spec pin that differs: id, version or contract ("" for none)."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class CheckChange:
    """One check whose result differs; `old` or `new` is "" where it was not run."""

    artifact: str
    check: str
    old: str
    new: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SetDiff:
    """What differs between two versions; `old` is None when `new` is compared with nothing."""

    old: Version | None
    new: Version
    artifacts: tuple[ArtifactChange, ...] = ()
    unchanged: int = 0
    spec: tuple[FieldChange, ...] = ()
    sources_added: tuple[Source, ...] = ()
    sources_removed: tuple[Source, ...] = ()
    checks: tuple[CheckChange, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the artifacts are the same; spec, sources and checks may still differ."""
        return not self.artifacts

    def lines(self) -> Iterator[str]:
        """The differences as text, one line each, files of a folder indented."""
        for artifact in self.artifacts:
            yield from _artifact_lines(artifact)
        for change in self.spec:
            yield f"spec {change.field}: {change.old or 'none'} → {change.new or 'none'}"
        yield from (f"source + {_source_label(source)}" for source in self.sources_added)
        yield from (f"source - {_source_label(source)}" for source in self.sources_removed)
        for check in self.checks:
            what = f"{check.old or 'not run'} → {check.new or 'not run'}"
            yield f"check {check.artifact} {check.check}: {what}"

    def as_json(self) -> dict[str, Any]:
        """The differences as data."""
        return {
            "old": _version(self.old),
            "new": _version(self.new),
            "identical": self.identical,
            "unchanged": self.unchanged,
            "artifacts": [_artifact_record(change) for change in self.artifacts],
            "spec": [
                {"field": change.field, "old": change.old or None, "new": change.new or None}
                for change in self.spec
            ],
            "sources_added": [source_record(source) for source in self.sources_added],
            "sources_removed": [source_record(source) for source in self.sources_removed],
            "checks": [
                {
                    "artifact": check.artifact,
                    "check": check.check,
                    "old": check.old or None,
                    "new": check.new or None,
                    "detail": check.detail or None,
                }
                for check in self.checks
            ],
        }


def diff_versions(store: Store, old: Version | None, new: Version) -> SetDiff:
    """What differs between two versions; of folders only pages that differ are read.

    `old=None` compares with nothing. Raises ObjectNotFound for a version that was forgotten.
    """
    before = {a.name: a for a in store.set_of(old).artifacts} if old else {}
    after = {a.name: a for a in store.set_of(new).artifacts}
    changes = []
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name), after.get(name)
        if left != right:
            changes.append(_compare(store, name, left, right))
    manifest = old.manifest if old else None
    gone, come = _difference(manifest.sources if manifest else (), new.manifest.sources)
    return SetDiff(
        old=old,
        new=new,
        artifacts=tuple(changes),
        unchanged=len(before.keys() & after.keys())
        - sum(change.change == "changed" for change in changes),
        spec=spec_changes(manifest.spec if manifest else SpecPin(""), new.manifest.spec),
        sources_added=come,
        sources_removed=gone,
        checks=_check_changes(manifest, new.manifest),
    )


def _compare(store: Store, name: str, old: Artifact | None, new: Artifact | None) -> ArtifactChange:
    left = _tree(old.content if old else None)
    right = _tree(new.content if new else None)
    files: list[FileChange] = []
    more = 0
    if left != right:
        for change in diff_folders(store.reader.tree_page, left, right):
            if len(files) < FILES:
                files.append(change)
            else:
                more += 1
    fields = _fields(old, new) if old and new else ()
    return ArtifactChange(name, old, new, fields, tuple(files), more)


def _fields(old: Artifact, new: Artifact) -> tuple[str, ...]:
    found = []
    if old.content != new.content:
        same = _identity(old.content) == _identity(new.content)
        found.append("mode" if same else "content")
    found.extend(
        field for field in ("type", "format", "path") if getattr(old, field) != getattr(new, field)
    )
    return tuple(found)


def _identity(content: Content) -> tuple[str, Id, int]:
    if isinstance(content, TreeContent):
        return "tree", content.id, content.size
    kind = "file" if isinstance(content, FileContent) else "external"
    return kind, content.digest, content.size


def _tree(content: Content | None) -> Id | None:
    return content.id if isinstance(content, TreeContent) else None


def _difference(
    old: Sequence[Source], new: Sequence[Source]
) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    before, after = set(old), set(new)
    return (
        tuple(source for source in old if source not in after),
        tuple(source for source in new if source not in before),
    )


def spec_changes(old: SpecPin, new: SpecPin) -> tuple[FieldChange, ...]:
    """What differs between two spec pins: id, version, contract; not where the YAML lies."""
    pairs = (
        # Without a spec the branch stands in the place of the id.
        ("id", old.id if old.known else "", new.id if new.known else ""),
        ("version", old.version, new.version),
        ("contract", old.contract.hex(), new.contract.hex()),
    )
    return tuple(FieldChange(*pair) for pair in pairs if pair[1] != pair[2])


def _check_changes(old: Manifest | None, new: Manifest) -> tuple[CheckChange, ...]:
    before = _worst(old) if old else {}
    after = _worst(new)
    found = []
    for key in sorted(before.keys() | after.keys()):
        left, right = before.get(key, ("", "")), after.get(key, ("", ""))
        if left[0] != right[0]:
            found.append(CheckChange(*key, left[0], right[0], right[1] or left[1]))
    return tuple(found)


def _worst(manifest: Manifest) -> Mapping[tuple[str, str], tuple[str, str]]:
    """One result for each artifact and check: failed beats skipped beats passed."""
    rank = {"passed": 0, "skipped": 1, "failed": 2}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for check in manifest.checks:
        key = (check.artifact, check.check)
        if key not in found or rank[check.result] > rank[found[key][0]]:
            found[key] = (check.result, check.detail)
    return found


def _artifact_lines(change: ArtifactChange) -> Iterator[str]:
    sign = {"added": "+", "removed": "-", "changed": "~"}[change.change]
    sides = [_described(side.content) for side in (change.old, change.new) if side]
    if len(sides) == 2 and sides[0] == sides[1]:
        del sides[1]
    fields = f" ({', '.join(change.fields)})" if change.fields else ""
    yield f"{sign} {change.name}{fields}: {' → '.join(sides)}"
    for file in change.files:
        sign = {"added": "+", "removed": "-"}.get(file.change, "~")
        sizes = [str(side.size) for side in (file.old, file.new) if side]
        yield f"    {sign} {file.path}: {' → '.join(sizes)} bytes"
    if change.more_files:
        yield f"    … and {change.more_files} more files"


def _described(content: Content) -> str:
    if isinstance(content, TreeContent):
        return f"folder {short(content.id)}, {content.size} bytes"
    if isinstance(content, ExternalContent):
        size = f"{content.size} bytes" if content.size >= 0 else "unknown size"
        return f"external {short(content.digest) or 'unknown digest'}, {size}"
    return f"{short(content.digest)}, {content.size} bytes"


def _source_label(source: Source) -> str:
    name = source.label or source.uri or source.selector or short(source.target)
    return f"{source.artifact} = {name}" if source.artifact else name


def _version(version: Version | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {"id": version.id.hex(), "label": version.label, "number": version.number}


def _artifact_record(change: ArtifactChange) -> dict[str, Any]:
    return {
        "name": change.name,
        "change": change.change,
        "fields": list(change.fields),
        "old": _side(change.old),
        "new": _side(change.new),
        "files": [file.as_json() for file in change.files],
        "more_files": change.more_files,
    }


def _side(artifact: Artifact | None) -> dict[str, Any] | None:
    if artifact is None:
        return None
    content = artifact.content
    digest = b"" if isinstance(content, TreeContent) else content.digest
    return {
        "type": artifact.type,
        "format": artifact.format,
        "path": artifact.path,
        "kind": "folder" if isinstance(content, TreeContent) else _identity(content)[0],
        "size": content.size if content.size >= 0 else None,
        "digest": digest.hex() or None,
        "content": _identity(content)[1].hex() or None,
        "executable": bool(content.mode) if isinstance(content, FileContent) else False,
    }
