"""`cas log`, `show`, `branch`, `tag`, `op log`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import SPEC, Cas, write


def labels(cas: Cas, *arguments: str) -> list[str]:
    """The versions a log shows, as `branch@vN`."""
    rows = cas("log", *arguments, "--json").rows
    return [f"{row['branch']}@v{row['number']}" for row in rows]


@pytest.fixture
def many(cas: Cas, two: Path) -> Path:
    """Two branches, a tag, agents, authors and a spec."""
    write("report.spec.yaml", SPEC)
    write("summary.md", "# S\n")
    write("metrics.json", "{}\n")
    cas("commit", "--author", "bob@example.org", "-m", "by spec")
    cas("tag", "first-draft", "out@v1", "-m", "for the record")
    return two


def test_log(cas: Cas, two: Path) -> None:
    lines = cas("log").out.splitlines()
    second = cas("show", "out@v2", "--json").json
    assert lines[0].startswith(f"out@v2  {second['id'][:12]}  20")
    assert lines[0].endswith("Z  alice@example.org")
    assert lines[1] == "  second"
    assert lines[2] == "  agent writer@7 · run run-2"
    assert lines[3] == ""
    assert lines[4].startswith("out@v1  ")


def test_log_oneline_and_limit(cas: Cas, two: Path) -> None:
    lines = cas("log", "--oneline").out.splitlines()
    assert [line.split()[3] for line in lines] == ["out@v2", "out@v1"]
    assert lines[0].endswith("out@v2  second")
    assert len(cas("log", "--oneline", "-n", "1").out.splitlines()) == 1
    assert cas("log", "-n", "0").out == ""
    cas("log", "-n", "-1", code=2)


def test_log_graph(cas: Cas, two: Path) -> None:
    cas("branch", "side", "out@v1")
    write("side/summary.md", "side\n")
    cas("commit", "--name", "side", "-m", "aside", "side")
    drawn = [
        line.split("  ")[0].rstrip() for line in cas("log", "--graph", "--oneline").out.splitlines()
    ]
    assert [line.rsplit(" ", 1)[0] if "*" in line else line for line in drawn] == [
        "*", "| *", "|/", "*",
    ]  # fmt: skip
    tall = cas("log", "--graph").out.splitlines()
    assert tall[1] == "|   aside"
    assert any(line.startswith("| * ") for line in tall)


def test_log_of_one_revision(cas: Cas, many: Path) -> None:
    assert labels(cas) == ["report@v1", "out@v2", "out@v1"]
    assert labels(cas, "out") == ["out@v2", "out@v1"]
    assert labels(cas, "out~1") == ["out@v1"]
    assert labels(cas, "first-draft") == ["out@v1"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--agent", "writer"], ["out@v2"]),
        (["--agent", "writer@7"], ["out@v2"]),
        (["--agent", "writer@8"], []),
        (["--author", "bob@example.org"], ["report@v1"]),
        (["--spec", "report@1.0"], ["report@v1"]),
        (["--spec", "report@2"], []),
        (["--artifact", "metrics.json"], ["out@v2", "out@v1"]),
        (["--artifact", "summary.md"], ["out@v1"]),
        (["--since", "1h"], ["report@v1", "out@v2", "out@v1"]),
        (["--until", "2020-01-01"], []),
        (["--since", "2020-01-01", "-n", "1"], ["report@v1"]),
    ],
)
def test_log_filters(cas: Cas, many: Path, arguments: list[str], expected: list[str]) -> None:
    assert labels(cas, *arguments) == expected
    if not expected:
        assert "no versions match" in cas("log", *arguments).err


def test_log_names_tags_and_other_branches(cas: Cas, many: Path) -> None:
    cas("branch", "copy", "out@v1")
    assert "(copy, tag first-draft)" in cas("log", "out~1").out
    assert "(tag first-draft)" in cas("log", "copy", "--oneline").out


def test_log_of_nothing(cas: Cas) -> None:
    cas("init")
    result = cas("log")
    assert result.out == ""
    assert result.err == "no versions yet\nnext: cas commit -m first PATH\n"
    assert cas("log", "--json").out == ""
    assert cas("log", "-q").err == ""


def test_log_errors(cas: Cas, out: Path) -> None:
    assert "did you mean out?" in cas("log", "outt", code=3).err
    assert cas("log", "nope", "--json", code=3).error["error"] == "RefNotFound"
    assert "not a time" in cas("log", "--since", "some day", code=2).err
    cas("log", "out@v9", code=3)
    cas("log", "out:summary.md", code=2)


def test_show(cas: Cas, two: Path) -> None:
    result = cas("show")
    assert result.out.splitlines()[0].startswith("out@v2  ")
    assert "    second" in result.out.splitlines()
    words = {line.split("  ")[0].strip(): line for line in result.out.splitlines()}
    assert words["agent"].endswith("writer@7")
    assert words["trace"].endswith("unknown")
    assert "3 artifacts" in result.out
    assert result.err == "next: cas diff out@v2\n"
    record = cas("show", "out@v1", "--json").json
    assert record["number"] == 1
    assert [row["name"] for row in record["artifacts"]] == ["metrics.json", "pages", "summary.md"]
    assert all(len(row["content"]) == 64 for row in record["artifacts"])


def test_show_by_prefix(cas: Cas, two: Path) -> None:
    id = cas("show", "--json").json["id"]
    assert cas("show", id[:8], "--json").json["id"] == id
    assert cas("show", id, "--json").json["id"] == id
    cas("show", id[:5], code=3)
    assert cas("show", "@v1", "--json").json["number"] == 1
    assert cas("show", "~1", "--json").json["number"] == 1
    assert cas("show", "out@latest", "--json").json["id"] == id


def test_show_an_artifact(cas: Cas, two: Path) -> None:
    result = cas("show", "out:metrics.json")
    assert result.out.splitlines()[0].startswith("out@v2:metrics.json  ")
    assert result.err == "next: cas cat out@v2:metrics.json\n"
    assert cas("show", "out:pages").err == "next: cas ls out@v2:pages\n"
    record = cas("show", ":metrics.json", "--json").json
    assert record["name"] == "metrics.json"
    assert record["record"]["skillName"] == "writer"
    assert record["record"]["skillExecutionId"] == "run-2"
    assert "did you mean metrics.json" in cas("show", "out:metric.json", code=3).err
    assert "cas cat" in cas("show", "out:pages/index.html", code=2).err


def test_show_needs_one_branch(cas: Cas, many: Path) -> None:
    assert cas("show", "--json").json["branch"] == "report"  # of the spec that is here
    Path("report.spec.yaml").rename("spec.yaml")
    result = cas("show", code=3)
    assert "out, report" in result.err
    assert cas("show", "--json", code=3).error["candidates"] == ["out", "report"]
    assert cas("show", "--spec", "spec.yaml", "--json").json["branch"] == "report"


def test_show_checks_and_meta(cas: Cas, many: Path) -> None:
    write("metrics.json", "{broken\n")
    cas("commit", "--run", "r1", "--meta", "k=v", "--source", "out@v1", code=5)
    result = cas("show", "partial/r1/report")
    assert "failed" in result.out
    assert "k = v" in result.out
    assert "out@v1 (claimed)" in result.out


def test_branch(cas: Cas, two: Path) -> None:
    result = cas("branch")
    assert result.out.split()[:2] == ["out", "v2"]
    first = cas("show", "out@v1", "--json").json["id"]
    made = cas("branch", "fix", "out@v1")
    assert made.out == f"fix is at {first[:12]} (v1)\n"
    assert made.err == "next: cas log fix\n"
    assert [row["branch"] for row in cas("branch", "--json").rows] == ["fix", "out"]
    assert "exists" in cas("branch", "fix", "out", code=4).err
    moved = cas("branch", "-f", "fix", "out", "--json").json
    assert moved["old"] == first
    assert moved["number"] == 2
    gone = cas("branch", "-d", "fix")
    assert gone.out.startswith("deleted branch fix, was ")
    assert "did you mean" not in cas("branch", "-d", "fix", code=3).err
    cas("branch", "new", "out", "--force", "--json")
    assert cas("branch", "-d", "new", "--json").json["id"] is None


def test_branch_usage(cas: Cas, out: Path) -> None:
    for arguments in (["-d"], ["-d", "a", "b"], ["--lost", "a"], ["a"], ["-f"], ["-d", "-f", "a"]):
        cas("branch", *arguments, code=2)
    cas("branch", "v7", "out", code=2)
    assert "no lost versions" in cas("branch", "--lost").err


def test_branches_of_nothing(cas: Cas) -> None:
    cas("init")
    assert cas("branch").err == "no branches yet\n"
    assert cas("branch", "--json").out == ""


def test_tag(cas: Cas, two: Path) -> None:
    assert cas("tag").err == "no tags yet\n"
    made = cas("tag", "q3", "out@v1", "-m", "as sent")
    assert made.out.startswith("tag q3 is out@v1 ")
    assert cas("tag").out.split()[:2] == ["q3", "out@v1"]
    (row,) = cas("tag", "--json").rows
    assert row["tag"] == "q3"
    assert row["number"] == 1
    assert "exists" in cas("tag", "q3", "out", code=4).err
    assert cas("tag", "q4", "out", "--json").json["number"] == 2
    assert cas("show", "q3", "--json").json["number"] == 1
    assert cas("tag", "-d", "q3").out.startswith("deleted tag q3, was out@v1 ")
    assert "never reused" in cas("tag", "q3", "out", code=4).err
    assert cas("tag", "-d", "q4", "--json").json["old"]
    for arguments in (["a"], ["-d"], ["-d", "a", "out"], ["-m", "x"], ["v1", "out"]):
        cas("tag", *arguments, code=2)
    cas("tag", "-d", "nope", code=3)
    cas("tag", "x", "nope", code=3)


def test_op_log(cas: Cas, many: Path) -> None:
    rows = cas("op", "log", "--json").rows
    assert [row["op"] for row in rows] == ["tag", "commit", "commit", "commit"]
    assert rows[0]["why"] == "for the record"
    assert rows[0]["by"] == "alice@example.org"
    assert rows[1]["by"] == "bob@example.org"
    assert rows[0]["previous"] == rows[1]["hash"]
    lines = cas("op", "log").out.splitlines()
    assert "for the record" in lines[0]
    assert "tags/first-draft  new → " in lines[1]
    assert len(cas("op", "log", "-n", "2", "--json").rows) == 2
    assert cas("op", code=2)
