"""The graph of `cas log --graph`: which lines to draw beside each version. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple


class GraphRow(NamedTuple):
    """One version drawn: lines `above` it, what stands before its first line of text (`node`) and
    its further ones (`beside`), and the lines `below` that lead to its parents."""

    above: tuple[str, ...]
    node: str
    beside: str
    below: tuple[str, ...]


def draw(history: Iterable[tuple[Hashable, Sequence[Hashable]]]) -> Iterator[GraphRow]:
    """The drawing of `(id, parents)` rows in which every child comes before its parents.

    A lane, two columns wide, stands for the version it waits for. A version takes the lane that
    waits for it, or a new one at the right; its first parent inherits the lane, further parents get
    lanes beside it. Lazy: holds one row and the open lanes.
    """
    lanes: list[Hashable] = []
    ended = -1
    for id, parents in history:
        above: tuple[str, ...] = ()
        if id not in lanes:
            if ended == len(lanes):
                # A tip right below the first version of another history: keep them apart.
                above = (" ".join("|" * len(lanes)),)
            lanes.append(id)
        column = lanes.index(id)
        node = " ".join("*" if at == column else "|" for at in range(len(lanes)))
        beside = " ".join(" " if at == column and not parents else "|" for at in range(len(lanes)))
        following = _following(lanes, column, parents)
        edges = [(at, following.index(lane)) for at, lane in enumerate(lanes) if at != column]
        edges += [(column, following.index(parent)) for parent in parents]
        yield GraphRow(above, node, beside, _moves(edges))
        lanes = following
        ended = -1 if parents else column


def _following(
    lanes: Sequence[Hashable], column: int, parents: Sequence[Hashable]
) -> list[Hashable]:
    """The lanes below: that of `column` gives way to the parents nobody waits for yet."""
    new = [parent for parent in dict.fromkeys(parents) if parent not in lanes]
    return [*lanes[:column], *new, *lanes[column + 1 :]]


def _moves(edges: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Lines in which every edge walks from its lane to its new one, by one lane a line."""
    lines = []
    places = list(edges)
    while any(start != end for start, end in places):
        cells: dict[int, str] = {}
        moved = []
        for start, end in places:
            step = (end > start) - (end < start)
            at, mark = 2 * start + step, "/|\\"[step + 1]
            cells[at] = "X" if cells.get(at, mark) != mark else mark
            moved.append((start + step, end))
        lines.append("".join(cells.get(at, " ") for at in range(max(cells) + 1)))
        places = list(dict.fromkeys(moved))
    return tuple(lines)
