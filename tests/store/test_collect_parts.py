"""The parts of a collection that are laws: maps of objects and blocks, the order, the pace."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.database.tables import State
from castore.errors import CorruptObject
from castore.store import collect_blocks
from castore.store.collect_blocks import BlockSet, Dependants
from castore.store.collect_map import LiveMap, Places
from castore.store.collect_order import ordered_groups
from castore.store.collect_pace import MOST, SECONDS, Pace

# Blocks in three pages, one of them of single objects only; slots up to the largest there are.
PLACES = st.sets(
    st.one_of(
        st.tuples(st.integers(0, 200), st.integers(0, 9)),
        st.tuples(st.integers(4090, 4100), st.sampled_from([0, 1, 7, 4095])),
        st.tuples(st.integers(9000, 9100), st.just(0)),
    ),
    max_size=60,
)
LIMIT = 9050


@given(known=PLACES, marked=st.lists(st.sampled_from(range(60))), others=PLACES)
def test_the_map_is_a_set(known: set[tuple[int, int]], marked: list[int], others: object) -> None:
    places = Places()
    places.add(sorted(known))
    live = LiveMap(places, LIMIT)
    everything = sorted(known | others)  # type: ignore[operator]
    model: set[tuple[int, int]] = set()
    for index in marked:
        if everything:
            place = everything[index % len(everything)]
            assert live.mark(*place) == (place not in model)
            model.add(place)
    assert live.count == len(model)
    for place in everything:
        assert live.marked(*place) == (place in model)
        assert live.alive(*place) == (place in model or place[0] >= LIMIT)
    for block in {block for block, _ in everything}:
        slots = {slot for at, slot in known if at == block}
        # Places between known ones count as known: they are copies, or in another state.
        expected = set(range(max(slots) + 1)) if slots else {0}
        whole = bool(slots) and {(block, slot) for slot in expected} <= model
        assert live.whole(block) == (whole or block >= LIMIT)
    second = LiveMap(Places(), LIMIT, live)
    for place in everything:
        assert second.mark(*place) == (place not in model)
        assert not second.mark(*place)


GRAPHS = st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), max_size=13)


@given(graph=GRAPHS, start=st.integers(0, 12))
def test_nothing_goes_before_what_needs_it(graph: dict[int, list[int]], start: int) -> None:
    groups = list(ordered_groups(start, lambda number: graph.get(number, ())))
    order = {number: at for at, group in enumerate(groups) for number in group}
    reached, todo = {start}, [start]
    while todo:
        for above in graph.get(todo.pop(), ()):
            if above not in reached:
                reached.add(above)
                todo.append(above)
    assert order.keys() == reached
    assert sum(map(len, groups)) == len(reached)
    assert start in groups[-1]
    for number in reached:
        for above in graph.get(number, ()):
            assert order[above] <= order[number]
            if order[above] == order[number] and above != number:
                assert number in _reach(graph, above)


def _reach(graph: dict[int, list[int]], start: int) -> set[int]:
    found, todo = {start}, [start]
    while todo:
        for above in graph.get(todo.pop(), ()):
            if above not in found:
                found.add(above)
                todo.append(above)
    return found


def test_a_long_chain_needs_no_recursion() -> None:
    groups = list(ordered_groups(0, lambda number: [number + 1] if number < 50_000 else []))
    assert [group[0] for group in groups] == list(range(50_000, -1, -1))


@given(known=PLACES, others=PLACES, again=st.booleans())
def test_marking_many_is_marking_each(
    known: set[tuple[int, int]], others: set[tuple[int, int]], again: bool
) -> None:
    places = Places()
    places.add(sorted(known))
    one = LiveMap(places, LIMIT)
    places.add(sorted(known))
    many = LiveMap(places, LIMIT)
    order = sorted(known | others, key=lambda place: (place[1] % 3, place)) * (1 + again)
    rows = [(block, slot, 1, int(State.STORED)) for block, slot in order]
    news = [at for at, place in enumerate(order) if one.mark(*place)]
    absent = (5, 5, 1, int(State.LOST))
    assert many.mark_all([None, *rows, absent]) == [at + 1 for at in news]
    assert many.count == one.count
    for block in {block for block, _ in order}:
        slots = range(12)
        alive = {slot for slot in slots if one.alive(block, slot)}
        assert {slot for slot in slots if many.alive(block, slot)} == alive
        assert many.alive_of(block, slots) == alive
        if block < LIMIT:
            assert many.any_marked(block, slots) == bool(alive)
    with pytest.raises(CorruptObject, match="state 9"):
        many.mark_all([(1, 1, 1, 9)])


NUMBERS = st.sets(st.one_of(st.integers(0, 300), st.integers(4000, 4200), st.integers(0, 1 << 40)))


@given(numbers=NUMBERS, others=NUMBERS)
def test_a_set_of_blocks_is_a_set(numbers: set[int], others: set[int]) -> None:
    found = BlockSet()
    assert list(found.downwards()) == []
    for number in numbers:
        found.add(number)
        found.add(number)
    assert list(found.downwards()) == sorted(numbers, reverse=True)
    for number in numbers | others:
        assert (number in found) == (number in numbers)
        assert found.below(number) == max((n for n in numbers if n < number), default=None)
    for number in others:
        found.add(number)
    assert list(found.downwards()) == sorted(numbers | others, reverse=True)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 1 << 40))),
    crowded=st.sampled_from([4, 10, 8192]),
)
def test_dependants_are_found_by_their_base(pairs: list[tuple[int, int]], crowded: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect_blocks, "_CROWDED", crowded)
        check_dependants(pairs)


def check_dependants(pairs: list[tuple[int, int]]) -> None:
    """Each is told what was noted about it."""
    found = Dependants()
    for base, dependant in pairs:
        found.add(base, dependant)
    for base in range(601):
        assert found.of(base) == [above for below, above in pairs if below == base]


class Clock:
    """A clock that goes on when it is told to, and when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def transactions(
    pace: Pace, clock: Clock, total: int, seconds: Callable[[int], float], *, step: int = 4096
) -> list[tuple[int, float]]:
    """The (bytes, seconds) of each transaction that it takes to remove `total` bytes."""
    done = []
    while total > 0:
        pace.begin()
        begun, cost = clock.now, 0
        while total > 0 and not (cost and pace.full(cost, step)):
            cost, total = cost + step, total - step
            clock.now += step * 1e-10
        clock.now = begun + seconds(cost)
        pace.end(cost)
        done.append((cost, clock.now - begun))
    return done


def test_transactions_shrink_where_bytes_are_slow_and_grow_again() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    # 20 MB/s: 50 ms are 1 MB.
    slow = transactions(pace, clock, 100_000_000, lambda cost: cost / 20e6)
    assert max(seconds for _, seconds in slow[5:]) < 2 * SECONDS
    assert 500_000 < sum(cost for cost, _ in slow[5:]) / len(slow[5:]) < 1_100_000
    fast = transactions(pace, clock, 100_000_000, lambda cost: cost / 2e9)
    assert max(cost for cost, _ in fast) > MOST - 4096
    assert all(cost <= MOST for cost, _ in fast)


def test_a_transaction_is_not_shrunk_where_that_gains_nothing() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    # Each commit takes 0.3 s, whatever is in it.
    done = transactions(pace, clock, 50_000_000, lambda _: 0.3)
    assert min(cost for cost, _ in done[:-1]) >= 500_000


def test_a_transaction_that_did_nothing_tells_nothing_about_bytes() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    before = pace.bytes
    pace.begin()
    clock.now += 1.0
    pace.end(0)
    assert pace.bytes == before
    assert clock.slept > 0


def test_something_goes_in_every_transaction() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    done = transactions(pace, clock, 900_000_000, lambda _: 10.0, step=30_000_000)
    assert [cost for cost, _ in done] == [30_000_000] * 30


def test_a_transaction_ends_in_time_whatever_it_has_done() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    pace.begin()
    assert not pace.full(4096, 4096)
    clock.now += SECONDS
    assert pace.full(4096, 4096)
    pace.begin()
    assert not pace.full(4096, 4096)


def test_others_have_a_turn_after_each() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    seed = random.Random(1)
    done = transactions(pace, clock, 30_000_000, lambda _: seed.random() / 10)
    assert clock.slept >= sum(min(seconds, SECONDS) for _, seconds in done) / 4
    assert clock.slept < sum(seconds for _, seconds in done)
    pace.begin()
    pace.end(0)
    assert clock.slept > 0


def test_a_look_up_of_dependants_goes_through_a_bounded_page() -> None:
    """One base with very many deltas above it makes no other one near it slow."""
    found = Dependants()
    for dependant in range(50_000):
        found.add(7, dependant)
    found.add(8, 1)
    assert found.of(8) == [1]
    assert found.of(7) == list(range(50_000))
    assert all(len(page) <= collect_blocks._CROWDED for page in found._pages.values())
