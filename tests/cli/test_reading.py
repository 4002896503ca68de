"""`cas ls`, `tree`, `cat`, `diff`, `find`, `stats`, `checkout`, `status`, `fsck`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from tests.cli.conftest import SPEC, Cas, write


def test_ls(cas: Cas, two: Path) -> None:
    rows = [line.split() for line in cas("ls").out.splitlines()]
    assert [row[0] for row in rows] == ["metrics.json", "pages/", "summary.md"]
    assert rows[2][1:5] == ["document", "markdown", "24", "B"]
    records = cas("ls", "out@v1", "--json").rows
    digest = blake3(Path("out/summary.md").read_bytes()).hexdigest()
    assert records[2]["digest"] == digest
    assert records[1]["digest"] is None


def test_ls_in_a_folder(cas: Cas, two: Path) -> None:
    assert [line.split()[-1] for line in cas("ls", "out:pages").out.splitlines()] == [
        "img/", "index.html",
    ]  # fmt: skip
    assert [row["path"] for row in cas("ls", "out:pages/img", "--json").rows] == ["img/dot.svg"]
    assert cas("ls", "out:summary.md").out.split()[-1] == "summary.md"
    everything = [row["path"] for row in cas("ls", "-R", "--json").rows]
    assert "pages/img/dot.svg" in everything
    assert "summary.md" in everything
    cas("ls", "out:nope", code=3)
    assert "did you mean" in cas("ls", "out:pages/idex.html", code=3).err


def test_ls_marks_executables(cas: Cas) -> None:
    cas("init")
    write("out/run.sh", "#!/bin/sh\n").chmod(0o755)
    cas("commit", "out")
    assert cas("ls", "-R").out.rstrip().endswith("run.sh*")


def test_tree(cas: Cas, two: Path) -> None:
    lines = cas("tree").out.splitlines()
    assert lines[0].startswith("out@v2  ")
    assert lines[1:] == [
        "├── metrics.json", "├── pages/", "│   ├── img/", "│   │   └── dot.svg",
        "│   └── index.html", "└── summary.md",
    ]  # fmt: skip
    assert cas("tree", "out:pages").out.splitlines()[-1] == "└── index.html"
    assert len(cas("tree", "--json").rows) == 6
    cas("tree", "nope", code=3)


def test_cat(cas: Cas, two: Path) -> None:
    assert cas("cat", "out:metrics.json").raw == Path("out/metrics.json").read_bytes()
    assert cas("cat", "out@v1:metrics.json").raw == b'{"rows": 10, "ok": true}\n'
    assert b"dot" not in cas("cat", "out:pages/img/dot.svg").raw
    assert cas("cat", "out:pages/img/dot.svg").raw == Path("out/pages/img/dot.svg").read_bytes()


def test_cat_is_safe_for_any_bytes(cas: Cas) -> None:
    cas("init")
    data = os.urandom(700_000) + b"\r\n\x00\xff"
    write("out/data.bin", data)
    write("out/empty", b"")
    cas("commit", "out")
    assert cas("cat", "out:data.bin").raw == data
    assert cas("cat", "out:empty").raw == b""


def test_cat_what_is_no_file(cas: Cas, two: Path) -> None:
    result = cas("cat", "out", code=2)
    assert result.err.splitlines()[-1] == "try:   cas cat out:metrics.json"
    assert "is a folder" in cas("cat", "out:pages", code=2).err
    assert cas("cat", "out:pages", code=2).err.splitlines()[-1] == "try:   cas ls out:pages"
    assert "did you mean" in cas("cat", "out:pages/index.htm", code=3).err
    assert cas("cat", "out:summary.md/x", code=3).err
    assert "no JSON form" in cas("cat", "out:summary.md", "--json", code=2).error["message"]
    cas("cat", code=2)


def test_diff(cas: Cas, two: Path) -> None:
    result = cas("diff")
    assert result.out.splitlines()[0].startswith("out@v1 ")
    assert "~ metrics.json (content): " in result.out
    assert "    ~ index.html: 37 B → 39 B" in result.out.splitlines()
    assert "  1 artifact unchanged" in result.out.splitlines()
    assert "~ /rows: 10 → 12" in result.out
    assert "+<!doctype html><title>Report 2</title>" in result.out
    assert cas("diff", "out@v2").out == result.out
    assert cas("diff", "out@v1", "out@v2").out == result.out


def test_diff_json_and_exit_code(cas: Cas, two: Path) -> None:
    record = cas("diff", "--json", "--exit-code", code=1).json
    assert [row["name"] for row in record["artifacts"]] == ["metrics.json", "pages"]
    assert [row["form"] for row in record["contents"]] == ["json", "text"]
    assert record["identical"] is False
    same = cas("diff", "out", "out", "--exit-code")
    assert "no difference" in same.out
    assert cas("diff", "--stat", "--json").json["contents"] is None
    assert "+<!doctype" not in cas("diff", "--stat").out


def test_diff_of_the_first_version(cas: Cas, out: Path) -> None:
    result = cas("diff", "out")
    assert result.out.startswith("nothing → out@v1 ")
    assert "+ summary.md: " in result.out
    assert cas("diff", "--json").json["old"] is None


def test_diff_of_one_artifact(cas: Cas, two: Path) -> None:
    result = cas("diff", "out@v1", "out:metrics.json")
    assert "~ metrics.json" in result.out
    assert "index.html" not in result.out
    assert "unchanged" not in result.out
    assert cas("diff", "out:metrics.json").out == result.out
    record = cas("diff", ":metrics.json", "--json").json
    assert [row["name"] for row in record["artifacts"]] == ["metrics.json"]
    cas("diff", "out:summary.md", "--exit-code")
    assert "no difference in summary.md" in cas("diff", "out:summary.md").out
    cas("diff", "out:nope", code=3)
    assert "different artifacts" in cas("diff", "out:summary.md", "out:metrics.json", code=2).err
    assert "different artifacts" in cas("diff", "out:pages/a", "out:pages/b", code=2).err
    cas("diff", "nope", code=3)


def test_diff_of_an_artifact_that_went(cas: Cas, two: Path) -> None:
    Path("out/summary.md").unlink()
    cas("commit", "out")
    assert "- summary.md: " in cas("diff", "out@v2:summary.md", "out").out


def test_diff_escapes_what_is_in_files(cas: Cas) -> None:
    cas("init")
    write("out/a.txt", "one\n")
    cas("commit", "out")
    write("out/a.txt", "one\n\tevil \x1b[31m\r\n")
    cas("commit", "out")
    result = cas("diff")
    assert "\x1b" not in result.out
    assert "+\tevil \\x1b[31m\\r" in result.out.splitlines()


def test_diff_of_specs(cas: Cas) -> None:
    cas("init")
    write("summary.md", "# S\n")
    write("metrics.json", "{}\n")
    write("report.spec.yaml", SPEC)
    cas("commit")
    write("report.spec.yaml", SPEC.replace('"1.0"', '"1.1"'))
    cas("commit", "--source", "report@v1")
    lines = cas("diff").out.splitlines()
    assert "spec version: 1.0 → 1.1" in lines
    assert "+ source report@v1" in lines
    cas("diff", "--exit-code", code=1)


def test_find(cas: Cas, two: Path) -> None:
    assert [line.split()[1] for line in cas("find", "*.md").out.splitlines()] == [
        "out@v2:summary.md", "out@v1:summary.md",
    ]  # fmt: skip
    digest = blake3(b"<!doctype html><title>Report</title>\n").hexdigest()
    (row,) = cas("find", "--digest", digest, "--json").rows
    assert (row["label"], row["artifact"], row["path"]) == ("out@v1", "pages", "index.html")
    assert len(cas("find", "--format", "json", "-n", "1", "--json").rows) == 1
    assert len(cas("find", "--type", "document", "--branch", "out", "--json").rows) == 2
    nothing = cas("find", "nope")
    assert (nothing.out, nothing.err) == ("", "nothing found\n")
    cas("find", code=2)
    cas("find", "--digest", "xyz", code=2)


def test_stats(cas: Cas, two: Path) -> None:
    lines = cas("stats").out.splitlines()
    assert lines[0].split() == ["versions", "2", "on", "1", "branch"]
    record = cas("stats", "--json").json
    assert record["versions"] == 2
    assert record["logical_bytes"] > record["unique_bytes"] > 0
    one = cas("stats", "out@v1")
    assert "out@v1" in one.out
    assert cas("stats", "out@v1", "--json").json["files"] == 4
    cas("stats", "nope", code=3)


def test_checkout(cas: Cas, two: Path) -> None:
    result = cas("checkout", "out@v1", "-o", "restored")
    assert str(Path.cwd() / "restored") in result.out
    assert "summary.md" in result.out
    assert result.err == "next: cas show out@v1\n"
    assert Path("restored/metrics.json").read_text() == '{"rows": 10, "ok": true}\n'
    assert Path("restored/pages/img/dot.svg").exists()
    record = cas("checkout", "out", "--json").json
    assert record["destination"] == str(Path.cwd() / "out-v2")
    assert record["files"] == 4


def test_checkout_overwrites_nothing(cas: Cas, two: Path) -> None:
    write("there/other.txt", "mine\n")
    assert cas("checkout", "out", "-o", "there", code=4).err.splitlines()[-1].startswith("try:")
    assert (
        cas("checkout", "out", "-o", "there", "--json", code=4).error["error"] == "WouldOverwrite"
    )
    cas("checkout", "out", "-o", "there", "-f")
    assert Path("there/other.txt").read_text() == "mine\n"
    assert Path("there/summary.md").exists()


def test_checkout_of_artifacts(cas: Cas, two: Path) -> None:
    cas("checkout", "out", "summary.md", "-o", "one")
    assert [path.name for path in Path("one").iterdir()] == ["summary.md"]
    cas("checkout", "out:metrics.json", "-o", "two")
    assert [path.name for path in Path("two").iterdir()] == ["metrics.json"]
    cas("checkout", "out", "nope", "-o", "three", code=3)
    assert not Path("three").exists()
    assert "cas cat" in cas("checkout", "out:pages/index.html", code=2).err
    cas("checkout", "nope", code=3)
    cas("checkout", code=2)


def test_status(cas: Cas, two: Path) -> None:
    clean = cas("status", "--exit-code")
    assert "nothing to commit" in clean.out
    write("out/summary.md", "changed\n")
    write("out/extra.txt", "x\n")
    write("out/pages/new.html", "x\n")
    Path("out/metrics.json").unlink()
    result = cas("status", "--exit-code", code=1)
    states = [line.split() for line in result.out.splitlines() if line.startswith("  ")]
    assert [row for row in states if len(row) == 2] == [
        ["new", "extra.txt"], ["missing", "metrics.json"], ["modified", "pages"],
        ["modified", "summary.md"],
    ]  # fmt: skip
    assert "+ new.html" in result.out
    assert result.err.startswith("next: cas commit")
    record = cas("status", "--json").json
    assert record["clean"] is False
    assert cas("status", "out", "--json").json == record


def test_status_with_a_spec(cas: Cas) -> None:
    cas("init")
    write("report.spec.yaml", SPEC)
    write("summary.md", "# S\n")
    result = cas("status")
    assert "report: no version yet" in result.out
    assert "missing" in result.out
    write("metrics.json", "{}\n")
    cas("commit")
    assert cas("status", "--json").json["clean"] is True
    write("report.spec.yaml", SPEC.replace('"1.0"', '"1.1"'))
    assert "spec version: 1.0 → 1.1" in cas("status", "--spec", "report.spec.yaml").out
    Path("report.spec.yaml").unlink()
    assert "nothing to compare" in cas("status").out
    cas("status", "nope", code=3)


def test_status_from_another_folder(cas: Cas, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("out/summary.md", "changed\n")
    monkeypatch.chdir("out/pages")
    assert cas("status").err == "next: cas commit ..\n"


def test_fsck(cas: Cas, two: Path) -> None:
    result = cas("fsck")
    assert result.out.startswith("no damage found; looked at ")
    assert result.err == "next: cas fsck --full\n"
    assert cas("fsck", "--full", "--json").json["ok"] is True
    assert cas("fsck", "out@v1", "--full").err == ""
    cas("fsck", "nope", code=3)


def test_fsck_of_a_damaged_store(cas: Cas, two: Path) -> None:
    # Every copy of the page: old ones of a copy-on-write file are not live.
    data = Path(".cas/data.mdb").read_bytes()
    assert b"All is well" in data, "small text is stored as it is, or other bytes must be damaged"
    Path(".cas/data.mdb").write_bytes(data.replace(b"All is well", b"All is hell"))
    result = cas("fsck", "--full", code=7)
    assert "summary.md" in result.out
    report = cas("fsck", "--full", "--json", code=7).json
    assert report["ok"] is False
    assert report["findings"][0]["hurt"]
    damaged = cas("cat", "out:summary.md", code=7)
    assert damaged.raw == b""
    assert cas("cat", "out@v1:metrics.json", code=None).code in (0, 7)


def test_fsck_of_a_store_that_is_cut_off(cas: Cas, two: Path) -> None:
    size = Path(".cas/data.mdb").stat().st_size
    os.truncate(".cas/data.mdb", size // 2)
    result = cas("log", "--json", code=7)
    assert result.out == ""
    assert result.error["error"] == "CorruptObject"
    report = cas("fsck", "--json", code=7).json
    assert report["findings"][0]["kind"] == "store"
    assert any(finding["kind"] == "page" for finding in report["findings"])
    told = cas("fsck", code=7).err
    assert told == "next: restore the store from a backup, or: cas salvage DEST\n"


def test_diff_of_one_path(cas: Cas, two: Path) -> None:
    for words in (
        ["out@v1:pages/index.html", "out:pages/index.html"],
        ["out@v1", "out:pages/index.html"],
        ["out@v1:pages/index.html", "out"],
        ["out:pages/index.html"],
    ):
        lines = cas("diff", *words).out.splitlines()
        assert lines[1].startswith("~ pages: folder ")
        assert lines[2].startswith("    ~ index.html: ")
        assert "-<!doctype html><title>Report</title>" in lines
        assert "+<!doctype html><title>Report 2</title>" in lines
        assert "metrics.json" not in "".join(lines)
    assert cas("diff", "out@v1", "out:pages/img").out.splitlines()[1:] == [
        "no difference in pages/img"
    ]
    cas("diff", "out@v1", "out:pages/img", "--exit-code")
    cas("diff", "out@v1", "out:pages/index.html", "--exit-code", code=1)
    record = cas("diff", "--json", "out:pages/index.html").json
    assert [row["files"][0]["path"] for row in record["artifacts"]] == ["index.html"]
    assert [content["name"] for content in record["contents"]] == ["pages/index.html"]
    missing = cas("diff", "out:pages/no.html", code=3).err.splitlines()
    assert missing == [
        "error: 'pages' has no 'no.html' in it, in neither version",
        "try:   cas ls -R out@v2:pages",
    ]
    assert "has no artifact" in cas("diff", "out:page/no.html", code=3).err


def test_diff_of_a_folder_in_a_folder_and_of_what_changed_its_kind(cas: Cas, out: Path) -> None:
    write("out/pages/img/new.svg", "<svg/>\n")
    (out / "pages/index.html").unlink()
    write("out/pages/index.html/deep.html", "deep\n")
    cas("commit", "out")
    lines = cas("diff", "--stat", "out:pages/img").out.splitlines()
    assert lines[2:] == ["    + img/new.svg: 7 B"]
    lines = cas("diff", "--stat", "out:pages/index.html").out.splitlines()
    assert lines[2:] == ["    + index.html/deep.html: 5 B", "    - index.html: 37 B"]


def test_fixes_are_typed_as_they_stand(cas: Cas) -> None:
    """A name with a blank, or worse, is quoted in what is told to be typed."""
    cas("init")
    write("out/a b;c/x.txt", "x\n")
    cas("commit", "out")
    rev = "out:a b;c/x.txt"
    for words, fix in (
        (["show", rev], "cas cat 'out:a b;c/x.txt'"),
        (["checkout", rev], "cas cat 'out:a b;c/x.txt'"),
        (["checkout", "-o", "-", "out~0"], "cas cat 'out~0':ARTIFACT"),
        (["diff", "out:a b;c", "out:d"], "cas diff 'out:a b;c' out"),
        (["--store", "no such", "log"], "cas init --store 'no such'"),
    ):
        code = 3 if "--store" in words else 2
        assert cas(*words, code=code).err.splitlines()[-1] == f"try:   {fix}", words
    for typed, fix in ((rev, f"cas ls '{rev}' --json"), ("out:x y", "cas show 'out:x y' --json")):
        assert cas("cat", "--json", typed, code=2).error["fix"] == fix
    write("my work/x.txt", "x\n")
    cas("commit", "--name", "w", "my work")
    write("my work/x.txt", "y\n")
    assert cas("status", "w").err.splitlines()[-1] == "next: cas commit --name w 'my work'"


def test_find_tells_near_names(cas: Cas, out: Path) -> None:
    for words, told in (
        (["sumary.md"], "no artifact is called 'sumary.md'; did you mean summary.md?"),
        (["--type", "datasett"], "no artifact has the type 'datasett'; did you mean dataset?"),
        (["--format", "jsn"], "no artifact has the format 'jsn'; did you mean json?"),
    ):
        done = cas("find", *words)
        assert (done.out, done.err) == ("", f"nothing found: {told}\n")
        assert cas("find", *words, "--json").err == ""
    for words in (["zzzz"], ["*.zzz"], ["summary.md", "--type", "dataset"]):
        assert cas("find", *words).err == "nothing found\n"
