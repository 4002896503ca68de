"""`cas backup`, `cas op undo`, and the words of `cas stats`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.cli.conftest import Cas, write


def test_a_backup_opens_with_store(cas: Cas, two: Path) -> None:
    made = cas("backup", "copy")
    assert made.out.startswith(f"backed up to {Path('copy').absolute()}: ")
    assert made.err == "next: cas fsck --full --store copy\n"
    assert cas("--store", "copy", "log", "--oneline").out == cas("log", "--oneline").out
    assert cas("--store", "copy", "cat", "out@v1:metrics.json").out == '{"rows": 10, "ok": true}\n'
    assert cas("fsck", "--full", "--store", "copy").out.startswith("no damage found")


def test_later_backups_say_what_was_added(cas: Cas, out: Path) -> None:
    cas("backup", "copy")
    again = cas("backup", "copy")
    assert "added to" in again.out
    assert "0 blocks, 0 B, 0 rows" in again.out
    write("out/more.txt", "more\n")
    cas("commit", "out")
    assert "would add to" in cas("backup", "-n", "copy").out
    assert "would add to" in cas("backup", "-n", "copy").out
    record = cas("backup", "copy", "--json").json
    assert record["created"] is False
    assert record["blocks"] > 0
    assert record["operations"] == 2
    assert cas("backup", "copy", "--json").json["blocks"] == 0


def test_dry_run_of_a_first_backup(cas: Cas, out: Path) -> None:
    result = cas("backup", "copy", "-n")
    assert result.out.startswith("would back up to ")
    assert not Path("copy").exists()
    record = cas("backup", "copy", "-n", "--compact", "--json").json
    assert record["file_bytes"] is None, "how small a compact copy is shows only when it is made"
    assert record["bytes"] > 0


def test_refusals(cas: Cas, out: Path) -> None:
    write("mine/file", "x")
    assert "no backup" in cas("backup", "mine", code=4).err
    assert "in the store itself" in cas("backup", ".cas/copy", code=2).err
    cas("backup", "copy")
    write("other/a.txt", "x")
    cas("init", "elsewhere/..", code=2)
    cas("init", "other")
    cas("--store", "other/.cas", "commit", "--name", "a", "other/a.txt")
    refused = cas("--store", "other/.cas", "backup", "copy", "--json", code=4)
    assert refused.error["error"] == "Conflict"
    cas("--store", "copy", "commit", "out")
    assert "is ahead" in cas("backup", "copy", code=4).err


def test_op_undo(cas: Cas, two: Path) -> None:
    before = cas("log", "--json").rows[0]["id"]
    dry = cas("op", "undo", "-n")
    assert dry.out.startswith("would undo operation 2, commit\n          heads/out  ")
    assert dry.err == ""
    done = cas("op", "undo", "-m", "a slip")
    assert done.out.startswith("undid operation 2, commit\n")
    assert done.err == "next: cas op undo 3\n"
    assert cas("log", "--json").rows[0]["number"] == 1
    assert cas("op", "log", "-n", "1").out.split()[3:6] == ["undo", "alice@example.org", "a"]
    record = cas("op", "undo", "3", "--json").json
    assert (record["undone"], record["op"], record["sequence"]) == (3, "undo", 4)
    assert cas("log", "--json").rows[0]["id"] == before
    assert "heads/out" in cas("op", "undo", "1", code=4).err
    assert cas("op", "undo", "1", "--json", code=4).error["refs"][0]["ref"] == "heads/out"
    cas("op", "undo", "99", code=3)
    cas("op", "undo", "0", code=2)
    cas("tag", "final", "out")
    assert cas("op", "undo", "5", code=2).err.endswith("try:   cas tag -d final\n")


def test_stats_say_what_was_saved_in_plain_words(cas: Cas, out: Path) -> None:
    for number in range(3):
        write("out/table.csv", "".join(f"{n},active,north\n" for n in range(20_000 + number)))
        cas("commit", "out")
    text = cas("stats").out
    assert re.search(r"^  dedup +[\d.]+ [KM]?B  saved: content that was there already$", text, re.M)
    assert re.search(r"^  compression +[\d.]+ KB  saved: each object by itself$", text, re.M)
    assert re.search(r"^stored .* \d+ % of logical$", text, re.M)
    assert "times smaller" not in text
    version = cas("stats", "out").out
    assert re.search(r"^stored .* \d+ % of logical$", version, re.M)
    assert "content it holds more than once" not in version
    record = cas("stats", "--json").json
    assert record["saved"]["dedup_bytes"] > 0
    assert cas("stats", "out", "--json").json["saved"]["dedup_bytes"] == 0


def test_stats_where_nothing_was_saved(cas: Cas) -> None:
    cas("init")
    write("small/a.txt", "x")
    cas("commit", "small")
    text = cas("stats").out
    assert "more than logical: headers, specs, what is on no branch" in text
    assert re.search(r"^  compression +\d+ B  added: each object by itself$", text, re.M)
    assert "saved" not in text
    assert "%" not in text


def test_salvage_says_what_it_copied(cas: Cas, two: Path) -> None:
    made = cas("salvage", "rescued")
    assert made.out.startswith("salvaged to ")
    assert made.out.endswith("nothing is lost\n")
    put, check = made.err.splitlines()
    assert check == "next: cas fsck --full --store rescued"
    assert cas("fsck", "--full", "--store", "rescued").out.startswith("no damage found")
    assert cas("salvage", "rescued").out.startswith("nothing to do: ")
    record = cas("salvage", "rescued", "--json").json
    assert (record["whole"], record["changed"], record["lost"]) == (True, False, [])
    assert "in the damaged store" in cas("salvage", ".cas/copy", code=2).err
    before = cas("log").out
    subprocess.run(put.removeprefix("to work on in it: "), shell=True, check=True)
    assert Path("rescued.damaged/data.mdb").exists()
    assert cas("log").out == before
    assert "salvage" in cas("op", "log", "-n", "1").out


def test_salvage_of_a_store_that_does_not_open(cas: Cas, two: Path) -> None:
    data = Path(".cas/data.mdb")
    data.write_bytes(bytes(2 * 4096) + data.read_bytes()[2 * 4096 :])
    cas("log", code=7)
    whole = cas("salvage", "rescued")
    assert "damaged: data.mdb: " in whole.out
    assert cas("log", "--store", "rescued").out
    data.write_bytes(data.read_bytes()[: 3 * 4096])
    lost = cas("salvage", "little", code=7)
    assert "lost: operation (operations 1 to 2)" in lost.out
    assert cas("salvage", "little", "--json", code=7).json["lost"]
