"""Undo: one operation's ref moves taken back, or a conflict that names what moved."""

from __future__ import annotations

import pytest

import castore
from castore.database.tables import State
from castore.errors import Conflict, InvalidInput, ObjectNotFound, RefMoved, RefNotFound
from castore.model.ids import Kind
from castore.store.branches import create_branch, delete_branch, move_branch
from castore.store.tags import delete_tag


def add(store: castore.Store, branch: str, text: str) -> castore.Version:
    with store.session(branch) as session:
        session.write("text", text)
        return session.commit(text)


def tips(store: castore.Store) -> dict[str, int]:
    return {version.branch: version.number for version in store.branches()}


def test_commits_are_taken_back_one_after_the_other(store: castore.Store) -> None:
    first = add(store, "a", "1")
    second = add(store, "a", "2")
    done = store.undo(by="alice", why="a slip")
    assert done.operation.sequence == 2
    assert done.moves == (("heads/a", second.id, first.id),)
    assert store.resolve("a").version.id == first.id
    newest = next(store.operations())
    assert (newest.sequence, newest.op, newest.by, newest.why) == (3, "undo", "alice", "a slip")
    assert newest.detail == {"op": "commit", "sequence": 2}
    assert store.undo().operation.sequence == 1
    assert tips(store) == {}
    assert store.read_bytes(f"{second.id.hex()}:text") == b"2", "no version is lost"
    with pytest.raises(RefNotFound, match="left to undo"):
        store.undo()
    assert store.fsck(full=True).ok


def test_an_undo_is_taken_back_by_its_number(store: castore.Store) -> None:
    add(store, "a", "1")
    second = add(store, "a", "2")
    store.undo()
    store.undo(3)
    assert store.resolve("a").version.id == second.id
    assert store.undo().operation.sequence == 2, "what was had back can be undone again"
    assert tips(store) == {"a": 1}


def test_branches_made_moved_and_deleted(store: castore.Store) -> None:
    first = add(store, "a", "1")
    second = add(store, "a", "2")
    create_branch(store, "b", first, by="")
    move_branch(store, "b", second, by="")
    delete_branch(store, "b", by="")
    store.undo()
    assert tips(store) == {"a": 2, "b": 2}
    store.undo()
    assert tips(store) == {"a": 2, "b": 1}
    store.undo()
    assert tips(store) == {"a": 2}


def test_an_older_operation_of_another_branch(store: castore.Store) -> None:
    add(store, "a", "1")
    add(store, "b", "1")
    store.undo(1)
    assert tips(store) == {"b": 1}


def test_a_ref_that_moved_is_named_and_nothing_changes(store: castore.Store) -> None:
    first = add(store, "a", "1")
    second = add(store, "a", "2")
    with pytest.raises(RefMoved) as caught:
        store.undo(1)
    assert "heads/a" in caught.value.message
    assert caught.value.attributes["refs"] == [
        {"ref": "heads/a", "left": first.id.hex(), "actual": second.id.hex()}
    ]
    assert next(store.operations()).sequence == 2
    delete_branch(store, "a", by="")
    with pytest.raises(RefMoved, match="is absent"):
        store.undo(2)


def test_a_resumed_partial_comes_back(store: castore.Store) -> None:
    with store.session("a", run="r1") as session:
        session.write("text", "half")
        session.commit(partial=True)
    with store.session("a", run="r1", resume="r1") as session:
        session.write("more", "whole")
        session.commit()
    assert store.partials() == []
    store.undo()
    assert [partial.run for partial in store.partials()] == ["r1"]
    assert tips(store) == {}


def test_what_cannot_be_undone_is_not_passed_over(store: castore.Store) -> None:
    add(store, "a", "1")
    add(store, "a", "2")
    store.gc()
    store.undo()
    store.tag("t", "a")
    store.pin("a")
    for dry_run in (True, False):
        with pytest.raises(InvalidInput, match=r"the newest operation, 5 \(pin\)") as caught:
            store.undo(dry_run=dry_run)
        assert caught.value.fix.startswith("cas op undo 1;")
    assert tips(store) == {"a": 1}


def test_tags_and_what_moves_no_branch(store: castore.Store) -> None:
    add(store, "a", "1")
    store.tag("t", "a")
    with pytest.raises(InvalidInput, match="tags are never moved") as caught:
        store.undo(2)
    assert caught.value.fix == "cas tag -d t"
    delete_tag(store, "t", by="")
    with pytest.raises(InvalidInput, match="tags are never moved"):
        store.undo(3)
    with store.session("a", run="r1") as session:
        session.write("text", "half")
        session.commit(partial=True)
    with pytest.raises(InvalidInput, match="moved no branch"):
        store.undo(4)
    with pytest.raises(RefNotFound, match="from 1 to 4"):
        store.undo(5)
    with pytest.raises(InvalidInput, match=r"the newest operation, 3 \(tag-delete\)"):
        store.undo()
    assert store.undo(1).operation.sequence == 1


def test_a_branch_does_not_come_back_under_the_name_of_a_tag(store: castore.Store) -> None:
    first = add(store, "a", "1")
    create_branch(store, "b", first, by="")
    delete_branch(store, "b", by="")
    store.tag("b", "a")
    with pytest.raises(Conflict, match="a tag is called 'b'"):
        store.undo(3)


def test_content_that_is_gone(store: castore.Store) -> None:
    first = add(store, "a", "1")
    add(store, "a", "2")
    store.database.write(lambda tables: tables.set_state(first.set_id, Kind.SET, State.LOST))
    with pytest.raises(ObjectNotFound, match="given up since"):
        store.undo()


def test_a_dry_run_changes_nothing(store: castore.Store) -> None:
    add(store, "a", "1")
    add(store, "a", "2")
    done = store.undo(dry_run=True)
    assert done.record is None
    assert done.as_json()["dry_run"] is True
    assert tips(store) == {"a": 2}
    assert next(store.operations()).sequence == 2
    with pytest.raises(RefMoved):
        store.undo(1, dry_run=True)


def test_commits_go_on_after_an_undo(store: castore.Store) -> None:
    add(store, "a", "1")
    add(store, "a", "2")
    store.undo()
    again = add(store, "a", "other")
    assert again.number == 2
    with pytest.raises(RefMoved):
        store.undo(3)
    assert store.fsck(full=True).ok
