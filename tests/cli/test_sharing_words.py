"""What commands that share say: what to type next, what is damaged, what goes on where."""

from __future__ import annotations

from pathlib import Path

import pytest

from castore.cli.commands import push as pushing
from castore.remote.bundle import BundleFile
from castore.store import sync_clone
from tests.cli.conftest import Cas


@pytest.fixture
def shared(cas: Cas) -> Path:
    """A folder as a bucket, with one version of the store in `one`, and a clone of it in `two`."""
    cas("init", Path("one").mkdir() or "one")
    commit(cas, "one", a="first\n", b="first\n")
    cas("-C", "one", "remote", "add", "origin", "../bucket")
    cas("-C", "one", "push")
    cas("clone", "bucket", "two")
    return Path("bucket")


def commit(cas: Cas, place: str, **files: str) -> None:
    """A version of `out` that holds these."""
    for name, text in files.items():
        (Path(place) / name).write_text(text)
    cas("-C", place, "commit", "--name", "out", *files)


def spoil(bucket: Path) -> None:
    """Flip a bit in every pack."""
    for pack in (bucket / "packs").rglob("*"):
        if pack.is_file() and "+" not in pack.name:
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 1
            pack.chmod(0o644)
            pack.write_bytes(data)


def spoil_store(place: Path, text: bytes) -> None:
    """Damage a block of a store that holds this text as it is."""
    data = bytearray((place / ".cas/data.mdb").read_bytes())
    at = data.find(text)
    assert at > 0
    data[at] ^= 1
    (place / ".cas/data.mdb").write_bytes(data)


def test_a_rebase_says_what_it_takes_back(cas: Cas, shared: Path) -> None:
    commit(cas, "one", a="first\n", b="theirs\n")
    cas("-C", "one", "push")
    commit(cas, "two", a="ours\n", b="first\n")
    said = "changes back or removes: b"
    for also in ((), ("-n",)):
        refused = cas("-C", "two", "pull", *also, code=4)
        assert (
            f"in 'out' --rebase {said}\ntry:   cas -C two pull --rebase origin out\n" in refused.err
        )
    foreseen = cas("-C", "two", "pull", "--rebase", "-n")
    assert "out: what is only here would be made anew" in foreseen.out
    assert f"warning: out: {said}\n" in foreseen.err
    done = cas("-C", "two", "pull", "--rebase")
    assert f"warning: out: {said}\n" in done.err
    assert "nothing new" not in done.out
    assert "ask for them again" not in done.err


def test_reviews_that_do_not_follow_are_told(cas: Cas, shared: Path) -> None:
    commit(cas, "one", a="theirs\n")
    cas("-C", "one", "push")
    commit(cas, "two", a="ours\n")
    cas("-C", "two", "approve", "out", "--author", "bob@example.org")
    assert "reviews were of the versions before" in cas("-C", "two", "pull", "--rebase").err


def test_branches_of_a_remote_may_be_named(cas: Cas, shared: Path) -> None:
    commit(cas, "one", a="second\n")
    cas("-C", "one", "push")
    cas("-C", "two", "fetch")
    for name in ("origin/out", "remotes/origin/out"):
        assert cas("-C", "two", "log", name, "--json").rows[0]["number"] == 2
        assert cas("-C", "two", "cat", f"{name}:a").out == "second\n"
        assert cas("-C", "two", "show", f"{name}@v1", "--json").json["number"] == 1
    shown = cas("-C", "two", "show", "origin/out")
    assert shown.out.startswith("origin/out@v2")
    assert "cas -C two diff origin/out@v2" in shown.err
    assert "~ a" in cas("-C", "two", "diff", "out", "origin/out", "--stat").out
    assert "did you mean origin/out?" in cas("-C", "two", "log", "origin/ot", code=3).err
    # A branch of that name goes before, and what is shown means the same again.
    cas("-C", "two", "branch", "origin/out", "out@v1")
    assert cas("-C", "two", "log", "origin/out", "--json").rows[0]["number"] == 1
    shown = cas("-C", "two", "show", "remotes/origin/out")
    assert shown.out.startswith("remotes/origin/out@v2")


@pytest.mark.parametrize("verb", ["fetch", "pull", "gc --remote origin"])
def test_damage_of_a_bucket_is_told_as_such(cas: Cas, shared: Path, verb: str) -> None:
    commit(cas, "one", a="second\n")
    cas("-C", "one", "push")
    spoil(shared)
    error = cas("-C", "two", *verb.split(), "--json", code=7).error
    assert error["fix"] == "cas -C two fsck --remote origin"
    assert error["message"].startswith(f"{shared.absolute().as_uri()} is damaged: ")
    found = cas("-C", "two", "fsck", "--remote", "origin", code=7)
    assert found.err.endswith("next: cas -C two heal --remote origin\n")
    (shared / "root").unlink()
    found = cas("-C", "two", "fsck", "--remote", "origin", code=7)
    assert found.err.endswith("next: cas -C two remote repair origin\n")


def test_damage_of_a_bucket_that_is_cloned(cas: Cas, shared: Path) -> None:
    spoil(shared)
    error = cas("clone", "bucket", "three", "--json", code=7).error
    assert error["message"].startswith(f"{shared.absolute().as_uri()} is damaged: ")
    assert error["fix"] == "cas -C three fsck --remote origin"
    found = cas(*error["fix"].split()[1:], code=7)
    assert found.err.endswith("next: cas -C three heal --remote origin\n")


def test_garbage_in_a_pack_is_damage_before_it_is_a_newer_format(cas: Cas, shared: Path) -> None:
    for pack in (shared / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o644)
            pack.write_bytes(b"\xff" * pack.stat().st_size)
    error = cas("clone", "bucket", "three", "--json", code=8).error
    assert error["message"].startswith(f"{shared.absolute().as_uri()} is damaged: ")
    assert "block format 255, and this castore reads format 1" in error["message"]
    assert error["fix"] == "cas -C three fsck --remote origin"
    assert "index: its bytes" not in cas(*error["fix"].split()[1:], code=7).out
    cas("-C", "one", "heal", "--remote", "origin")
    cas("-C", "three", "pull")
    assert cas("-C", "three", "cat", "out:a").out == "first\n"


def test_damage_of_a_store_names_what_heals_it(cas: Cas, shared: Path) -> None:
    text = "".join(map(chr, range(33, 126))) + "kept as it is"
    commit(cas, "one", a=text)
    cas("-C", "one", "push")
    spoil_store(Path("one"), text.encode())
    for verb in (("push", "--all"), ("push",)):
        assert cas("-C", "one", *verb).out.endswith("has everything already\n")
    found = cas("-C", "one", "fsck", "--full", code=7)
    assert found.err.endswith("next: cas -C one heal origin\n")
    assert (
        cas("-C", "one", "fsck", "--full", "--json", code=7).json["fix"] == "cas -C one heal origin"
    )
    told = cas("-C", "one", "backup", "../copy", "--json", code=7).error
    assert told["message"].startswith("this store is damaged, and was not backed up: ")
    assert told["fix"] == "cas -C one heal origin"
    assert not Path("copy").exists()
    foreseen = cas("-C", "one", "heal", "-n", code=7)
    assert "would put in 1 object" in foreseen.out
    assert foreseen.err.endswith("next: cas -C one heal origin\n")
    cas("-C", "one", "heal", "origin")
    whole = cas("-C", "one", "heal", "-n")
    assert whole.out.startswith("nothing is wrong in ")
    assert whole.err == ""


def test_damage_without_a_remote_is_salvaged(cas: Cas, shared: Path) -> None:
    text = "".join(map(chr, range(33, 126))) + "kept as it is"
    commit(cas, "one", a=text)
    cas("-C", "one", "backup", "../copy")
    cas("-C", "one", "remote", "remove", "origin")
    spoil_store(Path("one"), text.encode())
    assert cas("-C", "one", "fsck", "--full", code=7).err.endswith(
        "next: cas -C one salvage DEST\n"
    )
    assert (
        cas("-C", "one", "backup", "../new", "--json", code=7).error["fix"]
        == "cas -C one salvage DEST"
    )


def test_a_place_to_clone_that_is_misspelt(cas: Cas, shared: Path) -> None:
    told = cas("clone", "buckt", "three", "--json", code=2).error
    assert told["message"].endswith("did you mean bucket?")
    assert told["fix"] == f"ls {Path.cwd()}"
    told = cas("clone", "one", "three", "--json", code=2).error
    assert "is a store" in told["message"]
    assert "bucket" in cas(*told["fix"].split()[1:]).out
    Path("empty").mkdir()
    assert "nothing was pushed to it" in cas("clone", "empty", "three", code=2).err
    assert not Path("three").exists()


def test_a_clone_that_was_interrupted_is_gone_on_with(
    cas: Cas, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(cas, "one", a="second\n")
    cas("-C", "one", "push")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sync_clone, "pull", interrupted)
        told = cas("clone", "bucket", "three", "--depth", "1", "--json", code=130).error
    assert told["fix"] == "cas -C three pull --depth 1"
    again = cas("clone", "bucket", "three", "--json", code=4).error
    assert again["fix"] == "cas -C three pull"
    cas(*told["fix"].split()[1:])
    assert cas("-C", "three", "cat", "out:a").out == "second\n"
    assert len(cas("-C", "three", "log", "--json").rows) == 1


def test_a_push_that_was_interrupted_says_how_to_go_on(
    cas: Cas, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pushing, "push", interrupted)
    told = cas("-C", "one", "push", "origin", "out", "--json", code=130).error
    assert told["fix"] == "cas -C one push origin out --json"


def test_what_is_foreseen_is_done_by_the_next_command(cas: Cas, shared: Path) -> None:
    commit(cas, "one", a="second\n")
    cas("-C", "one", "tag", "t1", "out")
    cas("-C", "one", "branch", "other", "out")
    foreseen = cas("-C", "one", "push", "origin", "out", "t1", "-n")
    assert foreseen.err.endswith("next: cas -C one push origin out t1\n")
    cas("-C", "one", "push", "origin", "out", "t1")
    fetched = cas("-C", "two", "fetch", "origin", "out")
    assert fetched.err.endswith("next: cas -C two pull origin out\n")


def test_nothing_is_said_when_quiet(cas: Cas, shared: Path) -> None:
    commit(cas, "one", a="second\n")
    for words in (
        ("-C", "one", "push", "-q"),
        ("-C", "one", "push", "-q"),
        ("-C", "two", "fetch", "-q"),
        ("-C", "two", "pull", "-q"),
        ("clone", "bucket", "three", "-q"),
    ):
        done = cas(*words)
        assert (done.out, done.err) == ("", "")
    commit(cas, "one", a="third\n")
    assert "would send" in cas("-C", "one", "push", "-n", "-q").out


def test_a_bundle_on_stdout(cas: Cas, process: Cas, shared: Path) -> None:
    done = process("-C", "one", "bundle", "create", "-")
    assert done.err.startswith("wrote 1 ref, 1 version, ")
    assert not (Path("one") / "-").exists()
    Path("x.bundle").write_bytes(done.raw)
    with BundleFile(Path("x.bundle")) as bundle:
        assert bundle.size == len(done.raw)
    cas("bundle", "verify", "x.bundle")
    assert "would write -" in cas("-C", "one", "bundle", "create", "-", "-n").out
    told = cas("-C", "one", "bundle", "create", "-", "--json", code=2).error
    assert "stdout is for the report" in told["message"]


def test_a_bundle_of_a_history_that_was_cut(cas: Cas, shared: Path) -> None:
    commit(cas, "one", a="second\n")
    cas("-C", "one", "push")
    cas("clone", "bucket", "three", "--depth", "1")
    told = cas("-C", "three", "bundle", "create", "x", "--json", code=4).error
    assert told["fix"] == "cas -C three fetch --unshallow origin"
    cas("-C", "three", "remote", "remove", "origin")
    told = cas("-C", "three", "bundle", "create", "x", "--json", code=4).error
    assert "remote" not in told["message"]
    assert told["fix"] is None


def test_a_tag_without_a_version(cas: Cas, shared: Path) -> None:
    for verb in ("tag", "branch"):
        assert (
            cas("-C", "one", verb, "x", "--json", code=2).error["fix"] == f"cas -C one {verb} x out"
        )
        assert "release-v1 would do" in cas("-C", "one", verb, "v1", code=2).err
    cas("-C", "one", "branch", "more", "out")
    assert cas("-C", "one", "tag", "x", "--json", code=2).error["fix"] == "cas -C one branch"


SPEC = """\
spec: report
version: "1.0"
artifacts:
  - {{name: near, type: dataset, format: csv, path: near.csv}}
  - {{name: far, type: dataset, format: csv, storage: external, uri: "{uri}"}}
"""


def test_where_external_artifacts_are(cas: Cas) -> None:
    cas("init")
    far = Path("far.csv").absolute()
    far.write_text("a\n1\n")
    Path("near.csv").write_text("a\n2\n")
    Path("report.spec.yaml").write_text(SPEC.format(uri=far.as_uri()))
    cas("commit")
    assert f"external: {far.as_uri()}" in cas("show").out
    cas("internalize", "report:far")
    assert f"held: {far.as_uri()}" in cas("show").out
    assert "held" in cas("ls").out


def test_a_bucket_that_is_the_store_and_too_damaged_to_open(
    cas: Cas, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("caches").absolute()))
    url = shared.absolute().as_uri()
    spoil(shared)
    error = cas("--store", url, "log", "--json", code=7).error
    assert error["fix"] == f"cas --store {url} fsck --remote origin"
    found = cas(*error["fix"].split()[1:], "--json", code=7).json
    assert found["findings"]
    assert found["fix"].startswith("cas heal --remote origin, in a store of its own")
    # There it is.
    cas("-C", "one", "heal", "--remote", "origin")
    assert cas("--store", url, "log", "--json").rows[0]["number"] == 1
