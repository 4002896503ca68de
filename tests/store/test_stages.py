"""Whose a stage is, and whether its process still runs: also across containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import castore
from castore.errors import RefNotFound
from castore.model.encoding import decode, encode
from castore.store.context import Context
from castore.store.intent import Intent
from castore.store.partials import discard_partials
from castore.store.stages import StageHeader, decode_header, encode_header, staged_sessions
from tests.store.gcscene import DAY

ELSEWHERE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def _fields(at: int = 1, **changed: Any) -> dict[str, Any]:
    intent = Intent("set", context=Context(run="r1"))
    payload = encode_header(intent, at, os.getpid())
    fields = decode(payload, limit=1 << 16, what="header")
    del fields["check"]
    return {**fields, **changed}


def _header(**changed: Any) -> StageHeader:
    return decode_header(encode(_fields(**changed)))


def _beside(store: castore.Store) -> None:
    """Content that a process of another container stages, or staged: its number is free here."""
    with store.session("set", run="r1") as session:
        session.write("a", "a")
    [stage] = staged_sessions(store)
    header = _fields(store.now(), pid=2**22 + 1, pids=1, started="5")
    store.database.write(lambda tables: tables.put_stage(stage.id, encode(header)))


def test_a_header_says_among_which_processes_it_counts() -> None:
    header = _header()
    assert header.pids == os.stat("/proc/self/ns/pid").st_ino
    assert header.alive
    assert not header.unseen
    assert not header.lapsed(2)


@pytest.mark.parametrize("lacking", [("pids",), ("ended", "pids", "said", "why")])
def test_headers_of_before_are_read(lacking: tuple[str, ...]) -> None:
    fields = {key: value for key, value in _fields().items() if key not in lacking}
    header = decode_header(encode(fields))
    assert header.pids == 0
    assert header.alive
    assert not decode_header(encode({**fields, "started": "5"})).alive


def test_what_runs_in_another_container_counts_as_alive_until_it_is_old() -> None:
    header = _header(pid=2**22 + 1, started="5")
    assert (header.alive, header.unseen, header.lapsed(2), header.lapsed(1)) == (
        False, False, True, False,
    )  # fmt: skip
    header = _header(pid=2**22 + 1, started="5", pids=1)
    assert (header.alive, header.unseen, header.lapsed(2), header.lapsed(1)) == (
        True, True, True, False,
    )  # fmt: skip
    gone = _header(pids=1, boot="before this one")
    assert (gone.alive, gone.unseen) == (False, False)
    ended = _header(pids=1, pid=0, started="")
    assert (ended.alive, ended.unseen) == (False, False)


def test_a_stage_of_another_container_is_nobody_s_until_its_run_is_named(
    store: castore.Store,
) -> None:
    _beside(store)
    assert store.partials() == []
    assert store.gc(grace=0, expire_partials=DAY).expired == ()
    with pytest.raises(RefNotFound):
        store.session("set", resume="r2")
    with store.session("set", resume="r1") as session:
        session.commit()
    assert store.read_bytes("set:a") == b"a"
    assert staged_sessions(store) == []


def test_it_is_given_up_by_age_and_by_name(store: castore.Store) -> None:
    _beside(store)
    assert store.gc(grace=0, expire_partials=0).expired == (("r1", "set"),)
    assert staged_sessions(store) == []
    _beside(store)
    assert [found.kind for found in discard_partials(store, "r1", by="me")] == ["unseen"]
    assert staged_sessions(store) == []


def test_what_is_surely_left_is_gone_on_with_before_what_may_run(store: castore.Store) -> None:
    _beside(store)
    with store.session("set", run="r1") as session:
        session.write("b", "b")
    with store.session("set", resume="r1") as session:
        version = session.commit()
    assert [artifact.name for artifact in store.set_of(version).artifacts] == ["b"]
    assert [stage.header.unseen for stage in staged_sessions(store)] == [True]


CONTAINED = """
import sys, castore
with castore.open(sys.argv[1]) as store, store.session("set", run="r1") as session:
    session.write("a", "a")
    session._supply.make_durable()
    print("staged", flush=True)
    sys.stdin.readline()
    session.commit()
"""


def test_a_session_in_another_container_is_left_alone(store: castore.Store, tmp_path: Path) -> None:
    if subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    command = [*ELSEWHERE, sys.executable, "-c", CONTAINED, str(store.folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "staged\n"
        assert len(staged_sessions(store)) == 1
        assert store.partials() == []
        assert store.gc(grace=0, expire_partials=DAY).expired == ()
        process.stdin.write("\n")
    assert process.returncode == 0
    assert store.read_bytes("set:a") == b"a"
