"""What `--json` promises: the words that programs rely on."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.conftest import Cas, write

VERSION = {
    "id", "number", "branch", "message", "at", "set", "parents", "spec", "agent", "author", "run",
    "trace", "workspace", "complete", "missing", "checks", "carried", "sources", "review",
    "lifecycle", "trust", "failed", "meta", "operation",
}  # fmt: skip
ARTIFACT = {
    "name", "type", "format", "title", "path", "size", "digest", "content", "storage", "made_by",
}  # fmt: skip
RECORD = {
    "id", "workspaceId", "createdByUserId", "skillName", "skillVersion", "skillExecutionId",
    "traceId", "title", "type", "format", "sourceObjectRefs", "status", "storageMode",
    "storageKey", "version", "createdAt",
}  # fmt: skip


def test_storage_says_what_a_spec_says(cas: Cas) -> None:
    """`storage` is the word of a spec, wherever it is told; the record says where the bytes are."""
    cas("init")
    write(
        "s.spec.yaml",
        "spec: s\nversion: '1'\nartifacts:\n"
        "  - {name: here, type: document, format: text, path: here.txt}\n"
        "  - {name: far, type: dataset, format: csv, storage: external, uri: 'https://x.invalid/f.csv'}\n",
    )
    write("here.txt", "here\n")
    cas("commit", "-q", "--spec", "s.spec.yaml")
    stored = {"here": "stored", "far": "external"}
    told = [
        cas("ls", "s", "--json").rows,
        cas("show", "s", "--json").json["artifacts"],
        cas("audit", "--json").json["artifacts"],
        [cas("show", f"s:{name}", "--json").json for name in stored],
        cas("export", "catalogue", "--table", "artifacts", "--format", "jsonl").rows,
    ]
    for rows in told:
        assert {row.get("name") or row["artifact"]: row["storage"] for row in rows} == stored
    modes = [cas("show", f"s:{name}", "--json").json["record"]["storageMode"] for name in stored]
    assert modes == ["local", "external"]
    assert cas("show", "s:here").err.splitlines()[-1] == "next: cas cat s@v1:here"


def test_json_has_what_programs_rely_on(cas: Cas, two: Path) -> None:
    shown = cas("show", "out", "--json").json
    for version in (shown, *cas("log", "--json").rows, *cas("audit", "--json").rows):
        assert version.keys() >= VERSION
        assert version["spec"].keys() >= {"id", "version"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", version["at"])
        assert version["trust"].keys() >= {"author", "agent", "run", "trace", "checks", "sources"}
        assert set(version["trust"].values()) <= {"claimed", "observed", "signed", None}
    assert shown["agent"] == {"id": "writer", "version": "7"}
    listed = cas("ls", "out", "--json").rows
    assert listed == shown["artifacts"]
    for artifact in (*listed, *cas("audit", "-n", "1", "--json").json["artifacts"]):
        assert artifact.keys() >= ARTIFACT
        assert (artifact["digest"] is None) == (artifact["format"] == "folder")
    for row in cas("ls", "-R", "out", "--json").rows:
        assert row["kind"] in ("file", "folder")
        assert len(row["digest"] or "") == (64 if row["kind"] == "file" else 0)
    assert cas("show", "out:pages", "--json").json["record"].keys() == RECORD
    made = cas("commit", "out", "--if-changed", "--json").json
    assert made.keys() >= {
        *VERSION, "new_bytes", "known_bytes", "stored_bytes", "identical", "replayed", "warnings",
        "next",
    }  # fmt: skip
    walk = cas("lineage", "out", "--json").json
    assert walk["begin"] == shown["id"] == walk["nodes"][0]["id"]
