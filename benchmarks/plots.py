"""Plots: cost against size, from the figures that `python -m benchmarks --json` wrote.

python -m benchmarks.plots FIGURES.jsonl FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.peer_table import OURS
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
_MEASURES: Final = {
    "stored": "Bytes kept after all versions",
    "first": "First ingest",
    "later": "All later versions",
    "restore": "The last version restored",
    "one file": "A commit of one edited file",
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
    for measure, title in _MEASURES.items():
        beside_peers(rows, measure, title, folder / f"peers-{measure.replace(' ', '-')}.png")
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
    _save(figure, rows, target)


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
    _save(figure, rows, target)


def beside_peers(rows: list[Row], measure: str, title: str, target: Path) -> None:
    """One measure of each tool, a field for each corpus; what does not fsync is hatched."""
    corpora: dict[str, list[Row]] = {}
    for row in rows:
        if row.detail.get("measure") == measure and "tool" in row.detail and row.value:
            corpora.setdefault(row.detail["corpus"], []).append(row)
    if not corpora:
        return
    figure, axes = _figure(2, (len(corpora) + 1) // 2)
    fields = list(axes.flat)
    for field, (corpus, chosen) in zip(fields, corpora.items(), strict=False):
        chosen.sort(key=lambda row: row.value)
        over = sorted({row.detail["tool"] for row in rows if _is_over(row, corpus, measure)})
        bars = field.barh(
            [row.detail["tool"] for row in chosen],
            [row.value for row in chosen],
            color=[_COLOURS[row.detail["tool"] == OURS] for row in chosen],
        )
        for bar, row in zip(bars, chosen, strict=True):
            bar.set_alpha(1.0 if row.detail["durable"] else 0.5)
            bar.set_hatch("" if row.detail["durable"] else "//")
        field.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=7)
        field.margins(x=0.15)
        field.tick_params(labelsize=7)
        field.invert_yaxis()
        field.set_title(f"{corpus}: {chosen[0].detail['title']}", fontsize=8)
        unfinished = f"; not finished: {', '.join(over)}" if over else ""
        field.set_xlabel(f"{chosen[0].unit}{unfinished}", fontsize=8)
    for field in fields[len(corpora) :]:
        field.remove()
    figure.suptitle(f"{title} (red: castore; hatched: not fsynced)")
    _save(figure, rows, target)


def _is_over(row: Row, corpus: str, measure: str) -> bool:
    """Whether a peer had not finished this when its time was over."""
    at = row.detail
    return bool(at.get("over") and at["corpus"] == corpus and at["measure"] == measure)


def when_and_where(rows: list[Row]) -> str:
    """The days and machines of the figures; they stand below each plot."""
    made = [(row.date or row.detail.get("date", ""), row.machine or row.detail.get("machine", ""))
            for row in rows]  # fmt: skip
    days = sorted({day for day, _ in made if day})
    where = "; ".join(sorted({place for _, place in made if place}))
    when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""
    return ", ".join(word for word in (when, where) if word)


def _save(figure: Any, rows: list[Row], target: Path) -> None:
    figure.supxlabel(when_and_where(rows), fontsize=6)
    figure.savefig(target)


def _figure(across: int = 1, down: int = 1) -> Any:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    size = (8 if across == 1 else 11, 4.5 if down == 1 else 2.8 * down)
    return pyplot.subplots(down, across, figsize=size, dpi=100, layout="constrained")


if __name__ == "__main__":
    sys.exit(main())
