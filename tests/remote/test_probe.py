"""The probe refuses each way in which a bucket may betray its writers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import pytest

from castore.errors import PermissionDenied, RemoteError
from castore.remote.memory import MemoryTransport
from castore.remote.probe import probe
from castore.remote.transport import Got, KeyAbsent, Listed
from tests.remote.places import Place


def test_a_good_bucket_passes_and_is_left_empty(place: Place) -> None:
    bucket = place.open()
    bucket.put("root", b"stays")
    probe(bucket)
    assert [found.key for found in bucket.list("")] == ["root"]


class Overwrites(MemoryTransport):
    """Ignores If-None-Match."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        return super().put(key, data)


class OverwritesStale(MemoryTransport):
    """Ignores If-Match, but where nothing is there."""

    def replace(self, key: str, data: bytes, etag: str) -> str:
        there = [found.key for found in self.list("")]
        return super().replace(key, data, self.get(key).etag if key in there else "")


class OverwritesNothing(MemoryTransport):
    """Takes If-Match for fulfilled where nothing is there."""

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with suppress(KeyAbsent):
            return super().replace(key, data, etag if self.get(key) else "")
        return super().put(key, data)


class Late(MemoryTransport):
    """Serves what was there before the last write."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Got] = {}

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with suppress(KeyAbsent):
            self.before[key] = super().get(key)
        return super().replace(key, data, etag)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        return self.before.get(key) or super().get(key, start, length)


class Whole(MemoryTransport):
    """Serves no parts."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        return super().get(key)


class ListsLate(MemoryTransport):
    """Lists nothing."""

    def list(self, prefix: str) -> Iterator[Listed]:
        return iter(())


class Keeps(MemoryTransport):
    """Deletes nothing."""

    def delete(self, keys: Sequence[str]) -> None:
        pass


class SaysYes(MemoryTransport):
    """Says that writes are refused, and does them."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        try:
            return super().put(key, data, if_absent=if_absent)
        finally:
            super().put(key, data)


@pytest.mark.parametrize(
    ("make", "word"),
    [(Overwrites, "If-None-Match"), (OverwritesStale, "replaced since"),
     (OverwritesNothing, "not there"), (Late, "just written"), (Whole, "Range"),
     (ListsLate, "list"), (Keeps, "deleted"), (SaysYes, "just written")],
)  # fmt: skip
def test_a_bucket_that_does_not_honour_it_is_refused(
    make: Callable[[], MemoryTransport], word: str
) -> None:
    bucket = make()
    with pytest.raises(RemoteError, match=word) as caught:
        probe(bucket)
    assert "memory://bucket" in caught.value.message
    if make is not Keeps:
        assert list(MemoryTransport.list(bucket, "")) == []


def test_a_refusal_of_the_bucket_is_told_as_it_is() -> None:
    class Denied(MemoryTransport):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
            raise PermissionDenied("no writing here")

        def delete(self, keys: Sequence[str]) -> None:
            raise PermissionDenied("no deleting here")

    with pytest.raises(PermissionDenied, match="writing"):
        probe(Denied())


def test_who_may_not_delete_may_share() -> None:
    class Kept(MemoryTransport):
        def delete(self, keys: Sequence[str]) -> None:
            raise PermissionDenied("no deleting here")

    bucket = Kept()
    probe(bucket)
    assert [found.key.split("/")[0] for found in bucket.list("")] == ["probe"]
