"""castore and tools that people use in its place, on the same real data, on this machine.

    python -m benchmarks.peers --install                  # have the peers, below the cache
    python -m benchmarks.peers [--tools A,B] [--corpora A,B] [--times N] [--json FILE] [--quick]

Each tool takes in a version, the same again unchanged, all later versions, and gives the last one
back, which is compared byte by byte; then one small file is edited and stored, five times.
`--times` repeats all that, the tools in turns. Rows of the JSON file that are measured anew are
replaced, so that a long run can be done in pieces.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks.peer_corpora import CORPORA, Corpus, Stock
from benchmarks.peer_install import CannotInstall, Program, Toolbox
from benchmarks.peer_process import CommandFailed
from benchmarks.peer_table import against_best, machine, merge, rows_of, tables, today
from benchmarks.peer_tools import TOOLS, Castore, Place, Tool
from benchmarks.peer_trial import Different, Figure, trial, warm
from benchmarks.report import Row

_ROOT: Final = Path(__file__).parents[1]


def main() -> int:
    """Measure what was chosen; 1 if a tool failed or gave back something else."""
    options = _options()
    cache: Path = options.cache.absolute()
    toolbox = Toolbox(cache / "peers" / "tools")
    if options.install:
        return _install(toolbox, options.tools)
    stock = Stock(cache, options.quick, toolbox.python)
    place = Place(cache / "peers" / "scratch", settled=not (options.quick or options.unsettled))
    chosen, wrong = _available(toolbox, options.tools, place)
    rows: list[Row] = []
    for name in options.corpora:
        corpus = CORPORA[name]
        found: dict[str, list[Figure]] = {tool.name: [] for tool, _ in chosen}
        for turn in range(options.times):
            for tool, _ in chosen:
                _say(f"… {name}, {tool.name}, {turn + 1} of {options.times}")
                try:
                    found[tool.name] += trial(tool, corpus, stock)
                except (CommandFailed, Different) as error:
                    _say(f"FAILED: {name}, {tool.name}: {error}")
                    wrong = True
        for tool, version in chosen:
            rows += rows_of(found[tool.name], _detail(tool, version, corpus, stock))
        shown = merge(options.json, rows) if options.json else against_best(rows)
    print(tables(shown, dict.fromkeys(row.detail["corpus"] for row in rows)))
    print(_footnotes(chosen, stock))
    return int(wrong)


def _detail(tool: Tool, version: str, corpus: Corpus, stock: Stock) -> dict[str, object]:
    """What is told with each row."""
    return {
        "corpus": f"{corpus.name}, quick" if stock.quick else corpus.name,
        "title": f"smaller than {corpus.title}" if stock.quick else corpus.title,
        "peer": tool.peer,
        "durable": tool.durable,
        "durability": tool.durability,
        "version": version,
        "machine": machine(stock.cache),
        "date": today(),
        "load": round(os.getloadavg()[1], 1),
    }


def _available(
    toolbox: Toolbox, names: list[str], place: Place
) -> tuple[list[tuple[Tool, str]], bool]:
    """The tools chosen that are here, with their versions; whether one here does not work."""
    found: list[tuple[Tool, str]] = []
    wrong = False
    for name in names:
        kind = TOOLS[name]
        program = _castore(toolbox) if kind is Castore else toolbox.find(kind.executable)
        if program is None:
            _say(f"skipped: {name} is not installed; see --install")
            continue
        tool = kind(program, place)
        try:
            warm(tool)
            found.append((tool, tool.version()))
        except (CommandFailed, Different) as error:
            _say(f"FAILED: {name}: {error}")
            wrong = True
    return found, wrong


def _castore(toolbox: Toolbox) -> Program:
    """This checkout's `cas`, with its bytecode at hand as an installed program has it."""
    script = Path(sys.executable).with_name("cas")
    code = "import sys; from castore.cli.main import main; sys.exit(main())"
    command = (str(script),) if script.exists() else (sys.executable, "-c", code)
    bytecode = str(toolbox.folder / "bytecode")
    own = {"PYTHONPATH": str(_ROOT), "PYTHONPYCACHEPREFIX": bytecode, "CAS_AUTHOR": "peers"}
    return Program(command, own)


def _install(toolbox: Toolbox, names: list[str]) -> int:
    for name in ("pip", *dict.fromkeys(TOOLS[name].executable for name in names)):
        if name == Castore.executable:
            continue
        try:
            toolbox.install(name)
        except CannotInstall as error:
            _say(f"skipped: {name} cannot be installed: {error}")
    return 0


def _footnotes(chosen: list[tuple[Tool, str]], stock: Stock) -> str:
    lines = ["", f"{today()}, {machine(stock.cache)}; load {os.getloadavg()[1]:.1f}"]
    lines += [
        "first: first ingest; again: the same unchanged; later: all later versions together;",
        "restore: the last version, verified equal; stored: bytes kept after all versions;",
        "one file: a commit of one edited small file, by command; memory: peak of RssAnon over the",
        "tree of processes; cpu: user and system, first to restore. Above ×1 castore takes less.",
    ]
    lines += [f"{tool.name} ({version}): {tool.durability}" for tool, version in chosen]
    return "\n".join(lines)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    def of(known: Mapping[str, object]) -> Callable[[str], list[str]]:
        def read(text: str) -> list[str]:
            names = text.split(",")
            for name in names:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
            return names

        return read

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tools = ", ".join(TOOLS)
    parser.add_argument("--tools", type=of(TOOLS), default=list(TOOLS), help=tools)
    parser.add_argument(
        "--corpora", type=of(CORPORA), default=list(CORPORA), help=", ".join(CORPORA)
    )
    parser.add_argument("--times", type=int, default=1, help="rounds of everything")
    parser.add_argument("--quick", action="store_true", help="small corpora, to try this program")
    parser.add_argument("--json", type=Path, help="keep the rows there, one a line")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks"), help="kept between runs")
    parser.add_argument(
        "--unsettled", action="store_true", help="no sync(2) before and after each thing measured"
    )
    parser.add_argument("--install", action="store_true", help="install the peers, then end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
