"""A pull that is only tried says what the pull then does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import castore
from castore.errors import RefMoved
from castore.remote.memory import MemoryTransport
from castore.store.sync_fetch import fetch
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from tests.store.syncing import NAME, commit, copy_of, refs


def outcome(
    store: castore.Store, bucket: MemoryTransport, *, rebase: bool, dry_run: bool
) -> tuple[object, ...]:
    """What a pull says of branches: an error's code, or moves, what was rebased and is ahead."""
    try:
        report = pull(store, NAME, bucket, rebase=rebase, dry_run=dry_run)
    except RefMoved as error:
        return (error.code, error.attributes["branches"], error.attributes["takes_back"])
    anew = report.diverged if dry_run else tuple(dict.fromkeys(r.branch for r in report.rebased))
    moves = [move for move in report.moves if move.name not in anew]
    return (moves, anew, report.ahead, report.takes_back)


@settings(max_examples=40)
@given(
    there=st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3),
    here=st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3),
    fetched=st.booleans(),
    rebase=st.booleans(),
)
def test_a_dry_run_says_what_the_pull_does(
    tmp_path_factory: pytest.TempPathFactory,
    there: dict[str, int],
    here: dict[str, int],
    fetched: bool,
    rebase: bool,
) -> None:
    folder: Path = tmp_path_factory.mktemp("pull")
    bucket = MemoryTransport()
    (folder / "one").mkdir()
    with castore.init(folder / "one") as one:
        for branch in "ab":
            commit(one, branch, x=branch.encode())
        push(one, NAME, bucket)
        with copy_of(bucket, folder / "two") as two:
            for branch, many in there.items():
                for number in range(many):
                    more = {} if branch == "a" else {"more": b"m"}
                    commit(one, branch, x=b"there %d" % number, **more)
            push(one, NAME, bucket)
            for branch, many in here.items():
                for number in range(many):
                    commit(two, branch, x=b"here %d" % number)
            if fetched:
                fetch(two, NAME, bucket)
            before = refs(two)
            said = outcome(two, bucket, rebase=rebase, dry_run=True)
            assert refs(two) == before
            assert said == outcome(two, bucket, rebase=rebase, dry_run=False)
