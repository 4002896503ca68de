"""Plots: cost against size, from the figures that `python -m benchmarks --json` wrote.

python -m benchmarks.plots FIGURES.jsonl FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Row, read_row

_SIZED: Final = re.compile(r"(.+), (\d+) (versions|bytes|files)\Z")
_SIZES: Final = {
    "versions": "The cost of history",
    "bytes": "One file of noise, durable and verified",
    "files": "A folder of files of 1 to 8 KB, durable",
}
_LABELS: Final = {
    "versions": "versions in the store",
    "bytes": "bytes of the file",
    "files": "files in the folder",
}
_COLOURS: Final = ("#1b6ca8", "#c1542d", "#4c8c4a")


def main() -> int:
    """Draw every plot the figures have rows for."""
    figures, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rows = [read_row(line) for line in figures.read_text().splitlines()]
    folder.mkdir(parents=True, exist_ok=True)
    for of, title in _SIZES.items():
        against_size(rows, of, title, folder / f"{of}.png")
    against_limits(rows, folder / "against-limits.png")
    return 0


def against_size(rows: list[Row], of: str, title: str, target: Path) -> None:
    """Milliseconds against the number of versions, bytes or files."""
    series: dict[str, list[tuple[int, Row]]] = {}
    for row in rows:
        found = _SIZED.match(row.name)
        if found and found[3] == of:
            series.setdefault(found[1].strip(), []).append((int(found[2]), row))
    if not series:
        return
    figure, axes = _figure()
    for colour, (name, points) in zip(_COLOURS, sorted(series.items()), strict=False):
        sizes = [size for size, _ in points]
        used = [1000 * row.cpu for _, row in points]
        axes.plot(sizes, [row.value for _, row in points], "o-", color=colour, label=name)
        axes.plot(sizes, used, "o:", color=colour, label=f"{name}, CPU")
    axes.set_xscale("log")
    if of == "versions":
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
    axes.set_xlabel(_LABELS[of])
    axes.set_ylabel("milliseconds, median")
    axes.set_title(title)
    axes.legend()
    figure.savefig(target)


def against_limits(rows: list[Row], target: Path) -> None:
    """What was reached as a share of the raw limit, with what was promised."""
    chosen = [row for row in rows if row.judged == "ratio" and row.at_least is not None]
    if not chosen:
        return
    figure, axes = _figure()
    places = range(len(chosen))
    axes.barh(places, [row.ratio for row in chosen], color=_COLOURS[0], height=0.5)
    for place, row in zip(places, chosen, strict=True):
        for promise, colour in ((row.at_least, _COLOURS[1]), (row.aim, _COLOURS[2])):
            if promise is not None:
                axes.plot([promise, promise], [place - 0.4, place + 0.4], color=colour)
    axes.set_yticks(list(places), [f"{row.name}\nagainst {row.limit_name}" for row in chosen])
    axes.invert_yaxis()
    axes.set_xlabel("share of the raw limit (red: at least, green: aim)")
    axes.set_title("1 GiB in and out")
    figure.savefig(target)


def _figure() -> Any:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(8, 4.5), dpi=100, layout="constrained")


if __name__ == "__main__":
    sys.exit(main())
