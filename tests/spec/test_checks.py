"""check_artifact: which checks run, and what each result says."""

from __future__ import annotations

import io
import warnings
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.spec.checks import DETAIL_CHARACTERS, check_artifact
from castore.spec.declaration import FORMATS, Checks, Declared
from castore.spec.results import CheckResult
from tests.spec.samples import check, passes, sound

SOUND = sound()


@pytest.mark.parametrize("format", sorted(SOUND))
def test_sound_files_pass(format: str) -> None:
    assert passes(format, SOUND[format])


@pytest.mark.parametrize("format", sorted(set(SOUND) - {"binary"}))
def test_other_bytes_fail(format: str) -> None:
    (result,) = check(format, b"\xff\xfe\0 neither this nor that \xff")
    assert result.result == "failed"
    assert result.detail


@pytest.mark.parametrize(
    "format", sorted(set(SOUND) - {"binary", "markdown", "html", "text", "python", "yaml", "toml"})
)
def test_empty_files_fail(format: str) -> None:
    (result,) = check(format, b"")
    assert (result.result, result.detail) == ("failed", f"is empty, which no {format} file is")


@pytest.mark.parametrize(
    "format", ["pdf", "png", "gif", "webp", "jpeg", "zip", "sqlite", "json", "xml"]
)
def test_files_cut_short_fail(format: str) -> None:
    data = SOUND[format]
    (result,) = check(format, data[: len(data) * 2 // 3])
    assert result.result == "failed"


def test_every_format_has_a_sound_sample() -> None:
    assert set(SOUND) == set(FORMATS) - {"folder"}


def test_folders() -> None:
    assert check("folder", b"", is_folder=True) == [CheckResult("format", "passed")]
    assert check("csv", b"", is_folder=True, path="x/*.csv") == [CheckResult("format", "passed")]
    (result,) = check("csv", b"", is_folder=True, path="x")
    assert result.result == "failed"
    assert "`path: x/*`" in result.detail
    assert check("folder", b"x")[0].result == "failed"
    assert check("folder", b"x", path="x/*")[0].result == "passed"


def test_the_checks_of_a_glob_are_for_its_files() -> None:
    asked: dict[str, Any] = {"schema": "{}", "min_size": 9, "encoding": "ascii", "non_empty": True}
    folder = check("json", b"", is_folder=True, path="x/*.json", **asked)
    assert [(one.check, one.result) for one in folder] == [
        ("format", "passed"),
        ("non_empty", "failed"),
    ]
    file = check("json", b"{}", path="x/*.json", **asked)
    assert [one.check for one in file] == ["format", "schema", "min_size", "non_empty", "encoding"]


@pytest.mark.parametrize(("size", "result"), [(3, "passed"), (2, "failed")])
def test_max_size(size: int, result: str) -> None:
    assert check("binary", b"abc", max_size=size)[1].result == result


@pytest.mark.parametrize(("size", "result"), [(3, "passed"), (4, "failed")])
def test_min_size(size: int, result: str) -> None:
    assert check("binary", b"abc", min_size=size)[1].result == result


@pytest.mark.parametrize(
    ("format", "data", "result"),
    [
        ("text", b" \n\t", "failed"),
        ("text", b" \n" * 200_000 + b"x", "passed"),
        ("text", b"", "failed"),
        ("binary", b" ", "passed"),
        ("binary", b"", "failed"),
    ],
)
def test_non_empty(format: str, data: bytes, result: str) -> None:
    assert check(format, data, non_empty=True)[1].result == result


@pytest.mark.parametrize(
    ("encoding", "data", "result"),
    [
        ("utf-8", "é".encode(), "passed"),
        ("utf-8", b"a\n\n\xe9", "failed"),
        ("ascii", "é".encode(), "failed"),
        ("latin-1", b"\xe9", "passed"),
        ("windows-1252", b"\x81", "failed"),
        ("utf-16", "é".encode("utf-16"), "passed"),
        ("utf-16", b"abc", "failed"),
    ],
)
def test_encoding(encoding: str, data: bytes, result: str) -> None:
    both = check("text", data, encoding=encoding)
    assert [one.result for one in both] == [result, result]
    if b"\n\n" in data:
        assert both[1].line == 3


def test_the_encoding_of_a_table_is_used_to_read_it() -> None:
    assert check("csv", "a,é\n1,ü\n".encode("latin-1"), encoding="latin-1")[0].result == "passed"
    assert check("csv", "a,é\n1,ü\n".encode("latin-1"))[0].result == "failed"


def test_skipped_checks_say_why() -> None:
    results = check("png", SOUND["png"], encoding="utf-8", schema="{}")
    assert [(one.check, one.result) for one in results] == [
        ("format", "passed"),
        ("schema", "skipped"),
        ("encoding", "skipped"),
    ]
    assert all(one.detail for one in results[1:])


def test_all_checks_of_an_artifact_are_reported() -> None:
    results = check(
        "json", b'{"a": }', schema="{}", max_size=1, min_size=9, non_empty=True, encoding="ascii"
    )
    assert [(one.check, one.result) for one in results] == [
        ("format", "failed"),
        ("schema", "skipped"),
        ("max_size", "failed"),
        ("min_size", "failed"),
        ("non_empty", "passed"),
        ("encoding", "passed"),
    ]


class Dribble(io.BytesIO):
    """A reader that never gives more than three bytes at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size is None or size < 0 else min(size, 3))


@pytest.mark.parametrize("format", sorted(set(SOUND) - {"zip"}))
def test_readers_may_give_less_than_asked(format: str) -> None:
    data = SOUND[format]
    declared = Declared("a", "x", format, "a", checks=Checks(encoding="utf-8"))

    def open() -> BinaryIO:
        return Dribble(data)

    results = check_artifact(declared, size=len(data), open=open, schema=None, is_folder=False)
    assert all(result.result != "failed" for result in results)


def test_errors_of_the_reader_pass_through() -> None:
    def open() -> BinaryIO:
        raise OSError(5, "gone")

    for format in sorted(set(SOUND) - {"binary"}):
        declared = Declared("a", "x", format, "a")
        with pytest.raises(OSError, match="gone"):
            check_artifact(declared, size=9, open=open, schema=None, is_folder=False)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"folder"}))
@given(data=st.data())
def test_no_bytes_make_a_check_raise(format: str, data: st.DataObject) -> None:
    _never_raises(format, data.draw(st.binary(max_size=300)))


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"folder"}))
@given(data=st.data())
def test_no_damage_makes_a_check_raise(format: str, data: st.DataObject) -> None:
    whole = SOUND[format]
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 8))
    _never_raises(format, whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + cut :])


def _never_raises(format: str, data: bytes) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = check(format, data, schema='{"type": "object"}', non_empty=True, encoding="utf-8")
    assert not caught
    assert results[0].check == "format"
    assert (
        check(format, data, schema='{"type": "object"}', non_empty=True, encoding="utf-8")
        == results
    )
    for result in results:
        assert result.result in ("passed", "failed", "skipped")
        assert result.detail or result.result == "passed"
        assert len(result.detail) <= DETAIL_CHARACTERS
        assert result.detail.isprintable()
        assert result.line is None or result.line >= 1
