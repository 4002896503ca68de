"""Signing on the command line: --sign, `sign`, `verify-signatures`."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from tests.cli.conftest import Cas, write
from tests.signing import know, needs_ssh, new_key
from tests.store.reviewing import say

pytestmark = needs_ssh

ALICE, BEN = "alice@example.org", "ben@example.org"
CONFIG = Path(".cas/config.toml")
SPEC = """\
spec: report
version: 1
artifacts: [{name: text, type: document, format: text, path: text.txt}]
review: {approvals: 1, not_author: true, signed: true}
"""


@pytest.fixture
def keys(cas: Cas, tmp_path: Path) -> dict[str, Path]:
    """A store that knows the keys of two, and signs by the first."""
    cas("init")
    made = {name: new_key(tmp_path / name) for name in (ALICE, BEN)}
    know(CONFIG, made, signing=made[ALICE])
    return made


def test_signed_from_commit_to_gate(cas: Cas, keys: dict[str, Path]) -> None:
    write("report.spec.yaml", SPEC)
    write("text.txt", "x")
    made = cas("commit", "--sign", "--json").json
    assert made["trust"]["author"] == "signed"
    cas("approve", "report", "--author", BEN)
    assert "0 of 1 approvals are signed" in cas("gate", "report", code=6).err
    know(CONFIG, keys, signing=keys[BEN])
    assert cas("approve", "report", "--author", BEN, "--sign").err.startswith("next: ")
    assert cas("gate", "report", "--require", "approved,signed").code == 0
    rows = cas("verify-signatures", "report", "--json").rows
    assert sorted((row["kind"], row["by"], *row["signers"]) for row in rows) == [
        ("manifest", ALICE, ALICE),
        ("manifest", ALICE, BEN),
        ("note", BEN, BEN),
    ]
    shown = cas("show", "report", "--json").json["notes"]
    said = [(note["stands"], note["trust"]) for note in shown if note["subject"] == "review"]
    assert sorted(said) == [(False, "claimed"), (True, "signed")]
    assert "BEGIN SSH" not in cas("show", "report").out
    cas("reject", "report", "--author", BEN, "--sign")
    assert "rejected by" in cas("gate", "report", code=6).err
    cas("revoke", "report", "--author", BEN)
    assert "signed nothing that takes it back" in cas("gate", "report", code=6).err
    cas("approve", "report", "--author", BEN, "--sign")
    cas("gate", "report")


def test_sign_and_verify(cas: Cas, keys: dict[str, Path]) -> None:
    write("out/a.txt", "x")
    id = cas("commit", "out", "--json").json["id"]
    assert cas("verify-signatures").err == "nothing is signed\n"
    lines = cas("sign", "out").out.splitlines()
    assert lines[0] == f"signed out@v1 {id}"
    assert "key SHA256:" in lines[1]
    out = cas("verify-signatures", "out").out
    assert out.startswith("valid ")
    assert out.endswith(f"the version  signed by {ALICE}\n")
    note = cas("approve", "out", "--json").json["note"]["id"]
    assert cas("sign", note, "--json").json["note"]["target"] == note
    assert cas("sign", note, "--author", BEN, code=6)
    assert f"approved by {ALICE}  signed by {ALICE}" in cas("verify-signatures").out


def test_an_invalid_signature_is_exit_7(cas: Cas, keys: dict[str, Path]) -> None:
    write("out/a.txt", "x")
    cas("commit", "--sign", "out")
    with castore.open() as store:
        version = store.resolve("out").version
        say(store, version, BEN, "SHA256:x", subject="signature", text="no signature")
    result = cas("verify-signatures", "--json", code=7)
    assert sorted(row["verdict"] for row in result.rows) == ["invalid", "valid"]
    assert "1 signature invalid" in cas("verify-signatures", "out", code=7).err


def test_an_unknown_key_is_warned_of(cas: Cas, keys: dict[str, Path]) -> None:
    write("out/a.txt", "x")
    know(CONFIG, {BEN: keys[BEN]}, signing=keys[ALICE])
    assert "config.toml does not give to alice@example.org" in cas("commit", "out", "--sign").err
    assert cas("verify-signatures").out.startswith("unknown  ")


def test_without_a_key_nothing_is_written(cas: Cas, keys: dict[str, Path]) -> None:
    write("out/a.txt", "x")
    know(CONFIG, keys)
    assert "signing.key is not set" in cas("commit", "out", "--sign", code=2).err
    assert cas("log").out == ""
    cas("commit", "out")
    for words in (("approve", "out", "--sign"), ("reject", "out", "--sign"), ("sign", "out")):
        assert "signing.key is not set" in cas(*words, code=2).err
    assert cas("show", "out", "--json").json["notes"] == []


def test_a_passphrase_is_never_asked_for_without_a_terminal(
    process: Cas, cas: Cas, keys: dict[str, Path], tmp_path: Path
) -> None:
    write("out/a.txt", "x")
    locked = new_key(tmp_path / "locked", "a secret of alice")
    know(CONFIG, keys, signing=locked)
    result = process("commit", "out", "--sign", "--json", code=1)
    assert "out@v1 is stored, but not signed" in result.error["message"]
    assert result.error["fix"] == f"cas sign {result.error['id']}"
    assert process("approve", "out", "--sign", code=1).err.startswith("error: the key ")
    assert cas("show", "out", "--json").json["notes"] == []
    result = process("reject", "out", "--sign", "--json", code=1)
    assert "rejected is noted, but not signed" in result.error["message"]


def test_a_run_is_signed(cas: Cas, keys: dict[str, Path]) -> None:
    script = 'echo x > "$CAS_OUT/x"'
    made = cas("run", "--sign", "--json", "--name", "made", "--", "sh", "-c", script).json
    assert made["trust"]["author"] == "signed"
    cas("run", "--sign", "--name", "none", "--", "sh", "-c", f"{script}; exit 3", code=3)
    assert len(cas("verify-signatures", "--json").rows) == 1
    CONFIG.write_text("")
    refused = cas("run", "--sign", "--name", "late", "--", "sh", "-c", "touch ran", code=2)
    assert "signing.key is not set" in refused.err
    assert not Path("ran").exists()
