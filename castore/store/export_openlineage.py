"""A version as OpenLineage events (2-0-2): its job is the branch, its run is its making.

https://openlineage.io/spec/2-0-2/OpenLineage.json. When the making began is not known: the START
event has the time of the commit too, so that whoever pairs events finds both.
"""

from __future__ import annotations

import uuid
from typing import Any, Final
from urllib.parse import urlsplit

from castore.model.artifact_set import Artifact
from castore.model.manifest import Source
from castore.store.exports import URN, complete
from castore.store.moments import format_moment
from castore.store.records import version_record
from castore.store.store import Store
from castore.store.version import Version

PRODUCER: Final = f"{URN}castore"
_SPEC: Final = "https://openlineage.io/spec/"
_EVENT: Final = f"{_SPEC}2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS: Final = {
    "castore": "2-0-2/OpenLineage.json#/$defs/RunFacet",
    "jobType": "facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
    "version": "facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
    "outputStatistics": (
        "facets/1-0-2/OutputStatisticsOutputDatasetFacet.json"
        "#/$defs/OutputStatisticsOutputDatasetFacet"
    ),
}
_TOLD: Final = (
    "id", "number", "message", "set", "parents", "spec", "agent", "author", "run", "trace",
    "workspace", "review", "lifecycle", "trust",
)  # fmt: skip


def events(store: Store, version: Version) -> list[dict[str, Any]]:
    """The START and the COMPLETE event of a version's making; ids are the same every time.

    Data sets are artifacts, in a namespace named after the project; sources that are no versions
    have the namespace of their URI. Raises IncompleteSet, ObjectNotFound for a forgotten version.
    """
    manifest = complete(version).manifest
    namespace = f"castore://{uuid.UUID(bytes=store.database.project)}"
    record = version_record(store, version)
    run = {
        "runId": str(uuid.uuid5(uuid.UUID(bytes=store.database.project), version.id.hex())),
        "facets": {"castore": _facet("castore", **{key: record[key] for key in _TOLD})},
    }
    job = {
        "namespace": namespace,
        "name": version.branch,
        "facets": {
            "jobType": _facet(
                "jobType", processingType="BATCH", integration="CASTORE", jobType="SET"
            )
        },
    }
    inputs = [_input(namespace, source) for source in manifest.sources]
    outputs = [
        _output(namespace, version, artifact) for artifact in store.set_of(version).artifacts
    ]
    return [
        {
            "eventType": kind,
            "eventTime": format_moment(manifest.at),
            "producer": PRODUCER,
            "schemaURL": _EVENT,
            "run": run,
            "job": job,
            "inputs": inputs,
            "outputs": outputs if kind == "COMPLETE" else [],
        }
        for kind in ("START", "COMPLETE")
    ]


def _facet(name: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": _SPEC + _FACETS[name], **values}


def _input(namespace: str, source: Source) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if source.target:
        facets["version"] = _facet("version", datasetVersion=source.target.hex())
        branch = source.label.partition("@")[0] or source.target.hex()
        name = f"{branch}/{source.target_artifact}" if source.target_artifact else branch
        return {"namespace": namespace, "name": name, "facets": facets}
    if source.digest:
        facets["version"] = _facet("version", datasetVersion=source.digest.hex())
    parts = urlsplit(source.uri)
    if not parts.scheme:
        name = source.uri or source.digest.hex() or source.selector
        return {"namespace": namespace, "name": name, "facets": facets}
    where = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme
    return {"namespace": where, "name": parts.path or "/", "facets": facets}


def _output(namespace: str, version: Version, artifact: Artifact) -> dict[str, Any]:
    size = artifact.content.size
    return {
        "namespace": namespace,
        "name": f"{version.branch}/{artifact.name}",
        "facets": {"version": _facet("version", datasetVersion=version.id.hex())},
        "outputFacets": {"outputStatistics": _facet("outputStatistics", size=size)}
        if size >= 0
        else {},
    }
