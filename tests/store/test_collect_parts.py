"""The parts of a collection that are laws: the map of what is alive, and the order of removal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from castore.store.collect_map import LiveMap, Places
from castore.store.collect_order import ordered_groups

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
