"""castore and tools that people use in its place, on the same real data, on this machine.

    python -m benchmarks.peers --install                  # have the peers, below the cache
    python -m benchmarks.peers [--tools A,B] [--corpora A,B] [--times N] [--json FILE] [--quick]
    python -m benchmarks.peers --show --json FILE         # the tables again, nothing measured

Each tool takes in a version, the same again unchanged, all later versions, and gives the last one
back, which is compared byte by byte; then one small file is edited and stored, five times.
`--times` repeats all that, the tools in turns. A tool on a corpus is a cell: each is put into the
JSON file as soon as it is measured, and one that is there already, of the same version on the same
machine, is not measured again unless `--again` is given or it is the only one chosen. What takes
longer than `--limit` is killed and told as not finished.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.corpora import MIB
from benchmarks.peer_corpora import CORPORA, CannotDownload, Corpus, Stock
from benchmarks.peer_install import CannotInstall, Program, Toolbox
from benchmarks.peer_process import CommandFailed
from benchmarks.peer_rows import against_best, put, read, rounds_of, rows_of, write
from benchmarks.peer_table import footnotes, machine, tables, today
from benchmarks.peer_tools import TOOLS, Castore, Place, Tool
from benchmarks.peer_trial import Different, trial, warm
from benchmarks.report import Row

_ROOT: Final = Path(__file__).parents[1]
_MINUTES: Final = 30.0


def main() -> int:
    """Measure what was chosen and is not there yet; 1 if a tool failed or gave back other bytes."""
    options = _options()
    cache: Path = options.cache.absolute()
    toolbox = Toolbox(cache / "peers" / "tools")
    if options.install:
        return _install(toolbox, options.tools)
    stock = Stock(cache, options.quick, toolbox.python)
    record = _Record(options.json, against_best(read(options.json)))
    wrong = False
    if not options.show:
        place = Place(
            cache / "peers" / f"scratch-{os.getpid()}",
            settled=0 if options.quick or options.unsettled else MIB,
        )
        chosen, wrong = _available(toolbox, options.tools, place)
        for cell, fresh in _cells(options, chosen, stock, record):
            wrong |= not _measure(cell, stock, options.limit, record, fresh=fresh)
    names = (_name(CORPORA[name], stock.quick) for name in options.corpora)
    rows = [row for name in names for row in record.rows if row.detail["corpus"] == name]
    print(tables(rows, dict.fromkeys(row.detail["corpus"] for row in rows)))
    print(footnotes(rows))
    return int(wrong)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One tool on one corpus, and what is told with each of its rows."""

    tool: Tool
    corpus: Corpus
    detail: Mapping[str, object]


@dataclass(slots=True)
class _Record:
    """All rows known, and the file that they are kept in, if there is one."""

    file: Path | None
    rows: list[Row]

    def put(self, rows: list[Row], detail: Mapping[str, object], *, fresh: bool) -> None:
        """Put in one more round of a cell."""
        self.rows = put(self.rows, rows, detail, fresh=fresh)
        if self.file is not None:
            write(self.file, self.rows)


def _cells(
    options: argparse.Namespace, chosen: list[tuple[Tool, str]], stock: Stock, record: _Record
) -> Iterator[tuple[_Cell, bool]]:
    """What is to be measured: of each corpus a round of each tool, then the next round.

    With each, whether it is the first round of its cell.
    """
    only = len(options.corpora) == len(options.tools) == 1
    for name in options.corpora:
        corpus = CORPORA[name]
        details = {tool.name: _detail(tool, version, corpus, stock) for tool, version in chosen}
        have = {
            tool: 0 if options.again or only else rounds_of(record.rows, detail, options.limit)
            for tool, detail in details.items()
        }
        for turn in range(options.times):
            for tool, _ in chosen:
                if have[tool.name] > turn:
                    _say(f"… {name}, {tool.name}, {turn + 1} of {options.times}: is there")
                    continue
                _say(f"… {name}, {tool.name}, {turn + 1} of {options.times}")
                yield _Cell(tool, corpus, details[tool.name]), turn == 0


def _measure(cell: _Cell, stock: Stock, minutes: float, record: _Record, *, fresh: bool) -> bool:
    """One round of one cell into the record; whether it went well."""
    try:
        figures = trial(cell.tool, cell.corpus, stock, minutes)
    except (CannotDownload, CommandFailed, Different) as error:
        _say(f"FAILED: {cell.corpus.name}, {cell.tool.name}: {error}")
        return False
    now = {"date": today(), "load": round(os.getloadavg()[1], 1)}
    record.put(rows_of(figures, {**cell.detail, **now}), cell.detail, fresh=fresh)
    return True


def _detail(tool: Tool, version: str, corpus: Corpus, stock: Stock) -> dict[str, object]:
    """What is told with each row of a cell."""
    return {
        "corpus": _name(corpus, stock.quick),
        "title": f"smaller than {corpus.title}" if stock.quick else corpus.title,
        "cell": tool.name,
        "peer": tool.peer,
        "durable": tool.durable,
        "deduplicates": tool.deduplicates,
        "durability": tool.durability,
        "settings": tool.settings,
        "version": version,
        "machine": machine(stock.cache),
    }


def _name(corpus: Corpus, quick: bool) -> str:
    return f"{corpus.name}, quick" if quick else corpus.name


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
            found.append((tool, _version(tool)))
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


def _version(tool: Tool) -> str:
    """What a tool says; of castore, which is worked on here, the last change of its code too."""
    said = tool.version()
    if not isinstance(tool, Castore):
        return said
    git = ["git", "-C", str(_ROOT)]
    found = [
        subprocess.run([*git, *words, "--", "castore"], capture_output=True, text=True).stdout
        for words in (("log", "-1", "--format=%h"), ("status", "--porcelain"))
    ]
    commit, changed = (text.strip() for text in found)
    return ", ".join(part for part in (said, commit, changed and "changed") if part)


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
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument(
        "--limit", type=float, default=_MINUTES, metavar="MINUTES",
        help="for a tool on a corpus, and for each packing after it; %(default)g unless told",
    )  # fmt: skip
    parser.add_argument("--show", action="store_true", help="the tables of the JSON file, then end")
    parser.add_argument("--json", type=Path, help="keep the rows there, one a line")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks"), help="kept between runs")
    parser.add_argument(
        "--unsettled", action="store_true", help="no sync(2) before and after each thing measured"
    )
    parser.add_argument("--install", action="store_true", help="install the peers, then end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
