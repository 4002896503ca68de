"""Notes: append-only statements of known subjects."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given

from castore.errors import InvalidInput
from castore.model.note import SUBJECTS, Note, decode_note, encode_note
from tests.model.samples import NOTE, brief, some_id
from tests.model.strategies import notes


@given(notes())
def test_a_note_is_read_back(value: Note) -> None:
    read = decode_note(encode_note(value))
    assert read.id == value.id
    assert set(read.after) == set(value.after)
    assert set(read.replaces) == set(value.replaces)
    assert dataclasses.replace(read, after=(), replaces=()) == dataclasses.replace(
        value, after=(), replaces=()
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scope": b"short"}, "scope"),
        ({"target": b""}, "target"),
        ({"target_kind": "set"}, "kind"),
        ({"target_kind": "note"}, "a review is about a manifest"),
        ({"subject": "opinion"}, "subject"),
        ({"value": "fine"}, "value"),
        ({"value": ""}, "value"),
        ({"subject": "comment", "value": "x"}, "value"),
        ({"subject": "deployment", "value": ""}, "empty for deployment"),
        ({"subject": "signature", "value": ""}, "empty for signature"),
        ({"subject": "lifecycle", "value": "approved"}, "value"),
        ({"at": -1}, "at"),
        ({"after": (b"x",)}, "not an id"),
        ({"replaces": tuple(i.to_bytes(32, "big") for i in range(1025))}, "replaces"),
        ({"text": "t" * 65_537}, "text"),
        ({"text": "t" * 65_000, "by": "b" * 65_000, "meta": {"m": "x" * 9_000}}, "limit"),
        ({"ext": {"!must": b""}}, "must be understood"),
    ],
    ids=brief,
)
def test_what_could_not_be_read_is_never_written(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        encode_note(dataclasses.replace(NOTE, **change))


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_every_value_of_every_subject_is_stored(subject: str) -> None:
    for value in SUBJECTS[subject] or ("production",):
        note = dataclasses.replace(NOTE, subject=subject, value=value)
        assert decode_note(encode_note(note)) == note


@pytest.mark.parametrize("subject", ["signature", "comment"])
def test_notes_may_be_signed_and_commented(subject: str) -> None:
    value = "" if subject == "comment" else "SHA256:abc"
    note = dataclasses.replace(
        NOTE, subject=subject, value=value, target=some_id(30), target_kind="note"
    )
    assert decode_note(encode_note(note)) == note
