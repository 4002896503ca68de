"""Making a store that is there already whole: the files beside its data."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

import castore
from castore.errors import (
    CastoreError,
    CorruptObject,
    StoreFull,
    StoreNotFound,
    WouldOverwrite,
)


def test_a_file_of_a_store_that_cannot_be_written_is_named_and_written_later(
    tmp_path: Path,
) -> None:
    castore.init(tmp_path).close()
    config = tmp_path / ".cas" / "config.toml"
    text = config.read_text("utf-8")
    config.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(StoreFull) as caught:
            castore.init(tmp_path)
        assert "ulimit -f" in caught.value.fix
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not config.exists()
    castore.init(tmp_path).close()
    assert config.read_text("utf-8") == text


@pytest.mark.parametrize("left", ["heads.log", "lock.mdb"])
def test_a_store_without_its_data_is_damaged_and_not_made_again(tmp_path: Path, left: str) -> None:
    castore.init(tmp_path).close()
    cas = tmp_path / ".cas"
    (cas / left).touch()
    for name in {"store.json", "data.mdb", "heads.log", "lock.mdb"} - {left}:
        (cas / name).unlink(missing_ok=True)
    before = sorted(path.name for path in cas.iterdir())
    for use in (castore.init, castore.open, lambda place: castore.salvage(place, place / "new")):
        with pytest.raises(CorruptObject) as caught:
            use(tmp_path)
        assert caught.value.code == 7
        assert "backup" in caught.value.fix
    report = castore.fsck(tmp_path)
    assert not report.ok
    assert "backup" in report.fix
    assert sorted(path.name for path in cas.iterdir()) == before


def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".cas").mkdir()
    (tmp_path / ".cas" / "config.toml").write_text("")
    with pytest.raises(WouldOverwrite, match="no store is in it") as caught:
        castore.init(tmp_path)
    assert "move that folder away" in caught.value.fix
    with pytest.raises(StoreNotFound):
        castore.open(tmp_path)


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(CastoreError):
            castore.init(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_nothing_can_be_made_in_is_named() -> None:
    with pytest.raises(CastoreError, match="/proc"):
        castore.init("/proc/self/fd")


def test_a_folder_that_is_not_there_has_no_store_above_it(tmp_path: Path) -> None:
    """A misspelt URL is no name for the nearest store."""
    castore.init(tmp_path).close()
    (tmp_path / "below").mkdir()
    castore.open(tmp_path / "below").close()
    for wrong in ("nothere/at/all", "s3//reports/dk"):
        with pytest.raises(StoreNotFound, match="no such folder"):
            castore.open(tmp_path / wrong)
