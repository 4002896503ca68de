"""The comparison with other tools works: with git, which is always there, on small corpora."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peer_corpora import Corpus, Stock
from benchmarks.peer_install import Program
from benchmarks.peer_process import Command, CommandFailed
from benchmarks.peer_table import merge, rows_of, tables
from benchmarks.peer_tools import Git, Place
from benchmarks.peer_trial import Different, Figure, trial

ROOT = Path(__file__).parents[1]
MEASURES = {"first", "unchanged", "later", "restore", "stored", "memory", "cpu", "one file"}
PACKED = {"pack", "stored", "restore"}
GIT = Program((shutil.which("git") or "git",))


def test_a_quick_run_measures_castore_and_git(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--tools", "castore,git"]
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
        assert all(value > 0 for value in values.values())
        assert values["git gc", "stored"] < values["git", "stored"]
    best = next(row for row in rows if row["name"] == "reports, quick: stored, castore")
    assert best["limit_name"].startswith("git gc")
    assert best["ratio"] == pytest.approx(best["limit"] / best["value"], abs=0.001)
    assert "best peer ÷ castore" in done.stdout
    assert not (tmp_path / "peers" / "scratch").exists()


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
    place = Place(tmp_path / "scratch", settled=False)
    assert trial(Git(GIT, place), corpus, stock)
    with pytest.raises(Different, match=r"1 files lost or added by a restore, as b\Z"):
        trial(Forgetful(GIT, place), corpus, stock)
    with pytest.raises(Different, match="b is not as it was stored"):
        trial(Careless(GIT, place), corpus, stock)
    with pytest.raises(CommandFailed, match="exit 1"):
        trial(Git(Program(("false",)), place), corpus, stock)


def test_each_measure_stands_beside_the_best_peer_for_it(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"

    def put(tool: str, first: float, stored: float, **detail: Any) -> str:
        figures = [Figure(tool, "first", first), Figure(tool, "stored", stored)]
        merged = merge(file, rows_of(figures, {"corpus": "c", "title": "t", **detail}))
        return tables(merged, ["c"])

    put("castore", 2, 30, peer=False, durable=True)
    put("quick", 1, 40, peer=True, durable=False)
    put("small", 9, 90, peer=True, durable=True)
    text = put("small", 8, 15, peer=True, durable=True)
    ratios, synced = (line.split() for line in text.splitlines()[-2:])
    assert ratios == ["best", "peer", "÷", "castore", "×0.50", "×0.50"]
    assert synced[-2:] == ["×4.00", "×0.50"]
    rows = {row["name"]: row for row in map(json.loads, file.read_text().splitlines())}
    assert len(rows) == 6
    assert rows["c: first, castore"]["limit_name"] == "quick"
    assert rows["c: stored, castore"]["limit_name"] == "small"
    assert rows["c: stored, small"]["ratio"] == 1
