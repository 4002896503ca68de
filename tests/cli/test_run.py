"""`cas run`: streams, exit codes, signals, terminals, and commands that commit themselves."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CAS, SPEC, Cas, write
from tests.cli.test_process import on_terminal

MADE = 'echo "# Hi" > "$CAS_OUT/summary.md"; echo {} > "$CAS_OUT/metrics.json"; '
HALF = 'echo "# Hi" > "$CAS_OUT/summary.md"; '


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cas: Cas) -> None:
    """A store, a spec, a folder for temporary ones, and `cas` for the commands that are run."""
    cas("init")
    write("report.spec.yaml", SPEC)
    for name in ("tmp", "bin"):
        (tmp_path / name).mkdir()
    script = tmp_path / "bin" / "cas"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(CAS)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def left() -> list[Path]:
    """The folders of outputs that stayed."""
    return sorted(Path("tmp").glob("cas-run-*/out"))


def test_the_streams_are_the_commands(process: Cas) -> None:
    done = process("run", "-m", "one", "--", "sh", "-c", MADE + "echo data; echo talk >&2")
    assert done.raw == b"data\n"
    lines = done.err.splitlines()
    assert lines[0] == "talk"
    assert "report@v1" in lines[1]
    assert lines[2].startswith("2 files: 8 B new")
    assert lines[-1] == "next: cas show report@v1"
    assert process("-q", "run", "sh", "-c", MADE + "echo talk >&2").err == "talk\n"
    assert left() == []


def test_standard_input_is_the_commands(process: Cas) -> None:
    script = 'cat > "$CAS_OUT/summary.md"; echo {} > "$CAS_OUT/metrics.json"'
    process("run", "sh", "-c", script, stdin=b"# From a pipe\n")
    assert process("cat", "report:summary").raw == b"# From a pipe\n"


def test_options_after_the_command_are_its_own(process: Cas) -> None:
    assert process("run", "--name", "x", "-q", "sh", "-c", "touch $CAS_OUT/a; echo $0 $1", "--json",
                   "--spec").out == "--json --spec\n"  # fmt: skip
    done = process("run", "--name", "x", "-q", "--", "sh", "-c", 'touch $CAS_OUT/a; echo "<$1>"',
                   "sh", "")  # fmt: skip
    assert done.out == "<>\n"
    assert process("run", code=2).err.splitlines()[0].startswith("error: missing argument")


def test_without_a_store_nothing_is_run(cas: Cas, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ("run", "--name", "x", "touch", str(tmp_path / "ran"))
    error = cas("--json", "--store", "elsewhere/.cas", *words, code=3).error
    assert (error["error"], error["fix"]) == ("StoreNotFound", "cas init --store elsewhere/.cas")
    assert "a run needs --spec or --name" in cas("-C", "empty", "run", "true", code=2).err
    assert not (tmp_path / "ran").exists()


def test_a_command_that_fails(cas: Cas) -> None:
    done = cas("run", "--run", "r1", "sh", "-c", HALF + "echo why >&2; exit 3", code=3)
    (out,) = left()
    lines = done.err.splitlines()
    assert lines[0] == "why"
    assert lines[1].startswith("error: sh exited with 3 after ")
    assert lines[1].endswith("; nothing was published")
    assert lines[2].startswith("  kept as partial/r1/report ")
    assert lines[3] == f"  the outputs are kept in {out.absolute()}"
    assert lines[4].startswith("try:   cas run --spec report.spec.yaml --resume r1 -- sh -c '")
    assert cas("partial", "list", "--json").json["command"] == lines[4].partition("   ")[2]
    # What is told to be typed is typed: the missing one is made, the other kept.
    shell = lines[4].partition("   ")[2].replace("exit 3", "echo {} > $CAS_OUT/metrics.json")
    again = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again
    assert cas("cat", "report@v1:summary").raw == b"# Hi\n"
    assert cas("partial", "list").out == ""


STARTED = "echo half > $CAS_OUT/a.txt; exit 3"


def test_a_second_failure_says_what_it_replaced(cas: Cas) -> None:
    first = cas("run", "--run", "d1", "--name", "n", "--", "sh", "-c", STARTED, code=3)
    assert "took the place" not in first.err
    before = cas("partial", "show", "d1", "--json").json
    assert before["reason"] == "its command ended with exit code 3"
    assert "exit code 3" in cas("partial", "list").out
    more = STARTED.replace("half", "more").replace("3", "4")
    second = cas("run", "--run", "d1", "--name", "n", "--", "sh", "-c", more, code=4)
    assert f"this took the place of an earlier attempt, {before['id'][:12]}" in second.err
    assert cas("partial", "show", "d1", "--json").json["reason"].endswith("exit code 4")
    again = cas("run", "--resume", "d1", "--name", "n", "--", "sh", "-c", "exit 5", code=5)
    assert "took the place" not in again.err


def test_a_command_that_is_killed(cas: Cas) -> None:
    done = cas("run", "--run", "r1", "sh", "-c", HALF + "kill -KILL $$", code=137)
    assert "error: sh was killed by SIGKILL after " in done.err
    shown = cas("show", "partial/r1/report", "--json").json
    assert (shown["complete"], shown["missing"], shown["meta"]["run.exit"]) == (
        False, ["metrics"], 137,
    )  # fmt: skip


def test_a_command_that_is_missing(cas: Cas) -> None:
    done = cas("run", "no-such-command", code=127)
    assert done.err == "error: no command is called 'no-such-command'\n"
    write("text", "x")
    assert "not executable" in cas("run", "./text", code=126).err
    error = cas("--json", "run", "./no", code=127).error
    assert (error["error"], error["retryable"]) == ("CommandNotFound", False)
    assert cas("partial", "list").out == ""
    assert list(Path("tmp").iterdir()) == []


def test_a_set_that_is_refused(cas: Cas) -> None:
    done = cas("run", "--run", "r1", "sh", "-c", HALF, code=5)
    (out,) = left()
    assert f"warning: not committed; the outputs are kept in {out.absolute()}" in done.err
    assert "metrics: present: nothing at metrics.json" in done.err
    fix = done.err.splitlines()[-1].partition("   ")[2]
    assert fix == f"cas commit {out.absolute()} --spec report.spec.yaml --resume r1"
    (out / "metrics.json").write_text("{}")
    cas(*shlex.split(fix)[1:])
    error = cas("--json", "run", "true", code=5).error
    assert error["error"] == "IncompleteSet"
    assert Path(error["out"]).is_dir()


def test_a_command_that_commits_itself(cas: Cas) -> None:
    script = MADE + 'cas commit -q --spec report.spec.yaml "$CAS_OUT" -m mine; rm "$CAS_OUT"/*'
    done = cas("run", "--agent", "writer@7", "sh", "-c", script)
    assert "report@v1  by the command itself" in done.err
    (row,) = cas("log", "report", "--json").rows
    assert (row["message"], row["agent"]["id"]) == ("mine", "writer")
    assert row["meta"] == {}
    assert left() == []
    # Another branch is not this one.
    script = MADE + 'cas commit -q --name other "$CAS_OUT"'
    row = cas("run", "--json", "sh", "-c", script).json
    assert (row["number"], row["by_command"]) == (2, False)
    other = cas("show", "other", "--json").json
    assert other["run"] == row["run"]


def test_a_command_that_left_a_partial_itself(cas: Cas) -> None:
    script = "mkdir o; echo x > o/summary.md; cas commit --spec report.spec.yaml o || exit 9"
    done = cas("run", "--run", "r1", "sh", "-c", script, code=9)
    assert "kept as partial/r1/report" in done.err
    row = cas("partial", "show", "r1", "--json").json
    assert row["artifacts"] == ["summary"]


def test_a_run_in_a_run(cas: Cas) -> None:
    inner = f"cas run -q --spec report.spec.yaml -- sh -c {shlex.quote(MADE)}"
    done = cas("run", "--run", "r1", "sh", "-c", inner)
    assert "by the command itself" in done.err
    (row,) = cas("log", "--json").rows
    assert (row["run"], row["number"]) == ("r1", 1)
    failing = f"cas run -q --spec report.spec.yaml -- sh -c {shlex.quote(HALF + 'exit 3')}"
    cas("run", "--run", "r2", "sh", "-c", failing, code=3)
    # The outer run did not put its own, which is empty, in the place of the inner one's.
    assert cas("partial", "show", "r2", "--json").json["artifacts"] == ["summary"]
    other = f"cas run -q --name other -- sh -c {shlex.quote(HALF)}; {MADE}"
    cas("run", "--run", "r3", "sh", "-c", other)
    assert {row["branch"] for row in cas("log", "--json").rows if row["run"] == "r3"} == {
        "other", "report",
    }  # fmt: skip


def test_output_of_every_size_and_kind(cas: Cas) -> None:
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 40_000)"
    script = f"{MADE} exec {sys.executable} -c {shlex.quote(code)}"
    done = cas("-q", "run", "sh", "-c", script)
    assert done.raw == bytes(range(256)) * 40_000
    meta = cas("show", "report", "--json").json["meta"]
    assert bytes.fromhex(meta["run.output"]) == bytes(range(256)) * 32
    assert max(map(len, cas("show", "report").out.splitlines())) < 250
    many = MADE + "seq 1 20000"
    record = cas("run", "--json", "sh", "-c", many).json
    assert record["command"]["output"].endswith("\n19999\n20000\n")
    assert len(record["command"]["output"]) == 8192
    shown = cas("show", "report", "--json").json
    assert shown["meta"]["run.output"] == record["command"]["output"]


def test_json_is_one_object_alone_on_stdout(cas: Cas) -> None:
    script = MADE + "echo said; echo talked >&2"
    done = cas("run", "--json", "-m", "one", "sh", "-c", script)
    record = done.json
    assert (record["branch"], record["number"], record["complete"]) == ("report", 1, True)
    assert (record["new_bytes"], record["written"], record["out"]) == (8, True, None)
    assert record["command"]["exit_code"] == 0
    assert record["command"]["arguments"] == ["sh", "-c", script]
    assert record["command"]["output"] == "said\ntalked\n"
    assert done.err == "said\ntalked\n"
    done = cas("run", "--json", "--run", "r1", "sh", "-c", HALF + "kill -9 $$", code=137)
    record = done.json
    assert (record["complete"], record["missing"], record["run"]) == (False, ["metrics"], "r1")
    assert record["command"]["signal"] == "SIGKILL"
    assert Path(record["out"], "summary.md").is_file()
    assert record["fix"].startswith("cas run --spec")
    done = cas("run", "--json", "--name", "x", "false", code=1)
    assert done.json["id"] is None
    assert done.json["warnings"]
    again = ("run", "--json", "--operation-id", "job", "--", "sh", "-c", MADE)
    assert not cas(*again).json["replayed"]
    replayed = cas(*again).json
    assert (replayed["replayed"], replayed["command"], replayed["written"]) == (True, None, False)


def test_sources_are_resolved_once_and_observed_when_checked_out(cas: Cas) -> None:
    write("in/a.csv", "a\n")
    cas("commit", "in")
    script = MADE + "cat $CAS_SOURCES"
    done = cas("-q", "run", "--source", "summary=in:a.csv", "--source", "file:in/a.csv",
                   "sh", "-c", script)  # fmt: skip
    first, second = done.json
    assert (first["label"], first["artifact"], first["path"]) == ("in@v1:a.csv", "summary", None)
    assert second["uri"] == Path("in/a.csv").absolute().as_uri()
    script = MADE + "cat $(cas --version >/dev/null; python3 -c 'import json, os;" \
        " print(json.load(open(os.environ[\"CAS_SOURCES\"]))[0][\"path\"])')"  # fmt: skip
    done = cas("-q", "run", "--source", "in:a.csv", "--checkout-sources", "sh", "-c", script)
    assert done.out == "a\n"
    assert "in@v1:a.csv (observed)" in cas("show", "report").out
    assert "did you mean summary" in cas("run", "--source", "sumary=in", "true", code=2).err


def test_git_is_told(cas: Cas) -> None:
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.email=a@b", "-c", "user.name=a", *words],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    cas("run", "-q", "sh", "-c", MADE)
    assert "git.commit" not in cas("show", "report", "--json").json["meta"]
    git("init", "-q")
    cas("run", "-q", "sh", "-c", MADE)
    assert "git.commit" not in cas("show", "report", "--json").json["meta"]
    git("add", "report.spec.yaml")
    git("commit", "-q", "-m", "x")
    cas("run", "-q", "sh", "-c", MADE)
    meta = cas("show", "report", "--json").json["meta"]
    assert (meta["git.commit"], meta["git.dirty"]) == (git("rev-parse", "HEAD"), False)
    write("report.spec.yaml", SPEC + "\n")
    cas("run", "-q", "sh", "-c", MADE)
    assert cas("show", "report", "--json").json["meta"]["git.dirty"] is True


def test_only_listed_variables_are_kept(process: Cas) -> None:
    process("run", "-q", "sh", "-c", MADE, env={"API_TOKEN": "s3cret", "LANG": "C", "TZ": "UTC"})
    shown = process("show", "report", "--json")
    assert "s3cret" not in shown.out
    assert shlex.split(shown.json["meta"]["run.environment"])[:2] == ["LANG=C", "TZ=UTC"]


# Signals.

WAITS = (
    "import os, signal, sys, time\n"
    "came = []\n"
    "def take(number, frame):\n"
    "    came.append(number); open('came', 'a').write(f'{number}\\n')\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):\n"
    "    signal.signal(number, take)\n"
    "open('ready', 'w')\n"
    "end = time.monotonic() + 60\n"
    "while not os.path.exists('stop') and time.monotonic() < end: time.sleep(0.01)\n"
    "sys.exit(len(came))\n"
)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_handed_on_once(number: signal.Signals, cas: Cas) -> None:
    write("waits.py", WAITS)
    running = subprocess.Popen(
        [*CAS, "run", "--run", "r1", sys.executable, "waits.py"], stderr=subprocess.PIPE, text=True
    )
    until(Path("ready").exists)
    running.send_signal(number)
    until(lambda: Path("came").exists() and bool(Path("came").read_text()))
    assert running.poll() is None
    Path("stop").touch()
    assert running.communicate(timeout=60)[1].startswith("error: ")
    assert running.returncode == 1
    assert Path("came").read_text().split() == [str(int(number))]
    assert cas("partial", "show", "r1", "--json").json["kind"] == "sealed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_that_dies_of_a_signal_is_told_so(number: signal.Signals, cas: Cas) -> None:
    running = subprocess.Popen(
        [*CAS, "run", "--run", "r1", "sh", "-c", HALF + "echo $$ > pid; exec sleep 60"],
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: Path("pid").exists() and bool(Path("pid").read_text()))
    if number == signal.SIGTERM:
        running.send_signal(number)
    else:
        os.kill(int(Path("pid").read_text()), number)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == 128 + number
    assert "sleep" not in error.splitlines()[0]
    assert number.name in error
    assert cas("partial", "show", "r1", "--json").json["artifacts"] == ["summary"]


def test_ctrl_c_reaches_the_command_once(cas: Cas) -> None:
    """A session with a terminal of its own, as a shell starts a command in the foreground."""
    write("waits.py", WAITS)
    pid, leader = pty.fork()
    if pid == 0:
        os.execv(CAS[0], [*CAS, "run", "--run", "r1", sys.executable, "waits.py"])
    until(Path("ready").exists)
    os.write(leader, b"\x03")
    until(lambda: Path("came").exists() and bool(Path("came").read_text()))
    time.sleep(0.2)  # a second one would have come by now
    Path("stop").touch()
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        shown += piece
    _, status = os.waitpid(pid, 0)
    os.close(leader)
    assert os.waitstatus_to_exitcode(status) == 1
    assert Path("came").read_text().split() == [str(int(signal.SIGINT))]
    assert b"exited with 1" in shown
    assert cas("partial", "show", "r1", "--json").json["kind"] == "sealed"


def test_a_terminal_stays_a_terminal(cas: Cas) -> None:
    script = MADE + "test -t 0 && test -t 1 && test -t 2 && stty size && echo one && echo two >&2"
    code, shown = on_terminal("run", "sh", "-c", script)
    assert code == 0, shown
    lines = shown.splitlines()
    assert lines[1:3] == ["one", "two"]
    assert "\x1b[33mreport@v1\x1b[0m" in shown
    # Redirected streams are none, whatever the other is.
    done = subprocess.run(
        [*CAS, "run", "-q", "sh", "-c", MADE + "test -t 1 || test -t 2 || echo none"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "none\n"


def test_the_size_of_the_terminal_is_the_real_one() -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (33, 77))
    code = "import os; print(os.get_terminal_size(1), os.get_terminal_size(2))"
    running = subprocess.Popen(
        [*CAS, "run", "--name", "x", sys.executable, "-c", code],
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        shown += piece
    running.wait(60)
    os.close(leader)
    assert shown.count(b"columns=77, lines=33") == 2


def test_streams_that_end_in_one_place_keep_their_order() -> None:
    script = MADE + "for i in 1 2 3; do echo o$i; echo e$i >&2; done"
    done = subprocess.run(
        [*CAS, "run", "-q", "sh", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["o1", "e1", "o2", "e2", "o3", "e3"]


def test_a_reader_that_goes_away_ends_the_command(cas: Cas) -> None:
    running = subprocess.Popen(
        [*CAS, "run", "--run", "r1", "sh", "-c", HALF + "while :; do echo y; done"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    running.stdout.read(10)
    running.stdout.close()
    assert running.stderr is not None
    error = running.stderr.read()
    running.stderr.close()
    assert running.wait(60) == 128 + signal.SIGPIPE
    assert "SIGPIPE" in error
    assert cas("partial", "show", "r1", "--json").json["artifacts"] == ["summary"]


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream(closed: int, cas: Cas) -> None:
    words = ["run", "sh", "-c", MADE + "echo out; echo err >&2"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *CAS, *words], capture_output=True, check=False
    )
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stderr
    assert len(cas("log", "--json").rows) == 1


def test_what_is_run_in_this_cas(cas: Cas) -> None:
    """Where the streams have no descriptors, as in tests of other programs."""
    assert cas("run", "-q", "sh", "-c", MADE + "echo out").out == "out\n"
    assert json.loads(cas("run", "--json", "sh", "-c", MADE).out)["number"] == 2


def test_what_a_command_prints_is_not_kept_if_so_wished(cas: Cas) -> None:
    cas("init")
    half = ("sh", "-c", 'echo secret; echo x > "$CAS_OUT/x"; exit 3')
    done = cas("run", "--name", "quiet", "--run", "r1", "--no-output", "--", *half, code=3)
    assert "cas run --name quiet --no-output --resume r1 -- " in done.err
    [left] = cas("partial", "list", "--json").rows
    assert left["command"].startswith("cas run --name quiet --no-output --resume r1 -- sh -c ")
    assert cas("show", left["id"], "--json").json["meta"]["run.output"] is False
    whole = ("sh", "-c", 'echo secret; echo x > "$CAS_OUT/x"')
    cas("run", "--name", "quiet", "--no-output", "--", *whole)
    assert cas("show", "quiet", "--json").json["meta"]["run.output"] is False
    assert "in meta" in " ".join(cas("run", "--help").out.split())
    assert "--no-output" in cas("run", "--help").out


def test_a_failed_run_is_kept_without_the_artifact_that_a_source_is_for(cas: Cas) -> None:
    cas("init")
    cas("run", "-q", "--name", "in", "sh", "-c", "echo 1 > $CAS_OUT/x")
    script = "echo 1 > $CAS_OUT/a; test -n '' && echo 2 > $CAS_OUT/b"
    cas(
        "run", "--name", "two", "--run", "r1", "--source", "b=in", "--agent", "w@1", "--",
        "sh", "-c", script, code=1,
    )  # fmt: skip
    [left] = cas("partial", "list", "--json").rows
    assert (left["kind"], left["artifacts"]) == ("sealed", ["a"])
    script = "echo 2 > $CAS_OUT/b"
    cas("run", "-q", "--name", "two", "--resume", "r1", "sh", "-c", script)
    shown = cas("show", "two", "--json").json
    assert shown["agent"] == {"id": "w", "version": "1"}
    assert [(row["artifact"], row["selector"]) for row in shown["sources"]] == [("b", "in")]


def test_what_speaks_against_a_source_is_told_before_the_command_starts(cas: Cas) -> None:
    cas("init")
    write("raw/a", "1")
    cas("commit", "-q", "raw")
    cas("mark", "raw", "withdrawn")
    command = ("--source", "raw", "--", "sh", "-c", "echo started >&2; touch $CAS_OUT/a")
    err = cas("run", "--name", "out", *command).err
    assert err.index("source raw@v1 was withdrawn") < err.index("started")
    assert err.count("was withdrawn") == 1
    record = cas("run", "--name", "out", "--json", *command).json
    assert record["warnings"] == ["source raw@v1 was withdrawn"]
    err = cas("run", "--name", "out", "--source", "raw", "--", "sh", "-c", "exit 3", code=3).err
    assert err.count("was withdrawn") == 1


def test_what_no_version_could_say_is_refused_before_the_command_starts(cas: Cas) -> None:
    cas("init")
    start = ("--", "sh", "-c", "echo started >&2; touch $CAS_OUT/a")
    for words, code, said in (
        (("--source", "none"), 3, "no branch, tag or version is called 'none'"),
        (("-m", "x" * 70_000), 2, "message: not text of at most 65536 bytes"),
    ):
        err = cas("run", "--name", "out", *words, *start, code=code).err
        assert said in err
        assert "started" not in err
