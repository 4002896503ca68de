"""Making a store that is there already whole: the files beside its data."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

import castore
from castore.errors import CastoreError, StoreFull


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
        with pytest.raises(StoreFull):
            castore.init(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not config.exists()
    castore.init(tmp_path).close()
    assert config.read_text("utf-8") == text


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
