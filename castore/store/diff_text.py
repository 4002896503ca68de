"""Text diffs: which lines two sequences share, and the unified hunks between them, in bounded time.

The matcher is Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986)
between anchors found as in patience diff (lines that stand once on each side, longest increasing
run); all of one diff share a budget of steps, and what it leaves over is shown as replaced.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

CONTEXT: Final = 3
STEPS: Final = 1_000_000
"""Inner steps of the matcher in one diff: about a second of work."""
HUNK_LINES: Final = 10_000
"""Lines of hunks kept in one diff; the rest is counted."""
_NO_NEWLINE: Final = "\\ No newline at end of file"


class Match(NamedTuple):
    """`length` items that stand at `old` in one sequence and at `new` in the other."""

    old: int
    new: int
    length: int


@dataclass(frozen=True, slots=True)
class Hunk:
    """Neighbouring changes and their context; starts count from 1, lines begin with ` `, - or +."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: tuple[str, ...]

    @property
    def header(self) -> str:
        """`@@ -start,count +start,count @@`."""
        return (
            f"@@ -{_span(self.old_start, self.old_count)} "
            f"+{_span(self.new_start, self.new_count)} @@"
        )


@dataclass(frozen=True, slots=True)
class TextDiff:
    """The hunks between two texts; `note` says what a bound kept from being exact or complete."""

    hunks: tuple[Hunk, ...]
    added: int
    removed: int
    note: str = ""

    def lines(self) -> Iterator[str]:
        """The hunks as unified diff, without file headers."""
        for hunk in self.hunks:
            yield hunk.header
            yield from hunk.lines
        if self.note:
            yield f"({self.note})"

    def as_json(self) -> dict[str, Any]:
        """The diff as data: added and removed lines, note, hunks."""
        return {
            "added": self.added,
            "removed": self.removed,
            "note": self.note or None,
            "hunks": [
                {
                    "old_start": hunk.old_start,
                    "old_count": hunk.old_count,
                    "new_start": hunk.new_start,
                    "new_count": hunk.new_count,
                    "lines": list(hunk.lines),
                }
                for hunk in self.hunks
            ],
        }


class Budget:
    """Steps that the searches of one diff may still take."""

    __slots__ = ("exhausted", "left")

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps
        self.exhausted = False

    def take(self, steps: int) -> bool:
        """Whether `steps` more may be taken; once refused, `exhausted` stays set."""
        if steps > self.left:
            self.exhausted = True
            return False
        self.left -= steps
        return True


def diff_text(old: str, new: str, *, context: int = CONTEXT, steps: int = STEPS) -> TextDiff:
    """The unified diff of two texts by lines, which end at `\\n` alone.

    At most `steps` of search and HUNK_LINES lines of output; `note` says when a bound was met.
    """
    before, after = _newline_lines(old), _newline_lines(new)
    budget = Budget(steps)
    matches = match(before, after, budget)
    same = sum(found.length for found in matches)
    hunks: list[Hunk] = []
    lines = skipped = 0
    for group in _groups(matches, len(before), len(after), context):
        hunk = _hunk(group, before, after, context)
        if lines + len(hunk.lines) > HUNK_LINES:
            skipped += 1
            continue
        lines += len(hunk.lines)
        hunks.append(hunk)
    notes = []
    if budget.exhausted:
        notes.append("too different to compare in full: parts are shown as replaced")
    if skipped:
        notes.append(f"{skipped} hunks left out: more than {HUNK_LINES} lines")
    return TextDiff(tuple(hunks), len(after) - same, len(before) - same, "; ".join(notes))


def match(old: Sequence[Any], new: Sequence[Any], budget: Budget) -> list[Match]:
    """Runs of equal items in rising order, as long together as the budget lets them be.

    Items must be hashable. Law: between and around the runs lies what was removed and added.
    """
    ids: dict[Any, int] = {}
    before = [ids.setdefault(item, len(ids)) for item in old]
    after = [ids.setdefault(item, len(ids)) for item in new]
    head, tail = _common_ends(before, after)
    matches = [Match(0, 0, head)] if head else []
    gap = (head, len(before) - tail, head, len(after) - tail)
    for found in _search(before, after, gap, budget):
        _append(matches, found)
    if tail:
        _append(matches, Match(len(before) - tail, len(after) - tail, tail))
    return matches


def gaps(matches: Sequence[Match], old: int, new: int) -> Iterator[tuple[int, int, int, int]]:
    """What lies outside the runs, as (old start, old end, new start, new end), in order."""
    i = j = 0
    for found in (*matches, Match(old, new, 0)):
        if found.old > i or found.new > j:
            yield i, found.old, j, found.new
        i, j = found.old + found.length, found.new + found.length


def _newline_lines(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _common_ends(old: Sequence[int], new: Sequence[int]) -> tuple[int, int]:
    shortest = min(len(old), len(new))
    head = 0
    while head < shortest and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < shortest - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return head, tail


def _append(matches: list[Match], found: Match) -> None:
    if matches:
        last = matches[-1]
        if last.old + last.length == found.old and last.new + last.length == found.new:
            matches[-1] = Match(last.old, last.new, last.length + found.length)
            return
    matches.append(found)


def _search(
    old: Sequence[int], new: Sequence[int], gap: tuple[int, int, int, int], budget: Budget
) -> Iterator[Match]:
    i, i_end, j, j_end = gap
    if i == i_end or j == j_end:
        return
    anchors = _anchors(old, new, gap)
    bounds = [(i - 1, j - 1), *anchors, (i_end, j_end)]
    for (a, b), (c, d) in pairwise(bounds):
        part_old, part_new = old[a + 1 : c], new[b + 1 : d]
        if part_old and part_new:
            for x, y in _myers(part_old, part_new, budget):
                yield Match(a + 1 + x, b + 1 + y, 1)
        if (c, d) != (i_end, j_end):
            yield Match(c, d, 1)


def _anchors(
    old: Sequence[int], new: Sequence[int], gap: tuple[int, int, int, int]
) -> list[tuple[int, int]]:
    """Positions of items that stand once on each side, the longest run rising on both."""
    i, i_end, j, j_end = gap
    once_old = Counter(old[i:i_end])
    once_new = Counter(new[j:j_end])
    place = {new[at]: at for at in range(j, j_end) if once_new[new[at]] == 1}
    pairs = [
        (at, place[old[at]])
        for at in range(i, i_end)
        if once_old[old[at]] == 1 and old[at] in place
    ]
    ends: list[int] = []
    at_end: list[int] = []
    before: list[int] = []
    for index, (_, value) in enumerate(pairs):
        length = bisect_left(ends, value)
        before.append(at_end[length - 1] if length else -1)
        if length == len(ends):
            ends.append(value)
            at_end.append(index)
        else:
            ends[length], at_end[length] = value, index
    chain: list[tuple[int, int]] = []
    index = at_end[-1] if at_end else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def _myers(old: Sequence[int], new: Sequence[int], budget: Budget) -> list[tuple[int, int]]:
    """Pairs of positions of a longest common subsequence; none when the budget ends first.

    One search takes at most half of what is left, so that a later one still has some.
    """
    total_old, total_new = len(old), len(new)
    allowance = budget.left // 2
    middle = min(total_old + total_new, allowance) + 2
    reach = array("q", bytes(8 * (2 * middle + 1)))
    trace: list[array[int]] = []
    for distance in range(middle - 1):
        trace.append(reach[middle - distance - 1 : middle + distance + 2])
        steps = 0
        for at in range(middle - distance, middle + distance + 1, 2):
            down = at == middle - distance or (
                at != middle + distance and reach[at - 1] < reach[at + 1]
            )
            x = start = reach[at + 1] if down else reach[at - 1] + 1
            y = x - (at - middle)
            while x < total_old and y < total_new and old[x] == new[y]:
                x += 1
                y += 1
            reach[at] = x
            steps += 1 + x - start
            if x >= total_old and y >= total_new:
                return _walk_back(trace, total_old, total_new)
        allowance -= steps
        if not budget.take(steps) or allowance < 0:
            budget.exhausted = True
            break
    return []


def _walk_back(trace: Sequence[array[int]], x: int, y: int) -> list[tuple[int, int]]:
    """The way from (x, y) back; `trace[d]` holds the diagonals -d-1 … d+1 before step d."""
    pairs: list[tuple[int, int]] = []
    for distance in range(len(trace) - 1, -1, -1):
        reach, middle = trace[distance], distance + 1
        diagonal = x - y
        at = middle + diagonal
        down = diagonal == -distance or (diagonal != distance and reach[at - 1] < reach[at + 1])
        previous = diagonal + 1 if down else diagonal - 1
        before_x = reach[middle + previous]
        before_y = before_x - previous
        while x > before_x and y > before_y:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = before_x, before_y
    return pairs[::-1]


def _groups(
    matches: Sequence[Match], old: int, new: int, context: int
) -> Iterator[list[tuple[int, int, int, int]]]:
    """Gaps that lie so near that their contexts touch belong into one hunk."""
    group: list[tuple[int, int, int, int]] = []
    for gap in gaps(matches, old, new):
        if group and gap[0] - group[-1][1] > 2 * context:
            yield group
            group = []
        group.append(gap)
    if group:
        yield group


def _hunk(
    group: Sequence[tuple[int, int, int, int]],
    old: Sequence[str],
    new: Sequence[str],
    context: int,
) -> Hunk:
    start_old = max(0, group[0][0] - context)
    start_new = group[0][2] - (group[0][0] - start_old)
    end_old = min(len(old), group[-1][1] + context)
    end_new = group[-1][3] + (end_old - group[-1][1])
    lines: list[str] = []
    at = start_old
    for i, i_end, j, j_end in group:
        _put(lines, " ", old[at:i])
        _put(lines, "-", old[i:i_end])
        _put(lines, "+", new[j:j_end])
        at = i_end
    _put(lines, " ", old[at:end_old])
    old_count, new_count = end_old - start_old, end_new - start_new
    return Hunk(
        start_old + (1 if old_count else 0),
        old_count,
        start_new + (1 if new_count else 0),
        new_count,
        tuple(lines),
    )


def _put(lines: list[str], sign: str, texts: Sequence[str]) -> None:
    for text in texts:
        if text.endswith("\n"):
            lines.append(sign + text[:-1])
        else:
            lines.extend((sign + text, _NO_NEWLINE))


def _span(start: int, count: int) -> str:
    return str(start) if count == 1 else f"{start},{count}"
