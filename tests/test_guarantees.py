"""The page of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from castore.cli.program import COMMANDS
from castore.model import limits

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
LOSING = ROOT / "docs" / "losing-data.md"
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


def test_every_threat_has_a_test_and_every_limit_exists() -> None:
    table = PAGE.read_text("utf-8").partition("| threat |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split("|") for line in table.splitlines()[2:]]
    assert rows
    for threat, _, bounds, tests in rows:
        assert "`tests/" in tests, threat
        for name, file in re.findall(r"\b([A-Z]\w*_\w+|[A-Z]{4,})\b(?: in `([^`]*)`)?", bounds):
            if file:
                assert f"{name}: Final" in (ROOT / file).read_text("utf-8"), name
            else:
                assert hasattr(limits, name), name


def test_the_page_of_losing_data_names_commands_that_exist_and_is_linked() -> None:
    named = re.findall(r"`cas ([a-z-]+)", LOSING.read_text("utf-8"))
    assert len(named) > 10
    assert set(named) <= set(COMMANDS)
    assert "(losing-data.md)" in PAGE.read_text("utf-8")
    assert "(docs/losing-data.md)" in (ROOT / "README.md").read_text("utf-8")
