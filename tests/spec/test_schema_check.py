"""JSON Schema: every violation with path and line, nothing fetched, nothing that blows up."""

from __future__ import annotations

import io
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.spec.checks import check_artifact
from castore.spec.declaration import Checks, Declared
from castore.spec.results import CheckResult
from castore.spec.schema_cost import measure, shape_of
from castore.spec.yaml_values import yaml_documents
from tests.spec.samples import check

ROWS = json.dumps(
    {
        "type": "object",
        "required": ["rows"],
        "properties": {
            "rows": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
                },
            }
        },
    }
)


def schema_results(format: str, data: bytes | str, schema: str) -> list[CheckResult]:
    """The results of the schema check alone."""
    raw = data.encode() if isinstance(data, str) else data
    return [one for one in check(format, raw, schema=schema) if one.check == "schema"]


def test_every_violation_has_path_and_line() -> None:
    data = '{"rows": [\n {"id": 1},\n {"id": "x",\n  "name": 2},\n {"odd name": 1},\n 5\n]}'
    found = schema_results("json", data, ROWS)
    assert [(one.line, one.detail.split(":")[0]) for one in found] == [
        (3, "$.rows[1].id"),
        (4, "$.rows[1].name"),
        (5, "$.rows[2]"),
        (6, "$.rows[3]"),
    ]
    assert '"id" is a required property' in found[2].detail


def test_a_sound_file_passes() -> None:
    assert schema_results("json", '{"rows": [{"id": 1}]}', ROWS) == [
        CheckResult("schema", "passed")
    ]


def test_json_lines_are_validated_one_by_one() -> None:
    found = schema_results("jsonl", '{"rows": []}\n\n{}\n{"rows": 1}\n', ROWS)
    assert [one.line for one in found] == [3, 4]


def test_yaml_is_validated_with_lines() -> None:
    data = "rows:\n  - id: 1\n    name: x\n  - id: NO\n  - {id: 2,\n     name: 3}\n"
    found = schema_results("yaml", data, ROWS)
    assert [(one.line, one.detail.split(":")[0]) for one in found] == [
        (4, "$.rows[1].id"),
        (6, "$.rows[2].name"),
    ]
    assert schema_results("yaml", "rows: []\n---\nrows: [{id: 0x10}]\n", ROWS)[0].result == "passed"


@pytest.mark.parametrize("data", ["a: &x 1\nb: *x\n", "a: !t 1\n", "<<: {a: 1}\n", "[a]: 1\n"])
def test_yaml_without_one_evident_value_is_skipped(data: str) -> None:
    (result,) = schema_results("yaml", data, ROWS)
    assert (result.result, result.line) == ("skipped", 2 if "\nb" in data else 1)


def test_toml_is_validated() -> None:
    assert schema_results("toml", "[[rows]]\nid = 1\n", ROWS)[0].result == "passed"
    (result,) = schema_results("toml", "rows = [{id = 2026-01-01T00:00:00}]\n", ROWS)
    assert result.detail.startswith("$.rows[0].id: ")


def test_the_core_schema_of_yaml() -> None:
    text = "[~, true, No, 1, -2, 0o17, 0x1F, 1.5, 1e3, .5, .inf, 1_0, 2026-01-01, '1', \"\"]"
    ((value, _),) = yaml_documents(text.encode())
    assert value == [
        None, True, "No", 1, -2, 15, 31, 1.5, 1000.0, 0.5, ".inf", "1_0", "2026-01-01", "1", "",
    ]  # fmt: skip


REFERENCES = [
    "http://127.0.0.1:9/x.json",
    "https://example.org/x",
    "file:///etc/passwd",
    "other.json",
]


@pytest.mark.parametrize("uri", REFERENCES)
def test_nothing_is_fetched(uri: str) -> None:
    schema = json.dumps({"properties": {"a": {"$ref": uri}}})
    (result,) = schema_results("json", "{}", schema)
    assert result.result == "failed"
    assert uri in result.detail
    assert "never fetches" in result.detail


def test_references_inside_and_to_the_published_drafts_work() -> None:
    schema = json.dumps({"$defs": {"a/b": {"type": "string"}}, "items": {"$ref": "#/$defs/a~1b"}})
    assert len(schema_results("json", '["x", 1, 2]', schema)) == 2
    meta = json.dumps({"$ref": "https://json-schema.org/draft/2020-12/schema"})
    assert schema_results("json", '{"type": "object"}', meta)[0].result == "passed"
    assert schema_results("json", '{"type": "strin"}', meta)[0].result == "failed"


@pytest.mark.parametrize(
    "schema",
    ["", "{", "[]", "3", '{"type": "strin"}', '{"pattern": "("}', '{"$schema": "https://x.y/z"}',
     '{"$ref": "#/$defs/x"}', "[" * 100_000, '{"pattern": "(((a{1,1000}){1,1000}){1,1000})"}',
     '{"description": "' + "x" * (1 << 20) + '"}', '{"not":' * 500 + "{}" + "}" * 500],
)  # fmt: skip
def test_schemas_that_cannot_be_used(schema: str) -> None:
    (result,) = schema_results("json", "1", schema)
    assert result.result == "failed"
    assert "'a.schema.json' cannot be used" in result.detail


def test_a_missing_schema_file_fails() -> None:
    declared = Declared("a", "x", "json", "a", checks=Checks(schema="a.schema.json"))
    results = check_artifact(
        declared, size=2, open=lambda: io.BytesIO(b"{}"), schema=None, is_folder=False
    )
    assert (results[1].result, results[1].detail) == (
        "failed",
        "the schema file 'a.schema.json' is not there",
    )


def and_or(depth: int, leaf: str) -> str:
    """A value `depth` deep under the schema TREES."""
    return '{"op": "or", "args": [' * depth + leaf + "]}" * depth


TREES = json.dumps(
    {
        "$defs": {
            kind: {"properties": {"args": {"items": {"$ref": "#"}}, "op": {"const": kind}}}
            for kind in ("and", "or")
        },
        "type": "object",
        "anyOf": [{"$ref": "#/$defs/and"}, {"$ref": "#/$defs/or"}],
    }
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("depth", [1, 4, 8, 16, 20, 40, 200])
def test_branching_schemas_never_run_away(depth: int) -> None:
    (result,) = schema_results("json", and_or(depth, '{"op": "xor"}'), TREES)
    assert result.result == "skipped" if depth > 30 else "failed"
    assert schema_results("json", and_or(3, '{"op": "and"}'), TREES)[0].result == "passed"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("levels", [12, 24, 200])
def test_schemas_that_double_at_every_level_never_run_away(levels: int) -> None:
    definitions: dict[str, Any] = {"a0": {"type": "string"}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/a{level - 1}"}
        definitions[f"a{level}"] = {"allOf": [below, below]}
    schema = json.dumps({"$defs": definitions, "$ref": f"#/$defs/a{levels - 1}"})
    results = schema_results("json", "1", schema)
    assert all(one.result in ("failed", "skipped") for one in results)


@pytest.mark.parametrize(
    "schema",
    ['{"$ref": "#"}', '{"allOf": [{"$ref": "#"}]}', '{"not": {"$ref": "#"}}',
     '{"$dynamicAnchor": "x", "$dynamicRef": "#x"}',
     '{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}'],
)  # fmt: skip
def test_schemas_that_go_round_in_circles_end(schema: str) -> None:
    (result,) = schema_results("json", "1", schema)
    assert result.result in ("passed", "failed", "skipped")


@pytest.mark.timeout(60)
def test_patterns_that_backtrack_end() -> None:
    value = json.dumps(["a" * 3000 + "!"] * 50)
    for pattern in ("^(a+)+$", "^(?=(a+))(a+)+\\1b$"):
        found = schema_results("json", value, json.dumps({"items": {"pattern": pattern}}))
        assert len(found) == 50
        assert all(one.result == "failed" for one in found)


@pytest.mark.timeout(60)
def test_very_many_violations_are_not_all_listed() -> None:
    schema = '{"items": {"type": "string"}}'
    found = schema_results("json", "[" + "1," * 5000 + "1]", schema)
    assert len(found) == 1001
    (result,) = schema_results("json", "[" + "1," * 300_000 + "1]", schema)
    assert "too big" in result.detail
    (result,) = schema_results("json", "[" + "1," * 600_000 + "1]", schema)
    assert result.result == "skipped"


def test_recursive_schemas_over_wide_and_deep_values_are_validated() -> None:
    schema = '{"type": ["array", "integer"], "items": {"$ref": "#"}}'
    deep = "[" * 300 + "1" + "]" * 300
    assert schema_results("json", deep, schema)[0].result == "passed"
    wide = "[" + ",".join(["[1, 2, 3]"] * 20_000) + "]"
    assert schema_results("json", wide, schema)[0].result == "passed"


def test_the_bound_on_steps() -> None:
    flat = shape_of({"properties": {"a": {"type": "string"}, "b": {"items": {"type": "integer"}}}})
    size = measure({"a": "x", "b": [1, 2, 3]})
    assert size == (6, 3)
    assert flat.branches(size) == 1
    assert flat.steps(size) <= 6 * 3
    double = shape_of({"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {}}})
    assert double.branches(measure(1)) == 2
    trees = shape_of(json.loads(TREES))
    assert trees.branches(measure(json.loads(and_or(5, "{}")))) >= 2**5


SCHEMAS = st.recursive(
    st.sampled_from(
        [{}, True, False, {"type": "string"}, {"type": "integer"}, {"const": 1}, {"$ref": "#"}]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("ab"), inner)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=8,
)
INSTANCES = st.recursive(
    st.sampled_from([None, 1, "x", 2.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=8,
)


@given(SCHEMAS, INSTANCES)
def test_the_verdict_is_that_of_the_library(schema: Any, value: Any) -> None:
    results = schema_results("json", json.dumps(value), json.dumps(schema))
    expected = jsonschema_rs.validator_for(schema).is_valid(value)
    if results[0].result != "skipped":
        assert (results[0].result == "passed") == expected
        assert all(one.line == 1 for one in results if one.result == "failed")
