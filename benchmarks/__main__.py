"""Runs the benchmarks: each case in a process of its own, then the table.

python -m benchmarks [--only WORD]… [--times N] [--cache DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import audits, big_files, checks, sharing, sizes, small_files, versions
from benchmarks.peer_table import machine, today
from benchmarks.report import Row, costs, json_line, read_row, table
from benchmarks.stage import Case, Stage

CASES: Final[dict[str, Case]] = {
    "ingest-random": big_files.ingest_random,
    "ingest-text": big_files.ingest_text,
    "known-again": big_files.known_again,
    "restore-text": big_files.restore_text,
    "ingest-small": small_files.ingest_small,
    "unchanged": small_files.unchanged,
    "ten-edits": small_files.ten_edits,
    "commit": versions.one_file_commit,
    "bytes": versions.bytes_per_version,
    "log": versions.log_process,
    "numbered": versions.numbered,
    "audit": audits.audits,
    "walks": versions.walks,
    "check": checks.full_checks,
    "share-big": sharing.share_big,
    "share-small": sharing.share_small,
    "history": versions.history_cost,
    "file-sizes": sizes.file_sizes,
    "folder-sizes": sizes.folder_sizes,
}


def main() -> int:
    """Run the cases chosen; 1 if one misses what was promised at least."""
    options = _options()
    stage = Stage(options.cache.absolute(), options.times)
    stage.cache.mkdir(parents=True, exist_ok=True)
    if options.case:
        for row in CASES[options.case](stage):
            print(json_line(row), flush=True)
        shutil.rmtree(stage.cache / "scratch", ignore_errors=True)
        return 0
    rows: list[Row] = []
    where = {"machine": machine(options.cache), "date": today()}
    chosen = [name for name in CASES if not options.only or any(w in name for w in options.only)]
    for name in chosen:
        print(f"… {name}", file=sys.stderr, flush=True)
        found = [replace(row, case=name, **where) for row in _run(name, options)]
        rows += found
        if options.json:
            _keep(options.json, name, found)
    print(table(rows))
    print()
    print(costs(rows))
    return int(any(row.verdict == "MISSED" for row in rows))


def _keep(file: Path, case: str, rows: list[Row]) -> None:
    """Put these rows in the place of those of the case, in the order of CASES."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_text().splitlines() if file.exists() else []
    kept = [row for row in map(read_row, before) if row.case != case and row.case in CASES]
    order = list(CASES)
    kept = sorted([*kept, *rows], key=lambda row: order.index(row.case))
    whole = file.with_name(f"{file.name}.new")
    whole.write_text("".join(json_line(row) + "\n" for row in kept))
    whole.replace(file)


def _run(name: str, options: argparse.Namespace) -> list[Row]:
    """One case in a new process, so that memory is its own."""
    command = [sys.executable, "-m", "benchmarks", "--case", name]
    command += ["--cache", str(options.cache), "--times", str(options.times)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    if not options.quiet:
        print(done.stdout, end="", file=sys.stderr)
    return [read_row(line) for line in done.stdout.splitlines()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", help="cases whose name holds this word")
    parser.add_argument("--times", type=int, default=5, help="measured runs of each thing")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks"), help="kept between runs")
    parser.add_argument("--json", type=Path, help="write the figures there, one line each")
    parser.add_argument("--quiet", action="store_true", help="print the tables only")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
