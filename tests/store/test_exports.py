"""Exports: read by the libraries of those whose formats they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import castore
from castore import errors
from castore.store.exports import version_uri

SPEC = """\
spec: weekly
version: "1.0"
artifacts:
  - {name: summary, type: document, format: markdown, path: docs/summary.md, title: Summary}
  - {name: pages, type: page, format: folder, path: pages}
  - {name: far, type: dataset, format: csv, path: far.csv, storage: external, uri: "https://example.org/far.csv"}
"""


@pytest.fixture
def version(store: castore.Store, tmp_path: Path) -> castore.Version:
    """A version with a file, a folder, an external artifact, and sources of both kinds."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "summary.md").write_text("# Summary\n")
    (tmp_path / "pages" / "deep").mkdir(parents=True)
    (tmp_path / "pages" / "ä b.html").write_text("<title>x</title>")
    (tmp_path / "pages" / "deep" / "big.bin").write_bytes(b"0123456789" * 50_000)
    (tmp_path / "w.spec.yaml").write_text(SPEC)
    store.commit("docs/summary.md", cwd=tmp_path, name="sales", context=castore.Context(run="r0"))
    context = castore.Context(
        agent=castore.Agent("writer", "7"), run="run-1", author="Ann <ann@example.org>"
    )
    return store.commit(
        spec=tmp_path / "w.spec.yaml",
        cwd=tmp_path,
        message="numbers",
        context=context,
        sources=("sales@v1:summary.md", "https://example.org/raw.csv"),
    ).version


@pytest.fixture
def carrying(store: castore.Store, version: castore.Version, tmp_path: Path) -> castore.Version:
    """The next version, by somebody else, which makes the summary and carries the rest."""
    (tmp_path / "docs" / "summary.md").write_text("# Summary, again\n")
    context = castore.Context(agent=castore.Agent("editor", "1"), run="run-2", author="bob")
    return store.commit(
        spec=tmp_path / "w.spec.yaml",
        cwd=tmp_path,
        only=("summary",),
        context=context,
        sources=("https://example.org/notes",),
    ).version


def hashes(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return {"blake3": blake3(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}


def test_intoto(store: castore.Store, version: castore.Version, tmp_path: Path) -> None:
    library = pytest.importorskip("in_toto_attestation.v1.statement")
    from google.protobuf.json_format import MessageToDict, ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2

    told = json.loads(store.statement("weekly"))
    # Every field must be one that the schema knows.
    parsed = ParseDict(told, statement_pb2.Statement())
    library.Statement.copy_from_pb(parsed).validate()
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = ParseDict(told["predicate"], provenance_pb2.Provenance())
    build = predicate.build_definition
    assert build.build_type
    assert predicate.run_details.builder.id.endswith("agent:writer@7")
    assert predicate.run_details.metadata.invocation_id == "run-1"
    assert MessageToDict(build.external_parameters)["spec"]["version"] == "1.0"
    depends = told["predicate"]["buildDefinition"]["resolvedDependencies"]
    needed = {found["uri"] for found in depends}
    sales = store.resolve("sales@v1").version
    assert {version_uri(sales.id, "summary.md"), "https://example.org/raw.csv"} <= needed
    assert {found["name"]: found["digest"] for found in told["subject"]} == {
        place: hashes(tmp_path / place)
        for place in ("docs/summary.md", "pages/deep/big.bin", "pages/ä b.html")
    }


def test_intoto_of_what_is_carried(
    store: castore.Store, version: castore.Version, carrying: castore.Version
) -> None:
    provenance = pytest.importorskip("in_toto_attestation.predicates.provenance.v1.provenance_pb2")
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    told = json.loads(store.statement(carrying.id.hex()))
    Statement.copy_from_pb(ParseDict(told, statement_pb2.Statement())).validate()
    ParseDict(told["predicate"], provenance.Provenance())
    maker = version_uri(version.id)
    made = {found["name"]: found.get("annotations") for found in told["subject"]}
    assert made["docs/summary.md"] is None
    assert made["pages/deep/big.bin"] == {"madeBy": maker}
    depends = told["predicate"]["buildDefinition"]["resolvedDependencies"]
    [earlier] = [found["annotations"] for found in depends if found["uri"] == maker]
    assert earlier["agent"] == {"id": "writer", "version": "7"}
    assert (earlier["run"], earlier["author"]) == ("run-1", "Ann <ann@example.org>")
    assert earlier["carried"] == ["far", "pages"]
    used = {found["uri"]: found["annotations"].get("madeBy") for found in depends[1:]}
    assert used["https://example.org/notes"] is None
    assert used["https://example.org/raw.csv"] == maker


def read_events(told: list[dict[str, Any]]) -> None:
    """Read events with the library of OpenLineage, which must find all that they say."""
    base = pytest.importorskip("openlineage.client.generated.base")
    from openlineage.client.generated import (
        dataset_version_dataset,
        job_type_job,
        output_statistics_output_dataset,
    )
    from openlineage.client.serde import Serde

    facets = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet,
        "jobType": job_type_job.JobTypeJobFacet,
        "outputStatistics": (output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet),
        "castore": base.RunFacet,
    }

    def facet(name: str, value: dict[str, Any]) -> Any:
        own = {key: value[key] for key in value if not key.startswith("_")}
        producer = value["_producer"]
        if name == "castore":
            return facets[name](producer=producer).with_additional_properties(**own)
        # An argument that the class does not know is an error.
        return facets[name](producer=producer, **own)

    def all_of(value: dict[str, Any]) -> dict[str, Any]:
        return {name: facet(name, found) for name, found in value.items()}

    def dataset(kind: Any, value: dict[str, Any]) -> Any:
        keys = {key: all_of(value[key]) for key in value if key.endswith("acets")}
        return kind(value["namespace"], value["name"], **keys)

    for event in told:
        made = base.RunEvent(
            eventType=base.EventType[event["eventType"]],
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=base.Run(event["run"]["runId"], all_of(event["run"]["facets"])),
            job=base.Job(
                event["job"]["namespace"], event["job"]["name"], all_of(event["job"]["facets"])
            ),
            inputs=[dataset(base.InputDataset, found) for found in event["inputs"]],
            outputs=[dataset(base.OutputDataset, found) for found in event["outputs"]],
        )
        again = json.loads(Serde.to_json(made))
        assert known(again) == known(event)


def test_openlineage(store: castore.Store, version: castore.Version) -> None:
    told = store.openlineage("weekly")
    read_events(told)
    assert [event["eventType"] for event in told] == ["START", "COMPLETE"]
    outputs = {found["name"] for found in told[1]["outputs"]}
    assert outputs == {"weekly/summary", "weekly/pages", "weekly/far"}
    inputs = {(found["namespace"], found["name"]) for found in told[0]["inputs"]}
    assert ("https://example.org", "/raw.csv") in inputs
    assert ("sales/summary.md") in {name for _, name in inputs}
    assert told == store.openlineage(version.id.hex())


def test_openlineage_of_what_is_carried(
    store: castore.Store, version: castore.Version, carrying: castore.Version
) -> None:
    [alone, _] = store.openlineage(version.id.hex())
    told = store.openlineage(carrying.id.hex())
    read_events(told)
    _, earlier, _, own = told
    assert [event["eventType"] for event in told] == ["START", "COMPLETE"] * 2
    assert earlier["run"] == alone["run"]
    assert earlier["run"]["facets"]["castore"]["agent"] == {"id": "writer", "version": "7"}
    assert {found["name"] for found in earlier["outputs"]} == {"weekly/pages", "weekly/far"}
    assert earlier["inputs"] == alone["inputs"]
    assert own["run"]["facets"]["castore"]["agent"] == {"id": "editor", "version": "1"}
    inputs = {
        found["name"]: found["facets"].get("version", {}).get("datasetVersion")
        for found in own["inputs"]
    }
    maker = version.id.hex()
    assert inputs == {"/notes": None, "weekly/far": maker, "weekly/pages": maker}


def known(value: Any) -> Any:
    """A value without what is null or empty, which the library leaves out."""
    if isinstance(value, dict):
        kept = {key: known(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [])}
    return [known(item) for item in value] if isinstance(value, list) else value


def test_ro_crate(store: castore.Store, version: castore.Version, tmp_path: Path) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate")
    folder = tmp_path / "crate"
    metadata = store.ro_crate("weekly", folder)
    assert json.loads((folder / "ro-crate-metadata.json").read_text("utf-8")) == metadata
    crate = rocrate.ROCrate(folder)
    assert crate.root_dataset["name"] == "weekly@v1"
    assert crate.root_dataset["datePublished"]
    for needed in ("name", "description", "license"):
        assert crate.root_dataset[needed]
    assert crate.metadata["conformsTo"] == "https://w3id.org/ro/crate/1.1"
    parts = {part.id: part for part in crate.root_dataset["hasPart"]}
    assert set(parts) == {
        "docs/summary.md", "pages/", "pages/%C3%A4%20b.html", "pages/deep/big.bin",
        "https://example.org/far.csv",
    }  # fmt: skip
    file = parts["docs/summary.md"]
    assert file["sha256"] == hashes(folder / "docs" / "summary.md")["sha256"]
    assert int(file["contentSize"]) == 10
    action = crate.dereference("#making")
    assert action.type == "CreateAction"
    assert action["instrument"]["name"] == "writer"
    assert action["agent"]["name"] == "Ann <ann@example.org>"
    assert len(action["object"]) == 2
    # Written again by the library, it still names every part.
    crate.write(tmp_path / "again")
    assert (tmp_path / "again" / "pages" / "deep" / "big.bin").stat().st_size == 500_000
    every = {entity["@id"] for entity in metadata["@graph"]}
    assert named(metadata["@graph"]) <= every | {"https://w3id.org/ro/crate/1.1"}
    with pytest.raises(errors.WouldOverwrite):
        store.ro_crate("weekly", folder)
    assert not list(tmp_path.glob(".castore-crate-*"))


def test_ro_crate_of_what_is_carried(
    store: castore.Store, version: castore.Version, carrying: castore.Version, tmp_path: Path
) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate")
    metadata = store.ro_crate(carrying.id.hex(), tmp_path / "crate")
    crate = rocrate.ROCrate(tmp_path / "crate")
    own = crate.dereference("#making")
    assert own["instrument"]["name"] == "editor"
    assert [used.id for used in own["object"]] == ["https://example.org/notes"]
    earlier = crate.dereference(f"#making-{version.id.hex()}")
    assert earlier.type == "CreateAction"
    assert earlier["instrument"]["name"] == "writer"
    assert earlier["agent"]["name"] == "Ann <ann@example.org>"
    assert {made.id for made in earlier["result"]} == {"pages/", "https://example.org/far.csv"}
    assert "https://example.org/raw.csv" in {used.id for used in earlier["object"]}
    assert {action.id for action in crate.root_dataset["mentions"]} == {own.id, earlier.id}
    every = {entity["@id"] for entity in metadata["@graph"]}
    assert len(every) == len(metadata["@graph"])
    assert named(metadata["@graph"]) <= every | {"https://w3id.org/ro/crate/1.1"}


def named(value: Any) -> set[str]:
    """What is referred to anywhere."""
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            return {value["@id"]}
        return set().union(*map(named, value.values()))
    return set().union(*map(named, value)) if isinstance(value, list) else set()


def test_what_is_incomplete_is_not_exported(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "w.spec.yaml").write_text(SPEC)
    with pytest.raises(errors.IncompleteSet):
        store.commit(spec=tmp_path / "w.spec.yaml", context=castore.Context(run="r"))
    for export in (store.statement, store.openlineage, store.ro_crate):
        with pytest.raises(errors.IncompleteSet, match="only complete"):
            export("partial/r/weekly")


def test_a_place_the_crate_needs_is_not_taken(store: castore.Store, tmp_path: Path) -> None:
    with store.session("odd") as session:
        session.write("ro-crate-metadata.json", "{}")
        session.commit()
    with pytest.raises(errors.InvalidInput, match="crate's own"):
        store.ro_crate("odd", tmp_path / "crate")
    assert not (tmp_path / "crate").exists()
