"""`cas push`, `fetch`, `pull`, `clone`, and what of a remote `gc` and `fsck` look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cas


@pytest.fixture
def shared(cas: Cas) -> Path:
    """A folder as a bucket, with one version of the store in `one`, which is left as cwd."""
    cas("init", Path("one").mkdir() or "one")
    (Path("one") / "a.md").write_text("first\n")
    cas("-C", "one", "commit", "-m", "first", "--name", "out", "a.md")
    cas("-C", "one", "remote", "add", "origin", "../bucket")
    return Path("bucket")


def test_two_people_and_a_bucket(cas: Cas, shared: Path) -> None:
    foreseen = cas("-C", "one", "push", "-n")
    assert "would send" in foreseen.out
    assert not (shared / "castore.json").exists()
    sent = cas("-C", "one", "push")
    assert "branch  out  new → " in sent.out
    assert cas("-C", "one", "push").out.endswith("has everything already\n")
    cloned = cas("clone", "bucket", "two", "--json").json
    assert cloned["branches"][0]["branch"] == "out"
    assert cas("-C", "two", "cat", "out:a.md").out == "first\n"
    (Path("two") / "a.md").write_text("second\n")
    cas("-C", "two", "commit", "-m", "second", "--name", "out", "a.md")
    cas("-C", "two", "approve", "out", "-m", "good")
    pushed = cas("-C", "two", "push", "--json").json
    assert (pushed["notes"], pushed["refs"][0]["ref"]) == (1, "heads/out")
    fetched = cas("-C", "one", "fetch")
    assert "seen  origin/out" in fetched.out
    assert "next: cas pull origin" in fetched.err
    cas("-C", "one", "pull")
    assert cas("-C", "one", "gate", "out", "--require", "approved").code == 0
    assert cas("-C", "one", "cat", "out@v2:a.md").out == "second\n"
    assert cas("-C", "one", "fsck", "--remote", "origin").out.startswith("no damage found")
    counted = cas("-C", "one", "stats", "--remote", "origin", "--json").json
    assert (counted["versions"], counted["notes"], counted["branches"]) == (2, 1, 1)
    assert counted["bytes"] > counted["packs_bytes"] > 0
    assert "2  on 1 branch, 0 tags" in cas("-C", "one", "stats", "--remote", "origin").out
    assert cas("-C", "one", "stats", "out", "--remote", "origin", code=2)


def test_versions_on_both_sides_are_told_and_put_in_order(cas: Cas, shared: Path) -> None:
    cas("-C", "one", "push")
    cas("clone", "bucket", "two")
    for place in ("one", "two"):
        (Path(place) / "a.md").write_text(f"of {place}\n")
        cas("-C", place, "commit", "--name", "out", "a.md")
    cas("-C", "one", "push")
    refused = cas("-C", "two", "push", "--json", code=4).error
    assert refused["error"] == "RefMoved"
    assert refused["fix"] == "cas pull origin out"
    assert cas("-C", "two", "pull", code=4).err.endswith("try:   cas pull --rebase origin out\n")
    rebased = cas("-C", "two", "pull", "--rebase")
    assert "out@v2" in rebased.out
    assert "is out@v3" in rebased.out
    made = cas("-C", "two", "pull", "--rebase", "--json").json
    assert (made["rebased"], made["ahead"]) == ([], ["out"])
    cas("-C", "two", "push")
    cas("-C", "one", "pull")
    assert cas("-C", "one", "cat", "out:a.md").out == "of two\n"


def test_a_bucket_is_freed(cas: Cas, shared: Path) -> None:
    (Path("one") / "a.md").write_bytes(bytes(range(256)) * 400)
    cas("-C", "one", "commit", "--name", "out", "a.md")
    (Path("one") / "a.md").write_text("third\n")
    cas("-C", "one", "commit", "--name", "out", "a.md")
    cas("-C", "one", "push")
    cas("-C", "one", "forget", "out@v2")
    cas("-C", "one", "push")
    assert "next: cas gc --remote origin" in cas("-C", "one", "gc", "--remote", "origin", "-n").err
    freed = cas("-C", "one", "gc", "--remote", "origin", "--json").json
    assert freed["deleted"] > 0
    assert cas("-C", "one", "gc", "--remote", "origin", "--grace", "0", code=2)


def test_damage_in_a_bucket_is_told(cas: Cas, shared: Path) -> None:
    cas("-C", "one", "push")
    for pack in (shared / "packs").rglob("*"):
        if pack.is_file() and "+" not in pack.name:
            data = bytearray(pack.read_bytes())
            data[-20] ^= 1
            pack.chmod(0o644)
            pack.write_bytes(data)
    report = cas("-C", "one", "fsck", "--remote", "origin", "--json", code=7).json
    assert not report["ok"]
    assert cas("clone", "bucket", "two", "--json", code=7).error["error"] == "CorruptObject"


def test_what_is_meant_without_a_name(cas: Cas, shared: Path) -> None:
    cas("init", Path("three").mkdir() or "three")
    assert "cas remote add" in cas("-C", "three", "push", code=3).err
    cas("-C", "three", "remote", "add", "x", "../x")
    cas("-C", "three", "remote", "add", "y", "../y")
    told = cas("-C", "three", "push", "--json", code=3).error
    assert told["candidates"] == ["x", "y"]
    assert cas("-C", "three", "push", "nowhere", code=3)
    assert cas("clone", "x", "four", code=2)
    assert not Path("four").exists()
    cas("-C", "one", "push")
    assert cas("clone", "bucket", "one", code=4)


SPEC = """\
spec: weekly
version: "1.0"
store: {url}
base: out
artifacts:
  - {{name: summary, type: document, format: markdown, path: summary.md}}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder whose spec has a bucket as its store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    url = (tmp_path / "bucket").as_uri()
    Path("weekly.spec.yaml").write_text(SPEC.format(url=url))
    Path("out").mkdir()
    Path("out/summary.md").write_text("# one\n")
    return tmp_path


def test_a_spec_may_name_a_bucket_as_its_store(
    process: Cas, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = process("commit", "-m", "one", "--json").json
    assert process("status", "--json").json
    process("approve", "weekly", "-m", "good")
    assert not Path(".cas").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(spec / "elsewhere"))
    assert process("log", "--json").rows[0]["id"] == made["id"]
    assert process("gate", "weekly", "--require", "approved").code == 0
    assert process("cat", "weekly:summary").out == "# one\n"
    url = (spec / "bucket").as_uri()
    Path("weekly.spec.yaml").unlink()
    assert process("show", "weekly", "--json", env={"CAS_STORE": url}).json["id"] == made["id"]
    assert process("init", "--store", url, code=2)


def test_what_a_command_commits_goes_to_the_bucket_too(process: Cas, spec: Path) -> None:
    inner = "cas commit --spec weekly.spec.yaml -m inside out"
    program = f"import sys; sys.argv = {inner.split()!r}; from castore.cli.main import main; main()"
    process("run", "--spec", "weekly.spec.yaml", "--", sys.executable, "-c", program)
    url = (spec / "bucket").as_uri()
    process("clone", url, "copy")
    rows = process("-C", "copy", "log", "--json").rows
    assert [row["message"] for row in rows] == ["inside"]


def test_a_commit_after_those_of_others(process: Cas, spec: Path) -> None:
    process("commit", "-m", "one")
    Path("out/summary.md").write_text("# two\n")
    assert process("commit", "-m", "two", "--rebase", "--json").json["number"] == 2
    Path("weekly.spec.yaml").unlink()
    process("init")
    assert "bucket" in process("commit", "--rebase", "out", code=2).err


def test_a_bucket_that_is_damaged_or_of_another_kind(cas: Cas, shared: Path) -> None:
    cas("-C", "one", "push")
    root = (shared / "root").read_bytes()
    (shared / "root").write_bytes(root[:-1])
    told = cas("-C", "one", "fetch", "--json", code=7)
    assert told.error["error"] == "CorruptObject"
    (shared / "root").write_bytes(root)
    identity = (shared / "castore.json").read_text()
    (shared / "castore.json").write_text(identity.replace('"castore": 1', '"castore": 2'))
    assert cas("-C", "one", "fetch", "--json", code=8).error["error"] == "UnsupportedFormat"
    (shared / "castore.json").write_text(identity.replace("{", '{"encryption": "\\u001b[2J", '))
    assert "encrypted" in cas("-C", "one", "fetch", "--json", code=8).error["message"]
    (shared / "castore.json").write_text(identity)
    cas("-C", "one", "fetch")
