"""A push that is interrupted by Ctrl-C: what has arrived by then is not sent again."""

from __future__ import annotations

import _thread
import time
from collections import Counter
from random import Random

import pytest

import castore
from castore.content.blocks import decode_block
from castore.errors import RemoteUnavailable
from castore.remote import sending
from castore.remote.memory import MemoryTransport
from castore.remote.pack import read_pack
from castore.store.sync_push import push
from tests.store.syncing import NAME, commit


class Stopped(MemoryTransport):
    """A bucket that is told to stop, or fails, while one of its packs is on its way."""

    def __init__(self, at: int, *, fails: bool = False) -> None:
        super().__init__()
        self._at = at
        self._fails = fails
        self.packs = 0

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        if key.startswith("packs/"):
            self.packs += 1
            if self.packs == self._at:
                if self._fails:
                    raise RemoteUnavailable("for now")
                time.sleep(0.05)
                _thread.interrupt_main()
                # Those after it arrive before it does.
                time.sleep(0.3)
        return super().put(key, data, if_absent=if_absent)


def chunks(bucket: MemoryTransport) -> Counter[bytes]:
    """How often everything that lies in packs of a bucket lies there."""
    found: Counter[bytes] = Counter()
    for item in bucket.list("packs/"):
        id = bytes.fromhex(item.key.rsplit("/", 1)[1])
        for placed in read_pack(bucket.get(item.key).data, id)[1]:
            found.update(member.id for member in decode_block(placed.block, item.key).members)
    return found


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("at", [1, 2, 5])
def test_what_arrived_is_not_sent_again(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, at: int, *, fails: bool
) -> None:
    monkeypatch.setattr(sending, "PACK_FULL_BYTES", 1 << 20)
    dice = Random(at)
    commit(store, "out", **{f"f{n}": dice.randbytes(700_000) for n in range(12)})
    bucket = Stopped(at, fails=fails)
    with pytest.raises(RemoteUnavailable if fails else KeyboardInterrupt):
        push(store, NAME, bucket)
    before = len(list(bucket.list("packs/")))
    done = push(store, NAME, bucket)
    assert before + done.packs == len(list(bucket.list("packs/")))
    assert set(chunks(bucket).values()) == {1}
