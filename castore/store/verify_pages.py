"""The report of a store that cannot be checked as it is: what its pages tell."""

from __future__ import annotations

from pathlib import Path

from castore.database.datafile import DATA_FILE
from castore.database.pages import check_pages
from castore.errors import FULL_CHECK, CorruptObject
from castore.store.apart import Hanging, Killed
from castore.store.verify_report import Finding, FsckReport


def unreadable(folder: Path, error: CorruptObject, *, full: bool) -> FsckReport:
    """The report of a store that could not be checked, for which an error is told.

    What is wrong with pages is found by plain reads, which no damage can make dangerous.
    """
    kind = "process" if isinstance(error, Hanging | Killed) else "store"
    findings = [Finding(_id(error.id), kind, Path(error.where).name, error.message)]
    pages = 0
    data = folder / DATA_FILE
    if data.is_file():
        found = check_pages(str(data))
        pages = found.pages
        findings += [Finding(b"", "page", DATA_FILE, text) for text in found.problems]
    # What does not open is told with what helps, wherever it is told; else salvage does.
    helps = "" if error.fix == FULL_CHECK else error.fix
    return FsckReport(full, tuple(findings), counts={"pages": pages}, helps=helps)


def _id(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
