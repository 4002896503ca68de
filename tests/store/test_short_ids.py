"""Short ids are for typing only: one that begins several versions names none of them."""

from __future__ import annotations

import pytest

import castore
from castore.errors import Ambiguous, RefNotFound
from castore.model.ids import Id
from castore.store import selectors


def commit(store: castore.Store, text: str) -> Id:
    with store.session("out") as session:
        session.write("text", text)
        return session.commit(text).id


def test_a_short_id_of_several_versions_is_refused_with_all_of_them(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seventeen ids two begin with the same digit."""
    monkeypatch.setattr(selectors, "_HEX", "[0-9a-f]$")
    ids = [commit(store, str(number)).hex() for number in range(17)]
    first = next(id[0] for id in ids if sum(other[0] == id[0] for other in ids) > 1)
    with pytest.raises(Ambiguous) as caught:
        store.resolve(first)
    assert sorted(caught.value.candidates) == sorted(id for id in ids if id[0] == first)


def test_fewer_digits_than_six_are_no_id(store: castore.Store) -> None:
    id = commit(store, "one").hex()
    assert store.resolve(id[:6]).version.id.hex() == id
    for digits in range(1, 6):
        with pytest.raises(RefNotFound):
            store.resolve(id[:digits])
