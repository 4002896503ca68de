"""`cas repack`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cas, write
from tests.store.repackscene import text, without_deltas


def test_what_was_stored_plainly_is_told_then_freed(cas: Cas, out: Path) -> None:
    with without_deltas():
        for version in range(4):
            write("out/rows.csv", text(version, 2000))
            cas("commit", "-m", f"edit {version}", "out")
    said = cas("repack", "-n", "--json").json
    assert (said["dry_run"], said["exact"], said["slices"]) == (True, True, 0)
    told = cas("repack", "-n")
    assert f"as stored, {said['freed_bytes']:,} bytes" in told.out
    assert "would free" in told.out
    assert "the file keeps its" in told.err
    assert told.err.endswith("next: cas repack\n")
    done = cas("repack", "--json").json
    assert done["freed_bytes"] == said["freed_bytes"] > 10_000
    assert done["deltas"] == said["deltas"] == 3
    row = cas("op", "log", "-n", "1", "--json").rows[0]
    assert (row["op"], row["detail"]["freed_bytes"]) == ("repack", done["freed_bytes"])
    assert "repack" in cas("op", "log", "-n", "1").out
    cas("op", "undo", str(row["sequence"]), code=2)
    cas("fsck", "--full")
    assert cas("cat", "out@v3:rows.csv").out.encode() == text(1, 2000)
    again = cas("repack")
    assert "0 bytes" in again.out
    assert "next:" not in again.err
