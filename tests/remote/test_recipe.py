"""The server to try castore with, as docs/remote.md starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import servers

_DOCS = Path(__file__).parents[2] / "docs/remote.md"
_PORTS = ("s3.port.grpc", "volume.port.grpc", "master.port", "master.port.grpc", "filer.port",
          "filer.port.grpc")  # fmt: skip
_CAS = """\
cas() { "$PYTHON" -m castore "$@"; }
trap 'kill %1; wait %1' EXIT
set -e
"""


def recipe() -> str:
    """What the document says to type, on ports that are free."""
    text = _DOCS.read_text().partition("### A server to try it with")[2]
    script = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)[0]
    ports = servers.free_ports(2 + len(_PORTS))
    named = " ".join(f"-{name}={port}" for name, port in zip(_PORTS, ports[2:], strict=True))
    script = script.replace("8333", str(ports[0])).replace("8381", str(ports[1]))
    return script.replace(" -s3 ", f" -s3 {named} ")


def test_the_server_of_the_document_takes_a_push(tmp_path: Path) -> None:
    before = "cas init\necho one > a.md\ncas commit --name out a.md\n"
    after = "cas clone s3://castore/acme copy\ncas -C copy cat out:a.md\n"
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ended = subprocess.run(
        ["bash", "-m", "-c", _CAS + before + recipe() + after],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PATH": paths, "PYTHON": sys.executable,
             "PYTHONPATH": os.pathsep.join(sys.path), "CAS_AUTHOR": "alice@example.org"},
    )  # fmt: skip
    assert ended.stdout.endswith("one\n"), ended.stderr
    assert "sent 3 objects to origin (s3://castore/acme)" in ended.stdout
