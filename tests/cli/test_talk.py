"""Output, progress and failures: which words go to which stream."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import click
import pytest

from castore.cli.failure import tell
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.errors import (
    Ambiguous,
    CastoreError,
    Conflict,
    CorruptObject,
    IncompleteSet,
    InvalidInput,
    InvalidSpec,
    Locked,
    NotApproved,
    NotFound,
    RemoteError,
    UnsupportedFormat,
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """A stream nothing can be written to."""

    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device")


def look(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in front of stdout and stderr."""
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    return screen


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    look(monkeypatch)
    assert Output({}).style("text", "red") == "\x1b[31mtext\x1b[0m"
    assert Output({"NO_COLOR": ""}).style("text", "red") == "\x1b[31mtext\x1b[0m"
    assert Output({"NO_COLOR": "1"}).style("text", "red") == "text"
    assert Output({"TERM": "dumb"}).style("text", "red") == "text"
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert Output({}).style("text", "red") == "text"


def test_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    look(monkeypatch)
    assert Output({"COLUMNS": "60"}).columns() == 60
    assert Output({}).columns() == 80
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert Output({"COLUMNS": "60"}).columns() is None


def test_talk_obeys_quiet_json_and_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output({})
    output.say("said")
    output.detail("unheard")
    output.next("cas log")
    output.verbose = 1
    output.detail("heard")
    output.quiet = True
    output.say("unheard")
    output.warn("\x1bheard")
    output.json = True
    output.warn("unheard")
    output.error("heard")
    assert capsys.readouterr().err.splitlines() == [
        "said", "next: cas log", "heard", "warning: \\x1bheard", "heard",
    ]  # fmt: skip


def test_talk_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    Output({}).say("said")
    monkeypatch.setattr("sys.stderr", None)
    Output({}).say("said")


def test_a_record_is_ascii_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "zürich\x1b\x9b\u202e\ud800\nx", "list": [1, None]}
    Output({}).record(value)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert json.loads(out) == value


def test_progress_is_shown_after_a_second_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = look(monkeypatch)
    times = iter([0.0, 0.5, 1.5, 1.55, 2.0])
    with Progress(Output({}), "storing", clock=lambda: next(times)) as progress:
        for _ in range(4):
            progress.advance(1_000_000)
    drawn = terminal.getvalue()
    assert drawn.split("\r\x1b[K")[1:] == ["storing: 2.0 MB, 1 s", "storing: 4.0 MB, 2 s", ""]


@pytest.mark.parametrize("flag", ["quiet", "json", "pipe"])
def test_no_progress_elsewhere(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output({})
    stream: io.StringIO = look(monkeypatch)
    if flag == "pipe":
        stream = io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
    else:
        setattr(output, flag, True)
    times = iter([0.0, 5.0, 9.0])
    with Progress(output, "storing", clock=lambda: next(times)) as progress:
        progress.advance(1)
        progress.advance(1)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CastoreError("x"), 1),
        (InvalidInput("x"), 2),
        (NotFound("x"), 3),
        (Ambiguous("x", candidates=["a"]), 3),
        (Conflict("x"), 4),
        (IncompleteSet("x"), 5),
        (NotApproved("x"), 6),
        (CorruptObject("x"), 7),
        (UnsupportedFormat("x"), 8),
        (RemoteError("x"), 9),
        (Locked("x"), 75),
        (click.UsageError("x"), 2),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device"), 1),
        (RuntimeError("x"), 70),
    ],
)
def test_exit_codes_and_json(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    output = Output({})
    assert tell(error, output) == code
    assert capsys.readouterr().err.startswith("error: ")
    output.json = True
    assert tell(error, output) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    record: dict[str, Any] = json.loads(captured.err)
    assert {"error", "message", "fix", "retryable"} <= record.keys()
    assert record["retryable"] is (code in (75, 130))


def test_an_internal_error_is_reported_in_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="of all") as caught:
        raise ValueError("of all things")
    assert tell(caught.value, Output({})) == 70
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "ValueError: of all things" in err
    (report,) = tmp_path.iterdir()
    assert str(report) in err
    assert "Traceback" in report.read_text()


def test_an_interrupted_command_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    error = KeyboardInterrupt()
    output = Output({})
    assert tell(error, output) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    error.add_note("cas commit --resume run-1 out")
    error.add_note("more")
    tell(error, output)
    assert capsys.readouterr().err.splitlines() == [
        "error: interrupted", "try:   cas commit --resume run-1 out",
    ]  # fmt: skip
    output.json = True
    tell(error, output)
    assert json.loads(capsys.readouterr().err)["fix"] == "cas commit --resume run-1 out"


def test_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [{"artifact": "a\x1b", "check": "json", "detail": "broken", "line": 3}]
    tell(IncompleteSet("refused", faults=faults, fix="cas x"), Output({}))
    assert capsys.readouterr().err.splitlines() == [
        "error: refused", "  a\\x1b: json: broken (line 3)", "try:   cas x",
    ]  # fmt: skip
    many = [{"artifact": "a", "check": "csv", "detail": "bad", "line": n} for n in range(1, 31)]
    tell(IncompleteSet("refused", faults=many), Output({}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "  a: csv: bad (line 1)"
    assert lines[-1] == "  … and 10 more (--json lists all)"


def test_every_fault_of_a_spec_is_told_with_its_place_and_fix(
    capsys: pytest.CaptureFixture[str],
) -> None:
    faults = [
        {"line": n, "column": 2, "message": f"bad \x1b{n}", "fix": "write\ngood"} for n in range(30)
    ]
    tell(InvalidSpec("all of it", faults=faults, where="a.yaml"), Output({}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: a.yaml: 30 faults"
    assert lines[1:4] == ["a.yaml:0:2: bad \\x1b0", "  fix: write", "       good"]
    assert sum("bad" in line for line in lines) == 30


def test_messages_are_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    tell(InvalidInput("no \x1b[2J here\nsecond", fix="cas \x07"), Output({}))
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\x07" not in err
    assert err.splitlines()[1] == "  second"
