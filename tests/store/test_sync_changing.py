"""A bucket that gives other bytes the next time it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import castore
from castore.content.blocks import decode_block
from castore.content.deltas import raw_bytes
from castore.content.encoder import encode_metadata
from castore.errors import CorruptObject
from castore.model.ids import Id, Kind, content_id
from castore.model.pages import decode_layout, encode_layout
from castore.remote.memory import MemoryTransport
from castore.remote.pack import read_pack
from castore.remote.transport import Got
from castore.store.sync_fetch import fetch
from castore.store.sync_push import push
from tests.store.syncing import NAME, commit, copy_of, refs, sound


class _Changing(MemoryTransport):
    """A bucket that answers otherwise once it was asked for a place some times."""

    def __init__(self) -> None:
        super().__init__()
        self.change: Callable[[bytes], bytes] | None = None
        self.asked: Counter[tuple[str, int]] = Counter()
        self.honest = 0

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        got = super().get(key, start, length)
        self.asked[key, start] += 1
        if self.asked[key, start] > self.honest and self.change is not None:
            return got._replace(data=self.change(got.data))
        return got


def _other_order(bucket: MemoryTransport, digest: Id) -> tuple[bytes, bytes]:
    """A block with the root page of a file, and one of that length with its chunks in disorder."""
    dice = Random(1)
    for item in bucket.list("packs/"):
        for placed in read_pack(bucket.get(item.key).data, bytes.fromhex(item.key[-64:]))[1]:
            block = decode_block(placed.block, "")
            if [member.id for member in block.members] != [digest] or not block.metadata:
                continue
            parts = list(decode_layout(raw_bytes(block, bucket.get, "")).parts)  # type: ignore[arg-type]
            while True:
                dice.shuffle(parts)
                (other,) = encode_metadata([(Kind.LAYOUT, digest, encode_layout(0, parts))])
                if len(other.data) == len(placed.block) and other.data != placed.block:
                    return placed.block, other.data
    raise AssertionError("no block has the root page alone")


def test_a_chunk_list_that_changes_while_it_is_fetched_is_refused(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without windows that are kept each look at a page is a request.
    monkeypatch.setattr("castore.remote.fetching._WINDOWS", 0)
    bucket = _Changing()
    commit(store, "out", first=b"x")
    push(store, NAME, bucket)
    data = Random(1).randbytes(700_000)
    with copy_of(bucket, tmp_path / "copy") as copy:
        commit(store, "out", big=data)
        push(store, NAME, bucket)
        right, wrong = _other_order(bucket, content_id(data))
        before = refs(copy, "")
        bucket.change = lambda answer: answer.replace(right, wrong)
        told = []
        while True:
            bucket.asked.clear()
            try:
                fetch(copy, NAME, bucket)
                break
            except CorruptObject as error:
                told.append(error.message)
                assert refs(copy, "") == before
                sound(copy)
                bucket.honest += 1
        assert any("changed while it was fetched" in one for one in told)
        assert any("of another file" in one for one in told)
        sound(copy)
        assert b"".join(copy.reader.stream(content_id(data), len(data))) == data
