"""`cas audit`, `cas reindex`."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from castore.cli.columns import NAMES, SHOWN
from tests.cli.conftest import Cas, write
from tests.cli.test_process import on_terminal


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
    assert cells["SPEC"] == "none"
    assert cells["LIFECYCLE"] == "draft"
    assert cells["ARTIFACTS"] == "metrics.json, pages, summary.md"
    assert "~ claimed" in told.err
    assert cas("audit", "--agent", "writer@8").out == ""
    assert "no versions match" in cas("audit", "--agent", "writer@8").err
    # The help alone says how.
    assert '--agent writer@7 --during "last month"' in cas("audit", "--help").out
    assert cas("audit", "--agent", "writer@7", "--during", "this year", "-q").out == told.out
    assert cas("audit", "--agent", "writer@7", "--during", "last year").out == ""


def test_what_is_not_known_says_so(cas: Cas, two: Path) -> None:
    table = rows(cas("audit", "--columns", "label,agent,trace,sources,id").out)
    first = cas("show", "out@v1", "--json").json
    assert table[2] == ["out@v1", "unknown", "unknown", "none", first["id"]]
    found = cas("audit", "--json").rows
    assert [row["number"] for row in found] == [2, 1]
    assert found[1]["agent"] is None
    assert found[1]["trust"]["agent"] is None
    assert found[0]["trust"]["agent"] == "claimed"
    assert found[1]["spec"]["id"] is None
    logged = cas("log", "out@v2", "-n", "1", "--json").json
    trust = {**logged["trust"], "reviewers": None}
    artifacts = cas("show", "out@v2", "--json").json["artifacts"]
    assert found[0] == {
        **logged,
        "reviewers": [],
        "deployments": [],
        "trust": trust,
        "artifacts": artifacts,
    }


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
    assert found["reviewers"] == [{"by": "bob@example.org", "verdict": "approved", "counts": True}]
    assert found["trust"]["reviewers"] == "claimed"
    cas("audit", "--review", "splendid", code=2)


POLICY = """\
spec: rep
version: "1"
artifacts: [{name: a, type: document, format: text, path: a.txt}]
review: {not_author: true}
"""


def test_who_does_not_count_is_told_apart(cas: Cas) -> None:
    cas("init")
    write("rep.spec.yaml", POLICY)
    write("a.txt", "a\n")
    cas("commit", "-q")
    assert "alice@example.org approved, which does not count" in cas("approve", "rep").err
    told = cas("audit", "--review", "pending", "--json").json
    assert told["reviewers"] == [
        {"by": "alice@example.org", "verdict": "approved", "counts": False}
    ]
    cas("approve", "rep", "--author", "bob@example.org")
    # Also where it is approved without them.
    result = cas("approve", "rep")
    assert "alice@example.org approved, which does not count: the author may not" in result.err
    assert cas("approve", "rep", "--json").json["uncounted"] == {
        "alice@example.org": "does not count: the author may not approve"
    }
    cas("deploy", "rep", "--to", "prod")
    cells = cas("audit", "--deployed", "--columns", "reviewers,deployments").out.splitlines()[1]
    assert cells == ("alice@example.org approved (not counted), bob@example.org approved~  prod")
    assert cas("audit", "--deployed").out.split("\n")[0].endswith("LIFECYCLE  DEPLOYMENTS")
    assert cas("gate", "rep").out.endswith("  approved by bob@example.org; valid\n")


def test_what_was_forgotten_says_so(cas: Cas, two: Path) -> None:
    cas("forget", "out@v1", "-m", "of no use")
    told = rows(cas("audit", "--columns", "label,artifacts,forgotten").out)
    assert told[1][2] == "none"
    assert told[2][:2] == ["out@v1", "forgotten"]
    assert told[2][2].endswith("alice@example.org of no use")
    table = list(csv.DictReader(io.StringIO(cas("audit", "--csv").out)))
    assert [bool(row["forgotten"]) for row in table] == [False, True]


def test_csv_has_every_column_and_what_is_claimed(cas: Cas, two: Path) -> None:
    (Path("out") / "more.txt").write_text("x")
    cas("commit", "-m", 'two\nlines, "quoted"', "out")
    table = list(csv.DictReader(io.StringIO(cas("audit", "--csv").out)))
    assert list(table[0]) == list(NAMES)
    assert [row["number"] for row in table] == ["3", "2", "1"]
    assert table[0]["message"] == 'two\nlines, "quoted"'
    assert table[1]["agent"] == "writer@7"
    assert table[1]["agent_trust"] == "claimed"
    # What is not known and what is not there are empty cells; `none` is a state of review.
    assert {table[2][key] for key in ("agent", "agent_trust", "spec", "trace", "sources")} == {""}
    assert {table[2][key] for key in ("reviewers", "parents", "meta", "checks")} == {""}
    assert (table[2]["review"], table[2]["message"]) == ("none", "first")
    assert table[2]["artifacts"] == "metrics.json, pages, summary.md"
    assert len(table[0]["id"]) == 64
    only = cas("audit", "--csv", "--columns", "label,agent_trust", "-n", "1").out
    assert only == "label,agent_trust\nout@v3,\n"
    assert cas("audit", "--run", "none", "--csv", "--columns", "label").out == "label\n"


def test_options_that_cannot_be_are_refused(cas: Cas, two: Path) -> None:
    error = cas("audit", "--columns", "agnt", "--csv", code=2).err
    assert "agent" in error
    cas("audit", "--columns", ",", code=2)
    cas("audit", "--json", "--csv", code=2)
    cas("audit", "--json", "--columns", "id", code=2)
    assert '"7 days ago", yesterday, "last month"' in cas("audit", "--since", "soon", code=2).err
    cas("audit", "--during", "2d", code=2)
    assert cas("audit", "--since", "1969-01-01").out
    cas("audit", "--source", "nothing@v1", code=3)


@pytest.mark.parametrize("width", [30, 80, 400])
def test_nothing_is_cut_off_on_a_terminal(cas: Cas, two: Path, width: int) -> None:
    cas("approve", "out@v2", "--author", "the-reviewer-of-this@example.org")
    for arguments in (("audit",), ("audit", "--columns", "label,id,artifacts,message,reviewers")):
        code, shown = on_terminal(*arguments, env={"COLUMNS": str(width), "NO_COLOR": "1"})
        assert code == 0
        lines = [line for line in shown.splitlines() if "~ claimed" not in line]
        table = [line for line in lines if "too wide" not in line]
        assert max(map(len, table)) <= width
        assert "…" not in shown
        said = any("columns are too wide for this terminal" in line for line in lines)
        assert said == (table[0].split()[0] != "LABEL") == (width < 400)
        joined = "".join("".join(table).split())
        assert "the-reviewer-of-this@example.orgapproved~" in joined
        assert "metrics.json,pages,summary.md" in joined
        if "message" in arguments[-1]:
            assert "second" in joined
            id = cas("show", "out@v2", "--json").json["id"]
            assert id[:12] in joined
            assert id[:16] not in joined


def test_what_no_version_has_is_told_with_what_is_near(cas: Cas, two: Path) -> None:
    told = cas("audit", "--agent", "writr", "--type", "documnt")
    assert told.out == ""
    assert told.err.splitlines() == [
        "no versions match",
        "no agent is called 'writr'; did you mean writer?",
        "no type 'documnt'; did you mean document?",
    ]
    assert "did you mean" in cas("audit", "--agent", "writr", "--json").error["hint"]
    assert cas("audit", "--agent", "writr", "-q").err == ""
    assert cas("audit", "--agent", "writr", "--csv").err.startswith("no agent")
    # What is known, and not together, is not said to be unknown.
    assert cas("audit", "--agent", "writer@7", "--review", "approved").err == "no versions match\n"
    near = cas("show", "out@aproved", code=2).err
    assert "did you mean @approved?" in near
    assert "did you mean out?" in cas("audit", "--source", "OUT", code=3).err


def test_one_branch_or_what_led_to_a_version(cas: Cas, two: Path) -> None:
    write("else/x.txt", "x")
    cas("commit", "-q", "else")
    assert [row["branch"] for row in cas("audit", "--json").rows] == ["else", "out", "out"]
    assert cas("audit", "out", "--json").rows == cas("audit", "--json").rows[1:]
    assert [row["number"] for row in cas("audit", "out@v1", "--json").rows] == [1]
    assert "no versions match" in cas("audit", "else", "--agent", "writer").err
    error = cas("audit", "oot", "--json", code=3).error
    assert "did you mean out?" in error["message"]


def test_what_used_any_version_of_a_branch(cas: Cas, two: Path) -> None:
    cas("commit", "out", "--name", "used", "--source", "out@v1")
    write("out/more.txt", "x")
    cas("commit", "out", "--name", "used", "--source", "out@v2")

    def told(source: str) -> list[int]:
        return [row["number"] for row in cas("audit", "--source", source, "--json").rows]

    assert (told("out"), told("out@v1"), told("out@latest")) == ([2, 1], [1], [2])
    assert "what would break" in cas("impact", "--help").out
    assert "any of its versions" in cas("impact", "--help").out.replace("\n ", "")


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
