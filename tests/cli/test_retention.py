"""`cas forget` and `cas purge`, and what other commands say of it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cas


def test_forget_undo_and_gc(cas: Cas, two: Path) -> None:
    said = cas("forget", "out@v1", "-n", "--json").json
    assert said["dry_run"]
    assert [row["label"] for row in said["versions"]] == ["out@v1"]
    assert "would forget out@v1" in cas("forget", "out@v1", "-n").out
    done = cas("forget", "out@v1", "-m", "too old", "--json").json
    assert cas("show", "out@v1", "--json").json["forgotten"]["why"] == "too old"
    assert "forgotten" in cas("show", "out@v1").out
    assert "(forgotten)" in cas("log", "--oneline").out.splitlines()[1]
    assert "too old" in cas("log").out
    for arguments in (("cat", "out@v1:summary.md"), ("checkout", "out@v1"), ("diff", "out@v2")):
        refused = cas(*arguments, code=3)
        assert "was forgotten on" in refused.err
        assert refused.err.splitlines()[-1] == f"try:   cas op undo {done['operation']}"
    assert cas("op", "undo", "--json").json["versions"] == [said["versions"][0]["id"]]
    cas("cat", "out@v1:summary.md")
    cas("forget", "out@v1")
    assert cas("gc", "--json").json["freed_bytes"] == said["freed_bytes"]
    assert "has been collected" in cas("op", "undo", code=3).err
    cas("fsck", "--full")


def test_forget_refuses_what_is_not_clearly_asked(cas: Cas, two: Path) -> None:
    assert "newest of out" in cas("forget", "out", code=4).err
    cas("forget", code=2)
    cas("forget", "--keep-last", "1", code=2)
    cas("forget", "out@v1", "--keep-last", "1", "--all", code=2)
    rules = cas("forget", "--keep-last", "1", "--all", "--json").json
    assert [row["label"] for row in rules["versions"]] == ["out@v1"]
    assert rules["kept"] == [{"reason": "newest of out", "versions": 1}]
    assert "forgot out@v2" in cas("forget", "out", "--force").out


def test_purge(cas: Cas, two: Path) -> None:
    place = ["purge", "out@v1:summary.md"]
    cas(*place, code=2)
    assert "out@v2:summary.md" in cas(*place, "--reason", "x", "-n", code=4).err
    place += ["--include", "all"]
    said = cas(*place, "--reason", "asked to", "-n", "--json").json
    assert said["dry_run"]
    assert {row["artifact"] for row in said["places"]} == {"summary.md"}
    assert "--yes" in cas(*place, "--reason", "asked to", code=2).err
    text = cas("cat", "out@v1:summary.md").out
    done = cas(*place, "--reason", "asked to", "-y")
    assert "purged out@v1:summary.md" in done.out
    assert "backups" in done.err
    refused = cas("cat", "out@v1:summary.md", code=3)
    assert "was purged by" in refused.err
    assert "asked to" in refused.err
    shown = cas("show", "out@v1", "--json").json["artifacts"]
    assert {row["name"]: row["storage"] for row in shown}["summary.md"] == "purged"
    (two / "summary.md").write_text(text)
    again = cas("commit", str(two), code=2)
    assert "was purged" in again.err
    assert "asked to" in again.err
    assert cas(*place, "--reason", "asked to", "-y", "--json").json["objects"] == 0
    cas("fsck", "--full")
