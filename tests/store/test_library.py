"""The library: the verbs of an open store, as a program uses them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import castore
from castore import errors


def test_a_store_is_found_from_below_and_never_made_by_opening(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreNotFound) as caught:
        castore.open(tmp_path)
    assert caught.value.fix == "cas init"
    castore.init(tmp_path).close()
    (tmp_path / "a" / "b").mkdir(parents=True)
    with castore.open(tmp_path / "a" / "b") as store:
        assert store.folder == tmp_path / ".cas"
    with castore.open(tmp_path / ".cas") as store:
        assert store.root == tmp_path
    assert (tmp_path / ".cas" / ".gitignore").read_text() == "*\n"


def test_making_a_store_twice_keeps_it(store: castore.Store, out: Path, tmp_path: Path) -> None:
    version = store.commit(str(out)).version
    with castore.init(tmp_path) as again:
        assert again.resolve("out").version.id == version.id


def test_a_url_is_refused_plainly(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="cache"):
        castore.open("s3://bucket/team")


def test_the_verbs_hang_together(store: castore.Store, out: Path, tmp_path: Path) -> None:
    first = store.commit(str(out)).version
    (out / "report.md").write_text("# Other\n")
    second = store.commit(str(out)).version
    assert store.diff("out").as_json() == store.diff("out@v2", "out@v1").as_json()
    assert not store.diff("out").identical
    assert store.diff("out@v1").new.id == first.id
    assert [a.artifact.name for a in store.artifacts("out")] == [
        "data",
        "metrics.json",
        "report.md",
    ]
    assert [e.path for e in store.files("out:data")] == ["a.csv", "deep", "deep/run.sh"]
    assert {found.version.id for found in store.find("*.md")} == {first.id, second.id}
    with store.open("out:data/a.csv") as file:
        file.seek(3)
        assert file.read(5) == b"value"
    done = store.checkout("out@v1", tmp_path / "copy")
    assert (done.destination / "report.md").read_text() == "# Report\n\nAll is well.\n"
    assert store.stats().as_json()["versions"] == 2
    assert store.fsck(full=True).ok


def test_threads_commit_to_one_branch_and_none_is_lost(store: castore.Store) -> None:
    def work(number: int) -> castore.Version:
        with store.session("shared") as session:
            session.write("a", f"thread {number}")
            return session.commit(str(number))

    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(work, range(24)))
    assert sorted(version.number for version in versions) == list(range(1, 25))
    assert {v.id for v in store.log("shared")} == {version.id for version in versions}


def _process(folder: str, number: int) -> None:
    with castore.open(folder) as store:
        for round in range(5):
            with store.session("shared") as session:
                session.write("a", f"{number} {round}")
                session.commit(f"{number} {round}")


def test_processes_commit_to_one_branch_and_none_is_lost(tmp_path: Path) -> None:
    castore.init(tmp_path).close()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_process, args=(str(tmp_path), n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    with castore.open(tmp_path) as store:
        history = list(store.log("shared"))
        assert [version.number for version in history] == list(range(15, 0, -1))
        expected = {f"{n} {r}" for n in range(3) for r in range(5)}
        assert {version.manifest.message for version in history} == expected
        assert store.fsck(full=True).ok
