"""Retries: how often, with which pauses, and what is never tried again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import (
    OutcomeUnknown,
    PermissionDenied,
    RemoteMoved,
    RemoteUnavailable,
)
from castore.remote.memory import MemoryTransport
from castore.remote.retrying import Backoff, RetryingTransport
from castore.remote.transport import Got, KeyAbsent, Listed


class Unkind(MemoryTransport):
    """A bucket whose requests go wrong as they are told to: before, or after they were done."""

    def __init__(self, *plan: str) -> None:
        super().__init__()
        self.plan = list(plan)
        self.asked = 0

    def _begin(self) -> str:
        self.asked += 1
        step = self.plan.pop(0) if self.plan else "go"
        if step == "away":
            raise RemoteUnavailable("away")
        if step == "denied":
            raise PermissionDenied("denied")
        if step == "doubt":
            raise OutcomeUnknown("not done")
        return step

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        self._begin()
        return super().get(key, start, length)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        step = self._begin()
        return self._end(step, super().put(key, data, if_absent=if_absent))

    def replace(self, key: str, data: bytes, etag: str) -> str:
        step = self._begin()
        return self._end(step, super().replace(key, data, etag))

    def list(self, prefix: str) -> Iterator[Listed]:
        self._begin()
        for number, found in enumerate(super().list(prefix)):
            if number:
                self._begin()
            yield found

    def delete(self, keys: Sequence[str]) -> None:
        step = self._begin()
        super().delete(keys)
        self._end(step, "")

    def _end(self, step: str, etag: str) -> str:
        if step == "lost":
            raise OutcomeUnknown("done")
        if step == "overtaken":
            MemoryTransport.put(self, "root", b"theirs")
            raise OutcomeUnknown("done, and replaced")
        return etag


def retrying(inner: Unkind, tries: int = 5) -> tuple[RetryingTransport, list[float]]:
    pauses: list[float] = []
    backoff = Backoff(tries=tries, first=1.0, most=3.0)
    return RetryingTransport(
        inner, backoff=backoff, sleep=pauses.append, chance=lambda: 1.0
    ), pauses


def test_pauses_grow_to_a_bound() -> None:
    inner = Unkind("away", "away", "away", "away")
    transport, pauses = retrying(inner)
    transport.put("root", b"x")
    assert pauses == [1.0, 2.0, 3.0, 3.0]
    inner.plan = ["away"] * 5
    with pytest.raises(RemoteUnavailable):
        transport.get("root")
    assert inner.asked == 10
    draws = RetryingTransport(inner, backoff=Backoff(3, 1.0, 3.0), sleep=pauses.append,
                              chance=lambda: 0.0)  # fmt: skip
    inner.plan = ["away", "away"]
    draws.get("root")
    assert pauses[-2:] == [0.5, 1.0]


def test_answers_are_given_back_at_once() -> None:
    inner = Unkind("denied")
    transport, pauses = retrying(inner)
    with pytest.raises(PermissionDenied):
        transport.get("root")
    with pytest.raises(KeyAbsent):
        transport.get("root")
    transport.put("root", b"1")
    with pytest.raises(RemoteMoved):
        transport.put("root", b"2", if_absent=True)
    with pytest.raises(RemoteMoved):
        transport.replace("root", b"2", "other")
    assert (inner.asked, pauses) == (5, [])


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("plan", [["lost"], ["doubt"], ["doubt", "lost"], ["lost", "away", "away"]])
def test_a_conditional_write_in_doubt_is_settled(plan: list[str], create: bool) -> None:
    inner = Unkind()
    etag = "" if create else inner.put("root", b"first")
    transport, _ = retrying(inner)
    inner.plan = list(plan)
    if create:
        etag = transport.put("root", b"ours", if_absent=True)
    else:
        etag = transport.replace("root", b"ours", etag)
    assert inner.get("root") == (b"ours", etag)


def test_a_write_that_was_replaced_since_is_no_conflict() -> None:
    inner = Unkind()
    etag = inner.put("root", b"first")
    transport, _ = retrying(inner)
    inner.plan = ["overtaken"]
    with pytest.raises(OutcomeUnknown):
        transport.replace("root", b"ours", etag)
    inner.plan = ["doubt", *["away"] * 4]
    with pytest.raises(OutcomeUnknown):
        transport.replace("root", b"ours", inner.get("root").etag)


def test_a_list_that_breaks_off_names_each_key_once() -> None:
    inner = Unkind()
    for number in range(10):
        inner.put(f"packs/{number}", b"")
    transport, _ = retrying(inner)
    inner.plan = ["go", "go", "go", "away", "go", "go", "go", "go", "go", "away"]
    found = [listed.key for listed in transport.list("packs/")]
    assert sorted(found) == [f"packs/{number}" for number in range(10)]
    inner.plan = ["away"] * 5
    with pytest.raises(RemoteUnavailable):
        list(transport.list(""))


steps = st.lists(st.sampled_from(["go", "away", "doubt", "lost", "overtaken"]), max_size=6)


@given(plan=steps, create=st.booleans())
def test_a_conflict_is_never_claimed_for_a_write_of_ours(plan: list[str], create: bool) -> None:
    inner = Unkind()
    etag = "" if create else inner.put("root", b"first")
    transport, _ = retrying(inner)
    inner.plan = list(plan)
    try:
        if create:
            transport.put("root", b"ours", if_absent=True)
        else:
            transport.replace("root", b"ours", etag)
    except OutcomeUnknown:
        return
    except RemoteUnavailable:
        inner.plan = []
        assert [inner.get(found.key).data for found in inner.list("")] == [b"first"][create:]


def test_close_closes_what_is_inside() -> None:
    closed = []

    class Told(MemoryTransport):
        def close(self) -> None:
            closed.append(self.url)

    transport = RetryingTransport(Told("memory://x"))
    transport.close()
    assert (closed, transport.url) == (["memory://x"], "memory://x")
