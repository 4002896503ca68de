"""`cas` as a process: pipes, terminals, interrupts, closed streams, bad locales."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import CAS, Cas, write

HEAVY = ("yaml", "zstandard", "pyfastcdc", "platformdirs", "difflib", "asyncio", "logging", "numpy")

# What the standard library offers and showing a page of history can do without.
SPARED = (
    "ast", "concurrent.futures", "dataclasses", "inspect", "ipaddress", "json", "locale", "shlex",
    "shutil", "subprocess", "tempfile", "tokenize", "unicodedata",
)  # fmt: skip
# Of these rooms `cas log` loads no more than this.
LOG_LOADS = {
    "castore.spec.": {"faults"},
    "castore.content.": {
        "blocks", "codecs", "deltas", "descent", "kept", "layouts", "paging", "reader", "sink",
        "trees",
    },
    "castore.store.": {
        "config", "context", "history", "moments", "notes", "opening",
        "records", "removals", "selectors", "standing", "store", "version",
    },
    "castore.cli.commands.": {"log"},
}  # fmt: skip


def on_terminal(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code, and what `cas` shows on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*CAS, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", **(env or {})},
    )
    os.close(follower)
    shown = b""
    while True:
        ready, _, _ = select.select([leader], [], [], 30)
        try:
            piece = os.read(leader, 65536) if ready else b""
        except OSError:
            piece = b""
        if not piece:
            break
        shown += piece
    os.close(leader)
    return process.wait(30), shown.decode().replace("\r\n", "\n")


def test_the_whole_way(process: Cas) -> None:
    process("init")
    write("out/a.md", "hello\n")
    process("commit", "-m", "first", "out")
    assert process("cat", "out:a.md").raw == b"hello\n"
    assert process("show", "nope", code=3).out == ""
    assert process("fsck", "--full").code == 0
    process("commit", "--name", "piped", "x=-", stdin=b"\0\xff")
    assert process("cat", "piped:x").raw == b"\0\xff"


def test_colour_on_a_terminal_only(process: Cas, out: Path) -> None:
    code, shown = on_terminal("log")
    assert code == 0
    assert "\x1b[33mout@v1\x1b[0m" in shown
    for arguments, env in ((("log", "--no-color"), {}), (("log",), {"NO_COLOR": "1"})):
        code, shown = on_terminal(*arguments, env=env)
        assert "\x1b" not in shown
        assert "out@v1" in shown
    assert "\x1b" not in process("log").out
    assert "\x1b" not in process("show", "nope", code=3).err
    code, shown = on_terminal("show", "nope")
    assert code == 3
    assert "\x1b[31merror:\x1b[0m" in shown


def test_lines_on_a_terminal_of_80_columns(cas: Cas, out: Path) -> None:
    cas("commit", "-m", "long " * 40, "--author", "a" * 200, "out")
    for arguments in (
        ["log", "--oneline"],
        ["log", "--oneline", "--graph"],
        ["branch"],
        ["op", "log"],
    ):
        code, shown = on_terminal(*arguments, env={"COLUMNS": "80"})
        assert code == 0
        plain = re.sub(r"\x1b\[\d*m", "", shown)
        assert max(map(len, plain.splitlines())) <= 80, arguments
        assert "…" in plain
    # Elsewhere nothing is cut.
    assert "long " * 39 in cas("log", "--oneline").out


def test_a_question_on_a_terminal(cas: Cas, out: Path) -> None:
    write(
        "r.spec.yaml",
        "spec: r\nversion: 1\nartifacts:\n  - name: a\n    type: dataset\n    format: json\n",
    )
    cas("commit", "--run", "run-1", "--spec", "r.spec.yaml", code=5)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*CAS, "partial", "discard", "run-1"], stdin=follower, stdout=follower, stderr=follower
    )
    os.write(leader, b"n\n")
    assert process.wait(30) == 2
    os.write(leader, b"y\n")
    process = subprocess.Popen(
        [*CAS, "partial", "discard", "run-1"], stdin=follower, stdout=follower, stderr=follower
    )
    assert process.wait(30) == 0
    os.close(leader)
    os.close(follower)
    assert cas("partial", "list", "--json").out == ""


def test_a_reader_that_goes_away(cas: Cas) -> None:
    cas("init")
    write("out/big.bin", os.urandom(3_000_000))
    cas("commit", "out")
    for arguments in (["cat", "out:big.bin"], ["ls", "-R"], ["log", "--json"], ["--help"]):
        process = subprocess.Popen(
            [*CAS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
        process.stderr.close()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_at_the_other_end(out: Path, unbuffered: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*CAS, "log"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: ")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream(cas: Cas, out: Path, closed: int) -> None:
    write("out/a.md", "new\n")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *CAS, "commit", "out"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert len(cas("log", "--json").rows) == 2


def test_interrupted(cas: Cas) -> None:
    cas("init")
    os.mkfifo("pipe")
    Path("good.md").write_text("# Good\n")
    process = subprocess.Popen(
        [*CAS, "commit", "--name", "x", "good=good.md", "a=-", "--run", "run-1", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b"x" * 100_000)
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not _reads_standard_input(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    # Standard input stays open until the process has gone.
    code = process.wait(30)
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    assert code == 130
    assert out == b""
    assert b'"error": "Interrupted"' in err
    assert "--resume run-1" in json.loads(err)["fix"]
    assert b"Traceback" not in err
    assert cas("log", "--json").out == ""


def _reads_standard_input(pid: int) -> bool:
    """Whether the process sleeps in a read of file descriptor 0, with all that was sent taken."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        time.sleep(1)
        return True
    return call[:2] in (["0", "0x0"], ["63", "0x0"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_screen_that_cannot_show_it(process: Cas, encoding: str) -> None:
    process("init")
    write("out/résumé 日本.md", "hello\n")
    process("commit", "out")
    env = {"PYTHONIOENCODING": encoding}
    assert b"\\u65e5\\u672c.md" in process("ls", env=env).raw
    assert process("ls", "--json", env=env).json["name"] == "résumé 日本.md"


def test_an_internal_error_is_a_report(tmp_path: Path) -> None:
    broken = (
        "import sys; import castore.cli.access as a; import castore.cli.main as m\n"
        "def fail(*_, **__): raise RuntimeError('of all things')\n"
        "a.open_store = fail\n"
        "sys.exit(m.main())"
    )
    Path(".cas").mkdir()
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", broken, "log"], capture_output=True, env=env, check=False
    )
    assert done.returncode == 70
    assert b"Traceback" not in done.stderr
    assert b"of all things" in done.stderr
    (report,) = tmp_path.glob("cas-report-*.txt")
    assert "Traceback" in report.read_text()


def loaded(*arguments: str) -> set[str]:
    """The modules that a run of `cas` has loaded at its end."""
    code = (
        "import sys; from castore.cli.main import run; run(sys.argv[1:])\n"
        "from castore.cli.quick import Later\n"
        "real = [name for name, it in sys.modules.items() if type(it) is not Later]\n"
        "print('\\n'.join(real), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines())


def test_what_is_loaded_at_the_start() -> None:
    modules = loaded("--help")
    # The width of a help screen is asked of shutil.
    assert not modules & {*HEAVY, *SPARED, "pathlib"} - {"shutil"}
    assert not {name for name in modules if name.startswith(("castore.store", "castore.database"))}
    assert not {"lmdb", "blake3", "msgpack"} & modules


@pytest.mark.parametrize(
    "arguments", [["log"], ["show"], ["ls"], ["branch"], ["cat", "out:summary.md"]], ids=" ".join
)
def test_what_reading_versions_loads(two: Path, arguments: list[str]) -> None:
    write("out.spec.yaml", "spec: out\nversion: 1\nartifacts:\n  - name: a\n")
    heavy = set(HEAVY) - {"difflib", "logging"}  # what the store loads is the store's own test
    assert not loaded(*arguments) & heavy


def test_what_the_log_loads(two: Path) -> None:
    modules = loaded("-C", ".", "log", "-n", "50")
    assert not modules & {*HEAVY, *SPARED}
    ours = {name for name in modules if name.startswith("castore.")}
    for room, few in LOG_LOADS.items():
        below = {name.removeprefix(room) for name in ours if name.startswith(room)}
        assert below <= few, room
    assert not ours & {f"castore.database.{name}" for name in ("check", "mirror", "rebuild")}
    # Each module is files to look for, bytes to read and classes to make.
    assert len(ours) <= 85
