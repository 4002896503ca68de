"""Commands that are named to be typed work where the command that names them did."""

from __future__ import annotations

from pathlib import Path

import pytest

from castore.cli.output import Output
from tests.cli.conftest import Cas, write


@pytest.fixture
def there(cas: Cas) -> Path:
    """A store with a version, in a folder of a name that a shell would split."""
    place = Path("in here")
    place.mkdir()
    cas("init", str(place))
    write("in here/a", "text")
    return place


def test_what_helps_names_the_folder(cas: Cas, there: Path) -> None:
    made = cas("-C", str(there), "commit", "a")
    assert made.err.endswith("next: cas -C 'in here' show a@v1\n")
    refused = cas("-C", str(there), "show", "b", code=3)
    assert refused.err.endswith("try:   cas -C 'in here' branch\n")
    write("in here/a", "more")
    said = cas("-C", str(there), "--json", "commit", "a").json["next"]
    assert said == "cas -C 'in here' diff a@v2"
    assert cas("-C", str(there), "--json", "show", "b", code=3).error["fix"].startswith("cas -C ")


def test_what_helps_names_the_store(cas: Cas, there: Path) -> None:
    store = "in here/.cas"
    made = cas("--store", store, "commit", "in here/a")
    assert made.err.endswith(f"next: cas --store '{store}' show a@v1\n")
    assert cas("--store", store, "show", "a@v1", "--json").json["number"] == 1
    # What names a store already keeps the one that it names.
    absent = cas("--store", "nowhere", "log", code=3)
    assert absent.err.endswith("try:   cas init --store nowhere\n")


def test_what_helps_here_stays_as_it_is(cas: Cas, there: Path) -> None:
    write("a", "text")
    cas("init")
    assert cas("commit", "a").err.endswith("next: cas show a@v1\n")


def test_each_of_several_commands_is_placed_and_no_other_word() -> None:
    output = Output({})
    output.stand("-C", "x")
    assert output.here("cas fsck, then cas gc") == "cas -C x fsck, then cas -C x gc"
    assert output.here("cas fsck, or cas clone URL DIR") == "cas -C x fsck, or cas clone URL DIR"
    for other in (
        "upgrade castore",
        "ls -ld /cas x",
        "cas -C y log",
        "add --yes",
        "the cas 1 file",
    ):
        assert output.here(other) == other
