"""The head of a spec, read without a YAML parser: as YAML would read it, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from castore.cli.headers import head_here, read_head
from castore.errors import InvalidInput


def head(text: str) -> tuple[str, str]:
    path = Path("x.spec.yaml")
    path.write_text(text, encoding="utf-8")
    found = read_head(path)
    return found.id, found.store


@pytest.mark.parametrize(
    ("text", "id", "store"),
    [
        ("spec: report\nversion: 1\n", "report", ""),
        ("# first\nspec: report # the id\nstore: ../x/.cas\n", "report", "../x/.cas"),
        ("store: 'it''s'\nspec: \"report\"\n", "report", "it's"),
        ("'spec': report\n\"store\": .cas # here\n", "report", ".cas"),
        ("\ufeffspec:   report   \r\nstore:\r\n", "report", ""),
        ("version: 1\nartifacts:\n  - name: a\n    store: no\n", "", ""),
        ("spec: a#b\nstore: # nothing\n", "a#b", ""),
        ("specs: x\nspec:x\n", "", ""),
        ('{"spec": "report", "store": ".cas"}', "report", ".cas"),
        ("store: s3://bucket/x\nspec: r\n", "r", "s3://bucket/x"),
    ],
)
def test_heads(text: str, id: str, store: str) -> None:
    assert head(text) == (id, store)


@pytest.mark.parametrize("value", ["|", "> folded", '"a\\tb"', "&anchor x", "[a]", "'open", "{a"])
def test_what_is_not_plain_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="spec"):
        head(f"spec: {value}\n")
    with pytest.raises(InvalidInput):
        head("{spec: report")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029"), max_size=30))
def test_as_yaml_reads_it_or_refused(value: str) -> None:
    text = yaml.safe_dump({"spec": value, "store": "s"}, allow_unicode=True, width=1000)
    try:
        assert head(text) == (value, "s")
    except InvalidInput:
        # Escapes, and text that YAML writes over several lines.
        assert "\\" in text or text.count("\n") > 2 or "'\n" in text


def test_the_one_here() -> None:
    assert head_here() is None
    Path("a.spec.yaml").write_text("spec: a\nstore: sub/.cas\n")
    Path("folder.spec.yaml").mkdir()
    found = head_here()
    assert found is not None
    assert found.local_store == Path("sub/.cas")
    Path("b.spec.yml").write_text("spec: b\n")
    assert head_here() is None


def test_a_url_is_no_local_store() -> None:
    Path("a.spec.yaml").write_text("spec: a\nstore: s3://bucket\n")
    found = head_here()
    assert found is not None
    assert found.local_store is None


def test_unreadable() -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_head(Path("absent.spec.yaml"))
