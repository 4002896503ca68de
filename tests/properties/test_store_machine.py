"""A state machine: whatever is done to a store, in one thread or several, it answers as a model.

The rules are in rooms of their own: what makes versions, what names them, what is said about them,
what lets them go, and what happens at once. Hypothesis leaves some rules out of each run, so that
the others meet more often. CASTORE_MACHINE_EXAMPLES is how many stores are made, else a fraction of
the examples of the profile: 66 for ci, 6,666 for long, run by hand.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from castore.model.ids import content_id
from castore.model.refs import HEADS
from castore.store.partials import list_partials
from tests.properties.committing import Committing
from tests.properties.concurrent import Concurrent
from tests.properties.derived import equals_a_rebuild
from tests.properties.keeping import Keeping
from tests.properties.model import agrees, read_back
from tests.properties.naming import Naming
from tests.properties.reviewing import Reviewing

EXAMPLES = int(os.environ.get("CASTORE_MACHINE_EXAMPLES", settings().max_examples // 3))
STEPS = 30
# The long form takes as long as it takes.
pytestmark = pytest.mark.timeout(300 if EXAMPLES <= 200 else 0)


class StoreMachine(Committing, Naming, Reviewing, Keeping, Concurrent):
    """Everything that changes a store, and after every step all that it answers."""

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        agrees(self.store, self.model, self.model.moment())
        runs = {partial.run for partial in list_partials(self.store)}
        assert runs - self.unfinished == self.partials().keys()
        for branch in self.model.under(HEADS):
            for member in self.store.set_of(self.store.resolve(branch).version).artifacts:
                data = read_back(self.store, f"{branch}:{member.name}")
                found = content_id(data) if data is not None else None
                assert found in (getattr(member.content, "digest", b""), None)

    @invariant()
    def what_is_forgotten(self) -> None:
        """Every version that is not forgotten answers with its set, and no other does."""
        if not hasattr(self, "store"):
            return
        rows = self.store.database.read(lambda tables: dict(tables.rows("forgotten")))
        here = self.model.versions.keys()
        assert rows.keys() & here == self.model.forgotten.keys() & here
        for id in self.model.complete():
            members = self.store.set_of(self.store.version(id)).artifacts
            assert {member.name for member in members} == self.model.versions[id].keys()

    @invariant()
    def staged_is_kept(self) -> None:
        for value, data in self.staged:
            assert b"".join(self.store.reader.stream(content_id(data), len(data))) == data
            assert getattr(value.content, "digest", b"") == content_id(data)

    @invariant()
    def reviews_agree(self) -> None:
        if hasattr(self, "store"):
            self.reviewed_as_said()

    @invariant()
    def derived_is_as_rebuilt(self) -> None:
        if hasattr(self, "store"):
            equals_a_rebuild(self.store)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None
)
