"""Rows about what notes come to: a function of what is stored, in whatever order it came."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.database import folded
from castore.database.check import check_structure
from castore.database.environment import Database
from castore.database.indexes import Index
from castore.database.rebuild import rebuild
from castore.database.tables import INDEXES, State
from castore.database.writing import Writing
from castore.model.ids import Id, Kind, object_id
from castore.model.note import SUBJECTS, Note, encode_note
from castore.model.status import fold
from tests.database.material import (
    PROJECT,
    block_of,
    chain,
    dump,
    edit,
    make_database,
    note,
    put,
    put_objects,
)

PEOPLE = ("ann@example.org", "Ann <ANN@example.org>", "ben@example.org")
LINE = chain(3)


@st.composite
def statements(draw: st.DrawFn) -> list[Note]:
    """Notes about three versions and about nothing stored, which replace and dismiss others."""
    found: list[Note] = []
    targets = [*(id for id, _ in LINE), b"n" * 32]
    for at in range(draw(st.integers(1, 12))):
        subject = draw(st.sampled_from(["review", "review", "lifecycle", "comment"]))
        dismiss = subject == "comment" and draw(st.booleans())
        earlier = [other.id for other in found]
        replaces = draw(st.lists(st.sampled_from(earlier), max_size=2)) if earlier else []
        found.append(
            Note(
                scope=draw(st.sampled_from([PROJECT] * 5 + [b"other project..."])),
                target=draw(st.sampled_from(targets)),
                target_kind="manifest",
                subject=subject,
                value=draw(st.sampled_from(SUBJECTS[subject])),
                by=draw(st.sampled_from(PEOPLE)),
                at=at,
                replaces=tuple(sorted(set(replaces))),
                meta={"dismiss": True} if dismiss else {},
            )
        )
    return found


def expected(notes: Sequence[Note]) -> Iterator[tuple[Index, str, Id]]:
    """The state of every version, with and without dismissals."""
    ours = {note.id: note for note in notes if note.scope == PROJECT}
    for id, _ in LINE:
        for dismissals in (True, False):
            about = {key: note for key, note in ours.items() if note.target == id}
            status = fold(about, id, dismissals=dismissals)
            for index, state in [
                (Index.REVIEW, status.review),
                (Index.LIFECYCLE, status.lifecycle),
            ]:
                if state in folded.STATES[index]:
                    yield index, state, id


def told(database: Database) -> set[tuple[Index, str, Id]]:
    """What the rows tell."""
    return {
        (index, state, id)
        for index, states in folded.STATES.items()
        for state in states
        for _, id in database.read(lambda r, i=index, s=state: list(r.lookup(i, s)))
    }


def without_folded(database: Database) -> None:
    """Give a store the rows of version 2 of the indexes."""

    def change(rows: dict[bytes, bytes]) -> None:
        for key in [key for key in rows if key[0] in folded.STATES]:
            del rows[key]

    edit(database, "lookup", change)
    edit(database, "meta", lambda rows: rows.update({INDEXES.encode(): (2).to_bytes(8, "little")}))


@settings(max_examples=150)
@given(statements(), st.integers(0, 1 << 32), st.integers(1, 8))
def test_the_rows_are_those_of_a_fold_whatever_comes_first(
    notes: list[Note], seed: int, batch: int
) -> None:
    objects = [(Kind.NOTE, encode_note(note)) for note in notes]
    objects += [(Kind.MANIFEST, data) for _, data in LINE]
    random.Random(seed).shuffle(objects)
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / ".cas")
        for start in range(0, len(objects), batch):
            put(database, *(block_of(item) for item in objects[start : start + batch]))
        assert told(database) == set(expected(notes))
        assert list(check_structure(database)) == []
        before = dump(database)
        database.write(rebuild)
        assert dump(database) == before
        without_folded(database)
        assert told(database) == set()
        assert list(check_structure(database)) == []
        database.write(lambda writing: None)
        assert dump(database) == before
        database.close()


@settings(max_examples=50)
@given(statements(), st.data())
def test_the_rows_go_with_what_they_tell_of(notes: list[Note], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / ".cas")
        objects = [(Kind.NOTE, encode_note(note)) for note in notes]
        put_objects(database, *objects, *((Kind.MANIFEST, version) for _, version in LINE))
        gone = data.draw(st.sampled_from(objects))
        id = object_id(*gone)
        database.write(lambda writing: writing.set_state(id, Kind.NOTE, State.LOST))
        assert told(database) == set(expected([note for note in notes if note.id != id]))
        version = data.draw(st.sampled_from(LINE))[0]
        database.write(lambda writing: writing.set_state(version, Kind.MANIFEST, State.LOST))
        assert all(id != version for _, _, id in told(database))
        assert list(check_structure(database)) == []
        database.close()


def test_a_block_that_is_replaced_takes_its_notes_out_of_the_rows(database: Database) -> None:
    (version, manifest), *_ = LINE
    notes = [note(version, value=value) for value in ("approved", "rejected")]
    put(database, block_of(*((Kind.NOTE, data) for data in notes)))
    put(database, block_of((Kind.MANIFEST, manifest)))
    assert told(database) == {(Index.REVIEW, "rejected", version)}
    kept, dropped = ((Kind.NOTE, object_id(Kind.NOTE, data), data) for data in notes)

    def transact(writing: Writing) -> None:
        writing.replace_block(0, [block_of((Kind.NOTE, kept[2]))], [dropped])

    database.write(transact)
    assert told(database) == {(Index.REVIEW, "approved", version)}
    assert list(check_structure(database)) == []


def test_many_notes_are_folded_again_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, *(block_of((Kind.MANIFEST, data)) for _, data in LINE))
    put_objects(
        database,
        *((Kind.NOTE, note(id, at=at)) for at in range(7) for id, _ in LINE),
    )
    now = dump(database)
    without_folded(database)
    monkeypatch.setattr(folded, "_SLICE", 4)
    database.write(lambda writing: None)
    assert dump(database) == now


def test_a_row_that_follows_from_nothing_and_one_that_is_missing_are_found(
    database: Database,
) -> None:
    (version, manifest), *_ = LINE
    put_objects(database, (Kind.MANIFEST, manifest), (Kind.NOTE, note(version)))
    edit(database, "lookup", lambda rows: rows.pop(max(rows)) and None)
    (problem,) = check_structure(database)
    assert "row review of manifest" in problem.detail
    edit(
        database,
        "lookup",
        lambda rows: rows.update(dict.fromkeys(folded.possible_keys(version, 101), b"")),
    )
    assert len(list(check_structure(database))) == 6
