"""`cas commit` and `cas partial`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import SPEC, Cas, write


def report_files(summary: str = "# Summary\n", metrics: str = '{"rows": 1}\n') -> None:
    write("summary.md", summary)
    write("metrics.json", metrics)


@pytest.fixture
def spec(cas: Cas) -> Path:
    cas("init")
    report_files()
    return write("report.spec.yaml", SPEC)


def test_what_a_commit_says(cas: Cas) -> None:
    cas("init")
    write("out/a.md", "hello\n")
    result = cas("commit", "-m", "first", "out")
    id = cas("show", "--json").json["id"]
    first, second = result.out.splitlines()
    assert first == f"{id[:12]}  out@v1"
    assert second.startswith("1 file: 6 B new, 0 B known, ")
    assert result.err == "next: cas show out@v1\n"
    write("out/a.md", "hello again\n")
    assert cas("commit", "out").err == "next: cas diff out@v2\n"
    result = cas("commit", "out")
    assert result.out.splitlines()[0].endswith("(the set is identical to the one before)")
    assert result.out.splitlines()[1] == "1 file: 0 B new, 12 B known"


def test_json(cas: Cas, out: Path) -> None:
    write("out/summary.md", "# New\n")
    result = cas(
        "commit", "--json", "-m", "message", "--agent", "writer@7", "--author", "bob@example.org",
        "--run", "run-1", "--trace", "trace-1", "--workspace", "w", "--meta", "a=b=c",
        "--label", "draft", "--label", "eu", "--source", "https://example.org/x",
        "--operation-id", "op-1", "out",
    )  # fmt: skip
    assert result.err == ""
    record = result.json
    assert record["number"] == 2
    assert record["branch"] == "out"
    assert record["message"] == "message"
    assert record["agent"] == {"id": "writer", "version": "7"}
    assert record["author"] == "bob@example.org"
    assert (record["run"], record["trace"], record["workspace"]) == ("run-1", "trace-1", "w")
    assert record["meta"] == {"a": "b=c", "labels": "draft,eu"}
    assert record["sources"][0]["uri"] == "https://example.org/x"
    assert record["operation"] == "op-1"
    assert record["new_bytes"] == 6
    assert record["known_bytes"] > 0
    assert record["identical"] is False
    assert record["replayed"] is False
    assert record["next"] == "cas diff out@v2"
    assert len(record["id"]) == 64
    again = cas("commit", "--json", "--operation-id", "op-1", "out").json
    assert again["id"] == record["id"]
    assert again["replayed"] is True
    assert "done before" in cas("commit", "--operation-id", "op-1", "out").out


def test_variables(cas: Cas, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAS_AGENT", "writer@8")
    monkeypatch.setenv("CAS_RUN", "run-9")
    monkeypatch.setenv("TRACEPARENT", f"00-{'a' * 32}-{'b' * 16}-01")
    record = cas("commit", "--json", "out").json
    assert record["author"] == "alice@example.org"
    assert record["agent"] == {"id": "writer", "version": "8"}
    assert record["run"] == "run-9"
    assert record["trace"] == "a" * 32


def test_if_changed(cas: Cas, out: Path) -> None:
    first = cas("show", "--json").json
    again = cas("commit", "--if-changed", "--json", "out").json
    assert again["id"] == first["id"]
    assert again["identical"] is True
    assert len(cas("log", "--json").rows) == 1


def test_standard_input(cas: Cas) -> None:
    cas("init")
    data = bytes(range(256)) * 10
    cas("commit", "--name", "piped", "data.bin=-", stdin=data)
    assert cas("cat", "piped:data.bin").raw == data
    assert "dry run" in cas("commit", "-n", "--name", "piped", "data.bin=-", code=2).err


def test_paths_that_are_wrong(cas: Cas, out: Path) -> None:
    assert "did you mean out?" in cas("commit", "ou", code=2).err
    assert "add --name" in cas("commit", "out/summary.md", "out/metrics.json", code=2).err
    assert "nothing to commit" in cas("commit", code=2).err
    assert cas("commit", "--meta", "novalue", "out", code=2).err.startswith("error: --meta")
    assert "twice" in cas("commit", "--meta", "a=1", "--meta", "a=2", "out", code=2).err
    assert "commas" in cas("commit", "--label", "a,b", "out", code=2).err
    assert "--label" in cas("commit", "--label", "a", "--meta", "labels=b", "out", code=2).err
    cas("commit", "--agent", "@7", "out", code=2)
    cas("commit", "--run", "no/good", "out", code=2)
    cas("commit", "--links", "maybe", "out", code=2)
    assert len(cas("log", "--json").rows) == 1


def test_named_paths(cas: Cas) -> None:
    cas("init")
    write("a.txt", "a\n")
    write("b/c.txt", "c\n")
    cas("commit", "--name", "both", "first=a.txt", "folder=b")
    names = [row["name"] for row in cas("ls", "both", "--json").rows]
    assert names == ["first", "folder"]


def test_links(cas: Cas) -> None:
    cas("init")
    write("out/a.txt", "a\n")
    os.symlink("a.txt", "out/link")
    result = cas("commit", "out", code=2)
    assert "link" in result.err
    cas("commit", "--links", "skip", "out")
    assert [row["name"] for row in cas("ls", "--json").rows] == ["a.txt"]
    cas("commit", "--links", "follow", "out")
    assert [row["name"] for row in cas("ls", "--json").rows] == ["a.txt", "link"]


def test_dry_run_writes_nothing(cas: Cas, out: Path) -> None:
    write("out/new.txt", "new\n")
    write("out/summary.md", "changed\n")
    operations = cas("op", "log", "--json").out
    result = cas("commit", "-n", "out")
    assert [line.split()[:2] for line in result.out.splitlines()[:-1]] == [
        ["unchanged", "metrics.json"], ["new", "new.txt"], ["unchanged", "pages"],
        ["changed", "summary.md"],
    ]  # fmt: skip
    assert result.out.splitlines()[-1].startswith("would make out@v2: 12 B new, ")
    record = cas("commit", "--dry-run", "--json", "out").json
    assert record["dry_run"] is True
    assert record["new_bytes"] == 12
    assert {row["name"]: row["state"] for row in record["artifacts"]}["new.txt"] == "new"
    assert cas("op", "log", "--json").out == operations
    assert len(cas("log", "--json").rows) == 1
    made = cas("commit", "--json", "out").json
    assert made["new_bytes"] == record["new_bytes"]


def test_a_dry_run_says_when_nothing_would_be_made(cas: Cas, out: Path) -> None:
    unchanged = cas("commit", "-n", "--if-changed", "out")
    assert unchanged.out.splitlines()[-1] == "would make nothing: out@v1 is given back"
    write("out/summary.md", "changed\n")
    assert "would make out@v2" in cas("commit", "-n", "--if-changed", "out").out
    cas("commit", "--operation-id", "job-1", "out")
    again = cas("commit", "-n", "--json", "--operation-id", "job-1", "out").json
    assert again["stands"] == cas("show", "--json", "out@v2").json["id"]


def test_a_dry_run_is_refused_where_the_parent_is_another(cas: Cas, out: Path) -> None:
    write("out/summary.md", "changed\n")
    cas("commit", "out")
    refused = cas("commit", "-n", "--parent", "out@v1", "out", code=4)
    assert "out was expected at" in refused.err
    assert cas("commit", "-n", "--parent", "out@v2", "out").out
    cas("commit", "-n", "--parent", "out@v9", "out", code=3)
    cas("commit", "-n", "--parent", "out@v2", "--name", "fresh", "out", code=4)
    assert "out/" not in cas("branch", "--lost").out


def test_dry_run_of_what_would_be_refused(cas: Cas, spec: Path) -> None:
    Path("metrics.json").unlink()
    result = cas("commit", "-n", code=5)
    assert "missing" in result.out
    assert cas("commit", "-n", "--json", code=5).json["missing"] == ["metrics"]


def test_dry_run_checks_the_files_of_a_glob(cas: Cas) -> None:
    cas("init")
    pages = "  - {name: pages, type: dataset, format: json, path: 'data/*.json'}\n"
    write("data.spec.yaml", f'spec: data\nversion: "1"\nartifacts:\n{pages}')
    write("data/a.json", "[1]")
    write("data/b.txt", "no JSON and not matched")
    assert cas("commit", "-n", "--json").json["faults"] == []
    write("data/c.json", "[1")
    (said,) = cas("commit", "-n", "--json", code=5).json["faults"]
    assert (said["artifact"], said["check"]) == ("pages", "format")
    assert cas("commit", "--json", code=5).error["faults"] == [said]


def test_the_way_on_is_told_from_where_one_is(
    cas: Cas, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("metrics.json", "{broken\n")
    cas("commit", "--run", "run-1", code=5)
    assert f"--spec {spec.name} --resume" in cas("partial", "list").out
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert f"--spec ../{spec.name} --resume" in cas("partial", "list").out
    assert f"--spec ../{spec.name} --resume" in cas("partial", "show", "run-1").out
    write("../metrics.json", "{}\n")
    cas("commit", "--spec", f"../{spec.name}", "--resume", "run-1")


def test_parent(cas: Cas, two: Path) -> None:
    write("out/summary.md", "third\n")
    result = cas("commit", "--parent", "out@v1", "out", code=4)
    assert result.out == ""
    assert "cas branch --lost" in result.err
    write("out/summary.md", "fourth\n")
    error = cas("commit", "--parent", "out@v1", "--json", "out", code=4).error
    assert error["error"] == "RefMoved"
    lost = cas("branch", "--lost", "--json").rows
    assert error["lost"] in [row["id"] for row in lost]
    assert len(lost) == 2
    assert "out" in cas("branch", "--lost").out
    cas("commit", "--parent", "out", "out")
    assert cas("show", "--json").json["number"] == 3


def test_with_a_spec(cas: Cas, spec: Path) -> None:
    result = cas("commit", "--spec", spec, "-m", "first")
    assert "report@v1" in result.out
    assert cas("show", "--json").json["spec"]["version"] == "1.0"
    write("summary.md", "# Changed\n")
    write("metrics.json", "{}\n")
    cas("commit", "--only", "summary")
    record = cas("show", "--json").json
    assert [row["artifact"] for row in record["carried"]] == ["metrics"]
    assert cas("cat", "report:metrics").out == '{"rows": 1}\n'
    assert "carried from v1, spec 1.0" in cas("show").out
    assert "from report@v1" in cas("ls").out
    assert "no such artifact" in cas("commit", "--only", "nope", code=2).err


def test_refused_kept_resumed(cas: Cas, spec: Path) -> None:
    write("metrics.json", "{broken\n")
    result = cas("commit", "--run", "run-1", code=5)
    assert result.out == ""
    assert "metrics: " in result.err
    assert "--resume run-1" in result.err.splitlines()[-1]
    error = cas("commit", "--run", "run-1", "--json", code=5).error
    assert error["failed"] == ["metrics"]
    assert {"artifact", "check", "detail", "line"} <= error["faults"][0].keys()

    (row,) = cas("partial", "list", "--json").rows
    assert (row["run"], row["branch"], row["kind"]) == ("run-1", "report", "sealed")
    listed = cas("partial", "list")
    assert "partial/run-1/report" in listed.out
    assert "go on: cas commit" in listed.out
    shown = cas("partial", "show", "run-1").out
    assert "failed   metrics" in shown
    assert "good     summary" in shown
    assert cas("partial", "show", "run-1", "--json").rows == [row]
    assert "partial/run-1/report" in cas("show", "partial/run-1/report").out
    assert cas("show", "report", code=3).err

    write("metrics.json", "{}\n")
    cas("commit", "--resume", "run-1")
    assert cas("show", "report", "--json").json["number"] == 1
    assert cas("partial", "list", "--json").out == ""
    assert "no incomplete sets" in cas("partial", "list").err


def test_partial_on_purpose(cas: Cas, spec: Path) -> None:
    Path("metrics.json").unlink()
    result = cas("commit", "--partial", "--run", "run-2")
    assert "partial/run-2/report" in result.out
    assert result.err.splitlines()[-1] == "next: cas partial show run-2"


def test_partial_of_nobody(cas: Cas, out: Path) -> None:
    assert "cas partial list" in cas("partial", "show", "nope", code=3).err
    assert "cas partial list" in cas("partial", "discard", "nope", "-y", code=3).err
    assert cas("commit", "--resume", "nope", "--name", "out", "out", code=3).err


def test_a_run_that_left_nothing_is_told_with_near_ones(cas: Cas, spec: Path) -> None:
    Path("metrics.json").unlink()
    cas("commit", "--run", "run-81", code=5)
    for words in (("partial", "show"), ("partial", "discard", "-y"), ("commit", "--resume")):
        error = cas(*words, "run-18", "--json", code=3).error
        assert error["message"].endswith(" of run 'run-18'; did you mean run-81?")
        assert error["fix"] == "cas partial list"
    said = cas("partial", "show", "run-81", "--name", "reprot", code=3).err
    assert "of branch reprot of run 'run-81'; did you mean report?" in said
    said = cas("partial", "show", "run-81", "--name", "x", code=3).err
    assert "; it left those of report" in said
    said = cas("partial", "show", "zzz", code=3).err
    assert said.startswith("error: no incomplete set of run 'zzz'\n")


def test_a_dry_run_doubts_sources_as_the_commit_does(cas: Cas, spec: Path) -> None:
    for name in ("raw", "bad", "old"):
        write(f"{name}/a", name)
        cas("commit", "-q", name)
    cas("mark", "raw", "withdrawn")
    cas("reject", "bad", "-m", "wrong")
    cas("forget", "old@v1", "-m", "no use", "--force", "--yes")
    sources = ("--source", "raw", "--source", "summary.md=bad@v1", "--source", "old@v1")
    paths = ("summary.md", "metrics.json", "--name", "report")
    tried = cas("commit", "-n", *paths, *sources)
    assert "warning: source raw@v1 was withdrawn" in tried.err
    assert "warning: source bad@v1 was rejected by " in tried.err
    assert "warning: source old@v1 was forgotten on " in tried.err
    dry = cas("commit", "-n", *paths, *sources, "--json").json["warnings"]
    made = cas("commit", *paths, *sources, "--json").json["warnings"]
    assert len(made) == 3
    assert dry == made
    assert cas("commit", "-n", *paths, "--json").json["warnings"] == []
    unused = cas("commit", "-n", "raw", "--json").json["warnings"]
    assert unused == cas("commit", "raw", "--json").json["warnings"]
    assert "was not used" in unused[0]


def test_sources_of_an_earlier_attempt_are_doubted_too(cas: Cas, spec: Path) -> None:
    write("raw/a", "1")
    cas("commit", "-q", "raw")
    Path("metrics.json").unlink()
    cas("commit", "--run", "run-1", "--source", "raw", code=5)
    cas("mark", "raw", "withdrawn")
    write("metrics.json", "{}")
    words = ("commit", "--resume", "run-1", "--json")
    dry = cas(*words, "-n").json["warnings"]
    made = cas(*words).json
    assert [source["selector"] for source in made["sources"]] == ["raw"]
    assert dry == made["warnings"]
    assert dry.count("source raw@v1 was withdrawn") == 1


def test_a_dry_run_tells_what_is_left_out_and_kept_as_the_commit_does(cas: Cas, spec: Path) -> None:
    write("out/pages/a.md", "a")
    Path("out/pages/link").symlink_to("a.md")
    words = ("commit", "out", "--links", "skip", "--name", "linked", "--json")
    dry = cas(*words, "-n").json["warnings"]
    assert any(warning.startswith("links skipped: ") for warning in dry)
    assert dry == cas(*words).json["warnings"]
    Path("metrics.json").unlink()
    cas("commit", "--run", "run-1", code=5)
    write("metrics.json", "{}")
    words = ("commit", "--resume", "run-1", "--json")
    dry = cas(*words, "-n").json["warnings"]
    assert dry == ["kept from run run-1 as stored: summary"]
    assert dry == cas(*words).json["warnings"]


def test_a_dry_run_warns_of_what_its_checks_find_as_the_commit_does(cas: Cas) -> None:
    cas("init")
    write("out/a.json", "{")
    write("out/b", "{}")
    tried = cas("commit", "-n", "out", "--json").json["warnings"]
    assert tried == cas("commit", "out", "--json").json["warnings"]
    assert any("a.json: looks like json but" in text for text in tried)


def test_a_dry_run_checks_what_it_would_carry(cas: Cas, spec: Path) -> None:
    cas("commit")
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("format: json\n", "format: json\n    checks: {max_size: 1}\n"))
    assert spec.read_text("utf-8") != text
    tried = cas("commit", "-n", "--only", "summary", "--json", code=5).json
    made = cas("commit", "--only", "summary", "--json", code=5).error
    assert tried["faults"] == made["faults"]


def test_an_unknown_rule_for_secrets_is_told_in_lines(cas: Cas, out: Path) -> None:
    told = cas("commit", "out", "--allow-secret", "zzzz", code=2).err.splitlines()
    assert "there is no such rule; these are:" in told[0]
    assert max(map(len, told)) <= 80
    assert "did you mean" in cas("commit", "out", "--allow-secret", "npm-tokn", code=2).err


def test_discard(cas: Cas, spec: Path) -> None:
    Path("metrics.json").unlink()
    cas("commit", "--run", "run-3", code=5)
    result = cas("partial", "discard", "run-3", code=2)
    assert "--yes" in result.err
    assert cas("partial", "discard", "run-3", "--json", code=2).error["fix"] == "add --yes"
    assert "would discard" in cas("partial", "discard", "run-3", "-n").out
    assert len(cas("partial", "list", "--json").rows) == 1
    assert cas("partial", "discard", "run-3", "-y").out.startswith("discarded")
    assert cas("partial", "list", "--json").out == ""


def test_a_message_cannot_forge_the_screen(cas: Cas) -> None:
    cas("init")
    write("out/a.md", "x\n")
    cas("commit", "-m", "evil \x1b[2J\x1b]0;x\x07\nnext\rline", "out")
    for arguments in (["log"], ["log", "--oneline"], ["show"], ["branch"], ["op", "log"]):
        result = cas(*arguments)
        assert "\x1b" not in result.out
        assert "\r" not in result.out
        assert "evil \\x1b[2J" in result.out
    assert cas("log", "--json").json["message"].startswith("evil \x1b[2J")


def test_an_agent_is_shown_as_it_is_typed_and_a_wrong_one_is_told(cas: Cas) -> None:
    cas("init")
    write("one/a.txt", "a")
    cas("commit", "-q", "--agent", "writer@7", "one")
    assert "agent      writer@7\n" in cas("show", "one").out
    assert "writer@7\n" in cas("show", "one:a.txt").out
    for words in (
        ("commit", "one"), ("log",), ("audit",), ("comment", "one", "-m", "x"),
        ("run", "--name", "x", "true"),
    ):  # fmt: skip
        for wrong, right in (("bad@@", "bad"), ("a@b@c", "a@b"), ("@7", "7"), ("a@", "a")):
            error = cas(words[0], "--agent", wrong, "--json", *words[1:], code=2).error
            assert repr(wrong) in error["message"]
            assert error["fix"].startswith(f"--agent {right},")
