"""Globs: which paths match, and where the folder of a pattern begins."""

from __future__ import annotations

import pytest

from castore.content.globs import match_glob, split_glob
from castore.errors import InvalidInput


@pytest.mark.parametrize(
    ("pattern", "place", "rest"),
    [
        ("out/*.md", "out", "*.md"),
        ("*.md", "", "*.md"),
        ("a/b/part-?/x.csv", "a/b", "part-?/x.csv"),
        ("a/**/x", "a", "**/x"),
        ("plain/file.txt", "plain/file.txt", ""),
        ("a/[xy]", "a", "[xy]"),
    ],
)
def test_a_pattern_is_split_before_its_first_wildcard(pattern: str, place: str, rest: str) -> None:
    assert split_glob(pattern) == (place, rest)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.md", ["a.md", "b.c.md"], ["a.txt", "x/a.md", ".md", ".a.md", "a.md\n"]),
        (".*", [".hidden"], ["shown"]),
        ("?.txt", ["a.txt", "é.txt"], ["ab.txt", ".txt", "/.txt"]),
        ("part-[0-9]/x", ["part-3/x"], ["part-a/x", "part-33/x", "part-3/y"]),
        ("[!a]x", ["bx"], ["ax", "/x"]),
        ("[]]x", ["]x"], ["ax"]),
        ("[a^&|~]", ["^", "&", "a"], ["b"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax", "a/.b/x", "x/y"]),
        ("**", ["x", "a/b/c"], [".git/x", "a/.b"]),
        ("a/**/b/*.c", ["a/b/x.c", "a/1/2/b/x.c"], ["a/b/c/x.c", "b/x.c"]),
        ("a+(b).txt", ["a+(b).txt"], ["aab.txt"]),
        ("*", ["x", "two words"], ["x/y", ""]),
    ],
)
def test_what_a_pattern_matches(pattern: str, matching: list[str], other: list[str]) -> None:
    match = match_glob(pattern)
    assert [path for path in matching if not match(path)] == []
    assert [path for path in other if match(path)] == []


@pytest.mark.parametrize("broken", ["a//b*", "a**b", "[abc", "x/[z-a]", "", "a/"])
def test_a_broken_pattern_is_refused(broken: str) -> None:
    with pytest.raises(InvalidInput, match="pattern"):
        match_glob(broken)
