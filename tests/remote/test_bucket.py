"""The bucket: made once, replaced without loss, and read with suspicion."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from castore.errors import (
    CastoreError,
    CorruptObject,
    OutcomeUnknown,
    RemoteMoved,
    RemoteUnavailable,
    UnsupportedFormat,
)
from castore.model.limits import ROOT_ROWS
from castore.remote.bucket import ATTEMPTS, Bucket, BucketIdentity, Seen, create_bucket, look
from castore.remote.keys import IDENTITY, ROOT
from castore.remote.memory import MemoryTransport
from castore.remote.root import Root, decode_root, encode_root, seal_notes
from castore.remote.transport import Got

PROJECT = b"p" * 16


class Unsure(MemoryTransport):
    """Loses requests and answers of what replaces root: `fate` tells which, by the number."""

    fate: Callable[[int], str] = staticmethod(lambda _: "")
    count = 0

    def replace(self, key: str, data: bytes, etag: str) -> str:
        self.count += 1
        fate = self.fate(self.count)
        if fate == "dropped":
            raise OutcomeUnknown("no answer")
        if fate == "refused":
            raise RemoteUnavailable("not reached")
        tag = super().replace(key, data, etag)
        if fate == "lost":
            raise OutcomeUnknown("no answer")
        if fate == "repeated":
            raise RemoteMoved("the second time it was another")
        return tag


def bucket_of(transport: MemoryTransport, client: bytes = b"c" * 16, **more: Seen) -> Bucket:
    identity = look(transport) or create_bucket(transport, PROJECT, os.urandom)
    return Bucket(
        transport, identity, client=client, entropy=os.urandom, sleep=lambda _: None, **more
    )


def add(bucket: Bucket, name: str) -> Root:
    """Make a branch, and count how often."""
    return bucket.update(
        lambda root: replace(
            root, refs={**root.refs, f"heads/{name}{len(root.refs)}": name.encode() * 32}
        )
    )


def test_many_at_once_lose_nothing_and_land_once() -> None:
    transport = MemoryTransport()
    bucket_of(transport)

    def write(me: int) -> None:
        bucket = bucket_of(transport, bytes([me]) * 16)
        for _ in range(15):
            add(bucket, "abcd"[me])

    threads = [threading.Thread(target=write, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    root = bucket_of(transport).read().root
    assert len(root.refs) == 60
    assert root.serial == 61
    assert all(sum(name[6] == who for name in root.refs) == 15 for who in "abcd")


@pytest.mark.parametrize("seed", range(20))
def test_a_write_whose_answer_was_lost_lands_once(seed: int) -> None:
    dice = Random(seed)
    transport = Unsure()
    bucket = bucket_of(transport)
    other = bucket_of(transport, b"o" * 16)
    transport.fate = lambda _: dice.choice(["", "dropped", "lost", "repeated"])
    for turn in range(20):
        add(dice.choice([bucket, other]), "x")
        assert len(bucket.read().root.refs) == turn + 1


def test_what_never_arrives_is_said_to_be_unknown() -> None:
    transport = Unsure()
    bucket = bucket_of(transport)
    transport.fate = lambda _: "dropped"
    with pytest.raises(OutcomeUnknown):
        add(bucket, "x")
    assert transport.count == ATTEMPTS
    transport.fate = lambda _: "refused"
    with pytest.raises(RemoteUnavailable):
        add(bucket, "x")
    assert bucket.read().root.refs == {}


def test_others_that_are_always_faster_are_told_of() -> None:
    transport = MemoryTransport()
    bucket, other = bucket_of(transport), bucket_of(transport, b"o" * 16)

    def change(root: Root) -> Root:
        other.update(lambda found: replace(found, gc_round=found.gc_round + 1))
        return root

    with pytest.raises(RemoteMoved):
        bucket.update(change)


def put_root(transport: MemoryTransport, **changes: object) -> None:
    root = decode_root(transport.get(ROOT).data, lambda _, __: b"")
    changed = replace(root, **changes)  # type: ignore[arg-type]
    transport.put(ROOT, encode_root(changed, lambda _, __: b""))


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": 2},
        {"notes": seal_notes([b"1" * 32])},
        {"uuid": b"x" * 16},
        {"project": b"x" * 16},
    ],
)
def test_a_root_that_goes_back_is_refused(changes: dict[str, object]) -> None:
    transport = MemoryTransport()
    bucket = bucket_of(transport)
    notes = seal_notes([b"1" * 32, b"2" * 32])
    for _ in range(3):
        bucket.update(lambda root: replace(root, notes=notes))
    seen = bucket.seen
    put_root(transport, **changes)
    with pytest.raises(CorruptObject):
        bucket.read()
    with pytest.raises(CorruptObject):
        bucket_of(transport, seen=seen).read()
    with pytest.raises(CorruptObject):
        bucket.update(lambda root: replace(root, gc_round=1))


def test_another_bucket_is_refused() -> None:
    seen = bucket_of(MemoryTransport()).seen
    with pytest.raises(CorruptObject):
        bucket_of(MemoryTransport(), seen=seen)


def test_a_feature_that_writing_needs_stops_writes_alone() -> None:
    transport = MemoryTransport()
    bucket = bucket_of(transport)
    put_root(transport, features=("later",))
    assert bucket.read().root.features == ("later",)
    with pytest.raises(UnsupportedFormat):
        add(bucket, "x")


def test_an_identity_without_a_root_is_damage() -> None:
    transport = MemoryTransport()
    bucket_of(transport)
    transport.delete([ROOT])
    with pytest.raises(CorruptObject):
        bucket_of(transport).read()
    with pytest.raises(CorruptObject):
        add(bucket_of(transport), "x")
    assert [item.key for item in transport.list("")] == [IDENTITY]


def test_making_one_that_was_interrupted_is_ended() -> None:
    transport = MemoryTransport()
    identity = bucket_of(transport).identity
    transport.delete([IDENTITY])
    assert look(transport) == identity
    assert look(transport) == identity
    assert json.loads(transport.get(IDENTITY).data)["uuid"] == identity.uuid.hex()


def test_two_that_make_one_at_once_get_the_same() -> None:
    for _ in range(10):
        transport = MemoryTransport()
        found: list[BucketIdentity] = []
        start = threading.Barrier(4)

        def make(
            transport: MemoryTransport = transport,
            found: list[BucketIdentity] = found,
            start: threading.Barrier = start,
        ) -> None:
            start.wait()
            found.append(create_bucket(transport, PROJECT, os.urandom))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert set(found) == {look(transport)}
        bucket_of(transport).read()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"encryption": {}}, UnsupportedFormat),
        ({"castore": 2}, UnsupportedFormat),
        ({"castore": None}, UnsupportedFormat),
        ({"uuid": "00"}, CorruptObject),
        ({"uuid": "x" * 32}, CorruptObject),
        ({"project": 3}, CorruptObject),
    ],
)
def test_an_identity_that_is_not_understood_is_refused(
    change: dict[str, object], error: type[CastoreError]
) -> None:
    transport = MemoryTransport()
    bucket_of(transport)
    value = json.loads(transport.get(IDENTITY).data)
    transport.put(IDENTITY, json.dumps({**value, **change}).encode())
    with pytest.raises(error):
        look(transport)


@pytest.mark.parametrize("data", [b"", b"null", b"[1]", b"3", b"{}", b"[" * 4000, b'"castore"'])
def test_a_malformed_identity_is_refused(data: bytes) -> None:
    transport = MemoryTransport()
    bucket_of(transport)
    transport.put(IDENTITY, data)
    with pytest.raises(CorruptObject):
        look(transport)


class Hurried(MemoryTransport):
    """A bucket where something happens once, just before a key of this prefix is read."""

    prefix = ""
    happens: Callable[[], object] | None = None

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        happens = self.happens
        if happens is not None and key.startswith(self.prefix):
            self.happens = None
            happens()
        return super().get(key, start, length)


def with_pages(transport: MemoryTransport, bucket: Bucket, upload: bytes) -> None:
    """A root whose refs stand in pages, in the place of the one before, whose pages go."""
    before = [item.key for item in transport.list("lists/")]
    refs = {f"heads/{upload.hex()}-{n:05d}": b"1" * 32 for n in range(ROOT_ROWS + 1)}
    bucket.update(lambda root: replace(root, refs=refs), upload=upload)
    transport.delete(before)


def test_a_page_that_goes_while_root_is_read_is_no_damage() -> None:
    transport = Hurried()
    bucket, other = bucket_of(transport), bucket_of(transport, b"o" * 16)
    with_pages(transport, other, b"a" * 16)
    transport.prefix = "lists/"
    transport.happens = lambda: with_pages(transport, other, b"b" * 16)
    root = bucket.read().root
    assert transport.happens is None
    assert f"heads/{(b'b' * 16).hex()}-00000" in root.refs
    transport.delete([item.key for item in transport.list("lists/")])
    with pytest.raises(CorruptObject, match="page"):
        bucket.read()
