"""`cas cache prune --remove`: caches that are damaged, or hold what their bucket has not."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

import castore
from castore.errors import CastoreError, RefMoved
from tests.cli.conftest import Cas, Result, write
from tests.cli.test_repair import SPEC

FAR = """\
spec: far
version: "1"
artifacts:
  - {name: model, type: dataset, format: binary, storage: external}
"""


@pytest.fixture
def bucket(cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bucket that is the store of a spec here, with one version."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    write("weekly.spec.yaml", SPEC.format(url=(tmp_path / "bucket").as_uri()))
    write("out/summary.md", "# one\n")
    cas("commit", "-m", "one")
    return tmp_path / "bucket"


def _home(bucket: Path) -> Path:
    [home] = (bucket.parent / "caches/castore/shared").iterdir()
    return home


def _tried(cas: Cas, told: Result, code: int | None = 0) -> Result:
    """Run what `try:` or `next:` of the last line says, as it is typed."""
    line = told.err.splitlines()[-1]
    return cas(*shlex.split(line.removeprefix("next: ").removeprefix("try:   "))[1:], code=code)


def _lost(bucket: Path) -> str:
    """Lose a race: the id of a version that is in the cache only."""
    url = bucket.as_uri()
    write("out/summary.md", "# mine\n")
    with (
        castore.open(url, caches=_home(bucket).parent) as mine,
        castore.open(url, caches=bucket.parent / "other") as other,
    ):
        with other.session(name="weekly") as session:
            session.add("summary", b"theirs")
            session.commit()
        with pytest.raises(RefMoved) as caught:
            mine.commit("out", name="weekly", message="of me")
    return str(caught.value.attributes["local"])


def _garbage(cache: Path) -> None:
    (cache / "data.mdb").write_bytes(bytes(range(256)) * 100)


def _middle(cache: Path) -> None:
    data = bytearray((cache / "data.mdb").read_bytes())
    data[5 * 4096 : 8 * 4096] = bytes(range(256)) * 48
    (cache / "data.mdb").write_bytes(data)


def _emptied(cache: Path) -> None:
    shutil.rmtree(cache)
    cache.mkdir()


DAMAGE = {
    "garbage": _garbage,
    "middle": _middle,
    "no data": lambda cache: (cache / "data.mdb").unlink(),
    "no identity": lambda cache: (cache / "store.json").write_text("x"),
    "nothing left": _emptied,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_cache_goes_as_every_error_says(cas: Cas, bucket: Path, how: str) -> None:
    DAMAGE[how](_home(bucket) / ".cas")
    way = f"cas cache prune --remove {bucket.as_uri()}\n"
    for command in (["log"], ["commit", "-m", "x"], ["fsck"], ["heal"], ["cache", "prune"]):
        told = cas(*command, code=None)
        assert told.code in (4, 7)
        assert way in told.err or "prune --remove " in told.err
    listed = cas("cache", "list")
    assert "damaged" in listed.err
    assert "damaged" in cas("cache", "show", bucket.as_uri()).err
    (row,) = cas("cache", "list", "--json").rows
    assert row["problem"]
    assert "would be removed" in cas("cache", "prune", "--remove", "-n", bucket.as_uri()).out
    assert "removed" in _tried(cas, listed).out
    assert [row["message"] for row in cas("log", "--json").rows] == ["one"]
    assert cas("cache", "prune").out.endswith(", nothing is to go\n")
    assert cas("fsck").code == 0


def test_a_damaged_cache_whose_bucket_is_not_there_stays(cas: Cas, bucket: Path) -> None:
    url = bucket.as_uri()
    _middle(_home(bucket) / ".cas")
    bucket.rename(bucket.with_name("away"))
    assert cas("cache", "prune", "--remove", url, code=7)
    assert (_home(bucket) / ".cas/data.mdb").exists()
    bucket.with_name("away").rename(bucket)
    (bucket / "root").write_bytes(b"x")
    assert "remote repair" in cas("cache", "prune", "--remove", url, code=7).err
    assert (_home(bucket) / ".cas/data.mdb").exists()


def test_what_is_in_a_damaged_cache_only_is_named_and_can_be_kept(cas: Cas, bucket: Path) -> None:
    lost = _lost(bucket)
    (_home(bucket) / ".cas/store.json").write_text("x")
    refused = _tried(cas, cas("log", code=7), code=4)
    assert f"{lost[:12]}  lost from weekly" in refused.err
    (line,) = [line for line in refused.err.splitlines() if "salvage" in line]
    salvage = line.strip(" (").partition(" makes ")[0].replace("FOLDER", "rescued")
    cas(*shlex.split(salvage)[1:])
    assert cas("cat", f"{lost}:summary.md", "--store", "rescued").out == "# mine\n"
    assert "removed" in _tried(cas, refused).out
    assert len(cas("log", "--json").rows) == 2


def test_a_version_is_found_in_a_cache_without_refs(cas: Cas, bucket: Path) -> None:
    """Neither refs nor the log can be read: what lies in blocks counts."""
    lost = _lost(bucket)
    cache = _home(bucket) / ".cas"
    data = (cache / "data.mdb").read_bytes()
    (cache / "data.mdb").write_bytes(data.replace(b"lost/weekly", b"lost/\xff\xff\xff\xff\xff\xff"))
    (cache / "store.json").write_text("x")
    refused = cas("cache", "prune", "--remove", bucket.as_uri(), code=4)
    assert lost[:12] in refused.err


def test_after_a_lost_race_a_cache_says_what_it_has_and_goes(cas: Cas, bucket: Path) -> None:
    lost, url = _lost(bucket), bucket.as_uri()
    refused = cas("cache", "prune", "--remove", url, code=4)
    assert f"  {lost[:12]}  lost from weekly" in refused.err
    assert "of me" in refused.err
    assert "  on weekly" not in refused.err
    assert "would" not in cas("cache", "prune", "--remove", "-n", url, code=4).out
    assert cas("cache", "prune", "--force", code=2)
    (line,) = [line for line in refused.err.splitlines() if "cas --store" in line]
    keep = line.strip(" (").partition(" puts ")[0].replace("NAME", "mine").replace("ID", lost)
    cas(*shlex.split(keep)[1:])
    assert "removed" in cas("cache", "prune", "--remove", url).out
    assert cas("cat", "mine:summary.md").out == "# mine\n"


def test_what_is_lost_may_be_thrown_away(cas: Cas, bucket: Path) -> None:
    lost = _lost(bucket)
    refused = cas("cache", "prune", "--remove", bucket.as_uri(), code=4)
    assert "removed" in _tried(cas, refused).out
    assert cas("show", lost, code=3)
    assert len(cas("log", "--json").rows) == 2


def test_notes_that_did_not_arrive_keep_a_cache(cas: Cas, bucket: Path) -> None:
    with castore.open(bucket.as_uri(), caches=_home(bucket).parent) as store:
        bucket.rename(bucket.with_name("away"))
        bucket.mkdir(mode=0o500)
        with pytest.raises(CastoreError):
            store.approve("weekly", by="bob@example.org")
        bucket.rmdir()
        bucket.with_name("away").rename(bucket)
    url = bucket.as_uri()
    assert "notes that did not arrive, 1" in cas("cache", "prune", "--remove", url, code=4).err
    (_home(bucket) / ".cas/store.json").write_text("x")
    assert "notes that did not arrive, 1" in cas("cache", "prune", "--remove", url, code=4).err


def test_the_bucket_that_is_the_store_keeps_its_name(cas: Cas, bucket: Path) -> None:
    refused = cas("remote", "remove", "origin", code=2)
    assert "is the bucket that is this store" in refused.err
    assert [row["name"] for row in cas("remote", "list", "--json").rows] == ["origin"]
    cas("remote", "add", "other", bucket.with_name("other"))
    cas("push", "other")
    cas("remote", "remove", "other")
    # As an older castore left it.
    (_home(bucket) / ".cas/config.toml").write_text("")
    assert cas("cat", "weekly:summary").out == "# one\n"
    assert cas("fsck", "--remote", "origin").code == 0
    assert "removed" in _tried(cas, refused).out


def test_what_was_brought_in_lies_in_the_cache_only(
    cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push does not take it along, and it is not thrown away with the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("CAS_STORE", (tmp_path / "bucket").as_uri())
    write("far.yaml", FAR)
    write("model.bin", "weights")
    cas("commit", "--spec", "far.yaml", "model=model.bin")
    assert "the bucket does not get them" in cas("internalize", "far").err
    Path("model.bin").unlink()
    refused = cas("cache", "prune", "--remove", (tmp_path / "bucket").as_uri(), code=4)
    assert "external artifacts that were brought in, 1" in refused.err
    assert cas("cat", "far:model").out == "weights"
    _tried(cas, refused)
    cas("cat", "far:model", code=2)


def test_what_was_purged_in_the_bucket_is_named(cas: Cas, bucket: Path) -> None:
    with castore.open(bucket.as_uri(), caches=bucket.parent / "other") as other:
        [artifact] = other.set_of(other.resolve("weekly").version).artifacts
        other.purge(f"weekly@v1:{artifact.name}", reason="a name", by="ann@example.org")
    for _ in range(2):
        told = cas("log")
        assert "still in the cache of this machine" in told.err
    [line] = [line for line in told.err.splitlines() if "cas purge" in line]
    cas("purge", *shlex.split(line.partition("cas purge ")[2]), "--yes")
    assert "still in the cache" not in cas("log").err
    assert "was purged" in cas("cat", f"weekly@v1:{artifact.name}", code=3).err
