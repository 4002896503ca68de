"""An order in which things can go: nothing before what still needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def ordered_groups(start: int, needed_by: Callable[[int], Iterable[int]]) -> Iterator[list[int]]:
    """Groups of numbers, `start` in the last, each after all groups that need something in it.

    Those that need each other are one group. R. Tarjan, "Depth-first search and linear graph
    algorithms" (1972): strongly connected components come out in this order. Without recursion.
    """
    order = {start: 0}
    low = {start: 0}
    open_: list[int] = [start]
    waiting = {start}
    path: list[tuple[int, Iterator[int]]] = [(start, iter(needed_by(start)))]
    while path:
        number, above = path[-1]
        for other in above:
            if other not in order:
                order[other] = low[other] = len(order)
                open_.append(other)
                waiting.add(other)
                path.append((other, iter(needed_by(other))))
                break
            if other in waiting:
                low[number] = min(low[number], order[other])
        else:
            path.pop()
            if path:
                low[path[-1][0]] = min(low[path[-1][0]], low[number])
            if low[number] == order[number]:
                group = [open_.pop()]
                while group[-1] != number:
                    group.append(open_.pop())
                waiting.difference_update(group)
                yield group
