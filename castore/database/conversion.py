"""Conversion: the rows of an older version of the indexes become those of version 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from castore.database import folded, indexes, tables
from castore.database.indexes import Index
from castore.database.writing import Writing
from castore.errors import UnsupportedFormat

_STEP_ROWS: Final = 20_000


def update_lookup(writing: Writing) -> None:
    """Turn the rows of versions 1 and 2 of the indexes into those of version 3, if they are.

    In one transaction, in bounded memory. What version 4 has beyond takes a rebuild: no commit
    waits for it. Raises UnsupportedFormat for a newer version.
    """
    version = writing.indexes()
    if indexes.UPDATED_VERSION <= version <= indexes.INDEXES_VERSION:
        return
    if version > indexes.INDEXES_VERSION:
        raise UnsupportedFormat(
            f"the look-up tables of this store are of version {version}; this castore writes "
            f"version {indexes.INDEXES_VERSION}",
        )
    if version == 1:
        for index in indexes.BRIEF:
            _make_brief(writing, index)
    folded.refold_all(writing)
    writing.set_integer(tables.INDEXES, indexes.UPDATED_VERSION)


def _make_brief(writing: Writing, index: Index) -> None:
    start = bytes((index,))
    while wide := list(_wide_rows(writing, index, start)):
        start = wide[-1]
        brief = sorted({indexes.brief_key(key) for key in wide})
        writing.replace_rows("lookup", [(key, b"") for key in brief], gone=wide)


def _wide_rows(writing: Writing, index: Index, start: bytes) -> Iterator[bytes]:
    """The next keys of the index, from `start`, that are longer than they are today."""
    found = 0
    for key, _ in writing.rows("lookup", start):
        if key[0] != index or found == _STEP_ROWS:
            return
        if len(key) > indexes.BRIEF_BYTES:
            found += 1
            yield key
