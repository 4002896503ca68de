"""`cas remote repair`: a bucket that lost root or `castore.json`, as a remote and as a store."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Cas, Result, write

SPEC = """\
spec: weekly
version: "1.0"
store: {url}
artifacts:
  - name: summary
    type: document
    format: markdown
    path: out/summary.md
"""


@pytest.fixture
def bucket(cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bucket that is the store of a spec here, with a tagged version and an approved one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    write("weekly.spec.yaml", SPEC.format(url=(tmp_path / "bucket").as_uri()))
    write("out/summary.md", "# one\n")
    cas("commit", "-m", "one")
    cas("tag", "good", "weekly")
    write("out/summary.md", "# two\n")
    cas("commit", "-m", "two")
    cas("approve", "weekly", "-m", "good")
    return tmp_path / "bucket"


def _as_told(cas: Cas, told: Result, **options: int) -> Result:
    """Run what `try:` or `next:` says, as it is typed."""
    line = told.err.splitlines()[-1]
    return cas(
        *shlex.split(line.partition("   " if line.startswith("try") else ": ")[2])[1:], **options
    )


def _flipped(path: Path, after: str) -> None:
    """Another digit behind some text of a file."""
    head, text, tail = path.read_text().partition(after)
    path.chmod(0o644)
    path.write_text(head + text + ("1" if tail[0] == "0" else "0") + tail[1:])


def test_a_store_that_is_a_bucket_is_repaired_as_its_error_says(cas: Cas, bucket: Path) -> None:
    (bucket / "root").write_bytes(b"garbage")
    for command in (["log"], ["commit", "-m", "x"], ["fsck", "--remote", "origin"], ["heal"]):
        told = cas(*command, code=7)
        assert f" cas --store {bucket.as_uri()} remote repair origin\n" in told.err
    foreseen = cas("remote", "repair", "origin", "-n")
    assert "would become root" in foreseen.out
    assert cas("log", code=7)
    done = _as_told(cas, foreseen)
    assert "became root" in done.out
    assert "no damage" in _as_told(cas, done).out
    assert [row["message"] for row in cas("log", "--json").rows] == ["two", "one"]
    refused = cas("remote", "repair", "origin", code=4)
    assert "no damage" in _as_told(cas, refused).out
    assert cas("remote", "repair", "other", code=3)
    assert cas("--offline", "remote", "repair", "origin", code=9)


def test_what_was_seen_here_goes_into_a_repaired_store_again(cas: Cas, bucket: Path) -> None:
    """Copies of the last roots are lost as well: the cache has what they led to."""
    (bucket / "root").unlink()
    for copy in sorted((bucket / "roots").iterdir())[2:]:
        copy.unlink()
    foreseen = cas("remote", "repair", "origin", "-n")
    assert "weekly was at" in foreseen.err
    assert "would be sent again" in foreseen.err
    assert "1 note seen here is not in it" in foreseen.err
    done = cas("remote", "repair", "origin", "--json").json
    assert (done["again"], done["notes_again"], done["unsent"]) == (
        ["heads/weekly", "tags/good"],
        1,
        None,
    )
    assert [row["message"] for row in cas("log", "--json").rows] == ["two", "one"]
    assert cas("gate", "weekly", "--require", "approved").code == 0
    assert cas("cat", "good:summary").out == "# one\n"
    assert cas("branch", "--lost", "--json").rows == []
    cas("fsck", "--remote", "origin")


def test_a_machine_that_never_saw_a_bucket_repairs_it(
    cas: Cas, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / "root").unlink()
    (bucket / "castore.json").write_text("{")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(bucket.parent / "elsewhere"))
        assert cas("clone", bucket.as_uri(), "copy", code=7).err.endswith("remote repair origin\n")
        assert "became root" in cas("remote", "repair", "origin").out
    assert [row["message"] for row in cas("log", "--json").rows] == ["two", "one"]


@pytest.mark.parametrize("after", ['"pro', '"project": "', '"uuid": "'])
@pytest.mark.parametrize("root", ["fine", "gone"])
@pytest.mark.parametrize("kind", ["store", "remote"])
def test_a_flipped_digit_of_castore_json(
    cas: Cas, bucket: Path, after: str, root: str, kind: str
) -> None:
    where = []
    if kind == "remote":
        cas("clone", bucket.as_uri(), "copy")
        where = ["-C", "copy"]
    identity = (bucket / "castore.json").read_bytes()
    _flipped(bucket / "castore.json", after)
    if root == "gone":
        (bucket / "root").unlink()
    told = cas(*where, "fetch" if where else "log", code=None)
    assert told.code in (2, 7)
    assert "remote repair origin\n" in told.err
    assert "would be written anew" in cas(*where, "remote", "repair", "origin", "-n").out
    assert (bucket / "castore.json").read_bytes() != identity
    done = cas(*where, "remote", "repair", "origin", "--json").json
    assert done["identity"]
    assert (done["copy"] is None) is (root == "fine")
    assert (bucket / "castore.json").read_bytes() == identity
    cas(*where, "fetch" if where else "log")
    cas("fsck", "--remote", "origin")


def test_another_bucket_in_the_place_is_not_taken_for_a_damaged_one(cas: Cas, bucket: Path) -> None:
    cas("clone", bucket.as_uri(), "copy")
    bucket.rename(bucket.with_name("old"))
    cas("init", write("other/a.md", "other\n").parent)
    cas("-C", "other", "commit", "--name", "out", "a.md")
    cas("-C", "other", "remote", "add", "origin", bucket)
    cas("-C", "other", "push")
    before = (bucket / "castore.json").read_bytes(), (bucket / "root").read_bytes()
    told = cas("-C", "copy", "fetch", code=2)
    assert told.err.endswith("cas -C copy remote repair origin\n")
    assert "another project" in cas("-C", "copy", "remote", "repair", "origin", code=2).err
    assert "another project" in cas("remote", "repair", "origin", code=2).err
    assert before == ((bucket / "castore.json").read_bytes(), (bucket / "root").read_bytes())


@pytest.mark.parametrize("size", [0, 5000])
def test_a_store_that_does_not_open_names_what_a_remote_has(
    cas: Cas, tmp_path: Path, size: int
) -> None:
    cas("init", write("one/out/a.txt", "first\n").parents[1])
    cas("-C", "one", "commit", "-m", "first", "out")
    cas("-C", "one", "remote", "add", "backup", "../the bucket")
    cas("-C", "one", "push", "backup")
    with (tmp_path / "one/.cas/data.mdb").open("r+b") as file:
        file.truncate(size)
    told = cas("-C", "one", "log", code=7)
    clone = shlex.split(told.err.rpartition("for what was pushed: ")[2])
    assert clone[:2] == ["cas", "clone"]
    cas(*(word.replace("DIR", "two") for word in clone[1:]))
    assert cas("-C", "two", "cat", "out:a.txt").out == "first\n"
