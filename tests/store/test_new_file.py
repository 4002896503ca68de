"""New files appear whole or not at all, whoever else writes there."""

from __future__ import annotations

from pathlib import Path

import pytest

from castore.errors import WouldOverwrite
from castore.store.new_file import new_file


def write_both(path: Path) -> None:
    with new_file(path) as slow:
        slow.write(b"slow")
        with new_file(path) as fast:
            fast.write(b"fast")
        assert path.read_bytes() == b"fast"


def fail(path: Path) -> None:
    with new_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_of_two_that_write_one_file_the_first_that_ends_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(WouldOverwrite, match="meanwhile"):
        write_both(path)
    assert path.read_bytes() == b"fast"
    assert [item.name for item in tmp_path.iterdir()] == ["out"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
