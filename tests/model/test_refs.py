"""Refs: names for versions, each in its own place."""

from __future__ import annotations

import pytest
from hypothesis import given

from castore.errors import InvalidName
from castore.model.limits import REF_BYTES
from castore.model.refs import (
    branch_ref,
    lost_ref,
    partial_ref,
    remote_ref,
    split_partial,
    tag_ref,
)
from tests.model.samples import some_id
from tests.model.strategies import names


def test_each_kind_of_ref_has_its_place() -> None:
    assert branch_ref("team/out") == "heads/team/out"
    assert tag_ref("release-1") == "tags/release-1"
    assert partial_ref("run-1", "team/out") == "partial/run-1/team/out"
    assert lost_ref("out", some_id(1)) == "lost/out/" + "01" * 32
    assert remote_ref("origin", "heads/out") == "remotes/origin/heads/out"


@given(names, names, names)
def test_a_partial_says_its_run_and_branch(run: str, one: str, other: str) -> None:
    assert split_partial(partial_ref(run, f"{one}/{other}")) == (run, f"{one}/{other}")


def test_the_longest_names_fit() -> None:
    longest = "n" * 100
    for ref in (
        branch_ref(longest),
        tag_ref(longest),
        partial_ref(longest, longest),
        lost_ref(longest, some_id(1)),
        remote_ref(longest, branch_ref(longest)),
    ):
        assert len(ref) <= REF_BYTES
    with pytest.raises(InvalidName, match="more than 255"):
        remote_ref(longest, partial_ref(longest, longest))


def test_bad_names_make_no_ref() -> None:
    for make in (branch_ref, tag_ref):
        with pytest.raises(InvalidName):
            make("../x")
    with pytest.raises(InvalidName, match="run"):
        partial_ref("a/b", "out")
    with pytest.raises(InvalidName):
        lost_ref("", some_id(1))
    with pytest.raises(InvalidName, match="remote"):
        remote_ref("a b", "heads/out")
