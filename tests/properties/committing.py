"""The rules that make versions: staged, committed, carried, incomplete, under a policy."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import castore
from castore import errors
from castore.model.refs import HEADS, PARTIALS
from castore.store.partials import discard_partials
from tests.properties.contents import CONTENTS, SETS
from tests.properties.machine import BRANCHES, WHICH, Machine, pick

OPERATIONS = st.sampled_from(["", "", "op1", "op2"])
STRICT = """\
spec: strict
version: "1"
artifacts:
  - {name: a, type: dataset, format: json, path: a.json}
  - {name: b, type: document, format: text, path: b.txt}
"""


class Committing(Machine):
    """Whatever makes a version."""

    @rule(content=CONTENTS)
    def stage(self, content: bytes) -> None:
        if self.model.dead(content):
            self.refused(lambda: self.store.stage(content), ())
            return
        self.staged.append((self.store.stage(content), content))

    @rule(branch=BRANCHES, content=SETS, operation=OPERATIONS, take=st.booleans())
    def commit(self, branch: str, content: dict[str, bytes], operation: str, take: bool) -> None:
        if any(map(self.model.dead, content.values())):
            self.refused(lambda: self.written(branch, content), content.values())
            return
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
            self.loose += [content["staged"]] if "staged" in content else []
        else:
            self.landed(branch, version, content)

    @rule(which=WHICH, content=CONTENTS, times=st.integers(1, 3))
    def carry(self, which: int, content: bytes, times: int) -> None:
        heads = self.model.under(HEADS)
        if not heads:
            return
        branch = pick(heads, which)
        before = self.model.versions[heads[branch]]
        name = pick(before, which)
        after = {**before, name: content}
        if any(map(self.model.dead, after.values())):
            self.refused(lambda: self.written(branch, {name: content}, only=[name]), [content])
            return
        for _ in range(times):
            with self.store.session(branch, only=[name]) as session:
                session.write(name, content)
                version = session.commit()
            assert {carried for carried, _ in version.manifest.carried} == before.keys() - {name}
            self.landed(branch, version, after)

    def written(self, branch: str, content: dict[str, bytes], only: Sequence[str] = ()) -> None:
        """Try to commit these files."""
        with self.store.session(branch, only=only) as session:
            for name, data in content.items():
                session.write(name, data)
            session.commit()

    @rule(good=st.booleans(), text=st.binary(max_size=20).map(lambda b: b.hex()))
    def strict(self, good: bool, text: str) -> None:
        self.runs += 1
        run = f"run-{self.runs}"
        content = {"a": b"[1]" if good else b"[1", "b": text.encode()}
        if any(map(self.model.dead, content.values())):
            return
        with self.store.session(spec=self.spec("strict", STRICT), run=run) as session:
            for name, data in content.items():
                session.write(name, data)
            if good:
                self.landed("strict", session.commit(), content)
                return
            with pytest.raises(errors.IncompleteSet):
                session.commit()
        held = self.store.resolve(f"partial/{run}/strict").version.id
        below = self.model.refs.get(HEADS + "strict")
        self.model.add(held, below, {"b": text.encode()}, "strict")
        self.model.sealed.add(held)
        self.moved("partial", f"{PARTIALS}{run}/strict", held)

    @rule(which=WHICH)
    def resume(self, which: int) -> None:
        if not self.partials():
            return
        run = pick(self.partials(), which)
        held = self.partials()[run]
        kept = self.model.versions[held]["b"]
        if self.model.dead(kept) or self.model.dead(b"[2]"):
            return
        assert kept == self.store.read_bytes(f"{held.hex()}:b")
        with self.store.session(spec=self.spec("strict", STRICT), resume=run) as session:
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
