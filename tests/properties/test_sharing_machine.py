"""A state machine: several stores that share a bucket answer as a model of all of them says.

CASTORE_SHARING_EXAMPLES is how many buckets are made, else a fraction of the examples of the
profile: 10 for ci, 1,000 for long, run by hand.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import castore
from castore.errors import Conflict
from castore.model.ids import Id, Kind
from castore.model.refs import HEADS, TAGS
from castore.remote.collect import collect_bucket
from castore.remote.memory import MemoryTransport
from castore.store.sync_fetch import fetch
from castore.store.sync_plan import Move
from castore.store.sync_pull import pull
from castore.store.sync_push import push, push_moves
from castore.store.sync_remote import Remote, connect
from castore.store.sync_verify import verify_bucket
from castore.store.tags import delete_tag
from tests.harness.running import memory
from tests.store.conftest import ticking
from tests.store.syncing import NAME, commit, copy_of, sound

EXAMPLES = int(os.environ.get("CASTORE_SHARING_EXAMPLES", settings().max_examples // 20))
STEPS = 25
STORES = 3
pytestmark = pytest.mark.timeout(300 if EXAMPLES <= 50 else 0)

WHO = st.integers(0, STORES - 1)
BRANCH = st.sampled_from(["a", "b"])
MIRROR = f"remotes/{NAME}/"
LINES = [b"line %d of a report that is long enough for a delta" % at for at in range(120)]


@dataclass
class Known:
    """What a store, or the bucket, must answer: refs, tags that went, notes and what they are of.

    `held` are the versions that lie here as a whole for certain.
    """

    refs: dict[str, Id] = field(default_factory=dict)
    tombs: set[str] = field(default_factory=set)
    notes: dict[Id, Id] = field(default_factory=dict)
    held: set[Id] = field(default_factory=set)
    forgotten: set[Id] = field(default_factory=set)


class SharingMachine(RuleBasedStateMachine):
    """Stores with a model each, and a bucket with one."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sharing-", dir=memory()))
        self.now = ticking()
        self.bucket = MemoryTransport()
        self.stores: list[castore.Store] = []
        self.known = [Known() for _ in range(STORES)]
        self.there = Known()
        # Also by stores that were thrown away since.
        self.said: set[Id] = set()
        self.contents: dict[Id, bytes] = {}
        self.parents: dict[Id, Id] = {}
        self.names = 0
        (self.folder / "0").mkdir()
        self.stores.append(castore.init(self.folder / "0", now=self.now))
        self._commit(0, "a", LINES)
        self._pushed(0)
        for who in range(1, STORES):
            self.stores.append(copy_of(self.bucket, self.folder / f"{who}"))
            self._cloned(who)

    def teardown(self) -> None:
        if not hasattr(self, "stores"):
            return
        known = self._remote(0)
        assert verify_bucket(known.bucket, known).as_json()["findings"] == []
        for store in self.stores:
            sound(store)
            store.close()
        shutil.rmtree(self.folder)

    # What is done

    @rule(who=WHO, branch=BRANCH, at=st.integers(0, 119), how=st.integers(0, 3))
    def commit(self, who: int, branch: str, at: int, how: int) -> None:
        tip = self.known[who].refs.get(HEADS + branch)
        lines = self.contents[tip].split(b"\n") if tip else list(LINES)
        lines[at % len(lines)] = b"edited %d" % how
        self._commit(who, branch, lines)

    @rule(who=WHO)
    def push(self, who: int) -> None:
        """All refs and notes go, or none."""
        if self._refused(who):
            with pytest.raises(Conflict):
                push(self.stores[who], NAME, self.bucket)
        else:
            self._pushed(who)

    @rule(who=WHO)
    def fetch(self, who: int) -> None:
        fetch(self.stores[who], NAME, self.bucket)
        self._fetched(who)

    @rule(who=WHO, rebase=st.booleans())
    def pull(self, who: int, rebase: bool) -> None:
        mine = self.known[who]
        forward, diverged = {}, {}
        for ref, id in self.there.refs.items():
            tip = mine.refs.get(ref)
            if not ref.startswith(HEADS) or tip == id:
                continue
            if tip is None or self._after(id, tip):
                forward[ref] = id
            elif not self._after(tip, id):
                diverged[ref] = tip
        if diverged and not rebase:
            with pytest.raises(Conflict):
                pull(self.stores[who], NAME, self.bucket)
            report = None
        else:
            report = pull(self.stores[who], NAME, self.bucket, rebase=rebase)
        self._fetched(who)
        mine.refs.update(forward)
        mine.held.update(id for id in forward.values() if id not in self.there.forgotten)
        if report is not None:
            self._rebased(who, report.rebased, diverged)

    @rule(who=WHO, other=WHO, branch=BRANCH, at=st.integers(0, 119), rebase=st.booleans())
    def both(self, who: int, other: int, branch: str, at: int, rebase: bool) -> None:
        """Two commit to one branch; who pushes second is refused, and goes on after the first."""
        for one in (who, other):
            self.fetch(one)
            self.commit(one, branch, at, one)
        self.push(who)
        self.push(other)
        self.pull(other, rebase)
        self.push(other)
        self.say(who, branch)
        self.push(who)

    @rule(who=WHO, branch=BRANCH, at=st.integers(0, 119))
    def let_go(self, who: int, branch: str, at: int) -> None:
        """Versions that are forgotten before they are pushed, or after, and freed."""
        self.pull(who, True)
        self.commit(who, branch, at, 1)
        self.push(who)
        self.commit(who, branch, at + 1, 2)
        self.commit(who, branch, at + 2, 3)
        self.forget(who, branch)
        self.push(who)
        self.collect_there(who)

    @rule(who=WHO, branch=BRANCH)
    def say(self, who: int, branch: str) -> None:
        tip = self.known[who].refs.get(HEADS + branch)
        if tip:
            self.names += 1
            said = self.stores[who].comment(branch, f"{self.names}", by="ana")
            self.known[who].notes[said.id] = tip
            self.said.add(said.id)

    @rule(who=WHO, branch=BRANCH)
    def tag(self, who: int, branch: str) -> None:
        tip = self.known[who].refs.get(HEADS + branch)
        if tip:
            self.names += 1
            self.stores[who].tag(f"t{self.names}", branch)
            self.known[who].refs[f"{TAGS}t{self.names}"] = tip

    @rule(who=WHO, data=st.data())
    def untag(self, who: int, data: Any) -> None:
        mine = self.known[who]
        tags = sorted(ref for ref in mine.refs if ref.startswith(TAGS))
        if tags:
            ref = data.draw(st.sampled_from(tags))
            delete_tag(self.stores[who], ref.removeprefix(TAGS), by="ana")
            del mine.refs[ref]
            mine.tombs.add(ref)

    @rule(who=WHO, branch=BRANCH)
    def forget(self, who: int, branch: str) -> None:
        """The version before the newest, if nothing names it."""
        mine = self.known[who]
        parent = self.parents.get(mine.refs.get(HEADS + branch, b""))
        if parent and parent not in mine.refs.values():
            with suppress(Conflict):
                self.stores[who].forget(parent.hex(), why="not needed")
                mine.forgotten.add(parent)
                mine.held.discard(parent)

    @rule(who=WHO, branch=BRANCH)
    def take_out(self, who: int, branch: str) -> None:
        """A branch leaves the bucket."""
        ref = HEADS + branch
        old = self.there.refs.get(ref)
        if old and len(self.there.refs) > 1:
            push_moves(self.stores[who], NAME, self.bucket, [Move(ref, old, b"")])
            del self.there.refs[ref]
            self._gone_along(who)
            self._seen(who)

    @rule(who=WHO)
    def collect_here(self, who: int) -> None:
        self.stores[who].gc(grace=0)

    @rule(who=WHO)
    def collect_there(self, who: int) -> None:
        known = self._remote(who)
        collect_bucket(known.bucket, known, os.urandom)

    @precondition(lambda self: self.there.refs)
    @rule(who=st.integers(1, STORES - 1))
    def clone(self, who: int) -> None:
        """A store is thrown away, and a clone takes its place."""
        self.stores[who].close()
        self.names += 1
        self.stores[who] = copy_of(self.bucket, self.folder / f"{who}-{self.names}")
        self._cloned(who)

    # What must be so

    @invariant()
    def stores_are_as_said(self) -> None:
        for store, mine in zip(
            getattr(self, "stores", ()), getattr(self, "known", ()), strict=False
        ):
            found = dict(store.database.read(lambda tables: tables.refs("")))
            assert {r: id for r, id in found.items() if not r.startswith("lost/")} == mine.refs
            for ref, id in mine.refs.items():
                if id in mine.held and ref.startswith(HEADS):
                    data = store.read_bytes(f"{id.hex()}:report")
                    assert data == self.contents[id]

    @invariant()
    def the_bucket_is_as_said(self) -> None:
        if not hasattr(self, "stores") or len(self.stores) < STORES:
            return
        known = self._remote(0)
        root = known.bucket.read().root
        assert root.refs == self.there.refs
        assert root.tombs == self.there.tombs
        assert set(root.forgotten) == self.there.forgotten
        notes = known.bucket.catalogue(root, known).ids_of(Kind.NOTE)
        assert notes >= self.there.notes.keys()
        assert notes <= self.said

    # How the model changes

    def _commit(self, who: int, branch: str, lines: list[bytes]) -> None:
        data, mine = b"\n".join(lines), self.known[who]
        made = commit(self.stores[who], branch, report=data)
        self.contents[made.id] = data
        if HEADS + branch in mine.refs:
            self.parents[made.id] = mine.refs[HEADS + branch]
        mine.refs[HEADS + branch] = made.id
        mine.held.add(made.id)

    def _refused(self, who: int) -> bool:
        """Whether a push of all refs may not be."""
        for ref, id in self._own(who).items():
            old = self.there.refs.get(ref)
            if old == id:
                continue
            if ref.startswith(TAGS) and (old or ref in self.there.tombs):
                return True
            if old and not self._after(id, old):
                return True
        return False

    def _pushed(self, who: int) -> None:
        push(self.stores[who], NAME, self.bucket)
        mine = self.known[who]
        self.there.refs.update(self._own(who))
        self._gone_along(who)
        history = {id for ref in self._own(who).values() for id in self._history(ref)}
        said = {note: target for note, target in mine.notes.items() if target in history}
        self.there.notes.update(said)
        self._seen(who)

    def _gone_along(self, who: int) -> None:
        """What was deleted or forgotten here is so there with each push."""
        mine = self.known[who]
        self.there.tombs |= mine.tombs
        self.there.forgotten |= mine.forgotten
        for ref in self.there.tombs:
            self.there.refs.pop(ref, None)

    def _seen(self, who: int) -> None:
        """A push notes where the branches of the bucket are that it knows."""
        mine = self.known[who]
        found = dict(self.stores[who].database.read(lambda tables: tables.refs(MIRROR)))
        for ref, id in found.items():
            before = mine.refs.get(ref)
            assert id in (before, self.there.refs.get(HEADS + ref.removeprefix(MIRROR)))
            mine.refs[ref] = id

    def _fetched(self, who: int) -> None:
        mine, there = self.known[who], self.there
        for ref in [ref for ref in mine.refs if ref.startswith(MIRROR)]:
            del mine.refs[ref]
        for ref in there.tombs:
            mine.refs.pop(ref, None)
        found = dict(self.stores[who].database.read(lambda tables: tables.refs("")))
        for ref, id in there.refs.items():
            if ref.startswith(HEADS):
                mine.refs[MIRROR + ref.removeprefix(HEADS)] = id
            elif ref not in mine.tombs:
                mine.refs.setdefault(ref, id)
        assert not {ref for ref in found if ref in there.tombs}
        mine.tombs = set(self.stores[who].database.read(lambda tables: tables.tombstones(TAGS)))
        mine.forgotten = set(
            self.stores[who].database.read(lambda tables: dict(tables.removals("forgotten")))
        )
        history = {id for ref in there.refs.values() for id in self._history(ref)}
        for note, target in there.notes.items():
            if target in history:
                assert self.stores[who].database.read(lambda t, n=note: t.present((n,)))
                mine.notes[note] = target

    def _cloned(self, who: int) -> None:
        self.known[who] = Known()
        self._fetched(who)
        mine = self.known[who]
        heads = {ref: id for ref, id in self.there.refs.items() if ref.startswith(HEADS)}
        mine.refs.update(heads)
        mine.held = {id for id in heads.values() if id not in self.there.forgotten}

    def _rebased(self, who: int, made: Any, diverged: dict[str, Id]) -> None:
        """Versions were made anew after those of the bucket, each with its set."""
        mine = self.known[who]
        after: dict[str, list[Id]] = {}
        for branch, old, _, new, *_ in made:
            line = after.setdefault(HEADS + branch, [self.there.refs[HEADS + branch]])
            self.parents[new] = line[-1]
            self.contents[new] = self.contents[old]
            line.append(new)
            if old in mine.held:
                mine.held.add(new)
            if old in mine.forgotten:
                mine.forgotten.add(new)
        assert after.keys() == diverged.keys()
        for ref, line in after.items():
            common = set(self._history(line[0]))
            own = [id for id in self._history(diverged[ref]) if id not in common]
            assert len(line) == len(own) + 1
            mine.refs[ref] = line[-1]

    def _own(self, who: int) -> dict[str, Id]:
        refs = self.known[who].refs
        return {ref: id for ref, id in refs.items() if ref.startswith((HEADS, TAGS))}

    def _history(self, id: Id) -> list[Id]:
        found = [id]
        while found[-1] in self.parents:
            found.append(self.parents[found[-1]])
        return found

    def _after(self, new: Id, old: Id) -> bool:
        return old in self._history(new)

    def _remote(self, who: int) -> Remote:
        return connect(self.stores[who], NAME, self.bucket, sleep=lambda _: None)


TestSharingMachine = SharingMachine.TestCase
TestSharingMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)
