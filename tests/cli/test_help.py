"""Help, unknown names, global options: what holds for every command."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from castore.cli.main import program
from castore.cli.program import ALSO, COMMANDS, SECTIONS
from castore.cli.verbs import Family, Verb
from tests.cli.conftest import Cas


def every_command() -> list[tuple[str, ...]]:
    """The words of every command: `("log",)`, `("op",)`, `("op", "log")` …"""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        found.append((name,))
        command = importlib.import_module(COMMANDS[name].module).command
        if isinstance(command, Family):
            found += [(name, below) for below in command.commands]
    return found


def command_of(words: tuple[str, ...]) -> click.Command:
    """The command that these words name."""
    command = importlib.import_module(COMMANDS[words[0]].module).command
    for word in words[1:]:
        command = command.commands[word]
    assert isinstance(command, (Verb, Family))
    return command


@pytest.fixture(params=every_command(), ids=" ".join)
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


def test_help_is_one_screen_of_80_columns(cas: Cas) -> None:
    result = cas("--help")
    lines = result.out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    columns = lines[1 : lines.index(next(line for line in lines if line.startswith("  -C")))]
    assert all(line[38:39] in ("", " ") for line in columns)
    assert result.err == ""
    for name, entry in COMMANDS.items():
        if name in ALSO:
            assert re.search(rf"\b{name}\b", result.out.partition("also: ")[2])
            continue
        assert re.search(rf"  ([a-z-]+, )*{name}(, [a-z-]+)*  ", result.out)
        assert entry.summary in result.out
        assert entry.section in SECTIONS


def test_help_on_a_narrow_terminal(process: Cas) -> None:
    out = process("--help", env={"COLUMNS": "60"}).out
    assert max(map(len, out.splitlines())) <= 72
    assert "\nshare\n" in out


def test_every_command_has_help(words: tuple[str, ...], cas: Cas) -> None:
    for option in ("--help", "-h"):
        result = cas(*words, option)
        assert max(map(len, result.out.splitlines())) <= 80
        assert result.out.startswith(f"Usage: cas {' '.join(words)}")
        assert "--json" in result.out


def test_every_command_has_two_examples_that_parse(words: tuple[str, ...], cas: Cas) -> None:
    command = command_of(words)
    assert isinstance(command, (Verb, Family))
    assert len(command.examples) >= 2
    out = cas(*words, "--help").out
    for example, meaning in command.examples:
        assert f"cas {words[0]}" in example
        assert meaning.split()[0] in out


def test_every_option_has_help(words: tuple[str, ...]) -> None:
    for parameter in command_of(words).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name


def test_options_mean_the_same_everywhere() -> None:
    """One short letter, one long name."""
    meanings: dict[str, set[str]] = {}
    for words in every_command():
        for parameter in command_of(words).params:
            if isinstance(parameter, click.Option):
                short = [name for name in parameter.opts if len(name) == 2]
                long = [name for name in parameter.opts if len(name) > 2]
                for letter in short:
                    meanings.setdefault(letter, set()).update(long or [str(parameter.name)])
    # -n counts in log, and is a dry run elsewhere: what fingers know from git.
    assert meanings.pop("-n") == {"--limit", "--dry-run"}
    assert {letter: names for letter, names in meanings.items() if len(names) > 1} == {}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("chekout", "checkout"),
        ("lgo", "log"),
        ("add", "commit"),
        ("du", "stats"),
        ("restore", "checkout"),
        ("brnch", "branch"),
    ],
)
def test_unknown_commands(cas: Cas, typed: str, meant: str) -> None:
    result = cas(typed, code=2)
    assert result.out == ""
    assert result.err.splitlines() == [
        f"error: no command is called {typed!r}; did you mean {meant}?",
        f"try:   cas {meant} --help",
    ]


def test_unknown_command_like_nothing(cas: Cas) -> None:
    assert "did you mean" not in cas("xyzzy", code=2).err
    assert "cas --help" in cas("xyzzy", code=2).err


def test_unknown_subcommand_and_option(cas: Cas) -> None:
    assert "did you mean list?" in cas("partial", "lst", code=2).err
    assert "--oneline" in cas("log", "--onelin", code=2).err
    assert cas("log", "--onelin", "--json", code=2).error["error"] == "InvalidInput"


def test_nothing_typed(cas: Cas) -> None:
    result = cas(code=2)
    assert result.out == ""
    assert "cas init" in result.err


def test_version(cas: Cas) -> None:
    assert cas("--version").out.startswith("cas ")


def test_a_usage_error_under_json_is_one_object(cas: Cas) -> None:
    for arguments in (["cat", "--json"], ["log", "-n", "x", "--json"], ["--json", "nope"]):
        result = cas(*arguments, code=2)
        assert result.out == ""
        assert result.error["error"] == "InvalidInput"
        assert result.error["retryable"] is False
        assert result.error["fix"]


def test_json_after_two_dashes_is_no_option(cas: Cas) -> None:
    assert cas("nope", "--", "--json", code=2).err.startswith("error: ")


NEEDS_STORE = [
    ("commit", "x"), ("status",), ("partial", "list"), ("partial", "show", "r"),
    ("partial", "discard", "r", "-y"), ("log",), ("show",), ("ls",), ("tree",), ("cat", "x:y"),
    ("diff",), ("find", "x"), ("stats",), ("branch",), ("tag",), ("checkout", "x"), ("fsck",),
    ("forget", "x"), ("purge", "x:y", "--reason", "z", "-y"),
    ("op", "log"), ("op", "undo"), ("backup", "copy"), ("gc",), ("pin",), ("repack",),
    ("unpin", "x"), ("why", "x"), ("review",), ("request-review", "x"), ("approve", "x"),
    ("reject", "x"),
    ("revoke", "x"), ("dismiss", "x"), ("comment", "x"), ("mark", "x", "draft"), ("deploy",),
    ("lineage", "x"), ("impact", "x"), ("blame", "x"), ("stale",), ("gate", "x"),
    ("sign", "x"), ("verify-signatures",),
    ("audit",), ("sql", "x"), ("export", "catalogue"), ("reindex",),
    ("salvage", "copy"), ("remote", "list"), ("remote", "add", "x", "s3://bucket"),
    ("bundle", "create", "x.bundle"), ("verify-external",), ("internalize", "x"),
    ("remote", "show", "x"), ("remote", "remove", "x"), ("remote", "repair", "x"),
    ("heal",), ("push",), ("fetch",), ("pull",),
]  # fmt: skip


def test_every_command_but_a_few_is_asked_for_a_store() -> None:
    without = {"init", "clone", "cache", "spec", "completion", "run"}  # run: tests/cli/test_run.py
    assert {words[0] for words in NEEDS_STORE} | without == set(COMMANDS)


@pytest.mark.parametrize("arguments", NEEDS_STORE, ids=" ".join)
def test_a_missing_store(cas: Cas, arguments: tuple[str, ...], tmp_path: Path) -> None:
    Path("x").write_text("x")
    result = cas(*arguments, code=3)
    assert result.out == ""
    assert result.err.splitlines()[-1] == "try:   cas init"
    result = cas(*arguments, "--json", code=2 if arguments[0] == "cat" else 3)
    assert result.out == ""
    assert {"error", "message", "fix", "retryable"} <= result.error.keys()


@pytest.mark.parametrize("arguments", NEEDS_STORE, ids=" ".join)
def test_a_store_that_is_named_is_not_looked_for_above(
    cas: Cas, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cas("init")
    Path("x").write_text("x")
    for option in ((), ("--store", "elsewhere/.cas")):
        if not option:
            monkeypatch.setenv("CAS_STORE", "elsewhere/.cas")
        result = cas(*arguments, *option, code=3)
        assert "elsewhere" in result.err
        assert "cas init --store elsewhere/.cas" in result.err


def test_global_options_before_and_after(
    cas: Cas, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = Path.cwd()
    expected = cas("log", "--json").out
    assert cas("--json", "log").out == expected
    store = str(top / ".cas")
    elsewhere = top / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir("/")
    assert cas("--store", store, "--json", "log").out == expected
    assert cas("log", "--store", store, "--json").out == expected
    assert cas("-C", str(elsewhere), "log", "--json").out == expected
    assert cas("log", "-C", str(elsewhere), "--json").out == expected
    assert cas("-C", str(top), "log", "-C", "elsewhere", "--json").out == expected
    assert Path.cwd() == Path("/")
    monkeypatch.setenv("CAS_STORE", store)
    assert cas("log", "--json").out == expected
    assert cas("op", "--json", "log").out == cas("op", "log", "--json").out


def test_a_folder_that_is_not_there(cas: Cas) -> None:
    assert "No such file" in cas("-C", "absent", "log", code=2).err


def test_quiet_and_verbose(cas: Cas, out: Path) -> None:
    assert "next: " in cas("show").err
    assert cas("-q", "show").err == ""
    assert cas("show", "--json").err == ""
    assert "store: " in cas("-v", "show").err


def test_the_program_is_a_click_command() -> None:
    assert isinstance(program, click.Group)
    assert program.list_commands(click.Context(program)) == list(COMMANDS)


def test_a_family_without_a_command_shows_its_help(cas: Cas) -> None:
    for family in ("spec", "partial", "op", "remote"):
        plain = cas(family, code=2)
        assert plain.err.startswith(f"Usage: cas {family} ")
        assert plain.out == ""
        assert cas("--json", family, code=2).error["fix"] == f"cas {family} --help"
