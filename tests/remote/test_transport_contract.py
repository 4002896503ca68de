"""What every transport must do, over each kind of bucket that there is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import TypeVar

import pytest

from castore.errors import InvalidInput, RemoteMoved
from castore.remote.transport import KeyAbsent, Transport
from tests.remote.places import Place

Answer = TypeVar("Answer")


@pytest.fixture
def bucket(place: Place) -> Iterator[Transport]:
    transport = place.open()
    yield transport
    transport.close()


def together(number: int, work: Callable[[int], Answer]) -> list[Answer]:
    """What this many threads, begun at one moment, give back."""
    barrier = Barrier(number)

    def run(index: int) -> Answer:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_what_is_put_is_got_by_everybody(bucket: Transport, place: Place) -> None:
    etag = bucket.put("packs/0a/one", b"bytes")
    for transport in (bucket, place.open()):
        assert transport.get("packs/0a/one") == (b"bytes", etag)
        assert type(transport.get("packs/0a/one").data) is bytes


def test_an_empty_object_is_an_object(bucket: Transport) -> None:
    etag = bucket.put("empty", b"")
    assert bucket.get("empty") == (b"", etag)
    assert bucket.get("empty", 0, 10) == (b"", etag)
    assert bucket.get("empty", 3) == (b"", etag)
    assert [tuple(found) for found in bucket.list("")] == [("empty", 0)]


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, None), (0, 4), (3, 4), (3, None), (9, 1), (9, 5), (10, 1), (10, None), (11, 3),
     (500, None), (500, 5), (0, 0), (4, 0), (0, 10), (0, 11), (2, 1 << 40)],
)  # fmt: skip
def test_a_part_is_what_a_slice_is(bucket: Transport, start: int, length: int | None) -> None:
    etag = bucket.put("digits", b"0123456789")
    end = None if length is None else start + length
    assert bucket.get("digits", start, length) == (b"0123456789"[start:end], etag)


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1), (-5, 2)])
def test_what_is_no_part_is_refused(bucket: Transport, start: int, length: int | None) -> None:
    bucket.put("digits", b"0123456789")
    with pytest.raises(InvalidInput):
        bucket.get("digits", start, length)


@pytest.mark.parametrize(("start", "length"), [(0, None), (5, 5), (3, 0)])
def test_what_is_not_there_is_absent(bucket: Transport, start: int, length: int | None) -> None:
    with pytest.raises(KeyAbsent):
        bucket.get("root", start, length)
    bucket.put("roots/1", b"x")
    for key in ("root", "roots", "roots/1/2", "roots/2"):
        with pytest.raises(KeyAbsent):
            bucket.get(key, start, length)


@pytest.mark.parametrize(
    "key",
    ["", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/../b", ".hidden", "a/.b", "-a", "A",
     "a b", "a\\b", "a\0b", "a\n", "é", "+lock", "a" * 513, "a%2fb", "a?b", "a#b", "a*"],
)  # fmt: skip
def test_a_name_that_is_no_key_is_refused(bucket: Transport, key: str) -> None:
    for call in (
        lambda: bucket.get(key),
        lambda: bucket.put(key, b""),
        lambda: bucket.put(key, b"", if_absent=True),
        lambda: bucket.replace(key, b"", "1"),
        lambda: bucket.delete(["good", key]),
    ):
        with pytest.raises(InvalidInput):
            call()
    if key not in ("", "a/"):
        with pytest.raises(InvalidInput):
            list(bucket.list(key))


def test_a_put_replaces_what_is_there(bucket: Transport) -> None:
    before = bucket.put("a/b", b"one")
    after = bucket.put("a/b", b"another")
    assert before != after
    assert bucket.get("a/b") == (b"another", after)


def test_what_exists_is_not_created_again(bucket: Transport) -> None:
    etag = bucket.put("root", b"first", if_absent=True)
    with pytest.raises(RemoteMoved):
        bucket.put("root", b"second", if_absent=True)
    assert bucket.get("root") == (b"first", etag)


def test_what_is_created_with_the_same_bytes_is_left_as_it_is(bucket: Transport) -> None:
    etag = bucket.put("root", b"first", if_absent=True)
    with suppress(RemoteMoved):
        assert bucket.put("root", b"first", if_absent=True) == etag
    assert bucket.get("root") == (b"first", etag)


def test_a_replacement_needs_the_newest_tag(bucket: Transport) -> None:
    first = bucket.put("root", b"first", if_absent=True)
    second = bucket.replace("root", b"second", first)
    assert bucket.get("root") == (b"second", second)
    with pytest.raises(RemoteMoved):
        bucket.replace("root", b"third", first)
    assert bucket.get("root") == (b"second", second)
    third = bucket.replace("root", b"third", second)
    assert bucket.get("root") == (b"third", third)


def test_what_is_absent_is_not_replaced(bucket: Transport) -> None:
    etag = bucket.put("root", b"first")
    bucket.delete(["root"])
    with pytest.raises(RemoteMoved):
        bucket.replace("root", b"second", etag)
    with pytest.raises(RemoteMoved):
        bucket.replace("never", b"second", etag)
    assert list(bucket.list("")) == []


def test_a_list_is_by_whole_folders(bucket: Transport) -> None:
    keys = ["root", "roots/1", "roots/2", "packs/0a/x", "packs/0a/y", "packs/0b/x", "pack"]
    for size, key in enumerate(keys):
        bucket.put(key, b"." * size)
    sizes = {key: size for size, key in enumerate(keys)}
    for prefix in ("", "roots/", "packs/", "packs/0a/", "pack/", "none/", "root/", "packs/0a/x/"):
        found = [tuple(listed) for listed in bucket.list(prefix)]
        assert sorted(found) == sorted(
            (key, size) for key, size in sizes.items() if key.startswith(prefix)
        )


def test_deleting_is_idempotent(bucket: Transport) -> None:
    for key in ("packs/0a/x", "packs/0a/y", "root"):
        bucket.put(key, b"bytes")
    bucket.delete([])
    bucket.delete(["packs/0a/x", "never", "packs/0b/x", "packs", "root/x"])
    assert {found.key for found in bucket.list("")} == {"packs/0a/y", "root"}
    bucket.delete(["packs/0a/x", "packs/0a/y", "packs/0a/y"])
    assert {found.key for found in bucket.list("")} == {"root"}
    bucket.put("packs/0a/z", b"bytes", if_absent=True)
    assert bucket.get("packs/0a/z").data == b"bytes"


def test_more_than_a_page_is_listed_and_deleted(bucket: Transport) -> None:
    keys = [f"packs/{number % 7}/{number:04}" for number in range(1_030)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.put(key, b"x"), keys))
    bucket.put("root", b"stays")
    assert sorted(found.key for found in bucket.list("packs/")) == sorted(keys)
    bucket.delete(keys)
    assert [found.key for found in bucket.list("")] == ["root"]


def test_one_of_many_creators_wins(bucket: Transport, place: Place) -> None:
    for round in range(8 if place.writers > 4 else 3):

        def create(writer: int, key: str = f"race/{round}") -> str | None:
            try:
                return bucket.put(key, f"writer {writer}".encode(), if_absent=True)
            except RemoteMoved:
                return None

        answers = together(place.writers, create)
        winners = [writer for writer, etag in enumerate(answers) if etag is not None]
        assert len(winners) == 1
        expected = (f"writer {winners[0]}".encode(), answers[winners[0]])
        assert bucket.get(f"race/{round}") == expected


def test_no_replacement_is_lost(place: Place) -> None:
    writers, each = (8, 10) if place.writers > 4 else (4, 5)
    place.open().put("counter", b"0 start", if_absent=True)

    def count(writer: int) -> None:
        transport = place.open()
        done = 0
        while done < each:
            data, etag = transport.get("counter")
            new = f"{int(data.split()[0]) + 1} by {writer} {done}".encode()
            try:
                transport.replace("counter", new, etag)
            except RemoteMoved:
                continue
            done += 1

    together(writers, count)
    assert place.open().get("counter").data.split()[0] == str(writers * each).encode()


def test_a_pack_of_full_size_goes_and_comes_back(bucket: Transport) -> None:
    data = os.urandom(1 << 20) * 32
    bucket.put("packs/0a/big", data, if_absent=True)
    assert bucket.get("packs/0a/big").data == data
    assert bucket.get("packs/0a/big", 20 << 20, 70_000).data == data[20 << 20 :][:70_000]
    with pytest.raises(RemoteMoved):
        bucket.put("packs/0a/big", data[:-1], if_absent=True)
