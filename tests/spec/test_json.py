"""JSON: syntax with its place, small or streamed, JSON Lines, and the lines of paths."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from castore.spec.formats.json_stream import NotJson, scan_stream
from castore.spec.formats.json_text import scan
from castore.spec.formats.source import Source
from castore.spec.json_lines import Path, lines_of
from tests.spec.samples import check, format_of, passes


def stream(data: bytes, step: int) -> NotJson | None:
    """What the stream scanner says about `data` in pieces of `step` bytes."""
    try:
        scan_stream(Source(len(data), lambda: io.BytesIO(data)), step)
    except NotJson as error:
        return error
    return None


def whole(data: bytes) -> NotJson | None:
    """What the decoder for small files says."""
    try:
        scan(data)
    except NotJson as error:
        return error
    return None


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [
        (b'{"a": 1,\n "b": }', 2, 7),
        (b"[1,\n2,\n", 3, 1),
        (b'{"a" 1}', 1, 6),
        (b"[1] x", 1, 5),
        (b"nux", 1, 2),
        (b"", 1, 1),
        (b"  \n ", 2, 2),
        (b"[01]", 1, 2),
        (b"[NaN]", 1, 2),
        ('["é", x]'.encode(), 1, 7),
        (b'["\xff"]', 1, 3),
        (b'"a\nb"', 1, 3),
        (b'{"a": 1,}', 1, 9),
        (b"\xef\xbb\xbf{}", 1, 1),
    ],
)
def test_faults_have_a_place(data: bytes, line: int, column: int) -> None:
    error = whole(data)
    assert error is not None
    assert error.line == line
    assert abs(error.column - column) <= 2
    streamed = stream(data, 3)
    assert streamed is not None
    assert streamed.line == line
    assert abs(streamed.column - column) <= 2


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_ends(opening: bytes) -> None:
    error = whole(opening * 100_000)
    assert error is not None
    assert "nested too deeply" in error.detail
    assert stream(opening * 100_000, 4096) is not None


JSONISH = st.lists(
    st.sampled_from(
        [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            '"',
            "a",
            "\\",
            "\\n",
            "\\u00e9",
            "1",
            "0",
            "-",
            ".",
            "e",
            "E+",
            "true",
            "false",
            "null",
            '"a"',
            '"b":',
            "é",
            "\x01",
            "12.5e3",
            "tru",
            "[]",
            "{}",
        ]
    ),
    max_size=14,
)


@example(['""', '"'], 1)
@example(["[]", "tru"], 2)
@given(JSONISH, st.integers(1, 9))
def test_the_stream_agrees_with_the_decoder(pieces: list[str], step: int) -> None:
    data = "".join(pieces).encode()
    one, other = whole(data), stream(data, step)
    assert (one is None) == (other is None), (one, other)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)
INDENTS = st.sampled_from([None, 0, 2])


@given(VALUES, INDENTS, st.booleans(), st.integers(1, 40))
def test_what_json_writes_is_read(
    value: object, indent: int | None, ascii: bool, step: int
) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    assert stream(data, step) is None
    assert whole(data) is None


@given(VALUES, INDENTS, st.data())
def test_bytes_cut_off_are_missed(value: object, indent: int | None, data: st.DataObject) -> None:
    text = json.dumps([value], indent=indent).encode()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert whole(cut) is not None
    assert stream(cut, 5) is not None


def test_big_files_are_streamed() -> None:
    row = b'{"a": [1, 2.5, {"b": null}], "c": "' + b"x" * 200 + b'"},\n'
    rows = b"[" + row * (34 * 1024 * 1024 // len(row))
    assert passes("json", rows + b"0]")
    result = format_of("json", rows + b"0}")
    assert result.line == rows.count(b"\n") + 1
    assert "trailing garbage" in format_of("json", rows + b"0] 2").detail
    assert "ends before" in format_of("json", rows).detail
    result = format_of("json", rows + b'"\xc3"]')
    assert (result.result, result.line) == ("failed", rows.count(b"\n") + 1)


def test_a_huge_string_or_number_is_skipped() -> None:
    for inside in (b'"' + "é\\n".encode() * (9 << 20) + b'"', b"9" * (33 << 20)):
        result = format_of("json", b"[" + inside + b"]")
        assert (result.result, result.line) == ("skipped", 1)
        assert "not read" in result.detail
    lines = b"[" + b"1,\n" * (12 << 20)
    result = format_of("json", lines + b"9" * 5000 + b"]")
    assert (result.result, result.line) == ("skipped", (12 << 20) + 1)


def test_json_lines() -> None:
    assert passes("jsonl", b'{"a": 1}\r\n[1]\n\n"x"')
    results = check("jsonl", b'{"a": 1}\n{"a": }\n\n[1\nx\n"\xff"\n1')
    assert [result.line for result in results] == [2, 4, 5, 6]
    assert all(result.result == "failed" for result in results)
    deep = check("jsonl", b"1\n" + b"[" * 100_000)
    assert [(result.line, result.result) for result in deep] == [(2, "failed")]


def test_a_line_without_end_is_skipped() -> None:
    (result,) = check("jsonl", b'1\n"' + b"x" * (17 << 20) + b'"')
    assert (result.result, result.line) == ("skipped", 2)


def test_many_bad_lines_are_listed_up_to_a_hundred() -> None:
    assert len(check("jsonl", b"x\n" * 1_000_000)) == 101


def test_the_lines_of_paths() -> None:
    data = b'{\n "a": [1,\n  {"b\\u0041": 2,\n   "c": []}],\n "d":\n  {}\n, "e": "x\\"y:[", "f": 3}'
    paths: list[Path] = [
        (),
        ("a",),
        ("a", 0),
        ("a", 1),
        ("a", 1, "bA"),
        ("a", 1, "c"),
        ("d",),
        ("e",),
        ("f",),
        ("g",),
    ]
    assert lines_of(data, paths) == {
        (): 1,
        ("a",): 2,
        ("a", 0): 2,
        ("a", 1): 3,
        ("a", 1, "bA"): 3,
        ("a", 1, "c"): 4,
        ("d",): 6,
        ("e",): 7,
        ("f",): 7,
    }


@given(VALUES)
def test_lines_of_agrees_with_one_value_a_line(value: object) -> None:
    data = json.dumps(value, indent=1).encode()
    paths = list(_paths(value, ()))
    found = lines_of(data, paths)
    assert set(found) == set(paths)
    lines = data.decode().split("\n")
    for path in paths:
        expected = json.dumps(_at(value, path), indent=1).split("\n")[0]
        assert expected in lines[found[path] - 1]


def _paths(value: object, path: Path) -> list[Path]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += _paths(item, (*path, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += _paths(item, (*path, index))
    return found


def _at(value: object, path: Path) -> object:
    for part in path:
        assert isinstance(value, dict | list)
        value = value[part]  # type: ignore[index]
    return value
