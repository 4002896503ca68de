"""The three primitives of refs against a plain dictionary, and the log that goes with them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from castore.database.environment import Database
from castore.database.writing import Writing
from castore.errors import InvalidName
from castore.model.limits import REF_BYTES
from tests.database.material import make_database

NAMES = st.sampled_from(["heads/a", "heads/a/b", "heads/ab", "tags/é", "partial/r/a", "z"])
IDS = st.sampled_from([bytes([n]) * 32 for n in range(4)])


class Refs(RuleBasedStateMachine):
    """A store beside a dict of names to ids, b"" for tombstones."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.database = make_database(self.folder / ".cas")
        self.model: dict[str, bytes] = {}
        self.moves: list[tuple[str, bytes, bytes]] = []

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    def apply(self, name: str, new: bytes, done: bool, fn: object) -> None:
        move = (name, self.model.get(name, b""), new)

        def transact(writing: Writing) -> bool:
            result = bool(fn(writing))  # type: ignore[operator]
            if result:
                writing.append_operation("move", op_id="o", at=1, by="me", refs=[move])
            return result

        assert self.database.write(transact) is done
        if done:
            self.moves.append(move)

    @rule(name=NAMES, expected=st.none() | IDS, new=IDS)
    def set_if_equals(self, name: str, expected: bytes | None, new: bytes) -> None:
        done = self.model.get(name) == expected
        self.apply(name, new, done, lambda w: w.set_if_equals(name, expected, new))
        if done:
            self.model[name] = new

    @rule(name=NAMES, new=IDS)
    def add_if_new(self, name: str, new: bytes) -> None:
        done = name not in self.model
        self.apply(name, new, done, lambda w: w.add_if_new(name, new))
        if done:
            self.model[name] = new

    @rule(name=NAMES, expected=IDS, tombstone=st.booleans())
    def remove_if_equals(self, name: str, expected: bytes, tombstone: bool) -> None:
        done = self.model.get(name) == expected
        self.apply(
            name, b"", done, lambda w: w.remove_if_equals(name, expected, tombstone=tombstone)
        )
        if done and tombstone:
            self.model[name] = b""
        elif done:
            del self.model[name]

    @rule()
    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.folder / ".cas")

    @invariant()
    def equal(self) -> None:
        living = sorted((name, id) for name, id in self.model.items() if id)
        read = self.database.read
        assert sorted(read(lambda r: r.refs())) == living
        for prefix in ("heads/", "heads/a", "tags/", "none"):
            expected = [pair for pair in living if pair[0].startswith(prefix)]
            assert sorted(read(lambda r, prefix=prefix: r.refs(prefix))) == expected
        dead = sorted(name for name, id in self.model.items() if not id)
        assert sorted(read(lambda r: r.tombstones())) == dead
        for name in ("heads/a", "tags/é"):
            assert read(lambda r, name=name: r.ref(name)) == (self.model.get(name) or None)
            assert read(lambda r, name=name: r.tombstone(name)) == (name in dead)
        log = read(lambda r: [o.refs[0] for o in r.operations(newest_first=False)])
        assert log == self.moves
        assert len(self.database.heads_log()) == len(self.moves)


Refs.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestRefs = Refs.TestCase


def test_a_tombstone_is_for_ever(database: Database) -> None:
    id = b"i" * 32
    database.write(lambda w: w.add_if_new("tags/v", id))
    assert database.write(lambda w: w.remove_if_equals("tags/v", id, tombstone=True))
    for attempt in (
        lambda w: w.add_if_new("tags/v", id),
        lambda w: w.set_if_equals("tags/v", None, id),
        lambda w: w.set_if_equals("tags/v", b"", id),
        lambda w: w.remove_if_equals("tags/v", b""),
    ):
        assert not database.write(attempt)
    assert database.read(lambda r: r.tombstone("tags/v"))


@pytest.mark.parametrize("name", ["", "x" * (REF_BYTES + 1), "é" * 128])
def test_names_are_bounded(database: Database, name: str) -> None:
    with pytest.raises(InvalidName):
        database.write(lambda w: w.add_if_new(name, b"i" * 32))
