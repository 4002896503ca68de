"""Why castore takes more than the best peer, where it does, as far as is known."""

from __future__ import annotations

from typing import Final

from benchmarks.report import Row

_BY_MEASURE: Final[dict[str, str]] = {
    "unchanged": "Every command starts python and loads castore; git is one small program.",
    "one file": "Every command starts python and loads castore; see the library beside it.",
    "later": "castore stores deltas of what was there before, which are made when it is stored.",
    "memory": "castore reads ahead and compresses in threads, and is a python program.",
    "stored": "castore keeps rows for lookups, lineage and unchanged files beside the bytes.",
}


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
