"""The schema for editors accepts and refuses what parse_spec does."""

from __future__ import annotations

import jsonschema_rs
import pytest

from castore.spec.declaration import FORMATS
from castore.spec.schema import spec_schema
from castore.spec.yaml_values import yaml_documents
from tests.spec.samples import HEAD, ONE, faults
from tests.spec.test_parse import EXAMPLE

ARTIFACT = "artifacts:\n  - {name: a, type: x, format: csv, "

ACCEPTED = [
    EXAMPLE,
    HEAD + ONE,
    HEAD + "store: s3://bucket/prefix\nbase: ../out\ndescription: |\n  two\n  lines\n" + ONE,
    "spec: a/b-c.d\nversion: 1.10\n" + ONE,
    "spec: 7\nversion: 2026-11-22\n" + ONE,
    "spec: a\nversion: true\n" + ONE,
    HEAD + ARTIFACT + "path: 'o/*.csv'}\n",
    HEAD + ARTIFACT + "path: o/p/, title: A title, required: false}\n",
    HEAD + ARTIFACT + "storage: external, uri: 'https://x.y/z'}\n",
    HEAD + ARTIFACT + "storage: external}\n",
    HEAD + ARTIFACT + "checks: {max_size: 5MB, min_size: 0, schema: s/x.json}}\n",
    HEAD + ARTIFACT + "checks: {max_size: 1.5 GiB, encoding: utf-16, non_empty: false}}\n",
    HEAD + ARTIFACT + "checks: {}}\n",
    HEAD + "artifacts:\n  - {name: Übersicht & mehr.md, type: test-result, format: folder}\n",
    HEAD + ONE + "review: {}\n",
    HEAD + ONE + "review: {approvals: 12, reviewers: [a@b.c, d], signed: false}\n",
    *(HEAD + f"artifacts:\n  - {{name: a, type: b, format: {format}}}\n" for format in FORMATS),
]

REFUSED = [
    "[]",
    "a",
    "spec: a\n" + ONE,
    "version: 1\n" + ONE,
    HEAD,
    HEAD + "artifacts: []\n",
    HEAD + "artifacts: {}\n",
    HEAD + "artifacts: {a: {type: x, format: csv}}\n",
    HEAD + "artifacts: {store: .cas}\n",
    HEAD + "artifacts: [a.csv]\n",
    HEAD + ONE + "more: 1\n",
    HEAD + "description:\n" + ONE,
    HEAD + "description: [a]\n" + ONE,
    HEAD + "store: ''\n" + ONE,
    HEAD + "base: /abs\n" + ONE,
    HEAD + "base: 'a\\b'\n" + ONE,
    "spec: v7\nversion: 1\n" + ONE,
    "spec: a b\nversion: 1\n" + ONE,
    "spec: " + "a" * 64 + "\nversion: 1\n" + ONE,
    "spec: " + "x" * 101 + "\nversion: 1\n" + ONE,
    "spec: -1\nversion: 1\n" + ONE,
    "spec: a\nversion: a b\n" + ONE,
    "spec: a\nversion: a@b\n" + ONE,
    "spec: a\nversion: {}\n" + ONE,
    HEAD + "artifacts:\n  - {type: x, format: csv}\n",
    HEAD + "artifacts:\n  - {name: a, format: csv}\n",
    HEAD + "artifacts:\n  - {name: a, type: x}\n",
    HEAD + "artifacts:\n  - {name: a, type: x, format: docx}\n",
    HEAD + "artifacts:\n  - {name: a, type: x y, format: csv}\n",
    *(
        HEAD + f"artifacts:\n  - {{name: '{name}', type: x, format: csv}}\n"
        for name in ("a/b", "a\\b", "a:b", "a@b", "a~b", "-a", ".", "..", ".git", ".CAS", "")
    ),
    *(
        HEAD + ARTIFACT + f"{rest}}}\n"
        for rest in (
            "path: /a", "path: ../a", "path: a/../b", "path: 'a\\b'", "path: a//b", "path: 'C:/a'",
            "path: .git/a", "path: a/.cas", "path: .", "required: yes", "required: 'true'",
            "required: 1", "storage: cloud", "uri: 'https://x.y/z'", "size: 1",
            "storage: stored, uri: 'https://x.y/z'", "storage: external, uri: x",
            "checks: []", "checks: {max_size: -1}", "checks: {max_size: big}", "checks: {foo: 1}",
            "checks: {min_size: 1.5B}", "checks: {non_empty: 1}", "checks: {encoding: ebcdic}",
            "checks: {schema: ../x.json}",
        )
    ),
    *(
        HEAD + ONE + f"review: {review}\n"
        for review in (
            "[]", "{approvals: 0}", "{approvals: '2'}", "{approvals: 1.5}", "{reviewers: a}",
            "{reviewers: [a, a]}", "{reviewers: ['']}", "{signed: 1}", "{humans: true}",
        )
    ),
]  # fmt: skip


def valid(text: str) -> bool:
    """Whether the schema accepts the YAML as an editor reads it."""
    ((value, _),) = yaml_documents(text.encode())
    return jsonschema_rs.validator_for(spec_schema()).is_valid(value)


@pytest.mark.parametrize("text", ACCEPTED)
def test_both_accept(text: str) -> None:
    assert faults(text) == []
    assert valid(text)


@pytest.mark.parametrize("text", REFUSED)
def test_both_refuse(text: str) -> None:
    assert faults(text)
    assert not valid(text)


def test_the_schema_is_a_schema() -> None:
    schema = spec_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert jsonschema_rs.meta.is_valid(schema)


def test_the_schema_describes_every_key() -> None:
    def walk(schema: dict[str, object]) -> None:
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        for key, inner in properties.items():
            assert inner.get("description"), key
            walk(inner)
            walk(inner.get("items", {}) if isinstance(inner.get("items"), dict) else {})

    schema = spec_schema()
    walk(schema["properties"]["artifacts"]["items"] | {"then": None})
    walk(schema["properties"]["review"])
