"""Run a fault harness: `python -m tests.harness NAME [--seed N] [--case K] [--budget 30m]`.

Without `--seed` the seed is random, and printed. `--case K` repeats one round. `--long` adds what
ran to docs/reliability-report.md; ended early, the next `--long` goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.harness import report
from tests.harness.frame import Result
from tests.harness.registry import MODULES, load
from tests.harness.running import LOSSES_MAX, Budget, run
from tests.harness.shim import build, loaded, preloaded

STATE = Path(__file__).parents[2] / ".harness"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
# How often a long run notes how far it is.
_PIECE = 20.0


def seconds(text: str) -> float:
    """A length of time such as 90, 90s, 30m or 2h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 30m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def main(arguments: list[str]) -> int:
    """Run what the arguments say; 0 if nothing was lost, or the mutant was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness", description=__doc__)
    parser.add_argument("name", choices=sorted(MODULES))
    parser.add_argument("--seed", type=int, help="repeat the run with this seed")
    parser.add_argument("--case", type=int, help="run this round alone")
    parser.add_argument("--budget", type=seconds, help="how long; else its share")
    parser.add_argument("--mutant", default="", help="plant this fault")
    parser.add_argument("--jobs", type=int, default=0, help="rounds at once")
    parser.add_argument("--scratch", help="folder for the files of its rounds")
    parser.add_argument("--long", action="store_true", help="go on with a long run and report it")
    parser.add_argument("--piece", type=seconds, help="with --long: stop after this, to be gone on")
    parser.add_argument("--json", action="store_true", help="print the result as one line")
    given = parser.parse_args(arguments)
    harness = load(given.name)
    if harness.shim and not loaded():
        with tempfile.TemporaryDirectory() as folder:
            environment = preloaded(build(Path(folder)))
            again = [sys.executable, "-m", "tests.harness", *arguments]
            return subprocess.run(again, env=environment, check=False).returncode
    seed = given.seed if given.seed is not None else secrets.randbits(32)
    if given.long:
        return _long(given, seed)
    budget = Budget(harness.share if given.budget is None else given.budget)
    first = 0
    if given.case is not None:
        first, budget = given.case, Budget(0, 1)
    result = run(
        harness,
        seed,
        budget,
        mutant=given.mutant,
        first=first,
        jobs=given.jobs,
        scratch=given.scratch,
    )
    return _say(result, given.json)


def _say(result: Result, json: bool) -> int:
    if json:
        print(result.to_json())
    else:
        for loss in result.losses:
            print(f"round {loss.round}: {loss.what}".rstrip())
            print(f"    {result.command(loss.round)}")
        print(*report.table([result]), sep="\n")
    return int(bool(result.losses) != bool(result.mutant) and not result.skipped)


def _long(given: argparse.Namespace, seed: int) -> int:
    """Run in pieces, each noted, until the budget is spent; then report."""
    harness = load(given.name)
    STATE.mkdir(exist_ok=True)
    state = STATE / f"{given.name}.json"
    total = Result(given.name, seed)
    if state.exists():
        total = Result.from_json(state.read_text("utf-8"))
        print(f"going on with seed {total.seed} at round {total.next}", flush=True)
    budget = harness.share if given.budget is None else given.budget
    stop = total.seconds + given.piece if given.piece else budget
    while total.seconds < min(budget, stop) and len(total.losses) < LOSSES_MAX:
        left = min(_PIECE, min(budget, stop) - total.seconds)
        part = run(
            harness,
            total.seed,
            Budget(left),
            first=total.next,
            jobs=given.jobs,
            scratch=given.scratch,
        )
        if part.skipped:
            return _say(part, given.json)
        total = replace(
            part,
            rounds=total.rounds + part.rounds,
            cases=total.cases + part.cases,
            seconds=round(total.seconds + part.seconds, 1),
            losses=total.losses + part.losses,
        )
        written = state.with_suffix(f".{os.getpid()}")
        written.write_text(total.to_json(), "utf-8")
        os.replace(written, state)
        print(f"{total.seconds:.0f} s, {total.cases} cases, {len(total.losses)} losses", flush=True)
    if total.seconds >= budget or total.losses:
        report.append(total)
        state.unlink(missing_ok=True)
    return _say(total, given.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
