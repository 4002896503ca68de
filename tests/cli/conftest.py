"""What the tests of the command line share: a work folder, and `cas` run here or as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from castore.cli.main import program
from castore.store.run_meta import ENVIRONMENT

CLEARED = (
    *ENVIRONMENT,
    "CAS_STORE", "CAS_AUTHOR", "CAS_AGENT", "CAS_RUN", "CAS_TRACE", "CAS_WORKSPACE",
    "CAS_OPERATION_ID", "TRACEPARENT", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "GITHUB_RUN_ID",
    "CI_JOB_ID", "NO_COLOR", "COLUMNS", "_CAS_COMPLETE",
)  # fmt: skip
"""What castore reads of the environment: tests must not care which of these a CI runner sets."""


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str
    raw: bytes = b""

    @property
    def json(self) -> Any:
        """Stdout as one JSON object."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """Stdout as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        """Stderr as one JSON object."""
        return json.loads(self.err)


Cas = Callable[..., Result]


@pytest.fixture(autouse=True)
def _work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in its own folder, without the variables of the machine it runs on."""
    monkeypatch.chdir(tmp_path)
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAS_AUTHOR", "alice@example.org")


@pytest.fixture
def cas() -> Cas:
    """Run `cas` in this process: arguments, `stdin`, and `code`, the exit code that is expected."""

    def run(*arguments: str | Path, stdin: bytes = b"", code: int | None = 0) -> Result:
        done = CliRunner().invoke(program, [str(item) for item in arguments], input=stdin)
        result = Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)
        if code is not None:
            assert result.code == code, f"{arguments}: {result}"
        return result

    return run


@pytest.fixture
def process() -> Cas:
    """Run `cas` as a process of its own."""

    def run(
        *arguments: str | Path,
        stdin: bytes = b"",
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        done = subprocess.run(
            [*CAS, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=60,
            check=False,
        )
        result = Result(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(), done.stdout
        )
        if code is not None:
            assert result.code == code, f"{arguments}: {result}"
        return result

    return run


CAS = (sys.executable, "-c", "import sys; from castore.cli.main import main; sys.exit(main())")
"""`cas` as a process, whether or not the script is installed."""


def write(path: str, content: str | bytes) -> Path:
    """A file below the work folder, its folders made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


SPEC = """\
spec: report
version: "1.0"
artifacts:
  - name: summary
    type: document
    format: markdown
    path: summary.md
  - name: metrics
    type: dataset
    format: json
    path: metrics.json
"""


@pytest.fixture
def out(cas: Cas) -> Path:
    """A store, and one version `out@v1` of a folder with a text, a JSON file and a folder."""
    cas("init")
    write("out/summary.md", "# Summary\n\nAll is well.\n")
    write("out/metrics.json", '{"rows": 10, "ok": true}\n')
    write("out/pages/index.html", "<!doctype html><title>Report</title>\n")
    write("out/pages/img/dot.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>\n")
    cas("commit", "-m", "first", "out")
    return Path("out")


@pytest.fixture
def two(cas: Cas, out: Path) -> Path:
    """`out`, and a second version in which the JSON file and one page differ."""
    write("out/metrics.json", '{"rows": 12, "ok": true}\n')
    write("out/pages/index.html", "<!doctype html><title>Report 2</title>\n")
    cas("commit", "-m", "second", "--agent", "writer@7", "--run", "run-2", "out")
    return out
