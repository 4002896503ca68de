"""`cas export`, `cas sql`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cas


def test_the_catalogue_as_csv_and_lines_of_json(cas: Cas, two: Path) -> None:
    table = list(csv.DictReader(io.StringIO(cas("export", "catalogue").out)))
    assert [row["number"] for row in table] == ["2", "1"]
    assert (table[1]["agent"], table[0]["agent"]) == ("", "writer")
    lines = cas("export", "catalogue", "--table", "refs", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["ref"] for line in lines] == ["heads/out"]
    cas("export", "catalogue", "--table", "ref", code=2)
    cas("export", "catalogue", "--format", "parquet", code=2)


def test_a_file_appears_whole_and_is_never_overwritten(cas: Cas, two: Path) -> None:
    assert cas("export", "catalogue", "-o", "v.csv").out == "wrote v.csv\n"
    told = Path("v.csv").read_text()
    assert told == cas("export", "catalogue").out
    cas("export", "openlineage", "out", "-o", "v.csv", code=4)
    assert Path("v.csv").read_text() == told
    cas("export", "intoto", "out@v1", "-o", "no/such.json", code=2)
    cas("export", "intoto", "nothing", "-o", "x.json", code=3)
    assert sorted(path.name for path in Path().iterdir() if "x.json" in path.name) == []


def test_a_version_in_the_words_of_others(cas: Cas, two: Path) -> None:
    told = cas("export", "intoto", "out@v1").json
    assert told["subject"][0]["digest"]["sha256"]
    events = cas("export", "openlineage", "out").rows
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert cas("export", "ro-crate", "out").json["@graph"]
    assert cas("export", "ro-crate", "out", "-o", "crate", "--json").json == {"written": "crate"}
    assert Path("crate/ro-crate-metadata.json").exists()


def test_sql(cas: Cas, two: Path) -> None:
    pytest.importorskip("duckdb", reason="pip install -e '.[dev]'")
    ask = "select number, agent, parents from versions order by number"
    lines = cas("sql", ask).out.splitlines()
    assert lines[0].split() == ["number", "agent", "parents"]
    assert lines[1].split() == ["1", "unknown", "[]"]
    rows = cas("sql", ask, "--json").rows
    assert [(row["number"], row["agent"]) for row in rows] == [(1, None), (2, "writer")]
    assert cas("sql", "--csv", "select agent from versions order by 1").out == 'agent\nwriter\n""\n'
    assert cas("sql", "from notes").out == ""
    cas("sql", "--csv", "--json", "from refs", code=2)
    error = cas("sql", "drop table versions", code=2).err
    assert "only be read" in error


def test_what_cannot_be_told_to_the_end_is_not_begun(cas: Cas, two: Path) -> None:
    cas("purge", "out:summary.md", "--reason", "a name", "--include", "all", "--yes")
    assert cas("export", "intoto", "out", code=3).out == ""


def test_json_makes_the_catalogue_lines_of_json(cas: Cas, two: Path) -> None:
    lines = cas("export", "catalogue", "--format", "jsonl").out
    assert cas("export", "catalogue", "--json").out == lines
    assert cas("export", "catalogue", "--json", "--format", "jsonl").out == lines
    cas("export", "catalogue", "--json", "--format", "csv", code=2)
    assert cas("export", "catalogue", "--json", "-o", "v.csv").json == {"written": "v.csv"}
    assert Path("v.csv").read_text() == cas("export", "catalogue").out
