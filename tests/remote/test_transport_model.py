"""Any run of calls leaves a folder as it leaves a dict: the same answers, the same refusals."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from castore.errors import RemoteMoved
from castore.remote.files import FileTransport
from castore.remote.transport import Got, KeyAbsent

keys = st.sampled_from(["root", "packs/a/x", "packs/a/y", "packs/b/x", "index/a/x"])
datas = st.binary(max_size=3)


class Folder(RuleBasedStateMachine):
    """A bucket in a folder, opened by two, beside a dict of what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        # Order is tried here, not what survives a loss of power: a hundred times as quick.
        self.sync, os.fsync = os.fsync, lambda descriptor: None
        self.buckets = [FileTransport(self.folder / "b") for _ in range(2)]
        self.model: dict[str, Got] = {}
        self.old: list[tuple[str, str]] = []

    def teardown(self) -> None:
        os.fsync = self.sync
        shutil.rmtree(self.folder)

    def _keep(self, key: str, data: bytes, etag: str) -> None:
        assert (key, etag) not in self.old
        self.old.append((key, etag))
        self.model[key] = Got(data, etag)

    @rule(who=st.integers(0, 1), key=keys, data=datas)
    def put(self, who: int, key: str, data: bytes) -> None:
        self._keep(key, data, self.buckets[who].put(key, data))

    @rule(who=st.integers(0, 1), key=keys, data=datas)
    def create(self, who: int, key: str, data: bytes) -> None:
        try:
            etag = self.buckets[who].put(key, data, if_absent=True)
        except RemoteMoved:
            assert key in self.model
        else:
            assert key not in self.model
            self._keep(key, data, etag)

    @precondition(lambda self: self.old)
    @rule(who=st.integers(0, 1), pick=st.randoms(use_true_random=False), data=datas)
    def replace(self, who: int, pick, data: bytes) -> None:  # type: ignore[no-untyped-def]
        key, etag = pick.choice(self.old[-6:])
        there = self.model.get(key)
        try:
            new = self.buckets[who].replace(key, data, etag)
        except RemoteMoved:
            assert there is None or there.etag != etag
        else:
            assert there is not None
            assert there.etag == etag
            self._keep(key, data, new)

    @rule(who=st.integers(0, 1), some=st.lists(keys, max_size=3))
    def delete(self, who: int, some: list[str]) -> None:
        self.buckets[who].delete(some)
        for key in some:
            self.model.pop(key, None)

    @rule(key=keys, start=st.integers(0, 4), length=st.none() | st.integers(0, 4))
    def get(self, key: str, start: int, length: int | None) -> None:
        with suppress(KeyAbsent):
            got = self.buckets[0].get(key, start, length)
            end = None if length is None else start + length
            assert got == (self.model[key].data[start:end], self.model[key].etag)
            return
        assert key not in self.model

    @invariant()
    def lists(self) -> None:
        for prefix in ("", "packs/", "packs/a/", "root/"):
            found = sorted(tuple(listed) for listed in self.buckets[1].list(prefix))
            assert found == sorted(
                (key, len(got.data)) for key, got in self.model.items() if key.startswith(prefix)
            )


TestFolder = Folder.TestCase
TestFolder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
