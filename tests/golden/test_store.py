"""The golden store of each format opens, is sound, and answers as it did when it was made."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

import castore
from tests.golden.make_store import HERE, answers

FORMATS = sorted(path.parent for path in HERE.parent.glob("format-*-store/store.zip"))


def test_there_is_a_golden_store() -> None:
    assert HERE in FORMATS


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_a_golden_store_answers_as_ever(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "store.zip") as archive:
        archive.extractall(tmp_path)
    with castore.open(tmp_path) as store:
        report = store.fsck(full=True)
        assert report.ok, report.findings
        told = json.loads(json.dumps(answers(store)))
        expected = json.loads((folder / "store.json").read_text())
        assert told == expected
        done = store.checkout("out@v1", tmp_path / "copy")
        assert (done.destination / "text.txt").read_bytes() == b"the same line again\n" * 30_000
        assert (done.destination / "run.sh").stat().st_mode & 0o100
        with store.session("out", author="later") as session:
            session.write("note", "a new version on an old store")
            assert session.commit().number == 3
        assert store.fsck(full=True).ok
