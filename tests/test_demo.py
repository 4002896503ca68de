"""The demo runs from start to end and tells what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parent.parent / "docs" / "examples" / "demo.sh"


def test_the_demo_runs(tmp_path: Path) -> None:
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, module in (("cas", " -m castore"), ("python", "")):
        (bin / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        (bin / name).chmod(0o755)
    path = f"{bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", DEMO],
        env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for told in (
        "$ cas commit", "--resume", "carried", "$ cas log --graph", "no damage found",
        "made under spec 1.0", "the author may not approve", "$ cas audit",
    ):  # fmt: skip
        assert told in done.stdout, told
