"""Many writers of one bucket: how many commits a second a root takes, what they wait and pay.

    python -m benchmarks.writers [--latency 20-60 | --seaweed] [--writers 1000] [--seconds 300]

A simulation of discrete events. The steps of a commit, when a replacement of root loses, how long
the loser pauses, which indexes it fetches anew and when small ones are put together are those of
`castore.remote` and `castore.store.sync_push`; `tests/test_writers_simulation.py` compares its
requests with those that the real code makes. Requests take a time drawn evenly from `--latency`
milliseconds, or, with `--seaweed`, from those measured against SeaweedFS on this machine; a write
takes hold at half of it. A server that queues writers of one key, or throttles, is not modelled.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from castore.remote.bucket import _PAUSE_FIRST, _PAUSE_MOST, ATTEMPTS, ROOTS_KEPT
from castore.remote.transport import Transport
from castore.remote.urls import open_transport
from castore.store.sync_push import _INDEXES, _INDEXES_KEPT

GET, PUT, REPLACE, DELETE = "get", "put", "replace", "delete"
Latency: TypeAlias = Callable[[str], float]
"""Draws the seconds that a request of this kind takes."""
Steps: TypeAlias = Generator[float, None, bool]

# Dollars for 1,000 requests of S3 Standard (us-east-1); deleting is free. A refused write is paid.
PRICES: Final = {GET: 0.0004, PUT: 0.005, REPLACE: 0.005, DELETE: 0.0}


class Index(NamedTuple):
    """An index that a root lists: its number, and how many versions it holds."""

    number: int
    versions: int


@dataclass(slots=True)
class Shard:
    """One root: its serial, and what it lists."""

    serial: int = 1
    indexes: tuple[Index, ...] = ()


@dataclass(slots=True)
class Figures:
    """What happened, from when it counts."""

    requests: Counter[str] = field(default_factory=Counter)
    commits: int = 0
    conflicts: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)


class Bucket:
    """The steps of one commit to a shard, as a push of one small version takes them."""

    def __init__(self, latency: Latency, chance: random.Random) -> None:
        self.figures = Figures()
        self._latency = latency
        self._chance = chance
        self._numbers = count(1)

    def commit(self, shard: Shard, known: set[int]) -> Steps:
        """One push; whether it landed. `known` are the indexes that the writer has kept."""
        yield self._time(GET)  # castore.json
        yield self._time(GET)  # root
        yield from self._fetch(shard.indexes, known)
        if not (yield from self._update(shard, known, None)):
            return False
        # The pack of metadata and that of content are sent at once.
        yield max(self._time(PUT), self._time(PUT))
        own = Index(next(self._numbers), 1)
        yield self._time(PUT)
        known.add(own.number)
        return (yield from self._update(shard, known, own))

    def stage(self) -> Steps:
        """One part, below an upload that is registered already."""
        yield self._time(GET)  # castore.json
        yield self._time(GET)  # root
        yield self._time(PUT)  # the pack
        return True

    def _update(self, shard: Shard, known: set[int], own: Index | None) -> Steps:
        """Replace the root; registering an upload, or with an index of one's own publishing."""
        for attempt in range(ATTEMPTS):
            half = self._time(GET) / 2
            yield half
            serial, listed = shard.serial, shard.indexes
            yield half
            if own is not None:
                yield from self._fetch(listed, known)
                listed = yield from self._merged((*listed, own), known)
            half = self._time(REPLACE) / 2
            yield half
            won = shard.serial == serial
            if won:
                shard.serial, shard.indexes = serial + 1, listed
            yield half
            if won:
                yield self._time(PUT)  # the copy for repair
                if serial + 1 > ROOTS_KEPT:
                    yield self._time(DELETE)
                if own is not None:
                    known.intersection_update([index.number for index in listed])
                return True
            self.figures.conflicts += 1
            pause = min(_PAUSE_MOST, _PAUSE_FIRST * 2 ** min(attempt, 10))
            yield pause * self._chance.random()
        return False

    def _fetch(self, listed: Sequence[Index], known: set[int]) -> Generator[float, None, None]:
        for index in listed:
            if index.number not in known:
                yield self._time(GET)
                known.add(index.number)

    def _merged(
        self, listed: tuple[Index, ...], known: set[int]
    ) -> Generator[float, None, tuple[Index, ...]]:
        """What is listed after the smallest were put together, where they are too many."""
        if len(listed) <= _INDEXES:
            return listed
        small = sorted(listed, key=lambda index: index.versions)[: len(listed) - _INDEXES_KEPT]
        yield self._time(PUT)
        merged = Index(next(self._numbers), sum(index.versions for index in small))
        known.add(merged.number)
        return (*[index for index in listed if index not in small], merged)

    def _time(self, kind: str) -> float:
        self.figures.requests[kind] += 1
        return self._latency(kind)


class Load(NamedTuple):
    """Writers that each commit every so often, to roots that they share evenly."""

    writers: int
    every: float
    shards: int


def simulate(
    load: Load, latency: Latency, seconds: float, seed: int = 1, *, settle: float = 60.0
) -> Figures:
    """What so many seconds of a load cost, after `settle` seconds that do not count."""
    chance = random.Random(seed)
    bucket = Bucket(latency, chance)
    shards = [Shard() for _ in range(load.shards)]
    ends = settle + seconds
    now = 0.0

    def writer(number: int) -> Iterator[float]:
        shard, known = shards[number % load.shards], set[int]()
        yield chance.expovariate(1 / load.every)
        while True:
            begun = now
            landed = yield from bucket.commit(shard, known)
            if now >= settle:
                bucket.figures.commits += landed
                bucket.figures.refused += not landed
                bucket.figures.waits.append(now - begun)
            yield chance.expovariate(1 / load.every)

    order = count()
    running = [writer(number) for number in range(load.writers)]
    due = [(next(steps), next(order), steps) for steps in running]
    heapq.heapify(due)
    counting = False
    while due and due[0][0] < ends:
        now, _, steps = heapq.heappop(due)
        if now >= settle and not counting:
            counting = True
            bucket.figures = Figures()
        heapq.heappush(due, (now + next(steps), next(order), steps))
    return bucket.figures


def at_once(writers: int, shards: int, latency: Latency, *, staged: bool) -> tuple[Figures, float]:
    """What it costs that all begin at one moment, and the seconds until the last has landed.

    Each commits, again if it was given up; or all stage below one upload, and one commits.
    """
    chance = random.Random(1)
    bucket = Bucket(latency, chance)
    roots = [Shard() for _ in range(shards)]

    def lands(shard: Shard) -> Iterator[float]:
        while not (yield from bucket.commit(shard, set())):
            bucket.figures.refused += 1

    if staged:
        last = _run([bucket.stage() for _ in range(writers)]) + _run([lands(roots[0])])
    else:
        last = _run([lands(roots[number % shards]) for number in range(writers)])
    bucket.figures.commits = writers
    return bucket.figures, last


def _run(running: Sequence[Iterator[float]]) -> float:
    """Let all go on to their end; when that was."""
    now, order = 0.0, count()
    due = [(0.0, next(order), steps) for steps in running]
    while due:
        now, _, steps = heapq.heappop(due)
        pause = next(steps, None)
        if pause is not None:
            heapq.heappush(due, (now + pause, next(order), steps))
    return now


def even(least: float, most: float) -> Latency:
    """Requests that take from `least` to `most` milliseconds, each as likely."""
    chance = random.Random(2)
    return lambda _: chance.uniform(least, most) / 1000


def measured(transport: Transport, times: int = 300) -> dict[str, list[float]]:
    """The seconds that requests take, as often as asked: a root of 64 KiB, packs of 24 KiB."""
    found: dict[str, list[float]] = {GET: [], PUT: [], REPLACE: [], DELETE: []}

    def timed(kind: str, request: Callable[[], object]) -> None:
        begun = time.perf_counter()
        request()
        found[kind].append(time.perf_counter() - begun)

    root, pack = bytes(64 << 10), bytes(24 << 10)
    etag = transport.put("measured/root", root)
    for number in range(times):
        key = f"measured/{number}"
        timed(GET, lambda: transport.get("measured/root"))
        timed(PUT, lambda key=key: transport.put(key, pack))
        changed, tag = number.to_bytes(8) + root[8:], etag
        timed(REPLACE, lambda data=changed, tag=tag: transport.replace("measured/root", data, tag))
        etag = transport.get("measured/root", 0, 0).etag
        timed(DELETE, lambda key=key: transport.delete([key]))
    transport.delete(["measured/root"])
    return found


def drawn(samples: dict[str, list[float]]) -> Latency:
    """Requests that take as long as some that were measured."""
    chance = random.Random(2)
    return lambda kind: chance.choice(samples[kind])


def line(name: str, load: Load, found: Figures, seconds: float) -> str:
    """A row of the table."""
    done = max(1, found.commits)
    waits = sorted(found.waits) or [0.0]
    asked = load.writers / load.every
    kinds = found.requests
    cost = sum(PRICES[kind] * number for kind, number in kinds.items()) / done
    return (
        f"| {name} | {load.shards} | {asked:.1f} | {found.commits / seconds:.1f} "
        f"| {statistics.median(waits):.1f} | {waits[int(len(waits) * 0.99)]:.1f} "
        f"| {found.conflicts / done:.1f} | {sum(kinds.values()) / done:.0f} "
        f"| {kinds[GET] / done:.0f} / {(kinds[PUT] + kinds[REPLACE]) / done:.0f} "
        f"| {cost:.3f} | {found.refused} |"
    )


HEAD: Final = (
    "| latency | roots | asked /s | landed /s | wait s, median | 99 % | conflicts a commit "
    "| requests a commit | reads / writes | $ for 1,000 | given up |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


AT_ONCE: Final = (
    "| all at once | until the last, s | conflicts | requests | $ in all | begun anew |\n"
    "|---|---|---|---|---|---|"
)


def row(what: str, found: Figures, last: float) -> str:
    """A row of the table about all at once."""
    cost = sum(PRICES[kind] * number for kind, number in found.requests.items()) / 1000
    return (
        f"| {what} | {last:.1f} | {found.conflicts} | {sum(found.requests.values())} "
        f"| {cost:.3f} | {found.refused} |"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", default="20-60", help="milliseconds, LEAST-MOST")
    parser.add_argument("--seaweed", action="store_true", help="measure them at SeaweedFS")
    parser.add_argument("--writers", type=int, default=1000)
    parser.add_argument("--rates", default="1,2,4,8,16", help="commits a second asked for")
    parser.add_argument("--roots", default="1,4,16,64")
    parser.add_argument("--seconds", type=float, default=300)
    given = parser.parse_args()
    least, _, most = given.latency.partition("-")
    name, latency = f"{given.latency} ms", even(float(least), float(most or least))
    if given.seaweed:
        samples = seaweed()
        latency, name = drawn(samples), "SeaweedFS"
        for kind, times in samples.items():
            ordered = sorted(times)
            print(f"{kind}: median {statistics.median(ordered) * 1000:.1f} ms, "
                  f"99 % {ordered[int(len(ordered) * 0.99)] * 1000:.1f} ms")  # fmt: skip
    print(HEAD)
    for shards in map(int, given.roots.split(",")):
        for rate in map(float, given.rates.split(",")):
            load = Load(given.writers, given.writers / (rate * shards), shards)
            found = simulate(load, latency, given.seconds)
            print(line(name, load, found, given.seconds), flush=True)
    print(f"\n{AT_ONCE}")
    for shards in map(int, given.roots.split(",")):
        figures, last = at_once(given.writers, shards, latency, staged=False)
        print(row(f"{given.writers} commits, {shards} roots", figures, last), flush=True)
    figures, last = at_once(given.writers, 1, latency, staged=True)
    print(row(f"{given.writers} stage, one commits", figures, last))


def seaweed() -> dict[str, list[float]]:
    """What requests take at SeaweedFS on this machine, one at a time."""
    from tests import servers

    with (
        tempfile.TemporaryDirectory() as folder,
        servers.seaweed(Path(folder)) as server,
    ):
        options = {**server.options, "endpoint": server.endpoint, "region": "us-east-1",
                   "allow_http": "true"}  # fmt: skip
        transport = open_transport(f"s3://{server.bucket}/measured", options=options)
        try:
            return measured(transport)
        finally:
            transport.close()


if __name__ == "__main__":
    main()
