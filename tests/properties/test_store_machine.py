"""A state machine: whatever is done to a store, in one thread or several, it answers as a model.

CASTORE_MACHINE_EXAMPLES is how many stores are made; 2000 is the long form, run by hand.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import castore
from castore import errors
from castore.database.operations import RefMove
from castore.model.ids import Id, content_id
from castore.model.refs import HEADS, PARTIALS, TAGS
from castore.store.branches import create_branch, delete_branch, move_branch
from castore.store.collect_roots import GRACE
from castore.store.partials import discard_partials, list_partials
from castore.store.verify import fsck
from tests.properties.model import Model, agrees, emptied, stored
from tests.properties.together import (
    Action,
    Backup,
    Collect,
    Commit,
    Forget,
    Pin,
    Read,
    Undo,
    judge_together,
    run_together,
)

EXAMPLES = int(os.environ.get("CASTORE_MACHINE_EXAMPLES", "16"))
STEPS = 25
BRANCHES = st.sampled_from(["main", "side", "team/x"])
NAMES = st.sampled_from(["a", "b.txt", "ünï", "data"])
CONTENTS = st.one_of(
    st.binary(max_size=64),
    st.integers(0, 3).map(lambda n: bytes([n]) * 300_000),
    st.integers(0, 2).map(lambda n: (b"line %d of a file\n" % n) * 40_000),
)
SETS = st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=3)
OPERATIONS = st.sampled_from(["", "", "op1", "op2"])
FOLDERS = st.sampled_from(["one", "two"])
# Which of the things that there are, modulo their number: what threads leave behind differs from
# run to run, and Hypothesis wants to draw the same again.
WHICH = st.integers(0, 999)
SPEC = """\
spec: strict
version: "1"
artifacts:
  - {name: a, type: dataset, format: json, path: a.json}
  - {name: b, type: document, format: text, path: b.txt}
"""


Item = TypeVar("Item")


@dataclass(frozen=True)
class Plan:
    """One operation of one thread; what a verb has no use for means nothing."""

    verb: str
    branch: str
    content: dict[str, bytes]
    operation: str
    folder: str
    which: int
    own: bool


VERBS = [
    "commit", "commit", "commit", "gc", "undo", "pin", "unpin", "backup", "read", "read", "forget",
]  # fmt: skip
READS = ["branches", "checkout", "content", "fsck", "log"]
PLANS = st.builds(
    Plan,
    verb=st.sampled_from(VERBS),
    branch=BRANCHES,
    content=SETS,
    operation=OPERATIONS,
    folder=FOLDERS,
    which=WHICH,
    own=st.booleans(),
)


def pick(items: Iterable[Item], which: int) -> Item:
    """One of these."""
    found = sorted(items)  # type: ignore[type-var]
    return found[which % len(found)]


class StoreMachine(RuleBasedStateMachine):
    """Every way to move a ref, undo, pins, gc, backups and reopening, and several at once."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="castore-machine-"))
        self.copies = self.folder / "copies"
        self.copies.mkdir()
        self.ticks = 1_790_000_000_000_000
        self.model = Model()
        self.runs = 0
        self.staged: list[tuple[castore.Staged, bytes]] = []

    def now(self) -> int:
        self.ticks += 1000
        return self.ticks

    @initialize()
    def create(self) -> None:
        castore.init(self.folder, now=self.now).close()
        self.open()
        (self.folder / "strict.spec.yaml").write_text(SPEC)

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

    def moved(self, op: str, name: str, new: Id) -> None:
        """One ref was moved, made, or with b"" removed."""
        self.logged((op, ((name, self.model.refs.get(name, b""), new),)))

    def landed(
        self, branch: str, version: castore.Version, content: dict[str, bytes], run: str = ""
    ) -> None:
        """A version was committed, and an incomplete set it went on from settled with it."""
        head = self.model.refs.get(HEADS + branch, b"")
        self.model.add(version.id, head or None, content)
        moves: list[RefMove] = [(HEADS + branch, head, version.id)]
        if run:
            ref = f"{PARTIALS}{run}/{branch}"
            moves.append((ref, self.model.refs[ref], b""))
        self.logged(("commit", tuple(moves)))

    @rule(content=CONTENTS)
    def stage(self, content: bytes) -> None:
        self.staged.append((self.store.stage(content), content))

    @rule(branch=BRANCHES, content=SETS, operation=OPERATIONS, take=st.booleans())
    def commit(self, branch: str, content: dict[str, bytes], operation: str, take: bool) -> None:
        context = castore.Context(operation=operation)
        with self.store.session(branch, context=context) as session:
            for name, data in content.items():
                session.write(name, data)
            if take and self.staged:
                value, data = self.staged.pop()
                session.add("staged", value)
                content = {**content, "staged": data}
            version = session.commit()
        assert session.report is not None
        earlier = self.model.made_by(operation, branch) if operation else []
        assert session.report.replayed == bool(earlier)
        if earlier:
            assert [version.id] == earlier
            self.logged()
        else:
            self.landed(branch, version, content)

    @rule(which=WHICH, content=CONTENTS)
    def carry(self, which: int, content: bytes) -> None:
        heads = self.model.under(HEADS)
        if not heads:
            return
        branch = pick(heads, which)
        before = self.model.versions[heads[branch]]
        name = pick(before, which)
        with self.store.session(branch, only=[name]) as session:
            session.write(name, content)
            version = session.commit()
        assert {carried for carried, _ in version.manifest.carried} == before.keys() - {name}
        self.landed(branch, version, {**before, name: content})

    @rule(good=st.booleans(), text=st.binary(max_size=20).map(lambda b: b.hex()))
    def strict(self, good: bool, text: str) -> None:
        self.runs += 1
        run = f"run-{self.runs}"
        spec = self.folder / "strict.spec.yaml"
        content = {"a": b"[1]" if good else b"[1", "b": text.encode()}
        with self.store.session(spec=spec, run=run) as session:
            for name, data in content.items():
                session.write(name, data)
            if good:
                self.landed("strict", session.commit(), content)
                return
            with pytest.raises(errors.IncompleteSet):
                session.commit()
        held = self.store.resolve(f"partial/{run}/strict").version.id
        self.model.add(held, self.model.refs.get(HEADS + "strict"), {"b": text.encode()})
        self.model.sealed.add(held)
        self.moved("partial", f"{PARTIALS}{run}/strict", held)

    @rule(which=WHICH)
    def resume(self, which: int) -> None:
        if not self.partials():
            return
        run, held = pick(self.partials().items(), which)
        kept = self.store.read_bytes(f"{held.hex()}:b")
        assert kept == self.model.versions[held]["b"]
        spec = self.folder / "strict.spec.yaml"
        with self.store.session(spec=spec, resume=run) as session:
            session.write("a", b"[2]")
            version = session.commit()
        self.landed("strict", version, {"a": b"[2]", "b": kept}, run)

    @rule(which=WHICH)
    def discard(self, which: int) -> None:
        if not self.partials():
            return
        run = pick(self.partials(), which)
        discard_partials(self.store, run, by="machine")
        self.moved("partial-discard", f"{PARTIALS}{run}/strict", b"")

    def partials(self) -> dict[str, Id]:
        """The incomplete sets by run."""
        found = self.model.under(PARTIALS)
        return {name.removesuffix("/strict"): id for name, id in found.items()}

    @rule(which=WHICH, name=st.sampled_from(["main", "other"]))
    def branch(self, which: int, name: str) -> None:
        if not self.model.complete():
            return
        id = pick(self.model.complete(), which)
        version = self.store.resolve(id.hex()).version
        if HEADS + name in self.model.refs:
            move_branch(self.store, name, version, by="machine")
            self.moved("branch-move", HEADS + name, id)
        else:
            create_branch(self.store, name, version, by="machine")
            self.moved("branch", HEADS + name, id)

    @rule(which=WHICH)
    def unbranch(self, which: int) -> None:
        if not self.model.under(HEADS):
            return
        name = pick(self.model.under(HEADS), which)
        delete_branch(self.store, name, by="machine")
        self.moved("branch-delete", HEADS + name, b"")

    @rule(which=WHICH, name=st.sampled_from(["t1", "t2"]))
    def tag(self, which: int, name: str) -> None:
        if not self.model.complete():
            return
        id = pick(self.model.complete(), which)
        if TAGS + name in self.model.refs:
            with pytest.raises(errors.TagExists):
                self.store.tag(name, id.hex())
        else:
            self.store.tag(name, id.hex())
            self.moved("tag", TAGS + name, id)

    @rule(which=WHICH)
    def pin(self, which: int) -> None:
        if not self.model.complete():
            return
        id = pick(self.model.complete(), which)
        self.store.pin(id.hex(), why=f"{len(self.model.log)}")
        self.logged(("pin", ()))
        assert id in self.model.pins

    @rule(which=WHICH)
    def unpin(self, which: int) -> None:
        if not self.model.pins:
            return
        id = pick(self.model.pins, which)
        self.store.unpin(id.hex())
        self.logged(("unpin", ()))
        assert id not in self.model.pins

    @rule(which=WHICH, several=st.booleans())
    def forget(self, which: int, several: bool) -> None:
        """Versions that nothing names; their content answers no more, at once."""
        if not self.model.forgettable():
            return
        chosen = {pick(self.model.forgettable(), which + n) for n in range(1 + several)}
        done = self.store.forget(*(id.hex() for id in chosen), why="machine")
        assert {version.id for version in done.versions} == chosen
        self.logged(("forget", ()))
        assert chosen <= self.model.forgotten.keys()
        for id in chosen:
            with pytest.raises(errors.ObjectNotFound, match="machine"):
                self.store.set_of(self.store.version(id))
            with pytest.raises(errors.ObjectNotFound):
                self.store.pin(id.hex())

    @rule(newest=st.booleans(), which=WHICH)
    def undo(self, newest: bool, which: int) -> None:
        sequence = None if newest or not self.model.log else self.recent(which)
        self.model.emptied = emptied(self.store, self.model)
        said = self.model.undo(sequence, self.model.refs)
        if not isinstance(said, tuple):
            for dry_run in (True, False):
                with pytest.raises(said):
                    self.store.undo(sequence, dry_run=dry_run)
            self.logged()
            return
        assert self.store.undo(sequence, dry_run=True).moves == said
        undone = self.store.undo(sequence)
        assert undone.moves == said
        self.logged(("undo", said))

    @rule(keep=st.booleans())
    def collect(self, keep: bool) -> None:
        said = self.store.gc(grace=GRACE if keep else 0, dry_run=True)
        done = self.store.gc(grace=GRACE if keep else 0)
        assert (done.freed, done.dead, done.reasons) == (said.freed, said.dead, said.reasons)
        self.logged(*([("gc-begin", ()), ("gc", ())] if done.slices else []))
        if keep:
            # Everything was committed within the grace; only what an earlier one took is gone.
            assert self.model.versions.keys() <= stored(self.store)
            return
        kept = self.model.reached()
        assert kept == stored(self.store)
        held = {self.store.version(id).set_id for id in kept - self.model.forgotten.keys()}
        for id in kept & self.model.forgotten.keys():
            assert (self.store.version(id).set_id in held) == (
                id not in emptied(self.store, self.model)
            )
        self.model.versions = {id: self.model.versions[id] for id in kept}

    @rule(name=FOLDERS)
    def backup(self, name: str) -> None:
        folder = self.copies / name
        created = not folder.exists()
        said = self.store.backup(folder, dry_run=True)
        done = self.store.backup(folder)
        assert (done.created, done.sequence) == (created, len(self.model.log))
        assert (said.blocks, said.removed) == (done.blocks, done.removed)
        with castore.open(folder) as copy:
            assert stored(copy) == self.model.versions.keys()
            agrees(copy, self.model, self.model.moment(), self.model.complete())

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.second.close()
        self.open()

    def recent(self, which: int) -> int:
        """The number of one of the newest operations."""
        return len(self.model.log) - which % min(4, len(self.model.log))

    @rule(plans=st.lists(PLANS, min_size=2, max_size=4), closed=st.booleans())
    def together(self, plans: list[Plan], closed: bool) -> None:
        actions = [self.action(plan) for plan in plans]
        for number, action in enumerate(actions):
            action.me = f"thread-{number} after {len(self.model.log)}"
            action.own = closed or plans[number].own
        if closed:
            # Whoever comes first opens the environment; whoever leaves last closes it.
            self.store.close()
            self.second.close()
        run_together(actions, [self.store, self.second])
        if closed:
            self.open()
        judge_together(actions, self.store, self.model)

    def action(self, plan: Plan) -> Action:
        """What is planned, as things stand."""
        if plan.verb == "commit":
            head = self.model.refs.get(HEADS + plan.branch)
            tip = self.store.version(head, plan.branch) if head else None
            expect = {0: (tip,), 1: (None,)}.get(plan.which % 5, ())
            operation = "" if expect else plan.operation
            return Commit(
                branch=plan.branch,
                content=plan.content,
                staged=bool(plan.which % 2),
                operation=operation,
                expect=expect,
            )
        if plan.verb == "gc":
            return Collect(grace=GRACE if plan.which % 4 == 0 else 0)
        if plan.verb == "undo":
            numbered = self.model.log and plan.which % 2
            return Undo(sequence=self.recent(plan.which // 2) if numbered else None)
        if plan.verb == "backup":
            return Backup(folder=self.copies / plan.folder)
        if plan.verb == "pin" and self.model.complete():
            return Pin(id=pick(self.model.complete(), plan.which))
        if plan.verb == "forget" and self.model.forgettable():
            return Forget(id=pick(self.model.forgettable(), plan.which))
        if plan.verb == "unpin" and self.model.pins:
            return Pin(id=pick(self.model.pins, plan.which), end=True)
        return Read(how=pick(READS, plan.which), branch=plan.branch)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        agrees(self.store, self.model, self.model.moment())
        assert {partial.run for partial in list_partials(self.store)} == self.partials().keys()
        for branch in self.model.under(HEADS):
            for member in self.store.set_of(self.store.resolve(branch).version).artifacts:
                data = self.store.read_bytes(f"{branch}:{member.name}")
                assert content_id(data) == getattr(member.content, "digest", b"")

    @invariant()
    def staged_is_kept(self) -> None:
        for value, data in self.staged:
            assert b"".join(self.store.reader.stream(content_id(data), len(data))) == data
            assert getattr(value.content, "digest", b"") == content_id(data)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None
)
