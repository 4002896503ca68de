"""A worker: random verbs of castore on branches of its own, each told before and after."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import castore
from castore.store.branches import delete_branch
from tests.harness.ledger import Line, content

Tell = Callable[[bytes], object]
# How often each verb comes.
WEIGHTS = {
    "commit": 12, "tag": 1, "undo": 2, "forget": 2, "purge": 2, "gc": 3, "repack": 1, "backup": 2,
    "delete": 1, "reindex": 1,
}  # fmt: skip
SIZES = (10, 400, 3_000, 9_000, 40_000, 200_000)


class Worker:
    """Works on `store` until told to end; `me` begins the names of its branches and files.

    Contents that may be purged are in no other version; others are shared by all workers.
    """

    def __init__(
        self,
        store: castore.Store,
        me: str,
        dice: random.Random,
        tell: Tell,
        *,
        weights: dict[str, int] | None = None,
        copies: Path | None = None,
    ) -> None:
        self.store, self.me, self.dice, self._tell = store, me, dice, tell
        self.weights = dict(WEIGHTS if weights is None else weights)
        self.copies = copies
        if copies is None:
            self.weights.pop("backup", None)
        # Of each branch the ids, and the numbers of those that may still be forgotten or purged.
        self.made: dict[str, list[bytes]] = {}
        self.whole: dict[str, list[int]] = {}
        self.forgotten: set[bytes] = set()
        self.turn = 0
        self._touched = ""
        self.retired: set[str] = set()

    def step(self) -> str:
        """One verb, and its name; raises what castore raises."""
        self.turn += 1
        verb = self.dice.choices(list(self.weights), list(self.weights.values()))[0]
        if not getattr(self, f"_{verb}")():
            verb = "commit"
            self._commit()
        return verb

    def failed(self, *, undone: bool = False) -> None:
        """The verb under way failed, and with `undone` it said that it changed nothing."""
        self.say("failed", "", undone=undone)
        if not undone and self._touched:
            self.made.pop(self._touched, None)
            self.whole.pop(self._touched, None)
            self.retired.add(self._touched)

    def say(self, says: str, verb: str, **more: Any) -> None:
        """Tell in one line."""
        line: Line = {"says": says, "verb": verb, **more}
        if says == "begin":
            self._touched = more.get("branch", "")
        self._tell(json.dumps(line).encode() + b"\n")

    def _commit(self) -> bool:
        branch = f"{self.me}-{self.dice.randrange(2)}"
        while branch in self.retired:
            branch += "x"
        files = [("own", self.dice.getrandbits(30), self.dice.choice(SIZES))]
        for name in ("shared", "other"):
            if self.dice.random() < 0.6:
                files.append((name, self.dice.randrange(12), 6_000))
        return self._publish(branch, files)

    def _publish(self, branch: str, files: list[tuple[str, int, int]]) -> bool:
        self.say("begin", "commit", branch=branch, files=files)
        with self.store.session(branch, agent=f"{self.me}@1") as session:
            for name, seed, size in files:
                session.write(name, content(seed, size))
                if self.dice.random() < 0.1:
                    session._supply.make_durable()
            id = session.commit(f"turn {self.turn}").id
        self.say("done", "commit", branch=branch, id=id.hex())
        self.made.setdefault(branch, []).append(id)
        self.whole.setdefault(branch, []).append(len(self.made[branch]))
        return True

    def _pick(self, least: int) -> str:
        """A branch of at least so many versions; "" if there is none."""
        long = sorted(name for name, ids in self.made.items() if len(ids) >= least)
        return self.dice.choice(long) if long else ""

    def _tag(self) -> bool:
        branch = self._pick(1)
        if not branch:
            return False
        tag, id = f"{self.me}-tag-{self.turn}", self.made[branch][-1].hex()
        self.say("begin", "tag", tag=tag)
        self.store.tag(tag, id)
        self.say("done", "tag", tag=tag, id=id)
        # A tag keeps it from being forgotten.
        self._keep(branch, len(self.made[branch]))
        return True

    def _keep(self, branch: str, number: int) -> None:
        if number in self.whole[branch]:
            self.whole[branch].remove(number)

    def _undo(self) -> bool:
        branch = self._pick(2)
        if not branch:
            return False
        before, last = self.made[branch][-2:]
        if before in self.forgotten:
            return False
        moves = (
            one.sequence
            for one in self.store.operations()
            if one.op == "commit" and any(new == last for _, _, new in one.refs)
        )
        sequence = next(moves)
        self.say("begin", "undo", branch=branch)
        self.store.undo(sequence)
        self.say("done", "undo", branch=branch)
        self._keep(branch, len(self.made[branch]))
        self.made[branch].pop()
        return True

    def _old(self) -> tuple[str, int] | None:
        """A version before the last of its branch that has all its artifacts."""
        branch = self._pick(2)
        numbers = [n for n in self.whole.get(branch, ()) if n < len(self.made[branch])]
        return (branch, self.dice.choice(numbers)) if numbers else None

    def _forget(self) -> bool:
        old = self._old()
        if old is None:
            return False
        branch, number = old
        self.say("begin", "forget", branch=branch, number=number)
        self.store.forget(self.made[branch][number - 1].hex())
        self.say("done", "forget", branch=branch, number=number)
        self.forgotten.add(self.made[branch][number - 1])
        self._keep(branch, number)
        return True

    def _purge(self) -> bool:
        old = self._old()
        if old is None:
            return False
        branch, number = old
        selector = f"{self.made[branch][number - 1].hex()}:own"
        self.say("begin", "purge", branch=branch, number=number, file="own")
        self.store.purge(selector, reason="a test", include=["all"])
        self.say("done", "purge", branch=branch, number=number, file="own")
        self._keep(branch, number)
        return True

    def _delete(self) -> bool:
        branch = self._pick(1)
        if not branch:
            return False
        self.say("begin", "delete", branch=branch)
        delete_branch(self.store, branch, by=self.me)
        self.say("done", "delete", branch=branch)
        del self.made[branch], self.whole[branch]
        return True

    def _gc(self) -> bool:
        return self._same("gc", lambda: self.store.gc(grace=0))

    def _repack(self) -> bool:
        return self._same("repack", self.store.repack)

    def _reindex(self) -> bool:
        return self._same("reindex", self.store.reindex)

    def _backup(self) -> bool:
        assert self.copies is not None
        place = self.copies / f"{self.me}-copy"
        return self._same("backup", lambda: self.store.backup(place))

    def _same(self, verb: str, work: Callable[[], object]) -> bool:
        """A verb that changes nothing that can be read."""
        self.say("begin", verb)
        work()
        self.say("done", verb)
        return True
