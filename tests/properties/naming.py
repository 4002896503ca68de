"""The rules that name versions: branches, tags and pins."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from castore import errors
from castore.model.refs import HEADS, TAGS
from castore.store.branches import create_branch, delete_branch, move_branch
from tests.properties.machine import WHICH, Machine, pick


class Naming(Machine):
    """Whatever makes a name lead elsewhere."""

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
        id = pick(self.model.pinned(), which)
        self.store.unpin(id.hex())
        self.logged(("unpin", ()))
        assert id not in self.model.pins
