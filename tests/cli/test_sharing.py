"""`cas push`, `fetch`, `pull`, `clone`, and what of a remote `gc` and `fsck` look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import castore
from castore.errors import RefMoved
from castore.model.ids import Kind
from castore.store.notes import notes_about
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
    assert "next: cas -C one pull origin" in fetched.err
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
    assert refused["fix"] == "cas -C two pull origin out"
    assert cas("-C", "two", "pull", code=4).err.endswith(
        "try:   cas -C two pull --rebase origin out\n"
    )
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
    assert (
        "next: cas -C one gc --remote origin"
        in cas("-C", "one", "gc", "--remote", "origin", "-n").err
    )
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
    assert "cas -C three remote add" in cas("-C", "three", "push", code=3).err
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


def test_caches_are_seen_and_pruned(cas: Cas, spec: Path) -> None:
    url = (spec / "bucket").as_uri()
    assert "no caches" in cas("cache", "list").err
    Path("out/summary.md").write_bytes(b"# " + b"text " * 50_000)
    cas("commit", "-m", "one")
    listed = cas("cache", "list", "--json").rows
    assert [row["url"] for row in listed] == [url]
    assert url in cas("cache", "list").out
    shown = cas("cache", "show", "--json").json
    assert (shown["limit"], shown["unsent"]) == (5_000_000_000, 0)
    assert "5.0 GB" in cas("cache", "show", url).out
    assert cas("cache", "show", "file:///nowhere", code=3)
    assert cas("cache", "prune", "--max-size", "many", code=2)
    assert cas("cache", "prune", "--remove", code=2)
    cas("cache", "prune", "--max-size", "0", "-n")
    assert cas("cache", "list", "--json").rows[0]["contents"] == listed[0]["contents"] > 0
    assert cas("cache", "prune", "--max-size", "0", "--json").rows[0]["removed"] is False
    assert cas("cache", "list", "--json").rows[0]["contents"] < 1_000
    assert len(cas("cat", "weekly:summary").out) > 250_000
    (spec / "bucket").rename(spec / "away")
    assert cas("cache", "prune", code=7)
    assert cas("cache", "prune", "--remove", url, code=7)
    (spec / "away").rename(spec / "bucket")
    assert "removed" in cas("cache", "prune", "--remove", url).out
    assert "no caches" in cas("cache", "list").err
    assert cas("log", "--json").rows[0]["branch"] == "weekly"


def test_a_cache_with_something_of_its_own_is_not_removed(cas: Cas, spec: Path) -> None:
    url = (spec / "bucket").as_uri()
    cas("commit", "-m", "one")
    other = castore.open(url, caches=spec / "other")
    with castore.open(url, caches=spec / "caches/castore/shared") as mine, other:
        with other.session(name="weekly") as session:
            session.add("summary", b"theirs")
            session.commit()
        with pytest.raises(RefMoved):
            mine.commit("out", name="weekly")
        refused = cas("cache", "prune", "--remove", url, "--json", code=4)
        assert "in use" in refused.error["message"]
    refused = cas("cache", "prune", "--remove", url, "--json", code=4)
    assert "lost from weekly" in refused.error["message"]
    assert "1 version" in cas("cache", "show", url).err


def test_a_bucket_is_read_offline(cas: Cas, spec: Path) -> None:
    assert "never read" in cas("--offline", "log", code=3).err
    cas("commit", "-m", "one")
    (spec / "bucket").rename(spec / "away")
    told = cas("--offline", "log")
    assert "offline: file://" in told.err
    assert " as of 20" in told.err
    assert cas("cat", "weekly:summary", "--offline").out == "# one\n"
    Path("out/summary.md").write_text("# two\n")
    assert "modified" in cas("--offline", "status").out
    refused = cas("--offline", "commit", "--json", code=9).error
    assert refused["fix"] == "the same without --offline"
    assert cas("--offline", "approve", "weekly", code=9)
    assert cas("--offline", "push", code=9)
    assert cas("--offline", "clone", "away", "two", code=2)
    assert cas("--offline", "cache", "prune", code=2)


@pytest.mark.parametrize("by", ["push", "commit"])
def test_what_was_said_and_did_not_arrive_goes_with_the_next(cas: Cas, spec: Path, by: str) -> None:
    cas("commit", "-m", "one")
    bucket = spec / "bucket"
    version = cas("log", "--json").rows[0]["id"]
    url = bucket.as_uri()
    with castore.open(url, caches=spec / "caches/castore/shared") as store:
        bucket.rename(spec / "away")
        bucket.mkdir(mode=0o500)
        with pytest.raises(castore.CastoreError):
            store.approve(version, by="bob@example.org")
        bucket.rmdir()
        (spec / "away").rename(bucket)
    told = cas("log")
    assert "not in the bucket yet" in told.err
    assert cas("gate", "weekly", "--require", "approved").code == 0
    if by == "push":
        assert "sent 1 object, 1 note" in cas("push", "--store", url).out
    else:
        Path("out/summary.md").write_text("# two\n")
        cas("commit", "-m", "two")
    assert "not in the bucket yet" not in cas("log").err
    with castore.open(url, caches=spec / "other") as other:
        assert other.gate("weekly@v1", require=["approved"]).passed


def test_damage_is_healed_both_ways(cas: Cas, shared: Path) -> None:
    cas("-C", "one", "push")
    assert "nothing is wrong" in cas("-C", "one", "heal").out
    cas("clone", "bucket", "two")
    for pack in (shared / "packs").rglob("*"):
        if pack.is_file() and "+" not in pack.name:
            pack.chmod(0o644)
            pack.write_bytes(pack.read_bytes()[:-20])
    assert "would put in" in cas("-C", "one", "heal", "-n", "--remote", "origin", code=7).out
    healed = cas("-C", "two", "heal", "--remote", "origin", "--json").json
    assert healed["objects"] > 0
    assert healed["whole"]
    assert cas("-C", "one", "fsck", "--remote", "origin").code == 0
    assert cas("-C", "one", "heal", "origin", "--remote", "origin", code=2)


def test_a_root_is_repaired(cas: Cas, shared: Path) -> None:
    cas("-C", "one", "push")
    assert cas("-C", "one", "remote", "repair", "origin", code=4)
    (shared / "root").unlink()
    assert "damaged" in cas("-C", "one", "fetch", code=7).err
    foreseen = cas("-C", "one", "remote", "repair", "origin", "-n")
    assert "would become root" in foreseen.out
    assert foreseen.err.endswith("next: cas -C one remote repair origin\n")
    done = cas("-C", "one", "remote", "repair", "origin", "--json").json
    assert (done["behind"], done["moved"], done["missing"]) == (0, {}, [])
    assert "everything already" in cas("-C", "one", "push").out


def test_a_shallow_clone_says_where_it_begins(cas: Cas, shared: Path) -> None:
    for number in range(2, 5):
        (Path("one") / "a.md").write_text(f"version {number}\n")
        cas("-C", "one", "commit", "--name", "out", "a.md")
    cas("-C", "one", "push")
    cas("clone", "--depth", "2", "bucket", "two")
    told = cas("-C", "two", "log", "--oneline")
    assert len(told.out.splitlines()) == 2
    assert "history here begins with out@v3" in told.err
    assert "begins" not in cas("-C", "two", "log", "-n", "1").err
    assert "--unshallow" in cas("-C", "two", "cat", "out@v1:a.md", code=3).err
    assert cas("-C", "two", "fetch", "--depth", "3", "--unshallow", code=2)
    cas("-C", "two", "fetch", "--depth", "3")
    assert len(cas("-C", "two", "log", "--json").rows) == 3
    cas("-C", "two", "pull", "--unshallow")
    told = cas("-C", "two", "log", "--oneline")
    assert (len(told.out.splitlines()), told.err) == (4, "")


def test_every_remote_gets_it(cas: Cas, shared: Path) -> None:
    assert cas("init", Path("three").mkdir() or "three")
    assert cas("-C", "three", "push", "--all", code=3)
    cas("-C", "one", "remote", "add", "spare", "../spare")
    sent = cas("-C", "one", "push", "--all", "--json").rows
    assert [(row["remote"], len(row["refs"])) for row in sent] == [("origin", 1), ("spare", 1)]
    assert cas("-C", "one", "push", "--all", "origin", code=2)
    (Path("one") / "a.md").write_text("second\n")
    cas("-C", "one", "commit", "--name", "out", "a.md")
    cas("-C", "one", "commit", "--name", "other", "a.md")
    (Path("bucket") / "root").unlink()
    part = cas("-C", "one", "push", "--all", "out", code=7)
    assert part.err.startswith("error: origin: ")
    assert "\ntry:   cas -C one remote repair origin\n" in part.err
    assert "branch  out" in part.out
    told = cas("-C", "one", "push", "--all", "out", "--json", code=7)
    assert (told.error["error"], told.error["remote_name"]) == ("CorruptObject", "origin")
    assert [row["remote"] for row in told.rows] == ["spare"]
    assert cas("-C", "one", "fetch", "--all", code=7)
    cas("-C", "one", "remote", "repair", "origin")
    cas("-C", "one", "pull", "--all")
    cas("-C", "one", "push", "--all")
    assert cas("-C", "one", "push", "--all").out.count("everything already") == 2


def test_what_waits_in_the_inbox_is_shown(cas: Cas, shared: Path) -> None:
    cas("-C", "one", "push")
    cas("clone", "bucket", "two")
    cas("-C", "two", "approve", "out", "--author", "bob@example.org")
    with castore.open("two") as store:
        [note] = notes_about(store, store.resolve("out").version.id)
        payload = store.reader.payload(note, Kind.NOTE)
    inbox = shared / "notes" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / note.hex()).write_bytes(payload)
    told = cas("-C", "one", "fetch")
    assert "not yet counted: approved of" in told.err
    assert "by bob@example.org" in told.err
    assert cas("-C", "one", "pull", "--json").json["waiting"][0]["value"] == "approved"
    assert cas("-C", "one", "gate", "out", "--require", "approved", code=6)
    assert "1 note among them" in cas("-C", "one", "push").out
    assert cas("-C", "one", "gate", "out", "--require", "approved").code == 0
    assert "not yet counted" not in cas("-C", "one", "fetch").err


def test_a_check_of_a_cache_says_that_it_is_one(
    cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAS_STORE", (tmp_path / "bucket").as_uri())
    Path("a").write_text("a")
    cas("commit", "a")
    assert "cas fsck --remote origin" in cas("fsck").err
    assert "cache" not in cas("fsck", "--remote", "origin").err
    assert cas("fsck", "--json").json["ok"]


@pytest.mark.parametrize("store", ["own", "bucket"])
def test_a_forget_is_taken_back_here_only(
    cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """What a bucket was told stays forgotten there: nobody is to think otherwise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    if store == "own":
        cas("init")
    else:
        monkeypatch.setenv("CAS_STORE", (tmp_path / "bucket").as_uri())
    for text in ("first\n", "second\n"):
        Path("a.md").write_text(text)
        cas("commit", "--name", "out", "a.md")
    if store == "own":
        cas("forget", "out@v1", "-m", "a slip", "--yes")
        assert "only here" not in cas("op", "undo").err
        cas("remote", "add", "origin", str(tmp_path / "bucket"))
        cas("push")
    cas("forget", "out@v1", "-m", "a slip", "--yes")
    undone = cas("op", "undo")
    assert "has content again" in undone.out
    assert "only here: a bucket that was told of it" in undone.err
    assert cas("cat", "out@v1:a.md").out == "first\n"
