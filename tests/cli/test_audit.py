"""`cas audit`, `cas reindex`."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from castore.cli.columns import NAMES, SHOWN
from tests.cli.conftest import Cas


def rows(text: str) -> list[list[str]]:
    """The cells of a table, which are two spaces or more apart."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_one_command_answers_what_an_agent_made(cas: Cas, two: Path) -> None:
    told = cas("audit", "--agent", "writer@7", "--since", "30d")
    head, only = rows(told.out)
    assert head == [name.upper() for name in SHOWN]
    cells = dict(zip(head, only, strict=True))
    assert cells["LABEL"] == "out@v2"
    assert cells["AGENT"] == "writer@7~"
    assert cells["AUTHOR"] == "alice@example.org~"
    assert cells["SPEC"] == "out"
    assert "~ claimed" in told.err
    assert cas("audit", "--agent", "writer@8").out == ""
    assert "no versions match" in cas("audit", "--agent", "writer@8").err
    # The help alone says how.
    assert "--agent writer@7 --since 2026-10-01 --until 2026-10-31" in cas("audit", "--help").out


def test_what_is_not_known_says_so(cas: Cas, two: Path) -> None:
    table = rows(cas("audit", "--columns", "label,agent,trace,sources,id").out)
    first = cas("show", "out@v1", "--json").json
    assert table[2] == ["out@v1", "unknown", "unknown", "none", first["id"][:12]]
    found = cas("audit", "--json").rows
    assert [row["number"] for row in found] == [2, 1]
    assert found[1]["agent"] is None
    assert found[1]["trust"]["agent"] is None
    assert found[0]["trust"]["agent"] == "claimed"
    logged = cas("log", "out@v2", "-n", "1", "--json").json
    trust = {**logged["trust"], "reviewers": None}
    assert found[0] == {**logged, "reviewers": [], "trust": trust}


def test_reviews_are_told_and_asked_for(cas: Cas, two: Path) -> None:
    cas("approve", "out@v1", "--author", "bob@example.org")
    cas("mark", "out@v2", "withdrawn")
    told = rows(cas("audit", "--review", "approved", "--columns", "label,review,reviewers").out)
    assert told[1:] == [["out@v1", "approved", "bob@example.org approved~"]]
    assert [row["number"] for row in cas("audit", "--lifecycle", "withdrawn", "--json").rows] == [2]
    assert [row["number"] for row in cas("audit", "--lifecycle", "draft", "--json").rows] == [1]
    assert [row["number"] for row in cas("audit", "--review", "none", "--json").rows] == [2]
    asked = ("audit", "--review", "approved", "--agent", "writer", "--json")
    assert cas(*asked).rows == []
    found = cas("audit", "--review", "approved", "--json").json
    assert found["reviewers"] == [{"by": "bob@example.org", "verdict": "approved"}]
    assert found["trust"]["reviewers"] == "claimed"
    cas("audit", "--review", "splendid", code=2)


def test_csv_has_every_column_and_what_is_claimed(cas: Cas, two: Path) -> None:
    (Path("out") / "more.txt").write_text("x")
    cas("commit", "-m", 'two\nlines, "quoted"', "out")
    table = list(csv.DictReader(io.StringIO(cas("audit", "--csv").out)))
    assert list(table[0]) == list(NAMES)
    assert [row["number"] for row in table] == ["3", "2", "1"]
    assert table[0]["message"] == 'two\nlines, "quoted"'
    assert table[1]["agent"] == "writer@7"
    assert table[1]["agent_trust"] == "claimed"
    assert table[2]["agent"] == table[2]["agent_trust"] == "unknown"
    assert len(table[0]["id"]) == 64
    only = cas("audit", "--csv", "--columns", "label,agent_trust", "-n", "1").out
    assert only == "label,agent_trust\nout@v3,unknown\n"
    assert cas("audit", "--run", "none", "--csv", "--columns", "label").out == "label\n"


def test_options_that_cannot_be_are_refused(cas: Cas, two: Path) -> None:
    error = cas("audit", "--columns", "agnt", "--csv", code=2).err
    assert "agent" in error
    cas("audit", "--columns", ",", code=2)
    cas("audit", "--json", "--csv", code=2)
    cas("audit", "--json", "--columns", "id", code=2)
    cas("audit", "--since", "never", code=2)
    cas("audit", "--source", "nothing@v1", code=3)


def test_a_terminal_is_told_nothing_that_hides(cas: Cas, two: Path) -> None:
    cas("commit", "-m", "x", "--agent", "evil\x1b[2J@1", "--meta", "k=v", "out")
    assert "\x1b" not in cas("audit").out
    assert "\\x1b" in cas("audit").out
    assert "\x1b" not in cas("audit", "--csv").out


def test_reindex(cas: Cas, two: Path) -> None:
    told = cas("reindex")
    assert re.search(r"lookup: [1-9]\d* rows", told.out)
    found = cas("reindex", "--json").json
    assert found["indexes"] == found["indexes_before"]
    assert found["rows"]["objects"] > 3
    cas("fsck", "--full")


@pytest.mark.parametrize("flag", ["--csv", "--json", ""])
def test_an_empty_store_has_an_empty_audit(cas: Cas, flag: str) -> None:
    cas("init")
    out = cas("audit", *([flag] if flag else []), "--agent", "writer").out
    assert len(out.splitlines()) == (flag == "--csv")
