"""`cas verify-external`, `cas internalize`, and what others say of external artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cas

SPEC = """\
spec: out
version: "1"
artifacts:
  - {name: model, type: dataset, format: binary, storage: external}
  - {name: near, type: document, format: text, path: near.txt}
"""


@pytest.fixture
def model(cas: Cas) -> Path:
    """A file beside a store, of which a version says where it is and what."""
    cas("init")
    Path("out.spec.yaml").write_text(SPEC)
    Path("near.txt").write_text("here\n")
    found = Path("model.bin").absolute()
    found.write_bytes(b"weights" * 999)
    cas("commit", "--spec", "out.spec.yaml", "-m", "first", f"model={found.as_uri()}")
    return found


def test_a_file_is_verified_and_brought_in(cas: Cas, model: Path) -> None:
    assert "external, not written" in cas("checkout", "out", "-o", "one").out
    assert "cas internalize out@v1 model" in cas("cat", "out:model", code=2).err
    verified = cas("verify-external", "out")
    assert verified.out.split()[:2] == ["same", "model"]
    assert cas("verify-external", "--quick", "--json").json["by"] == "size"
    brought = cas("internalize", "out")
    assert "brought in    model" in brought.out
    assert "out@v1 is as it was" in brought.out
    assert cas("internalize", "out", "--json").json["held"] == ["model"]
    model.unlink()
    assert cas("cat", "out:model").out == "weights" * 999
    cas("checkout", "out", "-o", "two")
    assert (Path("two") / "model").read_bytes() == b"weights" * 999
    assert cas("show", "out:model", "--json").json["storage"] == "held"
    assert "out@v1" in cas("why", "out:model").out
    cas("gc", "--grace", "0")
    cas("fsck", "--full")
    assert cas("cat", "out:model").out == "weights" * 999


def test_exit_codes(cas: Cas, model: Path) -> None:
    data = model.read_bytes()
    model.write_bytes(data[1:])
    changed = cas("verify-external", "out", code=7)
    assert changed.out.startswith("changed")
    assert cas("internalize", "out", "--json", code=7).error["error"] == "CorruptObject"
    model.unlink()
    assert cas("verify-external", "out", "model", "--json", code=9).json["state"] == "unreachable"
    cas("verify-external", "out", "near", code=2)
    cas("internalize", "out", code=9)
    model.write_bytes(data)
    cas("internalize", "out")


def test_what_is_not_pinned_is_left_with_a_way_out(cas: Cas, model: Path) -> None:
    uri = "https://x.invalid/model.bin"
    warned = cas("commit", "--spec", "out.spec.yaml", "--only", "model", f"model={uri}")
    assert "warning: model: nothing was found out" in warned.err
    left = cas("internalize", "out", code=5)
    assert "not pinned    model" in left.out
    assert f"cas commit --spec out.spec.yaml --only model --pin model={uri}" in left.err
    cas("verify-external", "out", code=9)
    cas("commit", "--spec", "out.spec.yaml", "--only", "model", "--pin", f"model={uri}", code=9)
    assert "external" in cas("diff", "out").out
    assert "external" in cas("status", "--spec", "out.spec.yaml", "--json").out


def test_a_set_without_external_artifacts(cas: Cas) -> None:
    cas("init")
    Path("a.md").write_text("a")
    cas("commit", "--name", "out", "a.md")
    assert "no external artifacts" in cas("verify-external", "out").err
    assert "no external artifacts" in cas("internalize", "out").err
