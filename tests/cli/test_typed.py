"""What is typed: empty values, options that are not there, selectors without a name, completion."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from castore.cli.main import run
from tests.cli.conftest import CAS, SPEC, Cas, write

EMPTY = [
    *(
        ("commit", "out", option, "")
        for option in (
            "--parent", "--resume", "--operation-id", "--run", "--agent", "--name", "--spec",
            "--author", "--trace", "--workspace", "--store", "-C", "--only", "--source",
        )
    ),
    ("log", "--agent", ""),
    ("show", "--spec", ""),
    ("find", "--digest", ""),
    ("checkout", "out", "-o", ""),
    ("spec", "init", "out", "--name", ""),
    ("partial", "show", "run-1", "--name", ""),
]  # fmt: skip


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_value_is_not_taken_for_none(words: tuple[str, ...], cas: Cas, out: Path) -> None:
    before = cas("log", "--json").out
    error = cas(*words, "--json", code=2).error
    named = {"-o": "--output"}.get(words[-2], words[-2])
    assert error["message"] == f"empty value for {named}; give one, or leave it out"
    assert cas("log", "--json").out == before


def test_global_options_before_the_command_may_not_be_empty(cas: Cas, out: Path) -> None:
    assert "empty value for --store" in cas("--store", "", "log", code=2).err
    assert "empty value for -C" in cas("-C", "", "log", code=2).err


@pytest.mark.parametrize("words", [("show", ""), ("log", ""), ("commit", ""), ("diff", "out", "")])
def test_an_empty_argument_is_refused(words: tuple[str, ...], cas: Cas, out: Path) -> None:
    assert "empty value for" in cas(*words, code=2).err


def test_a_message_may_be_empty(cas: Cas, out: Path) -> None:
    cas("commit", "-m", "", "out")
    cas("tag", "-m", "", "first", "out@v1")


def test_near_matches_of_an_option(cas: Cas) -> None:
    assert "no option '--limt'; did you mean --limit?" in cas("log", "--limt", "3", code=2).err
    assert cas("log", "--bogus", code=2).err.splitlines() == [
        "error: cas log has no option '--bogus'", "try:   cas log --help",
    ]  # fmt: skip


def test_completion_asks_for_a_shell(cas: Cas) -> None:
    assert cas("completion", code=2).err.splitlines() == [
        "error: for which shell? bash, zsh, fish", "try:   cas completion bash",
    ]  # fmt: skip


def test_a_checkout_has_no_stdout(cas: Cas, out: Path) -> None:
    assert cas("checkout", "out", "-o", "-", "--json", code=2).error["fix"] == (
        "cas cat out:ARTIFACT"
    )
    assert not Path("-").exists()


def test_selectors_without_a_name(cas: Cas, two: Path) -> None:
    assert cas("cat", "@v1:metrics.json").raw == b'{"rows": 10, "ok": true}\n'
    assert cas("cat", "~1:metrics.json").raw == b'{"rows": 10, "ok": true}\n'
    assert cas("cat", ":metrics.json").raw == b'{"rows": 12, "ok": true}\n'
    assert [row["number"] for row in cas("log", "~1", "--json").rows] == [1]
    assert cas("checkout", "@v1", "-o", "old", "--json").json["label"] == "out@v1"
    assert cas("stats", "@v1").out == cas("stats", "out@v1").out
    cas("tag", "begin", "@v1")
    assert cas("show", "begin", "--json").json["number"] == 1
    cas("branch", "side", "~1")
    error = cas("cat", ":metrics.json", "--store", ".cas", code=3)
    assert error.err.splitlines()[-1] == "try:   name one, such as out:metrics.json"
    for words in (("log", "@v1"), ("checkout", "~1"), ("cat", "@v1:metrics.json")):
        assert "try:   " in cas(*words, code=3).err


def test_next_names_the_version_in_full(cas: Cas, two: Path) -> None:
    def following(rev: str) -> str:
        return cas("show", rev).err.splitlines()[-1]

    for rev in (":metrics.json", "@v2:metrics.json", "out:metrics.json"):
        assert following(rev) == "next: cas cat out@v2:metrics.json"
    assert following("~1:pages") == "next: cas ls out@v1:pages"
    cas("branch", "side", "out@v1")
    cas("branch", "-f", "out", "side")
    lost = cas("op", "log", "--json").rows[0]["refs"][0]["old"]
    # out@v2 is no longer anywhere: only the id still means this version.
    assert following(f"{lost}:metrics.json") == f"next: cas cat {lost}:metrics.json"


def test_next_quotes_for_the_shell(cas: Cas, out: Path) -> None:
    write("out/with blank.txt", "x")
    cas("commit", "out")
    command = cas("show", ":with blank.txt").err.splitlines()[-1]
    assert command == "next: cas cat 'out@v2:with blank.txt'"
    write("blank first/a b.txt", "x")
    write("blank first/in it/c.txt", "x")
    cas("commit", "--name", "b", "a b=blank first/a b.txt", "f=blank first")
    for selector, fix in (
        ("b", "cas cat 'b:a b'"),
        ("b:f/in it", "cas ls 'b:f/in it'"),
        ("b:f/in it/d.txt", "cas ls -R b:f"),
    ):
        error = cas("cat", selector, code=None).err.splitlines()[-1]
        assert error.split(maxsplit=1)[1] == fix


def test_show_tells_which_spec_an_artifact_was_made_under(cas: Cas, out: Path) -> None:
    spec = write("out/report.spec.yaml", SPEC)
    cas("commit", "--spec", spec)
    assert "\nspec     report 1.0\n" in cas("show", "report:summary").out
    spec.write_text(SPEC.replace('"1.0"', '"1.1"'))
    write("out/summary.md", "# Other\n")
    cas("commit", "--spec", spec, "--only", "summary")
    carried = cas("show", "report:metrics").out
    assert carried.splitlines()[0].endswith("  carried from v1, spec 1.0")
    assert "\nspec     report 1.0\n" in carried
    made = cas("show", "report:summary").out
    assert "carried" not in made
    assert "\nspec     report 1.1\n" in made
    assert "\nspec     none\n" in cas("show", "out:summary.md").out


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("cas commit o", "file"),
        ("cas commit --spec ", "file"),
        ("cas show --spec r", "file"),
        ("cas spec check ", "file"),
        ("cas spec init -o ", "file"),
        ("cas checkout out -o ", "dir"),
        ("cas -C ", "dir"),
        ("cas log --store ", "dir"),
        ("cas init ", "dir"),
    ],
)
def test_paths_are_completed_by_the_shell(
    words: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setenv("_CAS_COMPLETE", "bash_complete")
    run([])
    assert capsys.readouterr().out.splitlines() == [f"{kind},{words.rpartition(' ')[2]}"]


def test_next_comes_last_in_merged_output(cas: Cas, out: Path) -> None:
    for words in (["show"], ["commit", "out"], ["checkout", "out"], ["spec", "init", "out"]):
        done = subprocess.run(
            [*CAS, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60
        )
        lines = done.stdout.decode().splitlines()
        assert len(lines) > 1
        assert [line for line in lines if line.startswith("next: ")] == lines[-1:], words


def test_written(cas: Cas, out: Path) -> None:
    nothing = cas("commit", "--if-changed", "out")
    assert "(nothing was written: identical to out@v1)" in nothing.out
    assert cas("commit", "--if-changed", "out", "--json").json["written"] is False
    assert cas("commit", "out", "--operation-id", "a", "--json").json["written"] is True
    again = cas("commit", "out", "--operation-id", "a", "--json").json
    assert (again["written"], again["replayed"], again["number"]) == (False, True, 2)
