"""Guessing formats, and drafting a spec from what is there."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import InvalidInput, InvalidName
from castore.model.names import check_artifact_name
from castore.spec.declaration import FORMATS, TYPES
from castore.spec.guess import guess_format
from castore.spec.init import draft_spec
from castore.spec.parse import parse_spec
from tests.spec.samples import check, sound


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.md", ("markdown", "document")),
        ("a/b.c/DATA.CSV", ("csv", "dataset")),
        ("x.tar.gz", ("tar", "export")),
        ("x.tgz", ("tar", "export")),
        ("x.v2.json", ("json", "dataset")),
        ("junit.xml", ("xml", "test-result")),
        ("main.py", ("python", "code")),
        ("main.rs", ("text", "code")),
        ("note.ipynb", ("json", "analysis")),
        ("setup.cfg", ("text", "config")),
        ("report.docx", ("zip", "document")),
        ("site/", ("folder", "export")),
        ("unknown", ("binary", "export")),
        ("a.b/unknown", ("binary", "export")),
        (".hidden", ("binary", "export")),
        ("", ("binary", "export")),
    ],
)
def test_names_tell(name: str, expected: tuple[str, str]) -> None:
    assert guess_format(name) == expected


@pytest.mark.parametrize("format", sorted(set(sound()) - {"binary", "html"}))
def test_bytes_tell_where_the_name_does_not(format: str) -> None:
    texts = ("markdown", "json", "jsonl", "csv", "tsv", "yaml", "toml", "python")
    expected = "text" if format in texts else format
    assert guess_format("output", sound()[format])[0] == expected


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"#!/usr/bin/env python3\n", "python"),
        (b"<!DOCTYPE html><p>", "html"),
        ("é".encode()[:1] + b"x", "binary"),
        (b"x" * 100 + "é".encode()[:1], "text"),
        (b"a\0b", "binary"),
        (b"plain", "text"),
    ],
)
def test_heads_tell(head: bytes, format: str) -> None:
    assert guess_format("output", head)[0] == format


def test_a_db_is_sqlite_only_by_its_bytes() -> None:
    assert guess_format("x.db")[0] == "sqlite"
    assert guess_format("x.db", sound()["sqlite"])[0] == "sqlite"
    assert guess_format("x.db", b"\0\1\2")[0] == "binary"


@given(st.text(max_size=30), st.binary(max_size=40))
def test_every_guess_is_a_known_word(name: str, head: bytes) -> None:
    format, type = guess_format(name, head)
    assert format in FORMATS
    assert type in TYPES


def test_a_draft() -> None:
    text = draft_spec(
        "weekly",
        [
            ("summary.md", "summary.md", b"# x", False),
            ("data", "out/data.csv", None, False),
            ("site", "site", None, True),
            ("NO", "1.10", b"\0", False),
        ],
    )
    assert text == (
        'spec: weekly\nversion: "1"\nstore: .cas\nartifacts:\n'
        "  - name: summary.md\n    type: document\n    format: markdown\n"
        "  - name: data\n    type: dataset\n    format: csv\n    path: out/data.csv\n"
        "  - name: site\n    type: export\n    format: folder\n"
        '  - name: "NO"\n    type: export\n    format: binary\n    path: "1.10"\n'
    )
    spec = parse_spec(text.encode())
    assert [(a.name, a.path) for a in spec.artifacts][3] == ("NO", "1.10")


def test_names_with_wildcards_are_drafted_as_they_are() -> None:
    spec = parse_spec(draft_spec("a", [("[id].tsx", "[id].tsx", None, False)]).encode())
    assert (spec.artifacts[0].path, spec.artifacts[0].is_glob) == ("[id].tsx", False)


def test_what_cannot_be_declared() -> None:
    with pytest.raises(InvalidInput, match="glob"):
        draft_spec("a", [("x", "a/[id].tsx", None, False)])
    with pytest.raises(InvalidInput, match="no files"):
        draft_spec("a", [])
    for id, name, path in (("v7", "a", "a"), ("a", "a:b", "a"), ("a", "a", "../a")):
        with pytest.raises(InvalidName):
            draft_spec(id, [(name, path, None, False)])


def _declarable(name: str) -> bool:
    try:
        check_artifact_name(name)
    except InvalidName:
        return False
    return name == name.strip()


NAMES = st.text(
    st.one_of(st.sampled_from(string.printable + "éß漢🎉#&*!|>%?'\"[]{},"), st.characters()),
    min_size=1,
    max_size=12,
).filter(_declarable)
IDS = st.from_regex(r"[A-Za-uw-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)


@given(
    IDS,
    st.dictionaries(
        NAMES, st.tuples(st.booleans(), st.none() | st.binary(max_size=20)), min_size=1
    ),
)
def test_a_draft_parses_to_what_was_drafted(
    id: str, found: dict[str, tuple[bool, bytes | None]]
) -> None:
    entries = [(name, name, sample, folder) for name, (folder, sample) in found.items()]
    spec = parse_spec(draft_spec(id, entries).encode())
    assert spec.id == id
    assert [artifact.name for artifact in spec.artifacts] == [name for name, *_ in entries]
    assert [artifact.place for artifact in spec.artifacts] == [path for _, path, *_ in entries]
    assert all(not a.is_glob and a.required and a.storage == "stored" for a in spec.artifacts)


@given(st.sampled_from(sorted(set(sound()) - {"parquet", "arrow"})))
def test_a_guess_from_name_and_bytes_is_one_the_file_passes(format: str) -> None:
    data = sound()[format]
    guessed, _ = guess_format("output", data)
    assert all(result.result == "passed" for result in check(guessed, data))
