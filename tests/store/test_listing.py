"""Listings: artifacts, files in folders, single files, and trees of lines."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore import errors
from castore.model.artifact_set import ExternalContent, FileContent
from castore.model.ids import content_id
from castore.store.listing import draw_tree, list_artifacts, list_folder, named_file
from castore.store.selectors import resolve


@pytest.fixture
def version(store: castore.Store, out: Path, tmp_path: Path) -> castore.Version:
    (out / "data" / "empty").mkdir()
    return store.commit("out", cwd=tmp_path).version


def paths(store: castore.Store, selector: str, *, recursive: bool = False) -> list[str]:
    return [e.path for e in list_folder(store, resolve(store, selector), recursive=recursive)]


def test_artifacts_by_name_with_who_made_them(
    store: castore.Store, version: castore.Version, out: Path, tmp_path: Path
) -> None:
    (out / "report.md").write_text("changed")
    second = store.commit("out", cwd=tmp_path, only=("report.md",)).version
    listed = {item.artifact.name: item for item in list_artifacts(store, second)}
    assert list(listed) == ["data", "metrics.json", "report.md"]
    assert listed["data"].made_by.id == version.id
    assert listed["report.md"].made_by.id == second.id
    assert (listed["data"].kind, listed["report.md"].kind) == ("folder", "file")


def test_a_version_lists_its_artifacts_and_recursively_their_files(
    store: castore.Store, version: castore.Version
) -> None:
    assert paths(store, "out") == ["data", "metrics.json", "report.md"]
    assert paths(store, "out", recursive=True) == [
        "data",
        "data/a.csv",
        "data/deep",
        "data/deep/run.sh",
        "data/empty",
        "metrics.json",
        "report.md",
    ]


def test_a_folder_artifact_and_a_folder_in_it(
    store: castore.Store, version: castore.Version
) -> None:
    assert paths(store, "out:data") == ["a.csv", "deep", "empty"]
    assert paths(store, "out:data", recursive=True) == ["a.csv", "deep", "deep/run.sh", "empty"]
    assert paths(store, "out:data/deep") == ["deep/run.sh"]
    assert paths(store, "out:data/deep/") == ["deep/run.sh"]
    assert paths(store, "out:data/empty") == []


def test_a_file_lists_itself_with_its_digest_and_mode(
    store: castore.Store, version: castore.Version, out: Path
) -> None:
    (entry,) = list_folder(store, resolve(store, "out:data/deep/run.sh"))
    assert entry.digest == content_id((out / "data/deep/run.sh").read_bytes())
    assert entry.executable
    assert entry.as_json()["size"] == (out / "data/deep/run.sh").stat().st_size
    (top,) = list_folder(store, resolve(store, "out:report.md"))
    assert (top.path, top.kind, top.executable) == ("report.md", "file", False)


def test_what_is_not_there_is_said_with_near_matches(
    store: castore.Store, version: castore.Version
) -> None:
    with pytest.raises(errors.RefNotFound, match=r"deep/run\.sh"):
        paths(store, "out:data/deep/runs.sh")
    with pytest.raises(errors.RefNotFound, match="no folder"):
        paths(store, "out:report.md/x")


def test_a_named_file_is_content_and_anything_else_says_what_it_is(
    store: castore.Store, version: castore.Version, out: Path
) -> None:
    found = named_file(store, resolve(store, "out:data/a.csv"))
    assert found == FileContent(content_id((out / "data/a.csv").read_bytes()), 17, 0)
    for selector in ("out:data", "out:data/deep"):
        with pytest.raises(errors.TypeMismatch, match="folder"):
            named_file(store, resolve(store, selector))
    with pytest.raises(errors.RefNotFound, match=r"did you mean a\.csv") as caught:
        named_file(store, resolve(store, "out:data/b.csv"))
    assert caught.value.fix == "cas ls -R out:data"
    with pytest.raises(errors.InvalidInput, match="is a version"):
        named_file(store, resolve(store, "out"))


def test_a_tree_is_drawn(store: castore.Store, version: castore.Version) -> None:
    lines = list(draw_tree(list_folder(store, resolve(store, "out"), recursive=True)))
    assert lines == [
        "├── data/",
        "│   ├── a.csv",
        "│   ├── deep/",
        "│   │   └── run.sh",
        "│   └── empty/",
        "├── metrics.json",
        "└── report.md",
    ]
    assert list(draw_tree([])) == []


def test_external_artifacts_are_listed_as_such(store: castore.Store) -> None:
    with store.session("far") as session:
        session.add_external("far", "s3://bucket/x", ExternalContent(b"\1" * 32, 5))
        version = session.commit()
    (item,) = list_artifacts(store, version)
    assert item.kind == "external"
    (entry,) = list_folder(store, resolve(store, "far:far"))
    assert (entry.kind, entry.size, entry.digest) == ("external", 5, b"\1" * 32)
