"""A set of reports and their data, and how it changes from one run of an agent to the next.

Seeded, so that generation n is the same bytes everywhere. A set is 14 files, 0.6 MB that grow to
1.4 MB in 300 generations: a report in Markdown and in HTML, a summary, a page for each region,
records in JSON, orders in CSV, a log in JSON lines. From each run to the next: news is inserted
near the start of the report, some paragraphs are edited, now and then sections change places;
records are changed here and there, a few come and go; orders and log lines are appended and a few
old orders corrected; sums follow from all that.
"""

from __future__ import annotations

import csv
import html
import io
import json
import random
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

_SEED: Final = 20_261_122
_WORDS: Final = 4_000
_SECTIONS: Final = 40
_RECORDS: Final = 700
_ORDERS: Final = 4_000
_EVENTS: Final = 600
_REGIONS: Final = ("north", "north-east", "east", "south", "west", "islands", "coast", "capital")
_STATES: Final = ("open", "paid", "late", "returned", "disputed")
_SYLLABLES: Final = (
    "an", "ar", "be", "ca", "co", "de", "di", "en", "er", "fa", "ga", "in", "ka", "la", "le", "li",
    "ma", "me", "mi", "na", "ne", "no", "or", "pa", "pe", "ra", "re", "ri", "ro", "sa", "se", "si",
    "ta", "te", "ti", "to", "tra", "tri", "un", "ve", "vi", "za",
)  # fmt: skip
_START: Final = 1_767_225_600  # 2026-01-01, seconds


@dataclass(slots=True)
class _Section:
    title: str
    paragraphs: list[str]
    figures: list[tuple[str, int, int]]


@dataclass(slots=True)
class Reports:
    """The state of the set; `write` puts it into a folder, `turn` goes on by one generation."""

    generation: int = 1
    news: list[str] = field(default_factory=list)
    sections: list[_Section] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    orders: list[list[str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    _dice: random.Random = field(default_factory=lambda: random.Random(_SEED))
    _words: list[str] = field(default_factory=list)
    _weights: list[float] = field(default_factory=list)
    _made: int = 0

    def __post_init__(self) -> None:
        dice = self._dice
        self._words = ["".join(dice.choices(_SYLLABLES, k=dice.choice((1, 2, 2, 3, 3, 4))))
                       for _ in range(_WORDS)]  # fmt: skip
        # Few words are frequent, most are rare, as in prose.
        self._weights = list(accumulate(1 / rank for rank in range(3, _WORDS + 3)))
        self.sections = [self._section() for _ in range(_SECTIONS)]
        self.records = [self._record() for _ in range(_RECORDS)]
        self.orders = [self._order() for _ in range(_ORDERS)]
        self.events = [self._event() for _ in range(_EVENTS)]
        self.news = [self._sentence() for _ in range(5)]

    def turn(self) -> None:
        """The next generation."""
        dice = self._dice
        self.generation += 1
        self.news[:0] = [self._sentence() for _ in range(dice.randint(1, 3))]
        for _ in range(dice.randint(2, 8)):
            self._edit(dice.choice(self.sections))
        if dice.random() < 0.3:
            first, second = dice.sample(range(_SECTIONS), 2)
            self.sections.insert(first, self.sections.pop(second))
        for record in dice.sample(self.records, len(self.records) // 100):
            record["amount"] = dice.randint(100, 900_000) / 100
            record["state"] = dice.choice(_STATES)
        for _ in range(dice.randint(0, 3)):
            self.records.pop(dice.randrange(len(self.records)))
            self.records.insert(dice.randrange(len(self.records)), self._record())
        self.orders += [self._order() for _ in range(dice.randint(10, 40))]
        for order in dice.sample(self.orders, 5):
            order[4] = f"{dice.randint(100, 99_999) / 100:.2f}"
        self.events += [self._event() for _ in range(dice.randint(5, 20))]

    def write(self, folder: Path) -> None:
        """All files, each written anew; other files in the folder stay."""
        for name, text in self._files().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _files(self) -> dict[str, str]:
        return {
            "report.md": self._markdown(),
            "report.html": self._html(),
            "summary.md": self._summary(),
            "data/records.json": json.dumps(self.records, indent=2) + "\n",
            "data/orders.csv": self._csv(),
            "data/events.jsonl": "".join(json.dumps(event) + "\n" for event in self.events),
            **{f"regions/{region}.md": self._region(region) for region in _REGIONS},
        }

    def _markdown(self) -> str:
        lines = [f"# Report {self.generation}", "", "## News", ""]
        lines += [f"- {line}" for line in self.news]
        for section in self.sections:
            lines += ["", f"## {section.title}", ""]
            for paragraph in section.paragraphs:
                lines += [paragraph, ""]
            lines += ["| region | orders | sum |", "|---|---|---|"]
            lines += [f"| {name} | {orders} | {total} |" for name, orders, total in section.figures]
        return "\n".join(lines) + "\n"

    def _html(self) -> str:
        lines = ["<!doctype html>", f"<title>Report {self.generation}</title>", "<h2>News</h2>"]
        lines += ["<ul>", *(f"  <li>{html.escape(line)}</li>" for line in self.news), "</ul>"]
        for section in self.sections:
            lines += ['<section class="chapter">', f"  <h2>{html.escape(section.title)}</h2>"]
            lines += [f'  <p class="text">{html.escape(p)}</p>' for p in section.paragraphs]
            lines += ['  <table class="figures">']
            for name, orders, total in section.figures:
                lines += [f"    <tr><td>{name}</td><td>{orders}</td><td>{total}</td></tr>"]
            lines += ["  </table>", "</section>"]
        return "\n".join(lines) + "\n"

    def _summary(self) -> str:
        total = sum(record["amount"] for record in self.records)
        counts = {s: sum(record["state"] == s for record in self.records) for s in _STATES}
        lines = [f"# Summary of run {self.generation}", "", f"Sum of all records: {total:.2f}", ""]
        lines += [f"- {state}: {count}" for state, count in counts.items()]
        lines += [f"- orders: {len(self.orders)}", "", *self.news[:3]]
        return "\n".join(lines) + "\n"

    def _region(self, region: str) -> str:
        own = [record for record in self.records if record["region"] == region]
        own.sort(key=lambda record: -record["amount"])
        lines = [f"# {region}", "", f"{len(own)} records", "", "| id | who | amount | state |"]
        lines += ["|---|---|---|---|"]
        lines += [f"| {r['id']} | {r['name']} | {r['amount']:.2f} | {r['state']} |" for r in own]
        return "\n".join(lines) + "\n"

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["order", "time", "region", "item", "price", "state"])
        writer.writerows(self.orders)
        return text.getvalue()

    def _edit(self, section: _Section) -> None:
        """A word replaced, a sentence added, or the figures of the section taken anew."""
        dice = self._dice
        chosen = dice.randrange(len(section.paragraphs))
        kind = dice.random()
        if kind < 0.5:
            words = section.paragraphs[chosen].split(" ")
            words[dice.randrange(len(words))] = self._word()
            section.paragraphs[chosen] = " ".join(words)
        elif kind < 0.8:
            section.paragraphs[chosen] += " " + self._sentence()
        else:
            section.figures = self._figures()

    def _section(self) -> _Section:
        sentences = [self._sentence() for _ in range(12)]
        paragraphs = [" ".join(sentences[at : at + 4]) for at in range(0, 12, 4)]
        return _Section(self._sentence()[:40], paragraphs, self._figures())

    def _figures(self) -> list[tuple[str, int, int]]:
        dice = self._dice
        return [(region, dice.randint(1, 900), dice.randint(1, 90_000)) for region in _REGIONS]

    def _record(self) -> dict[str, Any]:
        dice = self._dice
        self._made += 1
        return {
            "id": f"r-{self._made:06}",
            "name": f"{self._word().title()} {self._word().title()}",
            "region": dice.choice(_REGIONS),
            "amount": dice.randint(100, 900_000) / 100,
            "state": dice.choice(_STATES),
            "tags": [self._word() for _ in range(3)],
            "note": self._sentence(),
        }

    def _order(self) -> list[str]:
        dice = self._dice
        self._made += 1
        return [
            f"o-{self._made:08}",
            str(_START + self._made * 61 + dice.randrange(60)),
            dice.choice(_REGIONS),
            f"{self._word()} {self._word()}",
            f"{dice.randint(100, 99_999) / 100:.2f}",
            dice.choice(_STATES),
        ]

    def _event(self) -> dict[str, Any]:
        dice = self._dice
        self._made += 1
        time = _START + self._made * 61
        return {"time": time, "step": self._word(), "ms": dice.randint(1, 9_000), "ok": True}

    def _sentence(self) -> str:
        words = [self._word() for _ in range(self._dice.randint(6, 18))]
        return " ".join(words).capitalize() + "."

    def _word(self) -> str:
        return self._dice.choices(self._words, cum_weights=self._weights)[0]
