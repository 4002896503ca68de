"""The golden store of each format opens, is sound, and answers as it did when it was made."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import castore
from tests.golden.make_store import HERE, answers

FORMATS = sorted(path.parent for path in HERE.parent.glob("format-*-store/store.zip"))


def test_there_is_a_golden_store() -> None:
    assert HERE in FORMATS


def test_a_golden_store_has_deltas(tmp_path: Path) -> None:
    with zipfile.ZipFile(HERE / "store.zip") as archive:
        archive.extractall(tmp_path)
    with castore.open(tmp_path) as store:
        infos = store.database.read(lambda tables: [info for _, info in tables.block_infos()])
        assert any(info.bases for info in infos)


def test_older_rows_of_look_ups_are_brought_up_to_date_by_the_first_write(tmp_path: Path) -> None:
    with zipfile.ZipFile(HERE.parent / "format-1-store" / "store.zip") as archive:
        archive.extractall(tmp_path)
    with castore.open(tmp_path) as store:
        version = store.database.read(lambda tables: tables.indexes())
        rows = store.database.read(lambda tables: tables.counts()["lookup"])
        digest = next(e.digest for e in store.files("out@v1") if e.path.endswith("ä 7.txt")).hex()
        found = list(store.find(digest=digest))
        assert (version, len(found)) == (1, 2)
        assert store.fsck().ok
        store.pin("out@v1")
        assert store.database.read(lambda tables: tables.indexes()) == 3
        assert store.database.read(lambda tables: tables.counts()["lookup"]) == rows
        assert list(store.find(digest=digest)) == found
        assert store.fsck(full=True).ok


def test_a_golden_store_has_notes(tmp_path: Path) -> None:
    with zipfile.ZipFile(HERE / "store.zip") as archive:
        archive.extractall(tmp_path)
    with castore.open(tmp_path) as store:
        assert store.database.read(lambda tables: tables.indexes()) == 3
        assert [v.label for v in store.log(review="approved")] == ["weekly@v2", "weekly@v1"]
        assert store.resolve("weekly@published").version.number == 1
        assert [item.version.label for item in store.deployments()] == ["weekly@v1"]


FOLLOWS = {"approvals", "purged"}
"""Newer fields that follow from what older stores hold too."""

UNNAMED = {"id": None, "version": None, "contract": None, "path": None, "source": None}
"""The spec of a version made without one; once its branch stood there."""


def as_then(told: Any, expected: Any) -> Any:
    """An answer without the fields that are newer than the store, of which it can say nothing."""
    if told == UNNAMED and isinstance(expected, dict) and expected["source"] is None:
        return expected
    if isinstance(told, dict) and isinstance(expected, dict):
        assert all(told[key] is None for key in told.keys() - expected.keys() - FOLLOWS)
        return {key: as_then(told[key], expected[key]) for key in told.keys() & expected.keys()}
    if isinstance(told, list) and isinstance(expected, list):
        assert len(told) == len(expected)
        return [as_then(one, other) for one, other in zip(told, expected, strict=True)]
    return told


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_a_golden_store_answers_as_ever(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "store.zip") as archive:
        archive.extractall(tmp_path)
    with castore.open(tmp_path) as store:
        report = store.fsck(full=True)
        assert report.ok, report.findings
        told = json.loads(json.dumps(answers(store)))
        expected = json.loads((folder / "store.json").read_text())
        assert as_then(told, expected) == expected
        done = store.checkout("out@v1", tmp_path / "copy")
        assert (done.destination / "text.txt").read_bytes() == b"the same line again\n" * 30_000
        assert (done.destination / "run.sh").stat().st_mode & 0o100
        with store.session("out", author="later") as session:
            session.write("note", "a new version on an old store")
            assert session.commit().number == 3
        assert store.fsck(full=True).ok
