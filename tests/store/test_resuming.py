"""Going on with an incomplete set while others collect, discard it, or go on with it too."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore import errors
from castore.store import partials
from castore.store.collect_expire import expire, expired_partials
from castore.store.context import Context
from castore.store.intent import Intent
from castore.store.session import Session
from castore.store.specs import read_spec
from castore.store.stages import staged_sessions
from tests.store.gcscene import whole

SPEC = """\
spec: weekly
version: 1
artifacts:
  - {name: a, type: document, format: binary}
  - {name: b, type: document, format: text}
"""
CONTENT = "what the first attempt made, " * 1000


@pytest.fixture(params=["stage", "sealed"])
def left(request: pytest.FixtureRequest, store: castore.Store, tmp_path: Path) -> Path:
    """The spec of an incomplete set of run r1 that holds a, left by an error or refused."""
    spec = tmp_path / "weekly.spec.yaml"
    spec.write_text(SPEC)

    def attempt() -> None:
        with store.session(spec=spec, run="r1") as session:
            session.write("a", CONTENT)
            if request.param == "sealed":
                session.commit()
            raise RuntimeError("the pipeline broke")

    with pytest.raises((RuntimeError, errors.IncompleteSet)):
        attempt()
    return spec


def _completed(store: castore.Store, session: Session) -> None:
    session.write("b", "b")
    session.commit()
    assert store.read_bytes("weekly:a") == CONTENT.encode()
    whole(store)


def test_a_collection_keeps_what_a_session_goes_on_with(store: castore.Store, left: Path) -> None:
    with store.session(spec=left, resume="r1") as session:
        assert store.gc(grace=0, expire_partials=0, dry_run=True).expired == ()
        assert store.gc(grace=0, expire_partials=0).expired == ()
        assert [partial.artifacts for partial in store.partials()] == [("a",)]
        _completed(store, session)
    assert store.partials() == []
    assert staged_sessions(store) == []


def test_what_is_discarded_stays_with_who_goes_on_with_it(store: castore.Store, left: Path) -> None:
    with store.session(spec=left, resume="r1") as session:
        partials.discard_partials(store, "r1", by="somebody")
        store.gc(grace=0)
        _completed(store, session)


def test_two_go_on_with_the_same_set(store: castore.Store, left: Path) -> None:
    with (
        store.session(spec=left, resume="r1") as one,
        store.session(spec=left, resume="r1") as other,
    ):
        one.write("a", "made anew")
        one.write("b", "b")
        one.commit()
        store.gc(grace=0)
        _completed(store, other)
    assert [version.number for version in store.log("weekly")] == [2, 1]
    assert staged_sessions(store) == []
    assert store.partials() == []


def test_what_went_before_a_session_could_hold_it_is_told(store: castore.Store, left: Path) -> None:
    resumed = partials.resume(store, "r1", "weekly")
    partials.discard_partials(store, "r1", by="somebody")
    store.gc(grace=0)
    intent = Intent("weekly", read_spec(left), Context(run="r1"), resumed=resumed)
    with pytest.raises(errors.ObjectNotFound, match=r"what run 'r1' left of 'a' .* has expired"):
        Session(store, intent)
    assert staged_sessions(store) == []
    whole(store)


def test_what_somebody_goes_on_with_by_now_is_not_given_up(
    store: castore.Store, left: Path
) -> None:
    given_up = expired_partials(store, store.now())
    assert given_up.partials == (("r1", "weekly"),)
    before = [operation.sequence for operation in store.operations()]
    with store.session(spec=left, resume="r1") as session:
        taken = expire(store, given_up, by="gc")
        assert (taken.partials, taken.sessions, taken.refs) == ((), (), ())
        assert [operation.sequence for operation in store.operations()] == before
        _completed(store, session)


def test_a_session_that_adds_nothing_leaves_what_was_there(
    store: castore.Store, left: Path
) -> None:
    before = store.partials(), staged_sessions(store)

    def attempt() -> None:
        with store.session(spec=left, resume="r1"):
            raise RuntimeError("broke before anything was made")

    with pytest.raises(RuntimeError):
        attempt()
    assert (store.partials(), staged_sessions(store)) == before


def test_a_session_that_is_left_leaves_what_it_held(store: castore.Store, left: Path) -> None:
    with store.session(spec=left, resume="r1"):
        partials.discard_partials(store, "r1", by="somebody")
    store.gc(grace=0)
    with store.session(spec=left, resume="r1") as session:
        _completed(store, session)
    assert staged_sessions(store) == []


@pytest.mark.parametrize("durable", [False, True])
def test_a_refused_set_that_was_given_up_meanwhile_is_no_damage(
    store: castore.Store, left: Path, durable: bool
) -> None:
    with store.session(spec=left, resume="r1") as session:
        with pytest.raises(errors.IncompleteSet):
            session.commit()
        store.gc(grace=0, expire_partials=0)
        session.write("b", "b")
        if durable:
            session._supply.make_durable()
        with pytest.raises(errors.ObjectNotFound):
            session.commit()
    assert store.branches() == []
    assert store.fsck(full=True).ok
