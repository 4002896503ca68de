"""`cas gc`, `pin`, `unpin`, `why`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cas, write


def test_a_deleted_branch_is_told_then_freed(cas: Cas, two: Path) -> None:
    id = cas("show", "out", "--json").json["id"]
    assert cas("gc", "-n", "--json").json["dead_bytes"] == 0
    cas("branch", "-d", "out")
    assert cas("gc", "--json").json["dead_bytes"] == 0
    said = cas("gc", "--grace", "0", "-n", "--json").json
    assert said["dry_run"]
    assert [reason["reason"] for reason in said["reasons"]] == ["unreachable"]
    text = cas("gc", "--grace", "0", "-n")
    assert "would free" in text.out
    assert f"{said['freed_bytes']:,} bytes" in text.out
    assert "the file keeps its" in text.err
    assert text.err.endswith("next: cas gc --grace 0\n")
    done = cas("gc", "--grace", "0", "--json").json
    assert done["freed_bytes"] == said["freed_bytes"] > 0
    cas("show", id, code=3)
    logged = cas("op", "log", "--json").rows
    assert [row["op"] for row in logged[:3]] == ["gc", "gc-begin", "branch-delete"]
    assert logged[0]["detail"]["freed_bytes"] == done["freed_bytes"]
    cas("fsck", "--full")


def test_content_staged_for_no_session_is_told(cas: Cas, two: Path) -> None:
    stage = "import castore; castore.open('.').stage(b'for a session to come' * 9)"
    subprocess.run([sys.executable, "-c", stage], check=True)
    told = cas("gc", "-n", "--expire-partials", "0")
    assert "would give up content staged for a session\n" in told.out
    assert told.err.endswith("next: cas gc --expire-partials 0\n")


def test_ages(cas: Cas, two: Path) -> None:
    cas("gc", "--grace", "30d", "--expire-partials", "2026-01-01")
    assert "still to come" in cas("gc", "--grace", "2999-01-01", code=2).err
    assert "still to come" in cas("gc", "--expire-partials", "2999-01-01", code=2).err
    assert cas("gc", "--grace", "soon", code=2).err.startswith("error: 'soon' is not a time")


def test_pin_unpin_and_why(cas: Cas, two: Path) -> None:
    id = cas("show", "out@v1", "--json").json["id"]
    assert cas("pin").out == ""
    assert cas("pin", "out@v1", "-m", "cited", "--json").json == {
        "id": id, "why": "cited", "new": True, "replaced": None,
    }  # fmt: skip
    assert cas("pin", "out@v1", "-m", "cited").out.startswith("was pinned already: out@v1")
    again = cas("pin", "out@v1", "-m", "once more")
    assert "the reason is replaced; it was: cited\n" in again.err
    assert cas("pin", "out@v1", "-m", "cited", "--json").json["replaced"] == "once more"
    assert f"about {id[:12]}" in cas("op", "log", "-n", "1").out
    logged = cas("op", "log", "-n", "1", "--json").json["sequence"]
    assert f"cas unpin {id}" in cas("op", "undo", logged, code=2).err
    assert cas("pin", "--json").rows[0]["why"] == "cited"
    assert "cited" in cas("pin").out
    cas("pin", "-m", "nothing", code=2)
    cas("branch", "-d", "out")
    told = cas("why", id).out.splitlines()
    assert told == ["pin: cited", f"  manifest {id[:12]}  out@v1"]
    assert cas("gc", "--grace", "0", "--json").json["dead_objects"] > 0
    cas("show", id)
    cas("unpin", id, "-m", "withdrawn")
    cas("unpin", id, code=3)
    assert cas("why", id).out.startswith("operation ")
    assert cas("op", "log", "-n", "1", "--json").rows[0]["why"] == "withdrawn"


def test_why_of_an_artifact_a_digest_and_nothing(cas: Cas, two: Path) -> None:
    told = cas("why", "out:summary.md", "--json").json
    assert (told["kept"], told["root"]) == (True, "heads/out")
    assert [link["kind"] for link in told["chain"]] == ["manifest", "set", "chunk"]
    assert told["chain"][-1]["name"] == "summary.md"
    assert cas("why", told["id"][:10], "--json").json == told
    cas("why", "0" * 64, code=3)
    cas("why", "nope", code=3)


def test_the_configured_grace(cas: Cas, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(Path("mine").absolute()))
    write("mine/castore/config.toml", "[gc]\ngrace = 0\n")
    cas("branch", "-d", "out")
    assert cas("gc", "-n", "--json").json["dead_bytes"] > 0
    assert cas("gc", "-n", "--grace", "1d", "--json").json["dead_bytes"] == 0
    write(".cas/config.toml", '[gc]\ngrace = "1d"\n')
    assert cas("gc", "-n", "--json").json["dead_bytes"] == 0


def test_a_malformed_configuration_is_an_error_everywhere(
    cas: Cas, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(".cas/config.toml", "# mine\n[gc]\ngrace 30d\n").absolute()
    for command in (["log"], ["status"], ["gc", "-n"], ["fsck"], ["commit", "out"]):
        told = cas(*command, code=2)
        assert told.err.startswith(f"error: {file} line 3: not TOML: expected '='")
        assert f"try:   edit {file} line 3: write KEY" in told.err
        assert told.out == ""
    error = cas("log", "--json", code=2).error
    assert (error["error"], error["where"], error["line"]) == ("InvalidInput", str(file), 3)
    file.unlink()
    cas("log")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(Path("mine").absolute()))
    mine = write("mine/castore/config.toml", "[gc]\ngrase = 0\n").absolute()
    assert f"{mine} line 2: there is no setting 'gc.grase'" in cas("gc", code=2).err
