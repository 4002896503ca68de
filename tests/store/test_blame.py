"""Blame: who made and who changed, against a naive walk over the whole history."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import castore
from castore import errors
from castore.store.blame import Blame, blame
from tests.store.conftest import ticking

NAMES = ("a", "b", "c")
# Each version: which artifacts it makes, with which of three contents; the rest is carried.
VERSIONS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), min_size=1), min_size=1, max_size=12
)


def commit(store: castore.Store, made: dict[str, str], *, whole: bool = False) -> castore.Version:
    """The next version of `out`: what is made, and what is carried unless it is `whole`."""
    only = () if whole else tuple(made)
    with store.session("out", only=only) as session:
        for name, content in made.items():
            session.write(name, content)
        return session.commit()


@settings(max_examples=40, deadline=None)
@given(VERSIONS, st.booleans())
def test_the_naive_walk_gives_the_same(versions: list[dict[str, int]], whole: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, castore.init(folder, now=ticking()) as store:
        history: list[tuple[castore.Version, dict[str, int], set[str]]] = []
        for made in versions:
            first = whole or not history
            carried = {} if first else history[-1][1]
            version = commit(store, {n: str(c) for n, c in made.items()}, whole=first)
            history.append((version, {**carried, **made}, set(made)))
        for at, (version, state, _) in enumerate(history):
            found = {row.artifact: row for row in store.blame(version.id.hex())}
            assert set(found) == set(state)
            for name, row in found.items():
                maker = next(v for v, _, made in reversed(history[: at + 1]) if name in made)
                changed, before = _last_change(history[: at + 1], name)
                assert row.made == maker
                assert row.changed.id == changed.id
                assert (row.before and row.before.id) == (before and before.id)
                assert row.complete


def _last_change(
    history: list[tuple[castore.Version, dict[str, int], set[str]]], name: str
) -> tuple[castore.Version, castore.Version | None]:
    at = len(history) - 1
    while at and history[at - 1][1].get(name) == history[at][1][name]:
        at -= 1
    before = history[at - 1] if at else None
    return history[at][0], before[0] if before and name in before[1] else None


def one(store: castore.Store, what: str | Path) -> Blame:
    """The one answer."""
    [found] = store.blame(what)
    return found


def test_made_again_with_the_same_bytes_is_no_change(store: castore.Store) -> None:
    with store.session("out", agent="writer@7", run="r1") as session:
        session.write("a", "1")
        first = session.commit()
    second = commit(store, {"a": "1"})
    found = one(store, "out:a")
    assert found.made == second
    assert found.changed.id == first.id
    assert found.as_json()["changed"]["agent"] == {"id": "writer", "version": "7"}
    assert found.as_json()["changed"]["run"] == "r1"
    assert found.as_json()["before"] is None


def test_a_file_in_a_folder(store: castore.Store, out: Path) -> None:
    store.commit(str(out))
    (out / "data" / "a.csv").write_text("changed\n")
    store.commit(str(out))
    (out / "data" / "deep" / "run.sh").chmod(0o644)
    store.commit(str(out))
    assert one(store, "out:data").changed.number == 3
    assert one(store, "out:data/a.csv").changed.number == 2
    assert one(store, "out:data/deep/run.sh").changed.number == 3
    for wrong in ("out:data/none", "out:report.md/none"):
        with pytest.raises(errors.RefNotFound):
            store.blame(wrong)


def test_a_file_on_disk_is_known_by_its_bytes(store: castore.Store, out: Path) -> None:
    store.commit(str(out))
    store.commit(str(out))
    store.commit(str(out), name="copy")
    found = blame(store, out / "data" / "a.csv")
    assert [(row.name, row.changed.label) for row in found] == [
        ("copy@v1:data/a.csv", "copy@v1"),
        ("out@v2:data/a.csv", "out@v1"),
    ]
    folder = blame(store, str(out / "data"))
    assert {(row.version.label, row.artifact, row.path) for row in folder} == {
        ("copy@v1", "data", ""), ("out@v2", "data", ""),
    }  # fmt: skip
    (out / "report.md").write_text("nobody has this")
    with pytest.raises(errors.RefNotFound, match="holds the bytes"):
        store.blame(out / "report.md")
    with pytest.raises(errors.NotFound):
        store.blame("./nothing/here")


def test_history_that_is_not_here_is_said(store: castore.Store) -> None:
    first = commit(store, {"a": "1", "b": "1"}, whole=True)
    second = commit(store, {"a": "1", "b": "1"}, whole=True)
    commit(store, {"b": "2"})
    store.database.write(lambda tables: tables.drop_object_row(first.id))
    found = one(store, "out:a")
    assert (found.made, found.changed.id, found.complete) == (second, second.id, False)
    assert one(store, "out:b").complete
    store.database.write(lambda tables: tables.drop_object_row(second.id))
    found = one(store, "out:a")
    assert (found.made, found.made_id, found.complete) == (None, second.id, False)
    assert found.as_json()["made"] is None
    assert one(store, "out:b").complete is False


def test_a_version_whose_set_was_forgotten_ends_the_history(store: castore.Store) -> None:
    first = commit(store, {"a": "1", "b": "1"}, whole=True)
    commit(store, {"a": "1", "b": "2"}, whole=True)
    store.database.write(lambda tables: tables.drop_object_row(first.set_id))
    assert one(store, "out:a").complete is False
    assert one(store, "out:a").changed.number == 2


def test_an_external_artifact(store: castore.Store) -> None:
    store.commit("a=https://example.org/x", name="out")
    found = one(store, "out:a")
    assert found.digest == b""
    assert found.as_json()["content"] is None
