"""The catalogue as rows, through SQL, and as Parquet."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

import castore
from castore import errors
from castore.store import catalogue
from castore.store.catalogue import TABLES
from castore.store.sql import sql

pytest.importorskip("duckdb", reason="pip install -e '.[dev]'")


@pytest.fixture
def filled(store: castore.Store, out: Path, tmp_path: Path) -> castore.Store:
    """Two versions on one branch, one from them on another, a tag."""
    writer = castore.Context(agent=castore.Agent("writer", "7"), run="r'1", author="ann")
    store.commit("out", cwd=tmp_path, message="first", context=writer, meta={"n": 1, "b": b"\0"})
    (out / "report.md").write_text("two")
    store.commit("out", cwd=tmp_path, message='line\n"two"', sources=("https://example.org/x",))
    store.commit("out/report.md", cwd=tmp_path, name="copy", sources=("out@v1:report.md",))
    store.tag("kept", "out@v1")
    return store


def asked(store: castore.Store, statement: str) -> list[tuple[object, ...]]:
    with sql(store, statement) as answer:
        return list(answer)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_holds_what_its_rows_say(filled: castore.Store, name: str) -> None:
    rows = list(filled.catalogue(name))
    assert rows or name in ("checks", "notes", "partials")
    for row in rows:
        assert set(row) == set(TABLES[name].columns)
    with filled.sql(f"from {name}") as answer:
        found = [dict(zip(answer.columns, row, strict=True)) for row in answer]
    assert found == rows
    assert all(row["time"].endswith("Z") for row in rows if "time" in row)


def test_a_question_joins_tables(filled: castore.Store) -> None:
    statement = """
        SELECT v.branch, v.number, a.name FROM artifacts a JOIN versions v ON v.id = a.version
        WHERE a.digest = (SELECT digest FROM sources WHERE target_artifact = 'report.md')
        ORDER BY v.time
    """
    assert asked(filled, statement) == [("out", 1, "report.md")]
    grouped = "SELECT agent, count(*) FROM versions GROUP BY agent ORDER BY agent NULLS LAST"
    assert asked(filled, grouped) == [("writer", 1), (None, 2)]
    assert asked(filled, "select message from versions where number = 2") == [('line\n"two"',)]
    assert asked(filled, "select meta['n'] from versions where number = 1 and branch = 'out'") == [
        ("1",)
    ]
    assert ("versions",) in asked(filled, "SHOW TABLES")
    assert asked(filled, "select 1.5::decimal(3,1), 2::hugeint, [1], {'a': date '2026-01-02'}") == [
        (1.5, 2, [1], {"a": "2026-01-02"})
    ]


def test_times_have_a_zone_in_any_shape(
    filled: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    first = next(filled.catalogue())["time"]
    with sql(filled, "select typeof(time), time, time as time, [time], {'a': time} -- no more\n"
             "from versions order by time desc limit 1;") as answer:  # fmt: skip
        assert answer.columns[1:3] == ("time", "time")
        kind, *found = next(iter(answer))
    assert kind == "TIMESTAMP WITH TIME ZONE"
    assert found == [first, first, [first], {"a": first}]
    months = asked(filled, "select distinct date_trunc('year', time) from versions")
    assert months == [(f"{first[:4]}-01-01T00:00:00.000000Z",)]
    assert asked(filled, "select count(*) from versions where time > '1999-01-01'") == [(3,)]


def test_a_number_that_is_none_is_null(filled: castore.Store) -> None:
    statement = "select 'nan'::double, '-inf'::float, ['nan'::double, 1.5], {'a': 'inf'::double}"
    (row,) = asked(filled, statement)
    assert row == (None, None, [None, 1.5], {"a": None})
    assert json.dumps(row, allow_nan=False)


def test_an_incomplete_set_is_no_version(filled: castore.Store, tmp_path: Path) -> None:
    spec = tmp_path / "s.spec.yaml"
    spec.write_text(
        "spec: s\nversion: 1\nartifacts:\n"
        "  - {name: a, type: dataset, format: json, path: a.json}\n"
        "  - {name: b, type: dataset, format: json, path: b.json}\n"
    )
    (tmp_path / "a.json").write_text("not JSON")
    with pytest.raises(errors.IncompleteSet):
        filled.commit(cwd=tmp_path, spec=spec, context=castore.Context(run="broken"))
    assert asked(filled, "select count(*) from versions") == [(3,)]
    assert asked(filled, "select count(*) from artifacts where version not in "
                 "(select id from versions)") == [(0,)]  # fmt: skip
    assert asked(filled, "select label, spec, missing, failed from partials") == [
        ("partial/broken/s", "s", ["b"], ["a"])
    ]
    assert asked(filled, "select distinct complete from checks where result = 'failed'") == [
        (False,)
    ]


def test_versions_have_labels_and_no_spec_that_is_not_known(filled: castore.Store) -> None:
    found = asked(filled, "select label, spec from versions order by label")
    assert found == [("copy@v1", None), ("out@v1", None), ("out@v2", None)]
    assert all(filled.record(version)["spec"]["id"] is None for version in filled.log())
    assert list(filled.audit(spec="out")) == []


def test_notes_say_whether_they_stand_and_which_agent_wrote(filled: castore.Store) -> None:
    filled.approve("out@v1", by="ann")
    filled.revoke("out@v1", by="ann")
    filled.approve("out@v1", by="bob")
    filled.comment("out@v2", "looked at it", by="eve", agent="checker@2")
    found = asked(filled, "select actor, value, stands, agent from notes order by time")
    assert found == [
        ("ann", "approved", False, None),
        ("ann", "revoked", True, None),
        ("bob", "approved", True, None),
        ("eve", None, True, "checker@2"),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY versions TO 'x.csv'",
        "COPY (FROM versions) TO 'x.csv'",
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "FROM glob('/etc/*')",
        "ATTACH 'x.db'",
        "ATTACH ':memory:' AS m",
        "INSTALL httpfs",
        "LOAD json",
        "SET memory_limit = '9GB'",
        "PRAGMA database_list",
        "INSERT INTO versions FROM versions",
        "WITH x AS (INSERT INTO refs FROM refs RETURNING ref) FROM x",
        "CREATE TABLE x AS FROM versions",
        "DROP TABLE versions",
        "EXPORT DATABASE 'x'",
        "SELECT 1; SELECT 2",
        "FROM secret",
        "FROM nothing",
        "SELECT",
        "",
        "SELECT error('no')",
        "SELECT (1 / 0)::INTEGER + 'x'::INTEGER",
    ],
)
def test_nothing_but_reading_the_catalogue_is_done(
    filled: castore.Store, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = [("a Python value",)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(errors.InvalidInput):
        asked(filled, statement)
    assert secret
    assert sorted(os.listdir(tmp_path)) == before
    assert asked(filled, "select count(*) from refs") == [(3,)]


def test_only_the_tables_named_are_read(
    filled: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: castore.Store) -> None:
        raise AssertionError

    for name in ("artifacts", "operations"):
        monkeypatch.setitem(catalogue.TABLES, name, TABLES[name]._replace(rows=never))
    assert asked(filled, "select count(*) from versions") == [(3,)]


def test_parquet(filled: castore.Store, tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "it's.parquet"
    filled.write_parquet("artifacts", path)
    with duckdb.connect() as connection:
        found = connection.execute("SELECT name, size FROM read_parquet(?)", [str(path)]).fetchall()
    rows = [(row["name"], row["size"]) for row in filled.catalogue("artifacts")]
    assert found == rows
    with pytest.raises(errors.WouldOverwrite):
        filled.write_parquet("artifacts", path)
    with pytest.raises(errors.InvalidInput, match="did you mean refs"):
        filled.write_parquet("ref", tmp_path / "other")
    assert not list(tmp_path.glob(".castore-export-*"))


def test_without_duckdb_the_way_to_have_it_is_told(
    filled: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(errors.CastoreError) as caught:
        filled.sql("from versions")
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert caught.value.fix == f"pip install '{extras['sql'][0]}'"
    assert json.dumps(list(filled.catalogue("refs")))
