"""What every part of the state machine stands on: a store, its model, and the log of both."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

import castore
from castore.database.operations import RefMove
from castore.errors import InvalidInput
from castore.model.ids import Id
from castore.model.refs import HEADS, PARTIALS
from castore.store.partials import list_partials
from castore.store.verify import fsck
from tests.properties.contents import needle
from tests.properties.model import Model
from tests.properties.sayings import CONFIG, WHO, Demand

BRANCHES = st.sampled_from(["main", "side", "team/x"])
# Which of the things that there are, modulo their number: what threads leave behind differs from
# run to run, and Hypothesis wants to draw the same again.
WHICH = st.integers(0, 999)
PEOPLE = st.sampled_from(sorted(WHO))

Item = TypeVar("Item")


def pick(items: Iterable[Item], which: int) -> Item:
    """One of these, names by the alphabet, and all else in the order given."""
    found = list(items)
    if isinstance(found[0], str):
        found.sort()  # type: ignore[call-arg]
    return found[which % len(found)]


class Machine(RuleBasedStateMachine):
    """A store, its model, and the log that both follow."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="castore-machine-"))
        self.copies = self.folder / "copies"
        self.copies.mkdir()
        self.ticks = 1_790_000_000_000_000
        self.model = Model()
        self.runs = 0
        self.staged: list[tuple[castore.Staged, bytes]] = []
        # What may be staged still: a commit that was to take it was refused, or repeated another.
        self.loose: list[bytes] = []
        # The runs of commits that were refused, which can be resumed with what is good of them.
        self.unfinished: set[str] = set()

    def now(self) -> int:
        self.ticks += 1000
        return self.ticks

    @initialize()
    def create(self) -> None:
        castore.init(self.folder, now=self.now).close()
        self.open()
        (self.store.folder / "config.toml").write_text(CONFIG)

    def open(self) -> None:
        self.store = castore.open(self.folder, now=self.now)
        self.second = castore.open(self.folder, now=self.now)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            report = fsck(self.store, full=True)
            assert not report.findings, report.findings
            for name in (path.name for path in self.copies.iterdir()):
                with castore.open(self.copies / name) as copy:
                    report = fsck(copy, full=True)
                    assert not report.findings, report.findings
            self.erased()
            self.store.close()
            self.second.close()
        shutil.rmtree(self.folder)

    def logged(self, *expected: tuple[str, tuple[RefMove, ...]]) -> None:
        """The log went on with these operations and no other; the model follows."""
        begin = len(self.model.log) + 1
        new = self.store.database.read(lambda tables: list(tables.operations_from(begin)))
        assert [(entry.op, entry.refs) for entry in new] == list(expected)
        for entry in new:
            self.model.apply(entry)

    def spec(self, name: str, text: str) -> Path:
        """The spec file of this name, which says this now."""
        path = self.folder / f"{name}.spec.yaml"
        path.write_text(text)
        return path

    def moved(self, op: str, name: str, new: Id) -> None:
        """One ref was moved, made, or with b"" removed."""
        self.logged((op, ((name, self.model.refs.get(name, b""), new),)))

    def landed(
        self,
        branch: str,
        version: castore.Version,
        content: dict[str, bytes],
        run: str = "",
        demand: Demand | None = None,
        author: str = "",
    ) -> None:
        """A version was committed, and an incomplete set it went on from settled with it."""
        head = self.model.refs.get(HEADS + branch, b"")
        self.model.add(version.id, head or None, content, branch)
        self.model.said.authors[version.id] = author
        if demand is not None:
            self.model.said.demands[version.id] = demand
        moves: list[RefMove] = [(HEADS + branch, head, version.id)]
        if run:
            ref = f"{PARTIALS}{run}/{branch}"
            moves.append((ref, self.model.refs[ref], b""))
        self.logged(("commit", tuple(moves)))

    def refused(self, commit: Callable[[], object], content: Iterable[bytes]) -> None:
        """A commit that has purged content in it is refused, and nothing is logged."""
        with pytest.raises(InvalidInput, match="purged"):
            commit()
        self.logged()
        self.loose += [data for data in content if not self.model.dead(data)]
        runs = {partial.run for partial in list_partials(self.store)}
        self.unfinished |= runs - self.partials().keys()

    def partials(self) -> dict[str, Id]:
        """The incomplete sets by run."""
        found = self.model.under(PARTIALS)
        return {name.removesuffix("/strict"): id for name, id in found.items()}

    def recent(self, which: int) -> int:
        """The number of one of the newest operations."""
        return len(self.model.log) - which % min(4, len(self.model.log))

    def erased(self) -> None:
        """Nothing of what was purged lies in the data file, where nothing else begins like it."""
        held = [data for content in self.model.versions.values() for data in content.values()]
        held += [*(data for _, data in self.staged), *self.loose]
        here = [data for data in held if not self.model.dead(data)]
        file = (self.store.folder / "data.mdb").read_bytes() if self.model.purged else b""
        for gone in filter(None, map(needle, self.model.purged)):
            assert gone not in file or any(gone in data for data in here)
