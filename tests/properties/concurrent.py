"""The rule that does several things at once, in threads, on one open store or on several."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import rule

from castore.model.refs import HEADS
from castore.store.collect_roots import GRACE
from tests.properties.actions import (
    Action,
    Backup,
    Collect,
    Commit,
    Deploy,
    Forget,
    Pin,
    Read,
    Retain,
    Say,
    Undo,
)
from tests.properties.committing import OPERATIONS
from tests.properties.contents import ANOTHER, SETS
from tests.properties.keeping import FOLDERS
from tests.properties.machine import BRANCHES, WHICH, Machine, pick
from tests.properties.together import judge_together, run_together


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
    "say", "deploy", "retain",
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


class Concurrent(Machine):
    """Several things at once."""

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
        for action in actions:
            # What was staged for a commit that repeated another, or failed, is staged still.
            if isinstance(action, Commit) and action.staged and (action.error or action.answer[1]):
                self.loose += action.content.values()

    def action(self, plan: Plan) -> Action:
        """What is planned, as things stand."""
        if plan.verb == "commit":
            head = self.model.refs.get(HEADS + plan.branch)
            tip = self.store.version(head, plan.branch) if head else None
            expect = {0: (tip,), 1: (None,)}.get(plan.which % 5, ())
            operation = "" if expect else plan.operation
            return Commit(
                branch=plan.branch,
                content={
                    name: ANOTHER if self.model.dead(data) else data
                    for name, data in plan.content.items()
                },
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
        if plan.verb == "say" and self.model.complete():
            id = pick(self.model.complete(), plan.which)
            return Say(id=id, value=("approved", "rejected", "requested")[plan.which % 3])
        if plan.verb == "deploy" and self.model.complete():
            id = pick(self.model.complete(), plan.which)
            return Deploy(id=id, place=("prod", "test")[plan.which % 2])
        if plan.verb == "retain":
            return Retain()
        if plan.verb == "forget" and self.model.forgettable():
            return Forget(id=pick(self.model.forgettable(), plan.which))
        if plan.verb == "unpin" and self.model.pins:
            return Pin(id=pick(self.model.pinned(), plan.which), end=True)
        return Read(how=pick(READS, plan.which), branch=plan.branch)
