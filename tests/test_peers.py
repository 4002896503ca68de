"""The comparison with other tools works: with git, which is always there, on small corpora."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peer_corpora import Corpus, Stock
from benchmarks.peer_install import Program
from benchmarks.peer_process import Command, CommandFailed, OutOfTime, run
from benchmarks.peer_rows import against_best, put, read, rounds_of, rows_of, write
from benchmarks.peer_table import COLUMNS, footnotes, tables
from benchmarks.peer_tools import TOOLS, Git, Place
from benchmarks.peer_trial import Different, Figure, trial
from benchmarks.plots import beside_peers, when_and_where
from benchmarks.report import Row

ROOT = Path(__file__).parents[1]
MEASURES = {"first", "unchanged", "later", "restore", "stored", "memory", "cpu", "one file"}
PACKED = {"pack", "stored", "restore"}
GIT = Program((shutil.which("git") or "git",))


def test_a_quick_run_measures_castore_and_git(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--tools", "castore,cp,git"]
    command += ["--corpora", "reports,bigfile", "--cache", str(tmp_path), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for corpus in ("reports, quick", "bigfile, quick"):
        values = {
            (row["detail"]["tool"], row["detail"]["measure"]): row["value"]
            for row in rows
            if row["detail"]["corpus"] == corpus
        }
        assert {measure for tool, measure in values if tool == "git"} == MEASURES
        assert {measure for tool, measure in values if tool == "git gc"} == PACKED
        ours = {measure for tool, measure in values if tool == "castore"}
        assert ours == MEASURES | {"one file, library"}
        assert {measure for tool, measure in values if tool == "cp"} == MEASURES
        assert all(value > 0 for value in values.values())
        assert values["git gc", "stored"] < values["git", "stored"]
    assert all("\n" not in row["detail"]["version"] for row in rows)
    assert all(len(row["detail"]["version"]) < 80 for row in rows)
    best = next(row for row in rows if row["name"] == "reports, quick: stored, castore")
    assert best["limit_name"].startswith("git gc")
    assert not any(row["limit_name"] == "cp" for row in rows), "it is a limit, not a peer"
    assert best["ratio"] == pytest.approx(best["limit"] / best["value"], abs=0.001)
    assert "best peer ÷ castore" in done.stdout
    assert not list((tmp_path / "peers").glob("scratch*"))


def test_a_tool_that_gives_back_something_else_is_noticed(tmp_path: Path) -> None:
    class Forgetful(Git):
        def restore(self) -> list[Command]:
            return [*Git.restore(self), ["rm", "set/b"]]

    class Careless(Git):
        def restore(self) -> list[Command]:
            return [*Git.restore(self), ["cp", "set/a", "set/b"]]

    def play(stock: Stock, folder: Path) -> Iterator[None]:
        folder.mkdir()
        (folder / "a").write_text("a")
        (folder / "b").write_text("b")
        yield

    corpus, stock = Corpus("two", "two files", play), Stock(tmp_path, quick=True)
    place = Place(tmp_path / "scratch")
    assert trial(Git(GIT, place), corpus, stock)
    with pytest.raises(Different, match=r"1 files lost or added by a restore, as b\Z"):
        trial(Forgetful(GIT, place), corpus, stock)
    with pytest.raises(Different, match="b is not as it was stored"):
        trial(Careless(GIT, place), corpus, stock)
    with pytest.raises(CommandFailed, match="exit 1"):
        trial(Git(Program(("false",)), place), corpus, stock)


def test_a_run_goes_on_where_one_ended_and_one_cell_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"

    def measure(*options: str) -> list[str]:
        command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--corpora", "reports"]
        command += ["--cache", str(tmp_path), "--json", str(file), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()

    def rounds() -> dict[str, list[list[float]]]:
        return {row.detail["tool"]: row.detail["rounds"] for row in read(file)
                if row.detail["measure"] == "first"}  # fmt: skip

    assert measure("--tools", "git") == ["… reports, git, 1 of 1"]
    (first,) = rounds()["git"]
    said = measure("--tools", "git,git-fsync", "--times", "2")
    assert said == [
        "… reports, git, 1 of 2: is there",
        "… reports, git, fsync, 1 of 2",
        "… reports, git, 2 of 2",
        "… reports, git, fsync, 2 of 2",
    ]
    assert rounds()["git"][0] == first
    assert [len(each) for each in rounds().values()] == [2, 2]
    synced = rounds()["git, fsync"]
    assert measure("--tools", "git") == ["… reports, git, 1 of 1"]
    assert len(rounds()["git"]) == 1
    assert rounds()["git"] != [first]
    assert rounds()["git, fsync"] == synced
    assert measure("--show") == []


def test_what_is_not_reached_in_time_is_told(tmp_path: Path) -> None:
    class Slow(Git):
        packings = {"git gc": ("gc", "--quiet")}

        def restore(self) -> list[Command]:
            return [["sh", "-c", "sleep 60 & wait"]]

    class SlowToPack(Git):
        packings = {"git slow": ("-c", "alias.slow=!sleep 60", "slow")}

    corpus, stock = Corpus("one", "one file", _one_file), Stock(tmp_path, quick=True)
    place = Place(tmp_path / "scratch")
    figures = {(f.label, f.measure): f for f in trial(Slow(GIT, place), corpus, stock, 0.05)}
    over = [measure for (_, measure), figure in figures.items() if figure.over]
    assert over == ["restore", "memory", "cpu", "one file"]
    assert figures["git", "stored"].value > 0
    assert {label for label, _ in figures} == {"git"}, "nothing is packed after that"
    figures = {(f.label, f.measure): f for f in trial(SlowToPack(GIT, place), corpus, stock, 0.05)}
    assert not any(f.over for (label, _), f in figures.items() if label == "git")
    assert {m for (label, m), f in figures.items() if label == "git slow" and f.over} == PACKED

    cell = {**DETAIL, "cell": "git"}
    rows = put([], rows_of(figures.values(), cell), cell, fresh=True)
    assert "×" not in tables(rows, ["c"])
    assert ">0.05 min" in tables(rows, ["c"])
    assert rounds_of(rows, cell, 0.05) == 1
    assert rounds_of(rows, cell, 30) == 0, "with more time it is tried again"
    beside_peers(rows, "pack", "Packed", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_command_is_killed_at_its_deadline_with_all_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    command = ["sh", "-c", f"sleep 60 & echo $! >{mark}; wait"]
    with pytest.raises(OutOfTime, match="sleep 60"):
        run(command, tmp_path, {"PATH": os.environ["PATH"]}, seconds=2)
    state = Path(f"/proc/{mark.read_text().strip()}/stat")
    for _ in range(100):
        if not state.exists() or ") Z " in state.read_text():
            return
        time.sleep(0.05)
    pytest.fail("what it started is still there")


@pytest.mark.parametrize("changed", ["version", "machine", "title"])
def test_what_another_version_or_machine_measured_is_measured_anew(changed: str) -> None:
    rows = put([], rows_of([Figure("git", "first", 1)], DETAIL), DETAIL, fresh=True)
    assert rounds_of(rows, DETAIL, 30) == 1
    assert rounds_of(rows, {**DETAIL, "cell": "dvc"}, 30) == 0
    assert rounds_of(rows, {**DETAIL, changed: "another"}, 30) == 0


def test_every_tool_tells_its_settings_and_durability() -> None:
    details = [
        {**DETAIL, "cell": tool.name, "durability": tool.durability, "settings": tool.settings}
        for tool in TOOLS.values()
    ]
    rows = [row for each in details
            for row in rows_of([Figure(str(each["cell"]), "first", 1)], each)]  # fmt: skip
    told = " ".join(footnotes(rows).split())
    for tool in TOOLS.values():
        assert f"{tool.name} (1; {tool.settings}): {tool.durability}" in told
    assert "2026-11-22, a machine; load 1.0 to 1.0" in told


def _one_file(stock: Stock, folder: Path) -> Iterator[None]:
    folder.mkdir()
    (folder / "a").write_text("a")
    yield


DETAIL: dict[str, Any] = {
    "corpus": "c", "title": "t", "cell": "git", "peer": True, "durable": True,
    "deduplicates": False, "durability": "", "settings": "", "version": "1",
    "machine": "a machine", "date": "2026-11-22", "load": 1.0,
}  # fmt: skip


def _rows(tool: str, figures: dict[str, float], **detail: bool) -> list[Row]:
    told = {**DETAIL, "cell": tool, **detail}
    return rows_of([Figure(tool, name, value) for name, value in figures.items()], told)


def test_each_measure_stands_beside_the_best_peer_for_it(tmp_path: Path) -> None:
    measured = [
        *_rows("castore", {"first": 2, "stored": 30, "unchanged": 7}, peer=False),
        *_rows("git", {"first": 1, "stored": 40, "unchanged": 2}, durable=False),
        *_rows("restic", {"first": 8, "stored": 15}, deduplicates=True),
        *_rows("casync", {"first": 3, "stored": 90}, deduplicates=True, durable=False),
        *_rows("cp", {"first": 0.5, "stored": 1}, peer=False, durable=False),
    ]
    file = tmp_path / "figures.jsonl"
    write(file, against_best(measured))
    rows = read(file)
    assert rows == against_best(measured)
    lines = tables(rows, ["c"]).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("best peer"))
    compared = [line.split() for line in lines[at : at + 6]]
    assert compared[0][-3:] == ["×0.50", "×0.29", "×0.50"]
    assert compared[1] == ["git", "git", "restic"]
    assert compared[2][-2:] == ["×4.00", "×0.50"]
    assert compared[3] == ["restic", "restic"]
    assert compared[4][-2:] == ["×1.50", "×0.50"]
    assert compared[5] == ["casync", "restic"]
    told = " ".join(" ".join(lines[at + 6 :]).split())
    assert "missed: first ×1.50 of casync, wanted ×2" in told
    assert "missed: unchanged takes 3.5 times as long as git, wanted 3" in told
    assert "behind in stored: 30 MB, 2 times as much as restic." in told
    assert [told.count(f"behind in {name}:") for name in COLUMNS] == [1, 1, 0, 0, 0, 1, 0, 0, 0]
    best = next(row for row in rows if row.name == "c: stored, restic")
    assert best.ratio == 1


def test_plots_beside_peers_bear_machine_and_date(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        *_rows("castore", {"first": 2}, peer=False),
        *_rows("git", {"first": 1}, durable=False),
    ]
    target = tmp_path / "first.png"
    beside_peers(rows, "first", "First ingest", target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert when_and_where(rows) == "2026-11-22, a machine"
