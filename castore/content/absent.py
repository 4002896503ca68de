"""What is said of a file that is not there: what is beside it under a near name, where to look."""

from __future__ import annotations

import os
from pathlib import Path

from castore.errors import InvalidInput
from castore.model.names import near_names, quoted


def near_files(path: Path) -> str:
    """A question to end an error with, if something in the same folder has a near name, else ""."""
    try:
        beside = os.listdir(path.parent)
    except OSError:
        return ""
    return near_names(path.name, sorted(beside))


def look_for(path: Path) -> str:
    """A command that shows what is there: a file, or the nearest folder above what is not."""
    if os.path.lexists(path):
        return f"ls -ld {quoted(str(path))}"
    above = next((folder for folder in path.parents if folder.is_dir()), path.parent)
    return f"ls {quoted(str(above))}"


def unreadable(what: str, path: Path, error: OSError) -> InvalidInput:
    """What to raise for a file that a command was given and cannot open or read."""
    near = "" if os.path.lexists(path) else near_files(path)
    return InvalidInput(
        f"{what} {str(path)!r} cannot be read: {error.strerror}{near}", fix=look_for(path)
    )
