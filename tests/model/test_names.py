"""Names: what branches, runs, artifacts and files may be called."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import CorruptObject, InvalidName
from castore.model.names import (
    check_artifact_name,
    check_branch,
    check_path,
    check_segment,
    check_stored_path,
    component_problem,
    near_names,
    nested_paths,
)


@pytest.mark.parametrize(
    "name",
    ["a", "A9", "weekly-report", "a/b", "team/weekly.report_2", "v", "v7a", "v1/x", "x/v1", "7",
     "latest", "a" * 100, "f" * 63, "a..b", "a.lock"],
)  # fmt: skip
def test_branches(name: str) -> None:
    assert check_branch(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/.b", "-a", "_a", "a b", "a@b",
     "a:b", "a~1", "é", "a\n", "a\0", "v7", "v0123", "a" * 101, "f" * 64, "F" * 64, "a\\b",
     "\u0661", "\ud800"],
)  # fmt: skip
def test_names_that_are_no_branches(name: str) -> None:
    with pytest.raises(InvalidName):
        check_branch(name)


def test_a_run_is_one_segment_and_may_read_as_a_version() -> None:
    for name in ("v7", "20261122T101500Z-ab12cd", "123456.1", "r" * 100):
        assert check_segment(name, "run") == name
    for name in ("", "a/b", ".a", "a b", "r" * 101, "a\n"):
        with pytest.raises(InvalidName, match="run"):
            check_segment(name, "run")


@pytest.mark.parametrize(
    "name",
    ["report", "report.md", "Übersicht 2026", "a, b (c)", ".env", "x" * 100, "é" * 50, "..."],
)
def test_artifact_names(name: str) -> None:
    assert check_artifact_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".git", ".GIT", ".Cas", "-x", "a/b", "a\\b", "a:b", "a@b", "a~", "a\tb",
     "a\x7f", "a\u200bb", "a\u202eb", "a\xa0b", "e\u0301", "é" * 51, "a\ud800", "\0"],
)  # fmt: skip
def test_names_that_are_no_artifact_names(name: str) -> None:
    with pytest.raises(InvalidName):
        check_artifact_name(name)


@pytest.mark.parametrize(
    "path", ["a", "a/b.c", "out/Übersicht.md", "a b/c", "ab:c/d", "d/" * 255 + "f"]
)
def test_places(path: str) -> None:
    assert check_path(path) == path
    check_stored_path(path, "set")


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "./a", "..", "a/..", "a/../b", "a\\b", "C:/x", "c:x", "a\0b",
     "a\nb", ".git/hooks/x", "a/.GIT", ".cas", "x" * 256, "d/" * 256 + "f", "\udcff", "a\ud800",
     "x/" * 2048 + "y"],
)  # fmt: skip
def test_paths_that_are_no_places(path: str) -> None:
    with pytest.raises(InvalidName):
        check_path(path)


@given(st.text())
def test_a_place_that_may_be_given_may_be_stored(path: str) -> None:
    try:
        check_path(path)
    except InvalidName:
        return
    check_stored_path(path, "set")


@pytest.mark.parametrize("check", [check_branch, check_artifact_name, check_path])
@given(name=st.text(st.characters()))
def test_any_text_is_accepted_or_refused_with_one_error(
    check: Callable[[str], str], name: str
) -> None:
    with contextlib.suppress(InvalidName):
        assert check(name) == name


@given(st.binary(max_size=300))
def test_components_that_are_accepted_are_safe(name: bytes) -> None:
    if component_problem(name) == "":
        assert 1 <= len(name) <= 255
        assert not {b"/"[0], 0} & set(name)
        assert name.decode() not in (".", "..")


def test_stored_paths_that_climb_are_corrupt() -> None:
    for path in ("..", "/a", "a//b", "", "a/./b"):
        with pytest.raises(CorruptObject, match="set: path"):
            check_stored_path(path, "set")


@given(st.lists(st.lists(st.sampled_from("ab-"), min_size=1, max_size=3).map("/".join), max_size=8))
def test_nested_places_are_found_exactly(paths: list[str]) -> None:
    expected = any(
        one == other or other.startswith(one + "/")
        for i, one in enumerate(paths)
        for j, other in enumerate(paths)
        if i != j
    )
    found = nested_paths(paths)
    assert (found is not None) == expected
    if found is not None:
        assert found[0] == found[1] or found[1].startswith(found[0] + "/")


def test_near_names_are_told_whatever_their_case() -> None:
    assert near_names("REPRT", ["report", "Report", "sales"]) == "; did you mean report or Report?"
    assert near_names("x", ["report"]) == ""
    assert near_names("reports", [f"report{n}" for n in range(9)]).count("report") == 3
