"""What was measured of peers as text: a table for each corpus, and where castore is behind."""

from __future__ import annotations

import datetime
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.peer_reasons import reason
from benchmarks.peer_rows import GROUPS, best_of
from benchmarks.peer_trial import UNITS
from benchmarks.report import Row

COLUMNS: Final = (
    "first", "unchanged", "later", "restore", "pack", "stored", "one file", "memory", "cpu",
)  # fmt: skip
PROMISED: Final = {"first": 2.0, "later": 2.0, "restore": 2.0}
"""How many times as fast as the fastest peer that deduplicates."""
PROMISED_OF_GIT: Final = {"unchanged": 3.0}
"""How many times as long as git at most."""
OURS: Final = "castore"
_NAME: Final = 20
_WIDTH: Final = 9
_WIDE: Final = 100
_SHORTER: Final = {
    "unchanged": "again", "git gc --aggressive": "gc aggr.", "git, fsync": "git sync",
}  # fmt: skip
_GROUPS: Final = dict(
    zip(GROUPS, ("best peer ÷ castore", "  of those that sync", "  that deduplicate"), strict=True)
)
_EXPLAINED: Final = (
    "first: first ingest; again: the same unchanged; later: all later versions together; restore:"
    " the last version, verified equal; stored: bytes kept after all versions; one file: a commit"
    " of one edited small file, by command; memory: peak of RssAnon over the tree of processes;"
    " cpu: user and system, first to restore. >N min: not finished in N minutes, nor what follows"
    " it. cp reads and writes one version and is no peer but a limit. Ratios: above ×1 castore"
    " takes less; the peer they are to stands below."
)


def tables(rows: Sequence[Row], corpora: Iterable[str]) -> str:
    """A table for each corpus, 100 columns wide at most."""
    chosen = ([row for row in rows if row.detail["corpus"] == name] for name in corpora)
    parts = (_corpus(own) for own in chosen if own)
    return "\n\n".join("\n".join(line.rstrip() for line in lines) for lines in parts)


def footnotes(rows: Iterable[Row]) -> str:
    """What the columns are; each tool's version, settings and durability; machines and dates."""
    rows = list(rows)
    lines = ["", *textwrap.wrap(_EXPLAINED, _WIDE)]
    for row in {row.detail["cell"]: row for row in rows}.values():
        at = row.detail
        told = f"{at['cell']} ({at['version']}; {at['settings']}): {at['durability']}"
        lines += textwrap.wrap(told, _WIDE, subsequent_indent="  ")
    made: dict[str, list[Row]] = {}
    for row in rows:
        made.setdefault(row.detail["machine"], []).append(row)
    for name, own in made.items():
        dates = sorted({row.detail["date"] for row in own})
        days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        loads = [row.detail["load"] for row in own]
        runs = [row.runs for row in own if row.runs]
        lines += textwrap.wrap(
            f"{days}, {name}; load {min(loads):.1f} to {max(loads):.1f};"
            f" medians of {_from_to(runs)}",
            _WIDE,
        )
    return "\n".join(lines)


def _from_to(numbers: Sequence[int]) -> str:
    if not numbers:
        return "0"
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"


def _corpus(rows: Sequence[Row]) -> Iterator[str]:
    known = {(row.detail["tool"], row.detail["measure"]): row for row in rows}
    yield f"{rows[0].detail['corpus']}: {rows[0].detail['title']}"
    yield _line("", [_SHORTER.get(name, name) for name in COLUMNS])
    yield _line("", [UNITS[name] for name in COLUMNS])
    in_order = sorted(rows, key=lambda row: bool(row.detail["peer"]))
    for tool in dict.fromkeys(row.detail["tool"] for row in in_order):
        yield _line(tool, [_cell(known.get((tool, measure))) for measure in COLUMNS])
    ours = {row.detail["measure"]: row for row in rows if row.detail["cell"] == OURS}
    if not any(row.limit for row in ours.values()):
        return
    for group, title in _GROUPS.items():
        best = [best_of(ours[name], group) if name in ours else ("", 0.0) for name in COLUMNS]
        pairs = list(zip(COLUMNS, best, strict=True))
        if not any(who for who, _ in best):
            continue
        yield _line(title, [_times(limit, ours.get(name)) for name, (_, limit) in pairs])
        yield _line("", [_SHORTER.get(who, who) for _, (who, _) in pairs])
    library = ours.get("one file, library")
    if library is not None:
        told = f"castore, one file through the library: {_short(library.value)} ms"
        yield f"{told}; best peer ÷ that: {_times(library.limit, library) or '–'}"
    for told in (*promises(ours, known), *behind(ours, known)):
        yield from textwrap.wrap(told, _WIDE, subsequent_indent="  ")


def promises(ours: Mapping[str, Row], known: Mapping[tuple[str, str], Row]) -> Iterator[str]:
    """The promises that were not kept, by the clock and in seconds of CPU."""
    for measure, wanted in PROMISED.items():
        row = ours.get(measure)
        if row is None:
            continue
        who, limit = best_of(row, "deduplicates")
        if limit and row.value and limit / row.value < wanted:
            cpu = _of_cpu(known.get((who, measure)), row)
            got = _times(limit, row)
            yield f"missed: {measure} {got} of {who}, wanted ×{wanted:g}{cpu}"
    for measure, wanted in PROMISED_OF_GIT.items():
        row, git = ours.get(measure), known.get(("git", measure))
        if row is not None and git is not None and git.value:
            takes = row.value / git.value
            if takes > wanted:
                yield f"missed: {measure} takes {takes:.2g} times as long as git, wanted {wanted:g}"


def behind(ours: Mapping[str, Row], known: Mapping[tuple[str, str], Row]) -> Iterator[str]:
    """Where a peer takes less than castore: how much less, and why."""
    for measure in COLUMNS:
        row = ours.get(measure)
        if row is None or not row.value or not row.limit or row.limit >= row.value:
            continue
        best = known[row.limit_name, measure]
        ratio = f"{row.value / row.limit:.3g} times as much"
        told = f"{measure}: {_short(row.value)} {row.unit}, {ratio} as {row.limit_name}"
        yield f"behind in {told}{_of_cpu(best, row)}. {reason(row, best)}".rstrip()


def _of_cpu(best: Row | None, ours: Row) -> str:
    if best is None or best.cpu <= 0 or ours.cpu <= 0:
        return ""
    return f" (CPU {ours.cpu:.3g} s, {best.detail['tool']} {best.cpu:.3g})"


def _times(limit: float, row: Row | None) -> str:
    return f"×{limit / row.value:.2f}" if row is not None and limit and row.value else ""


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    over = row.detail["over"]
    return f">{over:g} min" if over else _short(row.value)


def _line(name: str, cells: Iterable[str]) -> str:
    return f"{name:{_NAME}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1_000 else f"{value:.3g}"


def machine(folder: Path) -> str:
    """Processor, memory, kernel, and the kind of file system the folder is on."""
    said = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in said if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    kernel = os.uname()
    return (
        f"{model}, {os.cpu_count()} cores, {memory} GiB, {kernel.sysname} {kernel.release}"
        f" {kernel.machine}, {_file_system(folder)}"
    )


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _file_system(folder: Path) -> str:
    """By the longest mount point above the folder."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    real = folder.resolve()
    above = [(len(at), kind) for _, at, kind, *_ in mounts if real.is_relative_to(at)]
    return max(above)[1] if above else "?"
