"""What is told of wrong values: the near ones, the known ones, and what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cas, write


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("log", "--agent", "writr"), "did you mean writer?"),
        (("log", "--agent", "writer@8"), "did you mean writer@7?"),
        (("log", "--author", "bob"), "known: alice@example.org"),
        (("log", "--artifact", "sumary.md"), "did you mean summary.md?"),
        (("audit", "--deployed", "prd"), "did you mean prod?"),
        (("audit", "--deployed", "lab"), "nothing is deployed to 'lab'; known: prod"),
        (("audit", "--source", "https://example.org/x"), "names the source https://example.org/x"),
    ],
)
def test_an_empty_answer_says_what_is_known(
    cas: Cas, two: Path, words: tuple[str, ...], said: str
) -> None:
    cas("deploy", "out", "--to", "prod")
    result = cas(*words)
    assert result.out == ""
    assert "no versions match" in result.err
    assert said in result.err


def test_a_log_that_was_cut_to_nothing_gives_no_hint(cas: Cas, two: Path) -> None:
    assert cas("log", "-n", "0", "--agent", "nobody").err == "no versions match\n"
    assert cas("log", "--agent", "writer@7").err == ""


def test_an_empty_store_says_so(cas: Cas) -> None:
    cas("init")
    assert "there are no versions yet" in cas("audit", "--agent", "writer@7").err
    assert "no operations yet" in cas("op", "log").err
    assert cas("op", "log", "--json").err == ""


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (("log", "--review", "aproved"), "did you mean approved?", "--review none|pending|"),
        (("audit", "--lifecycle", "gone"), "use one of draft, published", "--lifecycle draft|"),
        (("audit", "--during", "yesterdy"), "did you mean yesterday", 'use 2d, "7 days ago"'),
        (("audit", "--columns", "artifact"), "did you mean artifacts?", "--columns label,id,at"),
        (("log", "-n", "few"), "'few' is not a whole number", "cas log --help"),
        (("gate", "./nothing"), "does not exist", "ls ."),
    ],
)
def test_a_wrong_value_says_what_to_type(
    cas: Cas, two: Path, words: tuple[str, ...], message: str, fix: str
) -> None:
    said, _, typed = cas(*words, code=None).err.partition("\ntry:   ")
    assert message in said
    assert typed.startswith(fix)


SPECS = ("spec check {}", "stale --spec {}", "status --spec {}", "show --spec {}")


@pytest.mark.parametrize(
    ("words", "near", "fix"),
    [
        *((words.format("reprt.spec.yaml"), "report.spec.yaml", "ls ") for words in SPECS),
        ("commit --spec reprt.spec.yaml", "report.spec.yaml", "ls "),
        ("run --spec reprt.spec.yaml -- true", "report.spec.yaml", "ls "),
        ("stale --spec no/such/x.yaml", "", "ls "),
        ("gate out --policy polcy.txt", "policy.txt", "ls "),
        ("commit oot", "out", "ls "),
        ("commit a=oot/b --name x", "", "ls "),
        ("spec init oot", "out", "cas spec init DIR"),
        ("lineage ./a/b", "", "ls "),
        ("gate ./a/b", "", "ls "),
        ("commit out --source file:none", "", "ls "),
        ("export openlineage out -o none/x", "", "name another file with -o"),
    ],
)
def test_a_file_that_is_not_there_says_where_to_look(
    cas: Cas, two: Path, words: str, near: str, fix: str
) -> None:
    write("report.spec.yaml", "")
    write("policy.txt", "")
    error = cas("--json", *words.split(), code=None).error
    assert error["message"].endswith(f"; did you mean {near}?") or not near
    assert error["fix"].startswith(fix)


def test_a_file_that_cannot_be_opened_says_what_it_is(cas: Cas, two: Path) -> None:
    error = cas("stale", "--spec", "out", "--json", code=2).error
    assert error["message"] == "spec 'out' cannot be read: Is a directory"
    assert error["fix"] == "ls -ld out"


def test_the_beginning_of_an_id_that_is_too_short(cas: Cas, two: Path) -> None:
    id = cas("show", "out", "--json").json["id"]
    assert "an id has 6 digits or more" in cas("lineage", id[:5], code=3).err
    assert "digits or more" not in cas("lineage", "zzz", code=3).err
    cas("lineage", id[:6])


def test_a_policy_file_is_called_by_its_name(cas: Cas, two: Path) -> None:
    write("rules.yaml", "approvals: 2\n")
    assert "rules.yaml:1:1: unknown key" in cas("gate", "out", "--policy", "rules.yaml", code=2).err
    record = cas("gate", "out", "--policy", "rules.yaml", "--json", code=2).error
    assert record["where"] == "rules.yaml"


def test_sql_names_the_tables_there_are(cas: Cas, two: Path) -> None:
    pytest.importorskip("duckdb")
    error = cas("sql", "select * from version", "--json", code=2).error
    assert error["message"] == "there is no table 'version'; did you mean versions?"
    assert error["fix"] == 'cas sql "show tables"'
    assert cas("sql", "select labl from versions", "--json", code=2).error["fix"] == (
        'cas sql "describe versions"'
    )


def test_a_run_that_wrote_nothing_says_where_to(cas: Cas) -> None:
    cas("init")
    error = cas("run", "--name", "x", "--", "true", code=2)
    assert "try:   let the command write its outputs into $CAS_OUT" in error.err


def test_a_diff_with_what_was_purged_tells_the_rest(cas: Cas, two: Path) -> None:
    cas("purge", "out@v1:metrics.json", "--reason", "leaked", "--include", "all", "--yes")
    result = cas("diff", "out@v1", "out@v2")
    assert "~ metrics.json" in result.out
    assert "was purged by alice@example.org" in result.out
    assert "not compared by content" in result.out
    record = cas("diff", "out@v1", "out@v2", "--json").json
    assert {row["form"] for row in record["contents"] if row["name"] == "metrics.json"} == {
        "binary"
    }
