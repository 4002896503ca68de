"""Derived tables, compared row by row with what a rebuild gives, which is then thrown away."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import castore
from castore.database.check import check_structure
from castore.database.reading import Reading
from castore.database.rebuild import rebuild
from castore.database.writing import Writing

TABLES = ("objects", "blockinfo", "lookup")


class _Rebuilt(Exception):
    """Ends the transaction, so that nothing of the rebuild is kept."""


def equals_a_rebuild(store: castore.Store) -> None:
    """Every row of the derived tables is there, and no other."""
    found: list[dict[str, dict[bytes, bytes]]] = []

    def transact(tables: Writing) -> Any:
        found[:] = [_rows(tables)]
        rebuild(tables)
        found.append(_rows(tables))
        raise _Rebuilt

    with suppress(_Rebuilt):
        store.database.write(transact)
    here, made = found
    for name in TABLES:
        wrong = {key: row for key, row in here[name].items() if made[name].get(key) != row}
        absent = made[name].keys() - here[name].keys()
        assert not wrong, f"{name}: rows that a rebuild does not give"
        assert not absent, f"{name}: rows are missing"
    assert list(check_structure(store.database)) == []


def _rows(tables: Reading) -> dict[str, dict[bytes, bytes]]:
    return {name: dict(tables.rows(name)) for name in TABLES}
