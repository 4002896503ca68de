"""A state machine: whatever is done to a store, it answers as a dict of versions would."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import castore
from castore import errors
from castore.model.ids import Id, Kind, content_id
from castore.store.branches import create_branch, delete_branch, move_branch
from castore.store.collect import GRACE
from castore.store.partials import discard_partials, list_partials
from castore.store.verify import fsck

BRANCHES = st.sampled_from(["main", "side", "team/x"])
NAMES = st.sampled_from(["a", "b.txt", "ünï", "data"])
CONTENTS = st.one_of(
    st.binary(max_size=64),
    st.integers(0, 3).map(lambda n: bytes([n]) * 300_000),
    st.integers(0, 2).map(lambda n: (b"line %d of a file\n" % n) * 40_000),
)
SETS = st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=3)
SPEC = """\
spec: strict
version: "1"
artifacts:
  - {name: a, type: dataset, format: json, path: a.json}
  - {name: b, type: document, format: text, path: b.txt}
"""


@dataclass
class Model:
    """What the store must hold: versions by id, and where names point."""

    versions: dict[Id, dict[str, bytes]] = field(default_factory=dict)
    parents: dict[Id, Id | None] = field(default_factory=dict)
    heads: dict[str, Id] = field(default_factory=dict)
    tags: dict[str, Id] = field(default_factory=dict)
    dead_tags: set[str] = field(default_factory=set)
    partials: set[str] = field(default_factory=set)
    operations: dict[tuple[str, str], Id] = field(default_factory=dict)
    pins: set[Id] = field(default_factory=set)


class StoreMachine(RuleBasedStateMachine):
    """Commits, carries, refusals, resumption, branches, tags, pins, gc, reopening: as a Model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="castore-machine-"))
        self.ticks = 1_790_000_000_000_000
        self.model = Model()
        self.runs = 0

    def now(self) -> int:
        self.ticks += 1000
        return self.ticks

    @initialize()
    def create(self) -> None:
        self.store = castore.init(self.folder, now=self.now)
        (self.folder / "strict.spec.yaml").write_text(SPEC)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            report = fsck(self.store, full=True)
            assert not report.findings, report.findings
            self.store.close()
        shutil.rmtree(self.folder)

    def landed(self, branch: str, version: castore.Version, content: dict[str, bytes]) -> None:
        self.model.parents[version.id] = self.model.heads.get(branch)
        self.model.versions[version.id] = content
        self.model.heads[branch] = version.id

    @rule(branch=BRANCHES, content=SETS, operation=st.sampled_from(["", "", "op1", "op2"]))
    def commit(self, branch: str, content: dict[str, bytes], operation: str) -> None:
        context = castore.Context(operation=operation)
        with self.store.session(branch, context=context) as session:
            for name, data in content.items():
                session.write(name, data)
            version = session.commit()
        assert session.report is not None
        earlier = self.model.operations.get((operation, branch)) if operation else None
        if earlier is not None:
            assert session.report.replayed
            assert version.id == earlier
            return
        assert not session.report.replayed
        self.landed(branch, version, content)
        if operation:
            self.model.operations[operation, branch] = version.id

    @precondition(lambda self: self.model.heads)
    @rule(data=st.data(), content=CONTENTS)
    def carry(self, data: st.DataObject, content: bytes) -> None:
        branch = data.draw(st.sampled_from(sorted(self.model.heads)))
        before = self.model.versions[self.model.heads[branch]]
        name = data.draw(st.sampled_from(sorted(before)))
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
        self.model.partials.add(run)

    @precondition(lambda self: self.model.partials)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model.partials)))
        held = self.store.resolve(f"partial/{run}/strict").version
        kept = self.store.read_bytes(f"{held.id.hex()}:b")
        spec = self.folder / "strict.spec.yaml"
        with self.store.session(spec=spec, resume=run) as session:
            session.write("a", b"[2]")
            version = session.commit()
        self.model.partials.remove(run)
        self.landed("strict", version, {"a": b"[2]", "b": kept})

    @precondition(lambda self: self.model.partials)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model.partials)))
        discard_partials(self.store, run, by="machine")
        self.model.partials.remove(run)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data(), name=st.sampled_from(["main", "other"]))
    def branch(self, data: st.DataObject, name: str) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.versions)))
        version = self.store.resolve(id.hex()).version
        if name in self.model.heads:
            move_branch(self.store, name, version, by="machine")
        else:
            create_branch(self.store, name, version, by="machine")
        self.model.heads[name] = id

    @precondition(lambda self: self.model.heads)
    @rule(data=st.data())
    def unbranch(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.heads)))
        delete_branch(self.store, name, by="machine")
        del self.model.heads[name]

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data(), name=st.sampled_from(["t1", "t2"]))
    def tag(self, data: st.DataObject, name: str) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.versions)))
        if name in self.model.tags:
            with pytest.raises(errors.TagExists):
                self.store.tag(name, id.hex())
        else:
            self.store.tag(name, id.hex())
            self.model.tags[name] = id

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.versions)))
        self.store.pin(id.hex(), why="machine")
        self.model.pins.add(id)

    @precondition(lambda self: self.model.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.pins)))
        self.store.unpin(id.hex())
        self.model.pins.remove(id)

    def reached(self) -> set[Id]:
        """The versions that branches, tags, pins and incomplete sets lead to."""
        roots = [*self.model.heads.values(), *self.model.tags.values(), *self.model.pins]
        for run in self.model.partials:
            partial = self.store.resolve(f"partial/{run}/strict").version
            roots += partial.manifest.parents
        found: set[Id] = set()
        for root in roots:
            at: Id | None = root
            while at is not None and at not in found:
                found.add(at)
                at = self.model.parents[at]
        return found

    @rule(keep=st.booleans())
    def collect(self, keep: bool) -> None:
        said = self.store.gc(grace=GRACE if keep else 0, dry_run=True)
        done = self.store.gc(grace=GRACE if keep else 0)
        assert (done.freed, done.dead, done.reasons) == (said.freed, said.dead, said.reasons)
        if keep:
            # Everything was committed within the grace; only what an earlier one took is gone.
            assert self.model.versions.keys() <= self.stored()
            return
        kept = self.reached()
        assert kept == self.stored() - self.sealed()
        self.model.versions = {id: self.model.versions[id] for id in kept}
        self.model.operations = {key: id for key, id in self.model.operations.items() if id in kept}

    def stored(self) -> set[Id]:
        """Every version in the store."""
        return self.store.database.read(
            lambda tables: {id for id, row in tables.object_rows() if row.kind is Kind.MANIFEST}
        )

    def sealed(self) -> set[Id]:
        """The incomplete versions that can be resumed."""
        return {partial.version.id for partial in list_partials(self.store) if partial.version}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = castore.open(self.folder, now=self.now)

    @invariant()
    def names_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        heads = {version.branch: version.id for version in self.store.branches()}
        assert heads == self.model.heads
        tags = {name: version.id for name, version in self.store.tags()}
        assert tags == self.model.tags
        assert {partial.run for partial in list_partials(self.store)} == self.model.partials
        assert {pin.version.id for pin in self.store.pins()} == self.model.pins

    @invariant()
    def content_agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        for branch, id in self.model.heads.items():
            members = self.store.set_of(self.store.resolve(branch).version).artifacts
            expected = self.model.versions[id]
            assert {member.name for member in members} == expected.keys()
            for name, data in expected.items():
                assert self.store.read_bytes(f"{branch}:{name}") == data
                assert content_id(data) in {
                    getattr(member.content, "digest", b"") for member in members
                }
            chain = [version.id for version in self.store.log(branch)]
            walked = []
            at: Id | None = id
            while at is not None:
                walked.append(at)
                at = self.model.parents[at]
            assert chain == walked
            for number, past in enumerate(reversed(walked), start=1):
                assert self.store.resolve(f"{branch}@v{number}").version.id == past


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
