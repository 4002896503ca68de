"""A version as OpenLineage events (2-0-2): its job is the branch, its run is its making.

https://openlineage.io/spec/2-0-2/OpenLineage.json. When the making began is not known: the START
event has the time of the commit too, so that whoever pairs events finds both.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from castore.model.artifact_set import Artifact
from castore.model.ids import Id
from castore.model.manifest import Source
from castore.store.exports import URN, complete, makers_of
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
    have the namespace of their URI. Before them stand those of the earlier versions that made what
    this one carries, about that alone; to this one it is an input. Raises IncompleteSet,
    ObjectNotFound for a forgotten version.
    """
    complete(version)
    project = uuid.UUID(bytes=store.database.project)
    makers = makers_of(store, version)
    found: list[dict[str, Any]] = []
    inputs = [_input(_namespace(project), source) for source in version.manifest.sources]
    for maker in makers:
        branch = maker.version.branch if maker.version else version.branch
        inputs += [
            _dataset(_namespace(project), f"{branch}/{artifact.name}", maker.id)
            for artifact in maker.artifacts
        ]
        if maker.version is not None:
            used = [_input(_namespace(project), source) for source in maker.sources]
            found += _making(store, project, maker.version, used, maker.artifacts)
    members = store.set_of(version).artifacts
    return [*found, *_making(store, project, version, inputs, members)]


def _making(
    store: Store,
    project: uuid.UUID,
    version: Version,
    inputs: list[dict[str, Any]],
    artifacts: Sequence[Artifact],
) -> list[dict[str, Any]]:
    """The two events of the making of some artifacts of a version."""
    record = version_record(store, version)
    run = {
        "runId": str(uuid.uuid5(project, version.id.hex())),
        "facets": {"castore": _facet("castore", **{key: record[key] for key in _TOLD})},
    }
    set_type = _facet("jobType", processingType="BATCH", integration="CASTORE", jobType="SET")
    job = {
        "namespace": _namespace(project),
        "name": version.branch,
        "facets": {"jobType": set_type},
    }
    outputs = [_output(_namespace(project), version, artifact) for artifact in artifacts]
    return [
        {
            "eventType": kind,
            "eventTime": format_moment(version.manifest.at),
            "producer": PRODUCER,
            "schemaURL": _EVENT,
            "run": run,
            "job": job,
            "inputs": inputs,
            "outputs": outputs if kind == "COMPLETE" else [],
        }
        for kind in ("START", "COMPLETE")
    ]


def _namespace(project: uuid.UUID) -> str:
    return f"castore://{project}"


def _dataset(namespace: str, name: str, version: Id) -> dict[str, Any]:
    facets = {"version": _facet("version", datasetVersion=version.hex())}
    return {"namespace": namespace, "name": name, "facets": facets}


def _facet(name: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": _SPEC + _FACETS[name], **values}


def _input(namespace: str, source: Source) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if source.target:
        branch = source.label.partition("@")[0] or source.target.hex()
        name = f"{branch}/{source.target_artifact}" if source.target_artifact else branch
        return _dataset(namespace, name, source.target)
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
        **_dataset(namespace, f"{version.branch}/{artifact.name}", version.id),
        "outputFacets": {"outputStatistics": _facet("outputStatistics", size=size)}
        if size >= 0
        else {},
    }
