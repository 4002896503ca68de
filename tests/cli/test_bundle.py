"""`cas bundle`: two people, and a file that one gives the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cas


@pytest.fixture
def given(cas: Cas) -> Path:
    """A bundle of a store in `one` with one version, which is in a store in `two` as well."""
    cas("init", Path("one").mkdir() or "one")
    (Path("one") / "a.md").write_text("first\n")
    cas("-C", "one", "commit", "-m", "first", "--name", "out", "a.md")
    Path("two").mkdir()
    cas("-C", "one", "bundle", "create", "../x.bundle")
    cas("-C", "two", "bundle", "import", "--init", "../x.bundle")
    return Path("x.bundle")


def edited(cas: Cas, place: str, text: str) -> None:
    (Path(place) / "a.md").write_text(text)
    cas("-C", place, "commit", "--name", "out", "-m", text, "a.md")


def test_two_people_and_a_file(cas: Cas, given: Path) -> None:
    assert cas("-C", "two", "cat", "out:a.md").out == "first\n"
    edited(cas, "one", "second\n")
    cas("-C", "one", "approve", "out", "-m", "good")
    foreseen = cas("-C", "one", "bundle", "create", "../y.bundle", "--since", "out@v1", "-n")
    assert "would write ../y.bundle: 1 ref, 1 version, 1 note" in foreseen.out
    assert not Path("y.bundle").exists()
    made = cas("-C", "one", "bundle", "create", "../y.bundle", "out", "--since", "out@v1")
    assert "begins after out@v1" in made.out
    assert "next: cas -C one bundle verify ../y.bundle" in made.err
    seen = cas("bundle", "show", "y.bundle")
    assert "branch  out" in seen.out
    assert "out@v2" in seen.out
    verified = cas("bundle", "verify", "y.bundle")
    assert "no damage found; its id is " in verified.out
    assert "left to what it begins after" in verified.err
    would = cas("-C", "two", "bundle", "import", "../y.bundle", "-n")
    assert "would import 1 version, 1 note" in would.out
    done = cas("-C", "two", "bundle", "import", "../y.bundle")
    assert "imported 1 version, 1 note" in done.out
    assert cas("-C", "two", "cat", "out:a.md").out == "second\n"
    cas("-C", "two", "gate", "out", "--require", "approved")
    assert cas("-C", "two", "bundle", "import", "../y.bundle").out == "nothing new in ../y.bundle\n"
    assert cas("-C", "two", "op", "log", "-n", "1").out.split()[3] == "import"


def test_json(cas: Cas, given: Path) -> None:
    edited(cas, "one", "second\n")
    made = cas("-C", "one", "bundle", "create", "../y.bundle", "--json").json
    assert made["versions"] == 2
    assert (made["bytes"], made["needs"]) == (Path("y.bundle").stat().st_size, [])
    shown = cas("bundle", "show", "y.bundle", "--json").json
    assert (shown["id"], shown["refs"]) == (made["id"], made["refs"])
    assert [version["number"] for version in shown["versions"]] == [2, 1]
    verified = cas("bundle", "verify", "y.bundle", "--json").json
    assert (verified["ok"], verified["id"], verified["signatures"]) == (True, made["id"], [])
    taken = cas("-C", "two", "bundle", "import", "../y.bundle", "--json").json
    assert taken["refs"][0]["new"] == made["refs"]["heads/out"]


def test_what_is_lacking_is_named(cas: Cas, given: Path) -> None:
    edited(cas, "one", "second\n")
    edited(cas, "one", "third\n")
    cas("-C", "one", "bundle", "create", "../y.bundle", "--since", "out@v2")
    refused = cas("-C", "two", "bundle", "import", "../y.bundle", code=3)
    assert "y.bundle begins after out@v2 (" in refused.err
    error = cas("-C", "two", "bundle", "import", "../y.bundle", "--json", code=3).error
    assert error["needs"][0]["label"] == "out@v2"


def test_branches_that_diverged(cas: Cas, given: Path) -> None:
    edited(cas, "one", "ours\n")
    edited(cas, "two", "theirs\n")
    cas("-C", "one", "bundle", "create", "../y.bundle")
    refused = cas("-C", "two", "bundle", "import", "../y.bundle", "--json", code=4).error
    assert refused["error"] == "RefMoved"
    assert refused["fix"] == "cas -C two bundle import --rebase ../y.bundle out"
    assert cas("-C", "two", "cat", "out:a.md").out == "theirs\n"
    done = cas("-C", "two", "bundle", "import", "--rebase", "../y.bundle", "out")
    assert "is out@v3" in done.out
    assert "warning: out: puts its own in the place of: a.md" in done.err
    assert "ask for them again" not in done.err
    assert cas("-C", "two", "cat", "out@v2:a.md").out == "ours\n"


def test_without_a_store_another_way_is_told(cas: Cas, given: Path) -> None:
    Path("three").mkdir()
    refused = cas("-C", "three", "bundle", "import", "../x.bundle", code=3)
    assert refused.err.splitlines()[-1] == "try:   cas -C three bundle import --init ../x.bundle"
    cas("-C", "three", "init")
    refused = cas("-C", "three", "bundle", "import", "../x.bundle", code=2)
    assert "another project" in refused.err
    cas("-C", "three", "bundle", "import", "--init", "../x.bundle", code=4)
    cas("-C", "three", "bundle", "import", "--init", "-n", "../x.bundle", code=2)


def test_what_is_there_is_not_written_over(cas: Cas, given: Path) -> None:
    refused = cas("-C", "one", "bundle", "create", "../x.bundle", code=4)
    assert "is there already" in refused.err
    cas("-C", "one", "bundle", "create", "-f", "../x.bundle")


def test_damage_is_told(cas: Cas, given: Path) -> None:
    data = bytearray(given.read_bytes())
    data[len(data) // 2] ^= 1
    given.write_bytes(data)
    verified = cas("bundle", "verify", "x.bundle", code=7)
    assert "1 finding" in verified.out
    assert cas("bundle", "verify", "x.bundle", "--json", code=7).json["ok"] is False
    refused = cas("-C", "two", "bundle", "import", "../x.bundle", code=7)
    assert refused.err.splitlines()[-1] == "try:   cas -C two bundle verify ../x.bundle"
    given.write_bytes(data[:50])
    assert "ends" in cas("bundle", "show", "x.bundle", code=7).err
    cas("bundle", "show", "absent.bundle", code=2)
