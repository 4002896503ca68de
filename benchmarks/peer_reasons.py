"""Why castore takes more than the best peer, where it does: what was found by measuring."""

from __future__ import annotations

from typing import Final

from benchmarks.report import Row

_BY_MEASURE: Final[dict[str, str]] = {}


def reason(ours: Row, best: Row) -> str:
    """In a sentence or two; empty where nothing is known."""
    told = [_BY_MEASURE.get(ours.detail["measure"], "")]
    clocked = ours.unit in ("s", "ms") and ours.detail["measure"] != "cpu"
    if clocked and ours.detail["durable"] and not best.detail["durable"]:
        told.append(f"{best.detail['tool']} does not sync{_left_undone(ours, best)}.")
    return " ".join(word for word in told if word)


def _left_undone(ours: Row, best: Row) -> str:
    later, own = best.detail["sync"], ours.detail["sync"]
    return f": a sync(2) after it took {later:.2g} s, after castore {own:.2g} s" if later else ""
