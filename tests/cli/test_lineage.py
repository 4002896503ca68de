"""The questions of lineage on the command line: lineage, impact, blame, stale, gate."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from castore.cli.walks import BESIDE, LINES
from tests.cli.conftest import Cas, Result, write

API = """\
spec: api
version: "{0}"
artifacts:
  - {{name: code, type: code, format: python, path: code.py}}
  - {{name: tests, type: code, format: python, path: test_code.py}}
  - {{name: openapi, type: document, format: yaml, path: openapi.yaml}}
"""


@pytest.fixture
def api(cas: Cas) -> None:
    """Code, tests and a document under spec 1.0, made from `raw`; then the document under 1.1."""
    cas("init")
    write("raw/in.csv", "1,2\n")
    cas("commit", "-q", "--source", "https://example.org/in", "raw")
    write("api.spec.yaml", API.format("1.0"))
    write("code.py", "x = 1\n")
    write("test_code.py", "assert True\n")
    write("openapi.yaml", "version: '1.0'\n")
    cas(
        "commit", "-q", "--spec", "api.spec.yaml", "--source", "raw", "--agent", "coder@7",
        "--run", "run-1",
    )  # fmt: skip
    write("api.spec.yaml", API.format("1.1"))
    write("openapi.yaml", "version: '1.1'\n")
    cas("commit", "-q", "--only", "openapi", "--agent", "writer@2", "--run", "run-2")


def test_code_and_tests_no_longer_match(cas: Cas, api: None) -> None:
    result = cas("stale")
    assert result.out.splitlines()[1:] == [
        "  spec   code, tests: made under spec 1.0, api.spec.yaml has 1.1",
        "  mixed  code, tests: made under spec 1.0, its set under 1.1",
        "  refresh: cas commit --spec api.spec.yaml --only code --only tests --source raw"
        " --agent coder@7",
    ]
    assert cas("stale", "--exit-code", code=1).out == result.out
    rows = cas("stale", "api", "--json").rows
    assert [(row["artifact"], row["reason"], row["old"], row["new"]) for row in rows] == [
        ("code", "spec", "1.0", "1.1"),
        ("tests", "spec", "1.0", "1.1"),
        ("code", "mixed", "1.0", "1.1"),
        ("tests", "mixed", "1.0", "1.1"),
    ]
    refused = cas("gate", "api", "--require", "fresh", code=6)
    assert refused.out == ""
    assert "fresh: code: made under spec 1.0" in refused.err
    error = cas("gate", "api", "--require", "fresh", "--json", code=6).error
    assert error["error"] == "NotApproved"
    assert {reason["artifact"] for reason in error["reasons"]} == {"code", "tests"}


def test_the_command_that_is_told_refreshes(cas: Cas, api: None) -> None:
    command = cas("stale", "--json").rows[0]["refresh"].split()
    write("code.py", "x = 2\n")
    write("test_code.py", "assert 1\n")
    cas(*command[1:])
    command = cas("stale", "--json").rows[0]["refresh"].split()
    cas(*command[1:])
    assert cas("stale", "--exit-code").err == "nothing is stale\n"
    assert cas("stale", "--json").out == ""
    cas("gate", "api", "--require", "fresh,valid,complete")


def test_commands_are_told_as_typed_here(cas: Cas, api: None) -> None:
    Path("below").mkdir()
    assert "--spec ../api.spec.yaml" in cas("-C", "below", "stale").out


def test_without_the_spec_file_it_is_said_what_was_compared(cas: Cas, api: None) -> None:
    Path("api.spec.yaml").unlink()
    result = cas("stale", "api@v1", code=0)
    assert "api.spec.yaml is not here: compared with the spec of api@v2" in result.err
    assert "made under spec 1.0, api@v2 has 1.1" in result.out
    assert "is not here" in cas("gate", "api@v1", "--require", "fresh", code=6).err + result.err


def test_lineage_to_the_roots(cas: Cas, api: None) -> None:
    lines = _names(cas("lineage", "api"))
    assert lines == [
        "api@v2",
        "├── api@v1:code",
        "│   └── raw@v1",
        "│       └── https://example.org/in",
        "└── api@v1:tests",
        "    └── raw@v1",
    ]
    result = cas("lineage", "api")
    assert "(above)" in result.out.splitlines()[5]
    assert "api@v1:code  [carried]  " in result.out
    assert "coder@7  spec 1.0\n" in result.out
    assert result.out.splitlines()[-1] == ("made from 2 versions (api 1, raw 1) · 1 from elsewhere")
    assert _names(cas("lineage", "api:code"))[-2:] == [
        "    └── raw@v1",
        "        └── https://example.org/in",
    ]
    assert cas("lineage", "raw", "--depth", "0").err.startswith("this is not all")


def test_what_is_carried_is_told_of_who_made_it(cas: Cas, api: None) -> None:
    carried = [line for line in cas("impact", "api@v1").out.splitlines() if "api@v2:" in line]
    assert len(carried) == 2
    assert all("[carried]" in line and "coder@7  spec 1.0" in line for line in carried)
    assert "coder@7  spec 1.0" in cas("lineage", "api:code").out.splitlines()[0]
    nodes = cas("impact", "api@v1", "--json").json["nodes"]
    assert [(node["agent"]["id"], node["spec"]["version"], node["run"]) for node in nodes] == [
        ("coder", "1.0", "run-1")
    ] * 3
    assert cas("lineage", "api:code", "--json").json["nodes"][0]["agent"]["id"] == "coder"


def test_a_file_whose_maker_was_forgotten_keeps_its_lineage(cas: Cas, api: None) -> None:
    before = _names(cas("lineage", "./code.py"))
    cas("mark", "api@v1", "withdrawn")
    cas("forget", "api@v1", "-m", "old")
    cas("gc", "-q", "--grace", "0")
    result = cas("lineage", "./code.py")
    assert _names(result) == before
    assert "api@v1:code (withdrawn, forgotten)" in result.out
    assert result.out.endswith(
        "held by 1 version (api 1); made from 1 version (raw 1) · 1 from elsewhere\n"
    )
    node = cas("impact", "./code.py", "--json").json["nodes"][1]
    assert (node["label"], node["lifecycle"]) == ("api@v1", "withdrawn")
    assert node["forgotten"]["why"] == "old"
    assert "api@v2:code (newest)" in cas("impact", "./code.py").out


def test_who_holds_a_file_was_not_made_from_it(cas: Cas, api: None) -> None:
    assert cas("impact", "./raw/in.csv").out.splitlines()[-1] == (
        "held by 1 version (raw 1); made from it: 2 versions (api 2)"
    )
    assert cas("impact", "./openapi.yaml").out.splitlines()[-1] == (
        "held by 1 version (api 1); nothing was made from it"
    )


def test_a_spec_file_leads_to_what_was_made_under_it(cas: Cas, api: None) -> None:
    for verb in ("impact", "lineage"):
        error = cas(verb, "./api.spec.yaml", "--json", code=3).error
        assert error["message"].startswith("./api.spec.yaml is the spec api 1.1: ")
        assert error["fix"] == "cas audit --spec api@1.1"
    assert [row["number"] for row in cas("audit", "--spec", "api@1.1", "--json").rows] == [2]


def _names(result: Result) -> list[str]:
    """The nodes of a drawn walk, with what leads to them."""
    return [
        line[: len(line) - len(line.lstrip("│├└─ "))] + line.lstrip("│├└─ ").split()[0]
        for line in result.out.splitlines()[:-1]
    ]


def test_what_would_be_wrong_if_a_source_was(cas: Cas, api: None) -> None:
    lines = _names(cas("impact", "https://example.org/in"))
    assert lines == [
        "https://example.org/in",
        "└── raw@v1",
        "    └── api@v1",
        "        ├── api@v2:code",
        "        └── api@v2:tests",
    ]
    record = cas("impact", "https://example.org/in", "--json").json
    assert [node["distance"] for node in record["nodes"]] == [0, 1, 2, 3, 3]
    assert record["complete"]
    assert cas("impact", "api@latest").out.endswith("nothing was made from it\n")
    assert cas("impact", "https://example.org/other", code=3).out == ""
    assert "cas impact" in cas("lineage", "https://example.org/in", code=3).err


def test_what_would_be_wrong_if_any_version_of_a_branch_was(cas: Cas, api: None) -> None:
    write("raw/in.csv", "newer")
    cas("commit", "raw")
    out = cas("impact", "raw").out
    assert out.startswith("raw  any version of it\n└── raw@v1  ")
    assert _names(out_lines := cas("impact", "raw"))[2] == "    └── api@v1"
    assert out_lines.out.splitlines()[-1] == "made from it: 2 versions (api 2)"
    assert cas("impact", "raw", "--dot").out.splitlines()[3].startswith('  n0 [label="raw"')
    assert cas("impact", "raw", "--json").json["nodes"][0]["kind"] == "branch"
    assert cas("impact", "raw@latest").out.endswith("nothing was made from it\n")


def test_files_on_disk(cas: Cas, api: None) -> None:
    out = cas("lineage", "./openapi.yaml").out
    digest = blake3(Path("openapi.yaml").read_bytes()).hexdigest()
    assert out.startswith(f"./openapi.yaml  {digest[:12]}")
    assert "└── api@v2:openapi (newest)" in out
    assert "api@v2:code" in cas("impact", "./raw/in.csv").out
    assert "api@v2:code" in cas("impact", str(Path("raw").absolute())).out
    write("new", "never stored")
    for command in ("lineage", "impact", "blame"):
        assert cas(command, "./new", code=3).out == ""
    assert cas("lineage", "new", code=3).err.startswith(
        "error: no version holds the bytes of 'new'"
    )
    assert cas("lineage", "never", code=3).err.startswith("error: no branch")


def test_a_graph_for_graphviz(cas: Cas, api: None) -> None:
    lines = cas("lineage", "api", "--dot").out.splitlines()
    assert (lines[0], lines[-1]) == ("digraph lineage {", "}")
    assert '  n4 [label="https://example.org/in", style=dashed];' in lines
    assert "  n1 -> n0 [style=dotted];" in lines


def test_a_walk_fits_on_a_screen(cas: Cas) -> None:
    cas("init")
    write("raw/a", "1")
    cas("commit", "-q", "raw")
    for number in range(BESIDE + 3):
        write(f"u{number}/a", "1")
        cas("commit", "-q", "--source", "raw", f"u{number}")
    for number in range(BESIDE):
        write("many/a", str(number))
        cas("commit", "-q", "--source", "raw", "many")
    lines = cas("impact", "raw@v1").out.splitlines()
    assert len(lines) <= BESIDE + 3
    assert lines[1].startswith("├── many@v8")
    assert sum("many@" in line for line in lines) == BESIDE // 2
    assert f"… and {BESIDE + 3 + BESIDE - BESIDE} more: many 4, " in lines[-2]
    assert lines[-1].startswith(f"made from it: {2 * BESIDE + 3} versions (many 8, u10 1")
    assert len(cas("impact", "raw@v1", "-v").out.splitlines()) == 2 * BESIDE + 5
    assert LINES >= BESIDE


def test_names_are_cleaned(cas: Cas) -> None:
    cas("init")
    write("a", "1")
    refused = cas("commit", "--name", "x", "--source", "https://e.org/\x1b[31m", "a", code=2)
    assert "\\x1b" in refused.err
    assert "\x1b" not in refused.err


def test_blame(cas: Cas, api: None) -> None:
    lines = cas("blame", "api:code").out.splitlines()
    assert lines[0].startswith("api@v2:code")
    assert lines[1].split()[:2] == ["made", "api@v1"]
    assert lines[1].endswith("coder@7  spec 1.0  run run-1")
    assert lines[2].split()[:2] == ["changed", "api@v1"]
    rows = cas("blame", "api", "--json").rows
    assert [row["artifact"] for row in rows] == ["code", "openapi", "tests"]
    assert rows[1]["before"]["label"] == "api@v1"
    assert cas("blame", "./code.py").out == cas("blame", "api:code").out


def test_gate_prints_the_id_it_judged(cas: Cas, api: None) -> None:
    id = cas("show", "api", "--json").json["id"]
    assert cas("gate", "api", "--require", "valid").out.split() == ["api@v2", id, "valid"]
    judged = cas("gate", "api", "--require", "valid", "--require", "complete", "--json").json
    assert (judged["id"], judged["passed"], judged["reasons"]) == (id, True, [])
    assert judged["require"] == ["valid", "complete"]
    cas("gate", "api", "--require", "valid", "--expect", id)
    error = cas("gate", "api@v1", "--require", "valid", "--expect", id, "--json", code=4).error
    assert error["error"] == "RefMoved"
    assert cas("gate", id[:12], "--json", code=2).error["fix"] == f"cas gate {id}"


def test_gate_says_no_by_default(cas: Cas, api: None) -> None:
    result = cas("gate", "api", code=6)
    assert result.out == ""
    assert result.err.splitlines()[1:] == [
        "  approved: 0 of 1 approvals", "try:   cas approve api@v2",
    ]  # fmt: skip
    write("policy.yaml", "require: [valid]\n")
    cas("gate", "api", "--policy", "policy.yaml")
    assert "cannot be read" in cas("gate", "api", "--policy", "none.yaml", code=2).err


def test_gate_of_a_folder(cas: Cas, api: None) -> None:
    cas("checkout", "-q", "api", "-o", "release")
    assert cas("gate", "./release/", "--require", "valid").out.startswith("api@v2")
    assert cas("gate", "./release/code.py", "--require", "valid").out.startswith("api@v2")
    write("release/code.py", "x = 3\n")
    error = cas("gate", "./release", "--json", code=6).error
    assert error["reasons"][0]["requirement"] == "known"
    assert "code differs" in error["reasons"][0]["detail"]
    assert json.dumps(error)


def test_what_was_cut_off_is_not_called_nothing(cas: Cas, api: None) -> None:
    for words in (("lineage", "api@v1"), ("impact", "raw")):
        for bound in (("-n", "1"), ("--depth", "0")):
            assert cas(*words, *bound).out.splitlines()[-1] == "nothing is near enough to be shown"
    assert cas("impact", "api@v2").out.splitlines()[-1] == "nothing was made from it"


RUN_SPEC = """\
spec: week
version: "1"
base: out
artifacts:
  - {name: report, type: document, format: text, path: report.txt}
  - {name: by hand, type: document, format: text, path: hand.txt}
"""
COUNT = """\
import json, os
sources = {row["artifact"]: row["path"] for row in json.load(open(os.environ["CAS_SOURCES"]))}
open(os.environ["CAS_OUT"] + "/report.txt", "w").write(open(sources["report"] + "/in.csv").read())
open(os.environ["CAS_OUT"] + "/hand.txt", "w").write("a ' quote")
"""


@pytest.fixture
def week(cas: Cas) -> None:
    """A set that a command made, each artifact from a source of its own, of which one is newer."""
    cas("init")
    write("raw/in.csv", "1\n")
    cas("commit", "-q", "raw")
    write("note's/n.txt", "1\n")
    write("week.spec.yaml", RUN_SPEC)
    write("count it.py", COUNT)
    cas(
        "run", "-q", "--source", "report=raw", "--source", "by hand=file:note's/n.txt",
        "--checkout-sources", "--agent", "coder@7", "--", sys.executable, "count it.py",
    )  # fmt: skip
    write("raw/in.csv", "2\n")
    cas("commit", "-q", "raw")


def follow(cas: Cas, label: str) -> str:
    """Type the line that `cas stale` tells of a version; it must be fresh then."""
    lines = cas("stale", label).out.splitlines()
    command = lines[-1].removeprefix("  refresh: ")
    for part in command.split(" && "):
        words = shlex.split(part)
        assert words[0] == "cas"
        cas(words[1], "-q", *words[2:])
    assert cas("stale", label).err == "nothing is stale\n"
    return command


def test_what_a_command_made_is_refreshed_by_the_line_that_is_told(cas: Cas, week: None) -> None:
    command = follow(cas, "week")
    assert command == (
        "cas run --spec week.spec.yaml --source report=raw "
        "--source 'by hand=file:note'\"'\"'s/n.txt' --agent coder@7 "
        f"--checkout-sources -- {shlex.quote(sys.executable)} 'count it.py'"
    )
    assert cas("cat", "week:report").out == "2\n"
    shown = cas("show", "week", "--json").json
    assert shown["agent"] == {"id": "coder", "version": "7"}
    write("note's/n.txt", "changed\n")
    assert follow(cas, "week") == command
    write("week.spec.yaml", RUN_SPEC.replace('"1"', '"2"'))
    follow(cas, "week")


def test_what_several_made_is_refreshed_by_several_commands(cas: Cas, week: None) -> None:
    write("out/hand.txt", "by hand\n")
    cas("commit", "-q", "--only", "by hand", "--source", "by hand=raw", "--agent", "ed@1")
    write("raw/in.csv", "3\n")
    cas("commit", "-q", "raw")
    write("out/hand.txt", "by hand again\n")
    assert follow(cas, "week").count(" && ") == 1
    shown = cas("show", "week:report", "--json").json
    assert shown["made_by"]["agent"] == {"id": "coder", "version": "7"}
    assert cas("show", "week:by hand", "--json").json["made_by"]["agent"]["id"] == "ed"
    assert cas("cat", "week:by hand").out == "by hand again\n"


def test_a_command_without_a_spec_is_refreshed(cas: Cas, week: None) -> None:
    script = 'cp "$(dirname "$CAS_SOURCES")"/sources/0/in.csv "$CAS_OUT/x"'
    cas("run", "-q", "--name", "loose", "--source", "raw", "--checkout-sources", "sh", "-c", script)
    write("raw/in.csv", "9\n")
    cas("commit", "-q", "raw")
    assert follow(cas, "loose").startswith(
        "cas run --name loose --source raw --checkout-sources --"
    )
    assert cas("cat", "loose:x").out == "9\n"


def test_what_the_spec_no_longer_has_is_not_asked_for(cas: Cas, api: None) -> None:
    write("api.spec.yaml", API.format("2.0").replace("  - {name: tests", "  # - {name: tests"))
    command = follow(cas, "api")
    assert "tests" not in command
    assert command.count(" && ") == 1


def test_a_file_without_a_dot_before_it_is_meant_where_no_branch_is(cas: Cas, api: None) -> None:
    for verb in ("lineage", "impact", "blame"):
        assert cas(verb, "raw/in.csv").out.replace("./raw", "raw") == (
            cas(verb, "./raw/in.csv").out.replace("./raw", "raw")
        )
    write("my file", "1,2\n")
    assert "raw@v1" in cas("lineage", "my file").out
    # A branch comes first.
    assert "raw@v1" in cas("lineage", "raw").out
    cas("lineage", "raw/none.csv", code=3)
    error = cas("gate", "raw/in.csv", "--json", code=3).error
    assert error["fix"] == "cas gate ./raw/in.csv"
    assert "cas gate './my file'" in cas("gate", "my file", code=3).err
