"""Records: versions and artifacts as JSON shows them; what is not known is null."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from castore.model.artifact_set import (
    Artifact,
    Content,
    ExternalContent,
    FileContent,
    TreeContent,
)
from castore.model.ids import Id
from castore.model.manifest import CheckResult, Manifest, Source
from castore.model.status import Status
from castore.store.moments import format_moment
from castore.store.notes import known_as, notes_about
from castore.store.removals import purged_ids, removal_record
from castore.store.standing import Verdicts, signed_by, status_of
from castore.store.store import Store, as_held
from castore.store.version import Version

# A spec says what is kept; the record says where: here, as stores elsewhere are not written to.
_STORAGE_MODES: Final = {"stored": "local", "held": "external"}


def version_record(
    store: Store, version: Version, *, artifacts: bool = False, verdicts: Verdicts | None = None
) -> dict[str, Any]:
    """A version as `--json` prints it; with `artifacts`, each of its artifacts too.

    Who asks about many versions gives one `verdicts` for all of them.
    """
    manifest = version.manifest
    notes = notes_about(store, version.id)
    status = status_of(store, version, verdicts) if notes else Status()
    record: dict[str, Any] = {
        "id": version.id.hex(),
        "number": version.number,
        "branch": version.branch,
        "message": manifest.message,
        "at": format_moment(manifest.at),
        "set": manifest.set.hex(),
        "parents": [parent.hex() for parent in manifest.parents],
        "spec": _spec(manifest),
        "agent": _agent(manifest),
        "author": manifest.author or None,
        "run": manifest.run or None,
        "trace": manifest.trace or None,
        "workspace": manifest.workspace or None,
        "folder": manifest.folder or None,
        "complete": manifest.complete,
        "missing": list(manifest.missing),
        "failed": list(manifest.failed),
        "checks": [check_record(check) for check in manifest.checks],
        "carried": [{"artifact": name, "version": id.hex()} for name, id in manifest.carried],
        "sources": [source_record(source) for source in manifest.sources],
        "review": status.review,
        "approvals": approvals_record(status),
        "lifecycle": status.lifecycle,
        "trust": _trust(store, version, signed=bool(notes)),
        "meta": {key: _plain(value) for key, value in manifest.meta.items()},
        "operation": manifest.operation or None,
        "forgotten": None,
    }
    removal = store.forgotten(version)
    if removal is not None:
        record["forgotten"] = removal_record(removal)
        if artifacts:
            record["artifacts"] = None
    elif artifacts:
        members, gone = store.set_of(version).artifacts, store.database.read(purged_ids)
        record["artifacts"] = [artifact_record(store, version, member, gone) for member in members]
    return record


def approvals_record(status: Status) -> dict[str, int] | None:
    """How many approvals count and how many the policy needs; None where it was not asked."""
    return {"counted": status.counted, "needed": status.needed} if status.needed else None


def artifact_record(
    store: Store, version: Version, artifact: Artifact, gone: Set[Id] | None = None
) -> dict[str, Any]:
    """An artifact as it stands in lists of `--json`; `gone` is what was purged, if that is known.

    `purged` tells that its content, or something in its folder, was purged.
    """
    content = artifact.content
    digest = content.digest if isinstance(content, (FileContent, ExternalContent)) else b""
    id = held_id(content)
    if gone is None:
        gone = store.database.read(purged_ids)
    return {
        "name": artifact.name,
        "type": artifact.type or None,
        "format": artifact.format or None,
        "title": version.manifest.titles.get(artifact.name),
        "path": artifact.path,
        "size": content.size if content.size >= 0 else None,
        "digest": digest.hex() or None,
        "content": id.hex() or None,
        "storage": _storage(as_held(store, artifact).content, gone, content),
        "purged": id in gone,
        "uri": location(version.manifest, artifact.name),
        "executable": isinstance(content, FileContent) and content.mode == 1,
        "made_by": made_by_record(store, version, artifact.name),
    }


def held_id(content: Content) -> Id:
    """The digest of a file, b"" where it is not known, or the id of a folder."""
    return content.id if isinstance(content, TreeContent) else content.digest


def _storage(content: Content, gone: Set[Id], recorded: Content) -> str:
    """stored, external, held (external, and here too), or purged, as only files can be."""
    if isinstance(content, ExternalContent):
        return "external"
    if isinstance(recorded, ExternalContent):
        return "held"
    return "purged" if isinstance(content, FileContent) and content.digest in gone else "stored"


def full_artifact_record(store: Store, version: Version, artifact: Artifact) -> dict[str, Any]:
    """One artifact as `show REV:A --json` prints it, with the record that people call so."""
    record = artifact_record(store, version, artifact)
    made = maker(store, version, artifact.name)
    manifest = made.manifest
    status = status_of(store, version)
    record["record"] = {
        "id": f"{version.id.hex()}:{artifact.name}",
        "workspaceId": manifest.workspace or None,
        "createdByUserId": manifest.author or None,
        "skillName": manifest.agent.id or None,
        "skillVersion": manifest.agent.version or None,
        "skillExecutionId": manifest.run or None,
        "traceId": manifest.trace or None,
        "title": version.manifest.titles.get(artifact.name),
        "type": artifact.type or None,
        "format": artifact.format or None,
        "sourceObjectRefs": [
            source_record(source)
            for source in manifest.sources
            if source.artifact in ("", artifact.name)
        ],
        "status": _record_status(status),
        "storageMode": _STORAGE_MODES.get(record["storage"], record["storage"]),
        "storageKey": record["content"],
        "version": version.number,
        "createdAt": format_moment(manifest.at),
    }
    record["checks"] = [
        check_record(check) for check in version.manifest.checks if check.artifact == artifact.name
    ]
    return record


def maker(store: Store, version: Version, artifact: str) -> Version:
    """The version that made an artifact: another one where it was carried."""
    for name, id in version.manifest.carried:
        if name == artifact:
            return store.version(id)
    return version


def made_by_record(store: Store, version: Version, artifact: str) -> dict[str, Any]:
    """Which version, spec version, agent and run made an artifact."""
    made = maker(store, version, artifact)
    return {**maker_record(made), "carried": made.id != version.id}


def maker_record(version: Version) -> dict[str, Any]:
    """A version as the maker of something: its spec version, agent and run."""
    manifest = version.manifest
    return {
        "version": version.id.hex(),
        "label": version.label,
        "spec": _spec(manifest),
        "agent": _agent(manifest),
        "run": manifest.run or None,
    }


def check_record(check: CheckResult) -> dict[str, Any]:
    """A check result as JSON."""
    return {
        "artifact": check.artifact,
        "check": check.check,
        "result": check.result,
        "detail": check.detail or None,
    }


def source_record(source: Source) -> dict[str, Any]:
    """A source as JSON."""
    return {
        "artifact": source.artifact or None,
        "label": source.label or None,
        "selector": source.selector,
        "target": _hex(source.target),
        "target_artifact": source.target_artifact or None,
        "uri": source.uri or None,
        "digest": _hex(source.digest),
        "size": source.size if source.size >= 0 else None,
        "pinned": source.pinned,
        "evidence": source.evidence,
    }


def location(manifest: Manifest, artifact: str) -> str | None:
    """The URI of an external artifact, or None."""
    return next((uri for name, uri, _ in manifest.locations if name == artifact), None)


def _spec(manifest: Manifest) -> dict[str, Any]:
    spec = manifest.spec
    return {
        # Without a spec a manifest has its branch in the place of the id.
        "id": spec.id if spec.known else None,
        "version": spec.version or None,
        "path": spec.path or None,
        "contract": _hex(spec.contract),
        "source": _hex(spec.source),
    }


def _agent(manifest: Manifest) -> dict[str, Any] | None:
    agent = manifest.agent
    return {"id": agent.id, "version": agent.version or None} if agent.id else None


def _trust(store: Store, version: Version, *, signed: bool) -> dict[str, str | None]:
    """How far each field can be believed; `signed` is whether it may be so at all.

    What castore checked itself is observed; what the author claims is signed where a valid
    signature by a key of the author's stands.
    """
    manifest = version.manifest
    evidence = {source.evidence for source in manifest.sources}
    own = signed and manifest.author and known_as(manifest.author) in signed_by(store, version.id)
    said = "signed" if own else "claimed"
    return {
        "author": said if manifest.author else None,
        "agent": said if manifest.agent.id else None,
        "run": said if manifest.run else None,
        "trace": said if manifest.trace else None,
        "spec": "observed" if manifest.spec.source else None,
        "checks": "observed" if manifest.checks else None,
        "sources": "observed" if evidence == {"observed"} else said if evidence else None,
    }


def _record_status(status: Status) -> str:
    if status.lifecycle == "withdrawn":
        return "deleted"
    return status.lifecycle


def _hex(id: Id) -> str | None:
    return id.hex() or None


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
