"""The drawing of histories, compared with pictures, and laws that hold for any history."""

from __future__ import annotations

import random
from collections.abc import Sequence
from textwrap import dedent

from hypothesis import given
from hypothesis import strategies as st

from castore.cli.graph import GraphRow, draw

History = Sequence[tuple[str, Sequence[str]]]


def picture(history: History) -> str:
    """The whole drawing, each version's name beside its star."""
    lines: list[str] = []
    for (name, _), row in zip(history, draw(history), strict=True):
        lines += [*row.above, f"{row.node} {name}", *row.below]
    return "".join(line.rstrip() + "\n" for line in lines)


def test_one_line() -> None:
    assert picture([("c", "b"), ("b", "a"), ("a", "")]) == "* c\n* b\n* a\n"


def test_nothing() -> None:
    assert picture([]) == ""


def test_a_branch_and_a_merge() -> None:
    history = [("M", "AB"), ("A", "R"), ("B", "R"), ("R", "")]
    assert picture(history) == dedent(
        """\
        * M
        |\\
        * | A
        | * B
        |/
        * R
        """
    )


def test_two_branches_from_one_version() -> None:
    history = [("x", "r"), ("y", "r"), ("z", "r"), ("r", "")]
    assert picture(history) == "* x\n| * y\n|/\n| * z\n|/\n* r\n"


def test_a_merge_pushes_the_lanes_at_its_right() -> None:
    history = [("X", "R"), ("M", "AB"), ("N", "R"), ("A", "R"), ("B", "R"), ("R", "")]
    drawn = picture(history)
    assert drawn.startswith(
        dedent(
            """\
            * X
            | * M
            | |\\
            | | | * N
            """
        )
    )
    assert drawn.endswith("* R\n")


def test_three_parents() -> None:
    history = [("M", "ABC"), ("A", "R"), ("B", "R"), ("C", "R"), ("R", "")]
    drawn = picture(history).splitlines()
    assert drawn[0] == "* M"
    assert drawn[1].startswith("|\\")
    assert drawn[-1] == "* R"


def test_unrelated_histories_are_kept_apart() -> None:
    assert picture([("b", "a"), ("a", ""), ("y", "x"), ("x", "")]) == "* b\n* a\n\n* y\n* x\n"


def test_a_first_version_ends_its_lane() -> None:
    history = [("b", "a"), ("y", "x"), ("a", ""), ("x", "")]
    assert picture(history) == "* b\n| * y\n* | a\n /\n* x\n"


def test_missing_parents_keep_their_lane_open() -> None:
    # A limit ends the history early: the lane of the parent that is not shown stays.
    assert picture([("c", "b")]) == "* c\n"


@st.composite
def histories(drawing: st.DrawFn) -> list[tuple[int, list[int]]]:
    """A random directed acyclic graph, children before parents."""
    count = drawing(st.integers(0, 25))
    dice = random.Random(drawing(st.integers(0, 2**32)))
    rows = []
    for child in range(count):
        older = range(child + 1, count)
        parents = dice.sample(older, min(len(older), dice.choice([0, 1, 1, 1, 1, 2, 2, 3])))
        rows.append((child, parents))
    return rows


@given(histories())
def test_every_version_has_one_star(history: list[tuple[int, list[int]]]) -> None:
    rows = list(draw(history))
    assert len(rows) == len(history)
    for row in rows:
        assert row.node.count("*") == 1
        assert set(row.node) <= set("*| ")
        assert set("".join((*row.above, row.beside, *row.below))) <= set("|/\\X ")


@given(histories())
def test_as_many_lanes_as_versions_waited_for(history: list[tuple[int, list[int]]]) -> None:
    waiting: set[int] = set()
    for (id, parents), row in zip(history, draw(history), strict=True):
        waiting.add(id)
        assert len(row.node.split()) == len(waiting)
        waiting.remove(id)
        waiting.update(parents)


@given(histories())
def test_strokes_lead_from_every_version_to_its_parents(
    history: list[tuple[int, list[int]]],
) -> None:
    rows = list(draw(history))
    for number, (id, parents) in enumerate(history):
        assert set(parents) <= _reached(history, rows, number), (id, parents)


def _reached(history: list[tuple[int, list[int]]], rows: list[GraphRow], number: int) -> set[int]:
    """The versions that a reader who follows the strokes down from one star may arrive at."""
    lanes = {rows[number].node.index("*") // 2}
    lanes = _below(lanes, rows[number])
    found = set()
    for (id, _), row in zip(history[number + 1 :], rows[number + 1 :], strict=True):
        star = row.node.index("*") // 2
        if star in lanes:
            found.add(id)
            lanes.remove(star)
        lanes = _below(lanes, row)
    return found


def _below(lanes: set[int], row: GraphRow) -> set[int]:
    """The lanes that these lanes lead to, through the lines below a version."""
    for line in row.below:
        cells = dict(enumerate(line))
        lanes = {
            lane + step
            for lane in lanes
            for step, marks in ((0, "|"), (-1, "/X"), (1, "\\X"))
            if cells.get(2 * lane + step, " ") in marks
        }
    return lanes
