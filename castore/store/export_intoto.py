"""A version as an in-toto statement (v1) whose predicate is SLSA provenance (v1).

https://github.com/in-toto/attestation, https://slsa.dev/spec/v1.0/provenance. It is not signed: it
says what the manifest says, and which of that is claimed or observed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from castore.errors import InvalidInput
from castore.model.artifact_set import ExternalContent
from castore.model.manifest import Manifest, Source
from castore.store.exports import (
    URN,
    Maker,
    complete,
    externals_of,
    files_of,
    makers_of,
    sha256,
    source_uri,
    version_uri,
)
from castore.store.moments import format_moment
from castore.store.records import check_record, maker_record, version_record
from castore.store.store import Store
from castore.store.version import Version

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
_BUILD: Final = f"{URN}set:1"


def statement(store: Store, version: Version) -> Iterator[str]:
    """The statement as pieces of JSON text, one subject at a time.

    Subjects are all files of the version, and external artifacts whose digest is known; a file has
    its SHA-256, for which it is read in full, beside its BLAKE3. What is carried names who made it,
    and that is a dependency with its own sources. Raises IncompleteSet, InvalidInput
    for a version without any, ObjectNotFound for a forgotten one, CorruptObject.
    """
    predicate = _predicate(store, complete(version))
    head = {"_type": STATEMENT, "predicateType": PROVENANCE, "predicate": predicate}
    lead = json.dumps(head)[:-1] + ', "subject": ['
    for subject in _subjects(store, version):
        yield lead + json.dumps(subject)
        lead = ", "
    if lead != ", ":
        raise InvalidInput(f"{version.label} has no file: a statement must be about something")
    yield "]}\n"


def _subjects(store: Store, version: Version) -> Iterator[dict[str, Any]]:
    made = {
        artifact.name: {"annotations": {"madeBy": version_uri(maker.id)}}
        for maker in makers_of(store, version)
        for artifact in maker.artifacts
    }
    for file in files_of(store, version):
        yield {
            "name": file.path,
            "digest": {
                "blake3": file.digest.hex(),
                "sha256": sha256(store, file.digest, file.size),
            },
            **made.get(file.artifact.name, {}),
        }
    for artifact in externals_of(store, version):
        if isinstance(artifact.content, ExternalContent) and artifact.content.digest:
            digest = {"blake3": artifact.content.digest.hex()}
            yield {"name": artifact.path, "digest": digest, **made.get(artifact.name, {})}


def _predicate(store: Store, version: Version) -> dict[str, Any]:
    manifest = version.manifest
    record = version_record(store, version)
    agent = f"{manifest.agent.id}@{manifest.agent.version}".rstrip("@") or "unknown"
    return {
        "buildDefinition": {
            "buildType": _BUILD,
            "externalParameters": {
                "branch": version.branch,
                "spec": record["spec"],
                "sources": sorted({found.selector for found in manifest.sources}),
            },
            "internalParameters": {
                key: record[key] for key in ("run", "trace", "workspace", "operation", "author")
            },
            "resolvedDependencies": [
                *_spec(manifest),
                *map(_source, manifest.sources),
                *(found for maker in makers_of(store, version) for found in _maker(maker)),
            ],
        },
        "runDetails": {
            "builder": {"id": f"{URN}agent:{agent}"},
            "metadata": {
                "invocationId": manifest.run,
                "finishedOn": format_moment(manifest.at),
            },
            "byproducts": [
                {
                    "name": version.label,
                    "uri": version_uri(version.id),
                    "annotations": {
                        "set": manifest.set.hex(),
                        "parents": record["parents"],
                        "checks": [check_record(check) for check in manifest.checks],
                        "review": record["review"],
                        "lifecycle": record["lifecycle"],
                        "trust": record["trust"],
                    },
                }
            ],
        },
    }


def _spec(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The spec and the files its checks name, which are stored with the version."""
    spec = manifest.spec
    named = [(spec.path or spec.id, spec.source)] if spec.source else []
    for name, digest in (*named, *spec.files):
        found = digest.hex()
        yield {"name": name, "uri": f"{URN}content:{found}", "digest": {"blake3": found}}


def _maker(maker: Maker) -> Iterator[dict[str, Any]]:
    """An earlier version whose artifacts are carried, as it tells of itself; then their sources."""
    uri, version = version_uri(maker.id), maker.version
    names = [artifact.name for artifact in maker.artifacts]
    annotations: dict[str, Any] = {"carried": names}
    if version is not None:
        annotations |= {**maker_record(version), "author": version.manifest.author or None}
        annotations["finishedOn"] = format_moment(version.manifest.at)
    name = version.label if version else maker.id.hex()
    yield {"name": name, "uri": uri, "annotations": annotations}
    for source in maker.sources:
        found = _source(source)
        found["annotations"] |= {"carried": names, "madeBy": uri}
        yield found


def _source(source: Source) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": source.label or source.selector,
        "uri": source_uri(source) or f"{URN}unknown",
        "annotations": {
            "artifact": source.artifact or None,
            "pinned": source.pinned,
            "evidence": source.evidence,
        },
    }
    if source.digest:
        found["digest"] = {"blake3": source.digest.hex()}
    return found
