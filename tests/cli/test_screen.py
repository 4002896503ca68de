"""Text for a screen: escaping, sizes, columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.cli.screen import (
    clean,
    clean_lines,
    clip,
    columns,
    first_line,
    fold,
    plural,
    short_ids,
    size,
    width,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain and ünïcode 日本", "plain and ünïcode 日本"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("over\rwrite", r"over\rwrite"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_what_is_clean_is_printable_and_stays(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert clean(shown) == shown


def test_lines_of_a_message() -> None:
    assert clean_lines("one\n\ttwo\x1b\n\n") == ["one", "    two\\x1b"]
    assert first_line("\n\n  head\nmore") == "head"
    assert first_line("") == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (-1, "unknown"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (1_234_567, "1.2 MB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (999_999_999, "1.0 GB"),
        (10**18, "1.0 EB"),
        (5 * 10**21, "5000.0 EB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


def test_plural() -> None:
    assert [plural(n, "file") for n in (0, 1, 2, 12_000)] == [
        "0 files", "1 file", "2 files", "12,000 files",
    ]  # fmt: skip
    assert plural(2, "entry", "entries") == "2 entries"


def test_columns_are_aligned_by_what_the_eye_sees() -> None:
    lines = columns([("日本", "1"), ("a", "12"), ("e\u0301", "")], right=[1])
    assert lines == ["日本   1", "a     12", "e\u0301"]
    assert columns([]) == []


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])), st.integers(1, 30))
def test_clip_fits(text: str, room: int) -> None:
    assert width(clip(text, room)) <= room
    if width(text) <= room:
        assert clip(text, room) == text


def test_clip_to_nothing_is_no_clip() -> None:
    assert clip("text", 0) == "text"


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])), st.integers(6, 90))
def test_what_is_folded_fits_and_is_all_there(text: str, limit: int) -> None:
    lines = fold(text, limit, "    ")
    assert all(width(line) <= limit for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    if width(text) <= limit:
        assert lines == [text]


def test_lines_are_folded_at_spaces() -> None:
    assert fold("one two three four", 11, "  ") == ["one two", "  three", "  four"]
    assert fold("abcdefgh", 5, " ") == ["abcde", " fgh"]


def test_ids_are_cut_wherever_they_stand() -> None:
    id = "0123456789abcdef" * 4
    assert short_ids(id) == id[:12]
    assert short_ids(f'["{id}", "x"] {id}:a') == f'["{id[:12]}", "x"] {id[:12]}:a'
    for other in (id[:-1], id + "0", "g" * 64, f"x{id}"):
        assert short_ids(other) == other
