"""What was forgotten or purged, carried to a bucket and told to those who still have it."""

from __future__ import annotations

import shlex

from tests.cli.conftest import Cas, write


def _shared(cas: Cas) -> None:
    """A store and its clone, with two versions of a folder with a secret and something else."""
    cas("init", write("one/out/key.pem", "secret key\n").parents[1])
    write("one/out/other.txt", "first\n")
    cas("-C", "one", "commit", "-m", "first", "--name", "out", "out")
    write("one/out/other.txt", "second\n")
    cas("-C", "one", "commit", "-m", "second", "--name", "out", "out")
    cas("-C", "one", "remote", "add", "origin", "../bucket")
    cas("-C", "one", "push")
    cas("clone", "bucket", "two")


def test_a_purge_is_carried_and_named_as_a_purge_takes_it(cas: Cas) -> None:
    _shared(cas)
    cas("-C", "one", "purge", "out:key.pem", "--reason", "it's leaked", "--include", "all", "--yes")
    foreseen = cas("-C", "one", "push", "-n")
    assert "would tell origin" in foreseen.out
    told = cas("-C", "one", "push")
    assert "told origin (file://" in told.out
    assert "1 object of content purged" in told.out
    assert "everything already" not in told.out
    assert told.err == "next: cas -C one gc --remote origin\n"
    assert "everything already" in cas("-C", "one", "push").out
    cas("-C", "one", "gc", "--remote", "origin")
    fetched = cas("-C", "two", "fetch")
    assert ":key.pem: purged there by alice@example.org (it's leaked), still here" in fetched.err
    (place,) = cas("-C", "two", "fetch", "--json").json["purged_places"]
    assert place["selector"].endswith(":key.pem")
    command = shlex.split(fetched.err.splitlines()[-1].removeprefix("next: cas "))
    assert "it's leaked" in command
    cas("-C", "two", *command, "--yes")
    assert cas("-C", "two", "cat", "out:key.pem", code=3)
    assert "purged there" not in cas("-C", "two", "fetch").err


def test_forgotten_versions_are_told(cas: Cas) -> None:
    _shared(cas)
    cas("-C", "one", "forget", "out@v1", "--yes")
    pushed = cas("-C", "one", "push", "--json").json
    assert (pushed["forgotten"], pushed["purged"], pushed["objects"]) == (1, 0, 0)
    write("one/out/other.txt", "third\n")
    cas("-C", "one", "commit", "-m", "third", "--name", "out", "out")
    cas("-C", "one", "forget", "out@v2", "--force", "--yes")
    told = cas("-C", "one", "push").out
    assert "told origin" in told
    assert "1 version forgotten" in told
    assert "sent " in told


def test_versions_that_were_not_fetched_keep_what_a_purge_would_take(cas: Cas) -> None:
    _shared(cas)
    write("two/mine/copy.pem", "secret key\n")
    cas("-C", "two", "commit", "-m", "a copy", "--name", "mine", "mine")
    cas("-C", "two", "push")
    cas("-C", "one", "purge", "out:key.pem", "--reason", "leaked", "--include", "all", "--yes")
    refused = cas("-C", "one", "push", code=4)
    assert "mine of file://" in refused.err
    assert "try:   cas -C one fetch origin\n" in refused.err
    fetched = cas("-C", "one", "fetch")
    assert ":copy.pem needs bytes that were purged here: it cannot be read here" in fetched.err
    assert "told origin" in cas("-C", "one", "push").out
