"""History: order, filters and walks over branches; branches, tags and the operation log."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore import errors
from castore.store.branches import create_branch, delete_branch, list_lost, move_branch
from castore.store.history import Filter, log
from castore.store.operations import operation_log, operation_record
from castore.store.tags import delete_tag


def put(store: castore.Store, branch: str, text: str, **options: str) -> castore.Version:
    """One version of `branch` with the artifact `a`."""
    with store.session(branch, **options) as session:  # type: ignore[arg-type]
        session.write("a", text)
        session.write("b", "always the same")
        return session.commit(text)


def messages(store: castore.Store, rev: str = "", **filters: str) -> list[str]:
    return [version.manifest.message for version in log(store, rev, only=Filter(**filters))]


def test_a_version_shows_as_its_label(store: castore.Store) -> None:
    with store.session("out") as session:
        session.write("a", "x" * 5000)
        version = session.commit()
    assert repr(version) == f"<Version out@v1 {version.short}>"


def test_all_branches_are_told_newest_first(store: castore.Store) -> None:
    put(store, "x", "1")
    put(store, "y", "2")
    put(store, "x", "3")
    assert messages(store) == ["3", "2", "1"]
    assert messages(store, "x") == ["3", "1"]
    assert messages(store, "x~1") == ["1"]
    assert [v.branch for v in log(store)] == ["x", "y", "x"]
    assert len(list(log(store, limit=2))) == 2
    assert list(log(store, limit=0)) == []


def test_a_shared_past_is_told_once(store: castore.Store) -> None:
    put(store, "x", "1")
    put(store, "x", "2")
    create_branch(store, "y", store.resolve("x@v1").version, by="ann")
    put(store, "y", "3")
    assert messages(store) == ["3", "2", "1"]
    assert [v.label for v in log(store)] == ["y@v2", "x@v2", "x@v1"]
    assert messages(store, "y") == ["3", "1"]
    create_branch(store, "a", store.resolve("x@v2").version, by="ann")
    assert [v.label for v in log(store)] == ["y@v2", "x@v2", "x@v1"]
    delete_branch(store, "x", by="ann")
    assert [v.label for v in log(store)] == ["y@v2", "a@v2", "y@v1"]
    assert store.resolve("y@v2").version.manifest.message == "3"
    assert store.resolve("y@v1").version.manifest.message == "1"


def test_children_stand_before_their_parents_though_clocks_lie(tmp_path: Path) -> None:
    times = iter(range(2_000_000, 1_000_000, -1))
    with castore.init(tmp_path, now=lambda: next(times)) as store:
        for text in "123":
            put(store, "x", text)
        assert messages(store) == ["3", "2", "1"]


def test_filters_combine(store: castore.Store, tmp_path: Path) -> None:
    put(store, "x", "1", agent="writer@7", author="ann@example.org")
    put(store, "x", "2", agent="writer@8", author="bob")
    put(store, "x", "3", agent="critic", author="ann@example.org")
    assert messages(store, agent="writer") == ["2", "1"]
    assert messages(store, agent="writer@7") == ["1"]
    assert messages(store, author="Ann@example.org") == ["3", "1"]
    assert messages(store, author="ann@example.org", agent="critic") == ["3"]
    # Without a spec none is found by its branch.
    assert messages(store, spec="x") == []
    spec = tmp_path / "y.spec.yaml"
    spec.write_text("spec: y\nversion: 1\nartifacts: [{name: a, type: page, format: text}]\n")
    (tmp_path / "a").write_text("4")
    store.commit(spec=spec, name="x", cwd=tmp_path, message="4")
    assert messages(store, spec="y") == messages(store, spec="y@1") == ["4"]
    assert messages(store, spec="y@2") == []


def test_times_filter_at_both_ends(store: castore.Store) -> None:
    first = put(store, "x", "1")
    put(store, "x", "2")
    at = store.record(first)["at"]
    assert messages(store, until=at) == ["1"]
    assert messages(store, since=at) == ["2", "1"]
    assert messages(store, since="2100-01-01") == []
    with pytest.raises(errors.InvalidInput, match="not a time"):
        messages(store, since="someday")


def test_an_artifact_filter_keeps_what_changed_it(store: castore.Store) -> None:
    put(store, "x", "1")
    put(store, "x", "1")
    put(store, "x", "2")
    assert messages(store, artifact="a") == ["2", "1"]
    assert len(messages(store, artifact="b")) == 1
    assert messages(store, artifact="c") == []


def test_branches_are_made_moved_and_taken_away(store: castore.Store) -> None:
    first = put(store, "x", "1")
    second = put(store, "x", "2")
    create_branch(store, "team/y", first, by="ann")
    with pytest.raises(errors.Conflict, match="exists"):
        create_branch(store, "team/y", first, by="ann")
    with pytest.raises(errors.InvalidName):
        create_branch(store, "v3", first, by="ann")
    move_branch(store, "team/y", second, by="ann", expect=first.id)
    with pytest.raises(errors.RefMoved):
        move_branch(store, "team/y", second, by="ann", expect=first.id)
    assert delete_branch(store, "team/y", by="ann").id == second.id
    with pytest.raises(errors.RefNotFound):
        delete_branch(store, "team/y", by="ann")
    assert [version.branch for version in store.branches()] == ["x"]
    assert list_lost(store) == []


def test_a_tag_is_given_once_and_its_name_never_again(store: castore.Store) -> None:
    put(store, "x", "1")
    version = store.tag("release", "x")
    assert store.resolve("release").version.id == version.id
    put(store, "x", "2")
    with pytest.raises(errors.TagExists):
        store.tag("release", "x")
    delete_tag(store, "release", by="ann")
    with pytest.raises(errors.TagExists, match="never reused"):
        store.tag("release", "x")
    with pytest.raises(errors.RefNotFound):
        store.resolve("release")
    with pytest.raises(errors.Conflict, match="branch"):
        store.tag("x", "x@v1")
    with pytest.raises(errors.Conflict, match="tag"):
        put(store, "release", "3")


def test_every_move_of_a_ref_is_in_the_operation_log(store: castore.Store) -> None:
    first = put(store, "x", "1", author="ann")
    store.tag("t", "x", by="bob")
    delete_branch(store, "x", by="cy")
    records = [operation_record(operation) for operation in operation_log(store)]
    assert [(r["op"], r["by"]) for r in records] == [
        ("branch-delete", "cy"),
        ("tag", "bob"),
        ("commit", "ann"),
    ]
    assert records[-1]["refs"] == [{"ref": "heads/x", "old": None, "new": first.id.hex()}]
    assert [r["previous"] for r in records] == [records[1]["hash"], records[2]["hash"], None]
    assert len(list(operation_log(store, 2))) == 2


def test_too_many_steps_back_are_told_as_such(store: castore.Store) -> None:
    put(store, "x", "1")
    with pytest.raises(errors.RefNotFound, match="x@v1 has no version 5 back"):
        store.resolve("x~5")
