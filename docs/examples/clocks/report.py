"""Report how much of the world still changes its clocks, from data/clock-changes.csv.

    python report.py OUT [--until 2025] [--by-area] [--size 720x360]

Writes summary.md, page.html, figures.json, years.csv and plot.png to the folder OUT, and with
--by-area areas.csv too. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

DATA = Path(__file__).parent / "data" / "clock-changes.csv"
INK, GRID, LINE = "#222222", "#d8d8d8", "#0b6bcb"


class Year(NamedTuple):
    """One row of a table: of `zones` time zones, so many changed their clocks, so many times."""

    year: int
    zones: int
    changing: int
    changes: int

    @property
    def share(self) -> float:
        return round(100 * self.changing / self.zones, 1)


def read(until: int) -> dict[str, list[Year]]:
    """The rows of every area up to and with the year `until`, oldest first."""
    areas: dict[str, list[Year]] = defaultdict(list)
    with DATA.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["year"]) <= until:
                numbers = (int(row[key]) for key in Year._fields)
                areas[row["area"]].append(Year(*numbers))
    if not areas:
        raise SystemExit(f"{DATA} holds nothing up to {until}")
    return dict(areas)


def world(areas: dict[str, list[Year]]) -> list[Year]:
    """The sum of all areas, year by year."""
    return [
        Year(rows[0].year, *(sum(numbers) for numbers in list(zip(*rows, strict=True))[1:]))
        for rows in zip(*areas.values(), strict=True)
    ]


def table(header: list[str], rows: list[list[object]]) -> str:
    """CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def by_area(areas: dict[str, list[Year]], peak: int) -> list[list[object]]:
    """A row for each area: its zones, how many changed in the year `peak`, and in the last year."""
    rows: list[list[object]] = []
    for area, years in sorted(areas.items()):
        then = next(row.changing for row in years if row.year == peak)
        rows.append([area, years[-1].zones, then, years[-1].changing])
    return rows


def summary(years: list[Year], peak: Year, area_rows: list[list[object]]) -> str:
    """The report in Markdown."""
    last = years[-1]
    lines = [
        f"# Who still changes the clock, {years[0].year} to {last.year}",
        "",
        f"In {last.year}, {last.changing} of {last.zones} time zones ({last.share} %) changed "
        f"their clocks.",
        f"The most ever was {peak.changing}, in {peak.year} ({peak.share} %).",
        "",
        "| year | zones that changed | changes |",
        "|---|---|---|",
        *(f"| {r.year} | {r.changing} | {r.changes} |" for r in years if r.year % 10 == 0),
        f"| {last.year} | {last.changing} | {last.changes} |" if last.year % 10 else "",
    ]
    if area_rows:
        lines += ["", f"| area | zones | changed {peak.year} | changed {last.year} |"]
        lines += ["|---|---|---|---|"]
        lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in area_rows]
    return "\n".join(lines).rstrip() + "\n"


def page(years: list[Year], peak: Year) -> str:
    """The report as a web page that shows plot.png beside it."""
    last = years[-1]
    title = html.escape(f"Who still changes the clock, {years[0].year} to {last.year}")
    cells = "\n".join(
        f"<tr><td>{r.year}</td><td>{r.changing}</td><td>{r.share} %</td></tr>" for r in years
    )
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
<h1>{title}</h1>
<p>{last.changing} of {last.zones} time zones, down from {peak.changing} in {peak.year}.</p>
<img src="plot.png" alt="Zones that changed their clocks, by year">
<table>
<tr><th>year</th><th>zones that changed</th><th>share</th></tr>
{cells}
</table>
</body>
</html>
"""


def plot(years: list[Year], size: tuple[int, int]) -> Image.Image:
    """A line plot of the zones that changed, by year; drawn four times as large, then reduced."""
    width, height = (4 * side for side in size)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=48)
    left, right, top, bottom = 180, width - 80, 140, height - 120
    first, last = years[0].year, max(years[-1].year, years[0].year + 1)
    high = (max(row.changing for row in years) // 50 + 1) * 50

    def place(year: int, value: int) -> tuple[float, float]:
        across, up = (year - first) / (last - first), value / high
        return left + across * (right - left), bottom - up * (bottom - top)

    draw.text((left, 40), "Time zones that changed their clocks, by year", INK, font)
    for value in range(0, high + 1, 50):
        y = place(first, value)[1]
        draw.line([(left, y), (right, y)], GRID, 4)
        draw.text((left - 24, y), str(value), INK, font, anchor="rm")
    for year in range(first, last + 1, 10):
        draw.text((place(year, 0)[0], bottom + 24), str(year), INK, font, anchor="ma")
    draw.line([place(row.year, row.changing) for row in years], LINE, 12, joint="curve")
    return image.resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Report how the world changes its clocks.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--until", type=int, default=2025, metavar="YEAR")
    parser.add_argument("--by-area", action="store_true")
    parser.add_argument("--size", default="720x360", metavar="WxH")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))

    areas = read(options.until)
    years = world(areas)
    peak = max(years, key=lambda row: row.changing)
    area_rows = by_area(areas, peak.year) if options.by_area else []
    figures = {
        "source": "IANA tz database 2025b",
        "peak": {"year": peak.year, "zones": peak.changing},
        "latest": {"year": years[-1].year, "zones": years[-1].changing},
        "years": [{**row._asdict(), "share": row.share} for row in years],
    }
    texts = {
        "summary.md": summary(years, peak, area_rows),
        "page.html": page(years, peak),
        "figures.json": json.dumps(figures, indent=1) + "\n",
        "years.csv": table([*Year._fields, "share"], [[*row, row.share] for row in years]),
    }
    if area_rows:
        header = ["area", "zones", f"changing_{peak.year}", f"changing_{years[-1].year}"]
        texts["areas.csv"] = table(header, area_rows)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (options.out / name).write_text(text, encoding="utf-8")
    plot(years, (width, height)).save(options.out / "plot.png")
    print(f"{options.out}: {len(texts) + 1} files, {years[0].year} to {years[-1].year}")


if __name__ == "__main__":
    main()
