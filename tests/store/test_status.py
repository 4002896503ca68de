"""Status: the work folder against the head, and today's spec against the head's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import castore
from castore import errors
from castore.content.segments import reader_of_file
from castore.store import work_folder
from castore.store.status import WorkStatus, status

SPEC = """\
spec: weekly
version: {version}
artifacts:
  - {{name: summary, type: document, format: markdown, path: summary.md}}
  - {{name: pages, type: page, format: folder, path: "pages/*.md"}}
  - {{name: extra, type: dataset, format: csv, path: extra.csv, required: false{checks}}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "weekly.spec.yaml"
    path.write_text(SPEC.format(version=1, checks=""))
    (tmp_path / "summary.md").write_text("# Summary\n")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.md").write_text("one\n")
    (tmp_path / "pages" / "ignored.txt").write_text("not a page\n")
    return path


def states(found: WorkStatus) -> dict[str, str]:
    json.dumps(found.as_json())
    return {artifact.name: artifact.state for artifact in found.artifacts}


def test_a_committed_folder_is_clean(store: castore.Store, out: Path, tmp_path: Path) -> None:
    head = store.commit("out", cwd=tmp_path).version
    found = status(store, "out")
    assert found.clean
    assert found.head is not None
    assert found.head.id == head.id
    assert found.folder == "out"
    assert set(states(found).values()) == {"unchanged"}


def test_every_kind_of_change_of_a_folder(store: castore.Store, out: Path, tmp_path: Path) -> None:
    store.commit("out", cwd=tmp_path)
    (out / "report.md").write_text("changed")
    (out / "metrics.json").unlink()
    (out / "new.txt").write_text("new")
    (out / "data" / "deep" / "run.sh").chmod(0o644)
    (out / "data" / "a.csv").write_text("id,value\n1,3\n2,3\n")
    (out / "data" / "b.csv").write_text("id\n")
    found = status(store, "out")
    assert not found.clean
    assert states(found) == {
        "data": "modified",
        "metrics.json": "missing",
        "new.txt": "new",
        "report.md": "modified",
    }
    data = next(artifact for artifact in found.artifacts if artifact.name == "data")
    assert [(file.path, file.change) for file in data.files] == [
        ("a.csv", "changed"),
        ("b.csv", "added"),
        ("deep/run.sh", "mode"),
    ]


def test_status_agrees_with_what_a_commit_then_does(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    (out / "data" / "big.bin").write_bytes(os.urandom(5_000_000))
    (out / ".casignore").write_text("*.tmp\n")
    (out / "data" / "x.tmp").write_text("ignored")
    store.commit("out", cwd=tmp_path)
    assert status(store, "out").clean
    (out / "data" / "big.bin").write_bytes(os.urandom(5_000_000))
    work = {artifact.name: artifact.content for artifact in status(store, "out").artifacts}
    version = store.commit("out", cwd=tmp_path).version
    assert work == {a.name: a.content for a in store.set_of(version).artifacts}


def test_nothing_but_the_cache_is_written(store: castore.Store, out: Path, tmp_path: Path) -> None:
    store.commit("out", cwd=tmp_path)
    (out / "report.md").write_text("changed")
    before = store.database.read(lambda tables: tables.counts())
    status(store, "out")
    after = store.database.read(lambda tables: tables.counts())
    assert {**after, "files": 0} == {**before, "files": 0}
    assert not store.database.read(lambda tables: tables.stages())


def test_unchanged_files_are_not_read_again(
    store: castore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in out.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    time.sleep(0.1)  # The change of a file must lie a tick behind for its stamp to count.
    store.commit("out", cwd=tmp_path)
    read: list[str] = []
    hash = work_folder.WorkHasher._hash

    def noted(self: work_folder.WorkHasher, path: str) -> tuple[bytes, int]:
        read.append(path)
        return hash(self, path)

    monkeypatch.setattr(work_folder.WorkHasher, "_hash", noted)
    time.sleep(2.2)  # Times of whole seconds are trusted two seconds later.
    assert status(store, "out").clean
    read.clear()
    assert status(store, "out").clean
    assert not read
    (out / "report.md").write_text("# Report\n\nAll is w3ll.\n")
    assert states(status(store, "out"))["report.md"] == "modified"
    assert [Path(path).name for path in read] == ["report.md"]


def test_a_changed_file_does_not_make_its_folder_forgotten(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    for path in out.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    time.sleep(2.2)
    store.commit("out", cwd=tmp_path)

    def rows() -> list[tuple[bytes, bytes]]:
        return store.database.read(lambda tables: list(tables.rows("files")))

    before = rows()
    (out / "report.md").write_text("changed")
    changed = next(path for path in out.rglob("*") if path.is_file() and path.parent != out)
    changed.write_text("changed")
    os.utime(changed, (1_700_000_000, 1_700_000_000))
    assert not status(store, "out").clean
    assert rows() == before


def test_digests_of_what_is_not_stored_are_not_cached(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    store.commit("out", cwd=tmp_path)
    (out / "report.md").write_text("only here")
    os.utime(out / "report.md", (1_700_000_000, 1_700_000_000))
    status(store, "out")
    version = store.commit("out", cwd=tmp_path).version
    assert store.read_bytes("out:report.md") == b"only here"
    assert version.number == 2


def test_against_a_spec(store: castore.Store, spec: Path, tmp_path: Path) -> None:
    found = status(store, spec=spec)
    assert found.head is None
    assert not found.clean
    assert states(found) == {"summary": "new", "pages": "new", "extra": "missing"}
    store.commit(spec=spec, cwd=tmp_path)
    found = status(store, spec=spec)
    assert states(found) == {"summary": "unchanged", "pages": "unchanged", "extra": "missing"}
    extra = found.artifacts[2]
    assert (extra.required, extra.stored) == (False, None)
    (tmp_path / "pages" / "two.md").write_text("two\n")
    (tmp_path / "stray.log").write_text("x")
    (tmp_path / "extra.csv").write_text("a\n")
    found = status(store, "weekly")
    assert states(found) == {
        "summary": "unchanged",
        "pages": "modified",
        "extra": "new",
        "stray.log": "undeclared",
    }
    assert [file.path for file in found.artifacts[1].files] == ["two.md"]
    assert found.spec_path == "weekly.spec.yaml"


def test_an_optional_artifact_that_was_never_there_keeps_the_folder_clean(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    store.commit(spec=spec, cwd=tmp_path)
    assert status(store, "weekly").clean


def test_a_new_spec_version_or_contract_is_said(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    store.commit(spec=spec, cwd=tmp_path)
    assert status(store, "weekly").spec == ()
    spec.write_text("# a comment changes nothing\n" + SPEC.format(version=1, checks=""))
    assert status(store, "weekly").spec == ()
    spec.write_text(SPEC.format(version=1, checks=", checks: {non_empty: true}"))
    assert [change.field for change in status(store, "weekly").spec] == ["contract"]
    spec.write_text(SPEC.format(version=2, checks=""))
    found = status(store, "weekly")
    assert ("version", "1", "2") in [(c.field, c.old, c.new) for c in found.spec]
    assert not found.clean


def test_an_artifact_the_spec_no_longer_declares_is_missing(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    store.commit(spec=spec, cwd=tmp_path)
    spec.write_text(SPEC.format(version=1, checks="").replace("name: summary", "name: overview"))
    found = states(status(store, "weekly"))
    assert (found["summary"], found["overview"]) == ("missing", "new")


def test_a_recorded_folder_or_spec_that_is_gone_is_said(
    store: castore.Store, spec: Path, out: Path, tmp_path: Path
) -> None:
    store.commit("out", cwd=tmp_path)
    store.commit(spec=spec, cwd=tmp_path)
    spec.unlink()
    os.rename(out, tmp_path / "moved")
    for branch, absent in (("weekly", "weekly.spec.yaml"), ("out", "out")):
        found = status(store, branch)
        assert found.absent == absent
        assert found.artifacts == ()
        assert not found.clean
    assert status(store, "out", folder=tmp_path / "moved").artifacts


def test_another_folder_may_stand_for_the_base(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    store.commit(spec=spec, cwd=tmp_path)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "summary.md").write_text("# Summary\n")
    found = states(status(store, spec=spec, folder=other))
    assert found["summary"] == "unchanged"
    assert found["pages"] == "modified"


def test_an_empty_folder_misses_everything(store: castore.Store, out: Path, tmp_path: Path) -> None:
    store.commit("out", cwd=tmp_path)
    (tmp_path / "empty").mkdir()
    found = status(store, "out", folder=tmp_path / "empty")
    assert set(states(found).values()) == {"missing"}


def test_an_unknown_branch_is_refused(store: castore.Store) -> None:
    with pytest.raises(errors.RefNotFound):
        status(store, "nothing")


def test_a_file_that_changes_while_it_is_hashed_is_told(
    store: castore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit("out", cwd=tmp_path)
    (out / "report.md").write_text("another report")
    bytes_read = []

    def growing(descriptor: int, limit: int) -> Callable[[memoryview], int]:
        read = reader_of_file(descriptor, limit)

        def reader(target: memoryview) -> int:
            with (out / "report.md").open("ab") as file:
                file.write(b"more" * 1000)
            bytes_read.append(read(target))
            return bytes_read[-1]

        return reader if limit == len("another report") + 1 else read

    monkeypatch.setattr(work_folder, "reader_of_file", growing)
    with pytest.raises(errors.InvalidInput, match="changed while it was read"):
        status(store, "out")
    assert bytes_read == [len("another report") + 1, 0]
