"""The page of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
PROMISES = [f"P{number}" for number in range(1, 11)]


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/.-]+\.py)(?:::(\w+))?`", PAGE.read_text("utf-8"))
    assert named
    for file, function in named:
        path = ROOT / file
        assert path.is_file(), file
        assert not function or f"def {function}(" in path.read_text("utf-8"), f"{file}::{function}"


def test_every_promise_names_a_test_or_says_that_it_has_none() -> None:
    sections = re.split(r"^\*\*(P\d+)\*\*", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(found) == PROMISES
    for promise, text in found.items():
        own = text.split("\n## ")[0]
        assert "`tests/" in own or "not yet held by a test" in own.lower(), promise
