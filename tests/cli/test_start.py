"""`cas init`, `cas spec`, `cas completion`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import CAS, SPEC, Cas, write


def test_init(cas: Cas) -> None:
    result = cas("init")
    assert result.out == f"made a store at {Path.cwd() / '.cas'}\n"
    assert result.err == "next: cas commit -m first PATH\n"
    assert Path(".cas/.gitignore").read_text() == "*\n"
    again = cas("init")
    assert again.out == f"there is a store already at {Path.cwd() / '.cas'}\n"


def test_init_json(cas: Cas) -> None:
    first = cas("init", "--json")
    assert first.json == {"store": str(Path.cwd() / ".cas"), "created": True}
    assert first.err == ""
    assert cas("init", "--json").json["created"] is False


def test_init_elsewhere(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a").mkdir()
    assert cas("init", "a", "--json").json["store"] == str(Path.cwd() / "a/.cas")
    assert cas("init", "--store", "b.cas/.cas", code=2).err.splitlines()[-1].startswith("try:")
    Path("b").mkdir()
    assert cas("init", "--store", "b/.cas", "--json").json["store"] == str(Path.cwd() / "b/.cas")
    monkeypatch.setenv("CAS_STORE", "c/.cas")
    Path("c").mkdir()
    cas("init")
    assert Path("c/.cas/data.mdb").exists()


def test_init_where_the_spec_says(cas: Cas) -> None:
    Path("data").mkdir()
    write("report.spec.yaml", SPEC + "store: data/.cas\n")
    cas("init")
    assert Path("data/.cas/data.mdb").exists()
    write("summary.md", "# x\n")
    write("metrics.json", "{}\n")
    cas("commit")
    assert cas("log", "--oneline").out.count("report@v1") == 1
    assert cas("status", "--json").json["clean"] is True


def test_init_where_it_cannot(cas: Cas) -> None:
    assert cas("init", "absent", code=2).err.splitlines()[-1] == "try:   mkdir -p " + str(
        Path.cwd() / "absent"
    )
    assert "folder on this machine" in cas("init", "s3://bucket", code=2).err


def test_spec_check(cas: Cas) -> None:
    write("report.spec.yaml", SPEC)
    result = cas("spec", "check")
    assert result.out.splitlines()[0] == "report 1.0: 2 artifacts"
    assert result.err == "next: cas commit --spec report.spec.yaml\n"
    record = cas("spec", "check", "report.spec.yaml", "--json").json
    assert record["spec"]["id"] == "report"
    assert [row["name"] for row in record["artifacts"]] == ["summary", "metrics"]
    assert len(record["contract"]) == 64


def test_spec_check_looks_into_the_schemas(cas: Cas) -> None:
    checked = "  - {name: a, type: dataset, format: json, path: a.json, checks: {schema: a.schema}}"
    write("x.spec.yaml", f'spec: x\nversion: "1"\nartifacts:\n{checked}\n')
    write("a.schema", '{"type": "object", "properties": {"n": {"type": "integer"}}}')
    cas("spec", "check")
    for bad in ("{", '{"type": "nonsense"}', "[]"):
        write("a.schema", bad)
        assert "'a.schema' cannot be used" in cas("spec", "check", code=2).err
        (fault,) = cas("spec", "check", "--json", code=2).error["faults"]
        assert (fault["line"], fault["fix"]) == (4, "mend a.schema")


def test_spec_check_tells_every_fault(cas: Cas) -> None:
    write("bad.spec.yaml", SPEC.replace("markdown", "markdwn").replace("dataset", "1:\n- x"))
    result = cas("spec", "check", "bad.spec.yaml", code=2)
    assert result.out == ""
    faults = cas("spec", "check", "bad.spec.yaml", "--json", code=2).error["faults"]
    assert faults
    assert all({"line", "column", "message"} <= fault.keys() for fault in faults)


def test_spec_check_without_a_spec(cas: Cas) -> None:
    assert "not one single" in cas("spec", "check", code=2).err
    assert "cannot be read" in cas("spec", "check", "absent.yaml", code=2).err


def test_spec_schema(cas: Cas) -> None:
    schema = json.loads(cas("spec", "schema").out)
    assert schema == cas("spec", "schema", "--json").json
    assert "artifacts" in schema["properties"]


def test_spec_init(cas: Cas) -> None:
    cas("init")
    write("out/summary.md", "# x\n")
    write("out/data.csv", "a,b\n1,2\n")
    write("out/pages/index.html", "<p>x</p>\n")
    result = cas("spec", "init", "out")
    assert result.out == "wrote out.spec.yaml: 3 artifacts\n"
    assert result.err == "next: cas commit --spec out.spec.yaml\n"
    cas("spec", "check", "out.spec.yaml")
    cas("commit", "--spec", "out.spec.yaml")
    assert cas("status", "--json").json["clean"] is True
    assert cas("spec", "init", "out", code=4).err.splitlines()[-1] == "try:   add -f, or -o FILE"
    cas("spec", "init", "out", "-f")
    Path("full.yaml").symlink_to("/dev/full")
    full = cas("spec", "init", "out", "-f", "-o", "full.yaml", code=75).err
    assert full.splitlines() == [
        "error: 'full.yaml': the disk is full",
        "try:   free space there, or name another place: -o FILE",
    ]
    assert cas("spec", "init", "out", "-f", "--json").json["artifacts"] == 3


def test_spec_init_below_the_store(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    cas("init")
    write("deep/er/out/a.md", "# x\n")
    monkeypatch.chdir("deep/er")
    cas("spec", "init", "out")
    assert 'store: "../../.cas"' in Path("out.spec.yaml").read_text()
    cas("commit")
    assert cas("log", "--json").json["branch"] == "out"


def test_spec_init_prints(cas: Cas) -> None:
    write("a.md", "# x\n")
    write("b.csv", "a\n1\n")
    result = cas("spec", "init", "--name", "report", "a.md", "b.csv", "-o", "-")
    assert "spec: report" in result.out
    assert not list(Path().glob("*.spec.yaml"))
    assert "does not exist" in cas("spec", "init", "absent", code=2).err
    Path("empty").mkdir()
    assert "empty" in cas("spec", "init", "empty", code=2).err
    assert "outside" in cas("spec", "init", "..", code=2).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cas: Cas, shell: str) -> None:
    script = cas("completion", shell).out
    assert "_CAS_COMPLETE" in script
    assert cas("completion", shell, "--json").json["script"] == script.removesuffix("\n")
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.encode(), check=True)
    cas("completion", "tcsh", code=2)


def test_what_is_completed(process: Cas, out: Path) -> None:
    def offered(words: str) -> list[str]:
        line = words.split(" ")
        env = {"COMP_WORDS": words, "COMP_CWORD": str(len(line) - 1)}
        result = process(env={**env, "_CAS_COMPLETE": "bash_complete"}, code=None)
        return [row.partition(",")[2] for row in result.out.splitlines()]

    assert offered("cas com") == ["commit", "comment", "completion"]
    assert offered("cas show o") == ["out"]
    assert offered("cas log --onel") == ["--oneline"]
    assert offered("cas partial d") == ["discard"]


def test_artifacts_and_files_are_completed_after_a_colon(process: Cas, out: Path) -> None:
    env = {"COMP_CWORD": "2", "_CAS_COMPLETE": "fish_complete"}

    def offered(typed: str) -> list[str]:
        env["COMP_WORDS"], env["COMP_CWORD"] = f"cas show {typed}", typed
        result = process(env=env, code=None)
        return [row.partition(",")[2] for row in result.out.splitlines() if row]

    assert offered("out:") == ["out:metrics.json", "out:pages/", "out:summary.md"]
    assert offered("out@v1:s") == ["out@v1:summary.md"]
    assert offered("out:pages/") == ["out:pages/img/", "out:pages/index.html"]
    assert offered("out:pages/img/d") == ["out:pages/img/dot.svg"]
    assert offered(":m") == [":metrics.json"]
    for nothing in ("no:", "out@v9:", "out:no/", "out:summary.md/", "out:pages/no/", "out@:"):
        assert offered(nothing) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_after_a_colon(cas: Cas, out: Path, tmp_path: Path) -> None:
    """bash splits words at colons, and takes back only what follows the last of them."""
    write("out/a b.md", "x\n")
    cas("commit", "out")
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "cas"
    shim.write_text(f'#!/bin/sh\nexec {shlex.join(CAS)} "$@"\n')
    shim.chmod(0o755)
    script = cas("completion", "bash").out

    def completed(line: str, *words: str) -> list[str]:
        quoted = " ".join(map(shlex.quote, words))
        code = (
            f"{script}\ncompopt() {{ :; }}\nCOMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\n"
            f"COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}\n"
            "_cas_completion cas\nprintf '%s\\n' \"${COMPREPLY[@]}\""
        )
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--norc", "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
        return done.stdout.splitlines()

    assert completed("cas show ou", "cas", "show", "ou") == ["out"]
    assert completed("cas show out:", "cas", "show", "out", ":") == [
        r"a\ b.md", "metrics.json", "pages/", "summary.md",
    ]  # fmt: skip
    assert completed("cas show out:pages/i", "cas", "show", "out", ":", "pages/i") == [
        "pages/img/", "pages/index.html",
    ]  # fmt: skip
    assert completed(
        "cas diff out@v1:s out:m", "cas", "diff", "out@v1", ":", "s", "out", ":", "m"
    ) == ["metrics.json"]
    assert completed("cas show out: ", "cas", "show", "out", ":", "") == [""]
