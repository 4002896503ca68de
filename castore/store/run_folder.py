"""The folders that a run works in: made, found empty, and removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from castore.errors import InvalidInput, WouldOverwrite


def new_folder(env: Mapping[str, str]) -> str:
    """A new folder of a name that nobody can guess; raises InvalidInput."""
    import tempfile

    where = env.get("TMPDIR") or "/tmp"  # noqa: S108  # a folder of a new name, mode 0700
    try:
        return tempfile.mkdtemp(prefix="cas-run-", dir=os.path.abspath(where))
    except OSError as error:
        raise InvalidInput(
            f"no folder can be made in {where!r}: {error.strerror}", fix="set TMPDIR"
        ) from None


def make_empty(folder: Path) -> None:
    """Make a folder, or see that it is empty; raises WouldOverwrite, InvalidInput."""
    try:
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            raise WouldOverwrite(f"{str(folder)!r} is not empty", fix="choose another folder")
    except OSError as error:
        raise InvalidInput(f"{str(folder)!r}: {error.strerror}") from None


def remove(path: Path) -> None:
    """Remove a file or folder as far as that is possible; a folder may have been locked."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path, ignore_errors=True)
