"""The contract: equal for what demands the same, different for what does not."""

from __future__ import annotations

import pytest

from castore.errors import InvalidInput
from castore.model.encoding import decode
from castore.model.ids import content_id
from castore.spec.contract import contract, contract_payload
from castore.spec.parse import parse_spec

SPEC = """\
spec: report
version: 1
artifacts:
  - name: summary
    type: document
    format: markdown
    path: out/summary.md
  - name: data
    type: dataset
    format: json
    path: out/data.json
    checks: {schema: data.schema.json, max_size: 5MB}
"""
FILES = {"data.schema.json": content_id(b"{}")}


def contract_of(text: str) -> bytes:
    """The contract of a spec text."""
    return contract(parse_spec(text.encode()), FILES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("spec: report", "# a comment\nspec: report   # another"),
        ("version: 1", 'version: "1"'),
        ("artifacts:", "store: s3://bucket\nbase: ../x\ndescription: new\nartifacts:"),
        ("max_size: 5MB", "max_size: 5000000"),
        ("path: out/summary.md", "path: out/summary.md\n    title: Summary\n    required: true"),
        ("5MB}\n", "5MB}\nreview: {approvals: 3}\n"),
        (
            "checks: {schema: data.schema.json, max_size: 5MB}",
            "checks: {max_size: 5MB, schema: data.schema.json}",
        ),
    ],
)
def test_what_demands_nothing_changes_nothing(old: str, new: str) -> None:
    assert old in SPEC
    assert contract_of(SPEC.replace(old, new)) == contract_of(SPEC)


def test_the_order_of_artifacts_changes_nothing() -> None:
    head, first, second = SPEC.partition("  - name: summary")
    summary, mark, data = second.partition("  - name: data")
    assert contract_of(head + mark + data + first + summary) == contract_of(SPEC)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("spec: report", "spec: other"),
        ("version: 1", "version: 1.0"),
        ("name: summary", "name: sum"),
        ("type: document", "type: page"),
        ("format: markdown", "format: text"),
        ("path: out/summary.md", "path: summary.md"),
        ("path: out/summary.md", "path: out/summary.md\n    required: false"),
        ("path: out/summary.md", "path: out/summary.md\n    storage: external\n    uri: s3://a/b"),
        ("max_size: 5MB", "max_size: 6MB"),
        ("max_size: 5MB", "max_size: 5MB, min_size: 0"),
        ("max_size: 5MB", "max_size: 5MB, non_empty: true"),
        ("max_size: 5MB", "max_size: 5MB, encoding: utf-8"),
        ("schema: data.schema.json, ", ""),
    ],
)
def test_what_demands_otherwise_is_another_contract(old: str, new: str) -> None:
    assert old in SPEC
    assert contract_of(SPEC.replace(old, new)) != contract_of(SPEC)


def test_a_changed_schema_file_is_another_contract() -> None:
    spec = parse_spec(SPEC.encode())
    other = {"data.schema.json": content_id(b"[]")}
    assert contract(spec, other) != contract(spec, FILES)


def test_a_renamed_schema_file_with_the_same_bytes_is_the_same_contract() -> None:
    renamed = parse_spec(SPEC.replace("data.schema.json", "schemas/data.json").encode())
    files = {"schemas/data.json": FILES["data.schema.json"]}
    assert contract(renamed, files) == contract_of(SPEC)


def test_the_payload_is_canonical_and_complete() -> None:
    payload = decode(contract_payload(parse_spec(SPEC.encode()), FILES), limit=10_000)
    assert [row["name"] for row in payload["artifacts"]] == ["data", "summary"]
    assert payload["artifacts"][1] == {
        "checks": {
            "encoding": "",
            "max_size": -1,
            "min_size": -1,
            "non_empty": False,
            "schema": b"",
        },
        "format": "markdown",
        "name": "summary",
        "path": "out/summary.md",
        "required": True,
        "storage": "stored",
        "type": "document",
        "uri": "",
    }


def test_a_missing_schema_file_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"'data'.*'data\.schema\.json'"):
        contract(parse_spec(SPEC.encode()), {})
