"""What a soak found, in words: for a terminal, and as a section of the page that lasts."""

from __future__ import annotations

import datetime
from pathlib import Path
from statistics import median

from tests.harness.report import PAGE, machine
from tests.harness.soak_judge import Soaked, quarters, usual_descriptors

_BEFORE = "## Runs of the harnesses"


def text(soaked: Soaked) -> list[str]:
    """One figure a line."""
    done = soaked.done
    verbs = ", ".join(
        f"{done[verb]:,} {verb}"
        for verb in sorted(done, key=lambda verb: -done[verb])
        if verb not in ("hits", "struck", "refused")
    )
    counted = [one for one in soaked.samples if one.used]
    lines = [
        f"seed {soaked.seed}, {soaked.seconds / 60:.1f} min, {machine()}",
        f"processes: {soaked.lives} lives, {soaked.ended} of them ended by a fault",
        f"done by those that lived to the end: {verbs}",
        f"faults that struck them: {done['hits']:,}, of which {done['struck']:,} were raised as an "
        f"error of castore; {done['refused']:,} turns refused beside another",
        f"acknowledged and judged: {soaked.acknowledged:,} steps of all lives",
    ]
    if counted:
        lines.append(
            f"data file: {soaked.file:,} bytes at the end, {soaked.alive:,} alive "
            f"({soaked.file / max(soaked.alive, 1):.2f} times); at most "
            f"{max(one.file / one.used for one in counted):.2f} times its pages in use"
        )
    readers = max((len(one.readers) for one in soaked.samples), default=0)
    lines.append(f"readers: at most {readers} at once in {len(soaked.samples):,} samples")
    for name, (third, fourth) in quarters(soaked.samples, soaked.seconds).items():
        memory = [median(one.anonymous for one in part) / 1e6 for part in (third, fourth)]
        opened = [usual_descriptors(part) for part in (third, fourth)]
        lines.append(
            f"{name}, third and fourth quarter: anonymous memory {memory[0]:.1f} and "
            f"{memory[1]:.1f} MB ({(memory[1] / memory[0] - 1) * 100:+.1f} %), descriptors "
            f"{opened[0]} and {opened[1]}"
        )
    lines.append("found: " + ("nothing" if not soaked.findings else ""))
    return [*lines, *(f"- {finding}" for finding in soaked.findings)]


def append(soaked: Soaked, page: Path = PAGE) -> None:
    """Add a section before the table of the harnesses."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = text(soaked)
    section = "\n".join(
        [f"## Soak of {date}", "", *(f"- {line}" for line in lines if line[0] != "-")]
    )
    found = "".join(f"\n  {line.splitlines()[0]}" for line in lines if line[0] == "-")
    before, mark, after = page.read_text("utf-8").partition(_BEFORE)
    page.write_text(f"{before}{section}{found}\n\n{mark}{after}", "utf-8")
