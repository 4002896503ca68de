"""Going on, going again, going beside others: what a second attempt keeps, and what it must not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

import castore
from castore import errors
from castore.model.artifact_set import ExternalContent
from castore.model.encoding import encode
from castore.store import assembly
from castore.store.commit import CommitRequest, commit
from castore.store.conformance import conform
from castore.store.partials import list_partials
from castore.store.selectors import tip
from castore.store.session import Session
from castore.store.stages import _encode, decode_header, staged_sessions
from castore.store.supply import Supply

SPEC = """\
spec: weekly
version: 1
artifacts:
  - {name: a, type: document, format: text, path: a.txt, title: The A}
  - {name: b, type: dataset, format: json, path: b.json}
  - {name: far, type: dataset, format: binary, storage: external, uri: "https://example.org/x"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "weekly.spec.yaml"
    path.write_text(SPEC)
    (tmp_path / "a.txt").write_text("a1")
    (tmp_path / "b.json").write_text("{}")
    return path


def refused(store: castore.Store, spec: Path, **options: object) -> None:
    (spec.parent / "b.json").write_text("{")
    with pytest.raises(errors.IncompleteSet):
        store.commit(spec=spec, cwd=spec.parent, **options)
    (spec.parent / "b.json").write_text("{}")


def broken(session: Session) -> None:
    def work() -> None:
        with session:
            session.write("a", "a1")
            raise RuntimeError("the pipeline broke")

    with pytest.raises(RuntimeError, match="broke"):
        work()


def test_a_resumed_set_keeps_uris_titles_and_sources(store: castore.Store, spec: Path) -> None:
    store.commit("a.txt", cwd=spec.parent, name="input")
    run = castore.Context(run="r1")
    refused(store, spec, context=run, sources=("input", "a=https://example.org/in"))
    resumed = store.commit(spec=spec, cwd=spec.parent, resume="r1", sources=("input@v1",))
    manifest = resumed.version.manifest
    assert manifest.locations == (("far", "https://example.org/x", ""),)
    assert manifest.titles == {"a": "The A"}
    selectors = {(source.artifact, source.selector) for source in manifest.sources}
    assert selectors == {("", "input"), ("", "input@v1"), ("a", "https://example.org/in")}


def test_a_killed_commit_resumes_with_titles_and_uris(store: castore.Store, spec: Path) -> None:
    broken(store.session(spec=spec, run="r1"))
    resumed = store.commit(spec=spec, cwd=spec.parent, resume="r1")
    assert resumed.version.manifest.titles == {"a": "The A"}
    assert resumed.version.manifest.locations == (("far", "https://example.org/x", ""),)


def test_a_session_left_by_an_error_can_be_resumed_in_the_same_process(
    store: castore.Store,
) -> None:
    broken(store.session("weekly", run="r1"))
    assert [(found.kind, found.artifacts, found.reason) for found in list_partials(store)] == [
        ("failed", ("a",), "RuntimeError: the pipeline broke")
    ]
    with store.session("weekly", resume="r1") as session:
        version = session.commit()
    assert [a.name for a in store.set_of(version).artifacts] == ["a"]
    assert list_partials(store) == []


def test_the_first_error_is_told_when_the_stage_cannot_be_kept(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Supply) -> None:
        raise errors.StoreFull("no room")

    session = store.session("weekly", run="r1")
    session.write("b", "b1")
    monkeypatch.setattr(Session, "write", lambda *_: None)
    monkeypatch.setattr(Supply, "make_durable", full)
    broken(session)


def test_a_set_whose_stage_was_discarded_is_not_published(store: castore.Store) -> None:
    with store.session("weekly", run="r1") as session:
        session.write("a", "a1")
        session._supply.make_durable()
        store.database.write(lambda tables: tables.drop_stage(session._id))
        with pytest.raises(errors.Conflict, match="was discarded while"):
            session.commit()
    assert tip(store, "weekly") is None


def test_a_refused_session_can_be_mended_and_committed(store: castore.Store, spec: Path) -> None:
    with store.session(spec=spec, run="r1") as session:
        session.write("a", "a1")
        session._supply.make_durable()
        with pytest.raises(errors.IncompleteSet):
            session.commit()
        session.add_external("far", "https://example.org/x", ExternalContent())
        session.write("b", "{}")
        session._supply.make_durable()
        assert session.commit().number == 1
    assert store.read_bytes("weekly:a") == b"a1"


def test_going_on_does_not_undo_what_others_committed_meanwhile(
    store: castore.Store, spec: Path
) -> None:
    store.commit(spec=spec, cwd=spec.parent)
    refused(store, spec, only=("b",), context=castore.Context(run="r1"))
    (spec.parent / "a.txt").write_text("a2")
    theirs = store.commit(spec=spec, cwd=spec.parent).version
    (spec.parent / "a.txt").write_text("not asked for")
    [left] = list_partials(store)
    assert "--only b" in left.command
    version = store.commit(spec=spec, cwd=spec.parent, resume="r1", only=("b",)).version
    assert store.read_bytes("weekly:a") == b"a2"
    assert dict(version.manifest.carried) == {"a": theirs.id, "far": theirs.id}
    assert version.manifest.titles == {"a": "The A"}


def test_without_only_what_an_attempt_carried_is_made_anew(
    store: castore.Store, spec: Path
) -> None:
    store.commit(spec=spec, cwd=spec.parent)
    refused(store, spec, only=("b",), context=castore.Context(run="r1"))
    (spec.parent / "a.txt").write_text("a on disk")
    report = store.commit(spec=spec, cwd=spec.parent, resume="r1")
    assert store.read_bytes("weekly:a") == b"a on disk"
    assert report.version.manifest.carried == ()


def test_what_is_kept_is_told_and_that_the_branch_moved(store: castore.Store, spec: Path) -> None:
    refused(store, spec, context=castore.Context(run="r1"))
    store.commit(spec=spec, cwd=spec.parent)
    warnings = store.commit(spec=spec, cwd=spec.parent, resume="r1").warnings
    assert any("kept from run r1 as stored: a" in warning for warning in warnings)
    assert any("weekly moved since run r1 was refused" in warning for warning in warnings)


def test_a_repeated_operation_is_replayed_before_anything_can_refuse_it(
    store: castore.Store, spec: Path
) -> None:
    once = castore.Context(operation="op-1", run="r1")
    refused(store, spec, context=castore.Context(run="r1"))
    first = store.commit(spec=spec, cwd=spec.parent, resume="r1", context=once).version
    assert (
        store.commit(spec=spec, cwd=spec.parent, resume="r1", context=once).version.id == first.id
    )
    (spec.parent / "b.json").unlink()
    again = store.commit(spec=spec, cwd=spec.parent, context=once, if_changed=True)
    assert again.replayed
    assert again.version.id == first.id
    assert list_partials(store) == []
    with store.session(spec=spec, context=once) as session:
        session.write("a", "another")
        assert session.commit().id == first.id
    assert list_partials(store) == []


def test_an_operation_that_wrote_nothing_is_remembered(store: castore.Store, out: Path) -> None:
    first = store.commit(str(out)).version
    once = castore.Context(operation="job-7")
    same = store.commit(str(out), context=once, if_changed=True)
    assert (same.written, same.version.id) == (False, first.id)
    (out / "report.md").write_text("changed since")
    again = store.commit(str(out), context=once, if_changed=True)
    assert (again.replayed, again.version.id) == (True, first.id)
    assert next(op.op for op in store.operations()) == "unchanged"
    other = store.commit(str(out), context=castore.Context(operation="job-8"), if_changed=True)
    assert other.version.number == 2
    elsewhere = store.commit(str(out), name="other", context=once)
    assert (elsewhere.written, elsewhere.version.label) == (True, "other@v1")
    assert store.fsck(full=True).ok


@pytest.mark.parametrize("id", ["x" * 256, "é" * 128, "a\tb", "line\n", "\x1b[2J"])
def test_an_operation_id_is_short_and_printable(store: castore.Store, out: Path, id: str) -> None:
    context = castore.Context(operation=id)
    with pytest.raises(errors.InvalidInput, match="operation id"):
        store.commit(str(out), context=context)
    with pytest.raises(errors.InvalidInput, match="operation id"):
        store.session("out", context=context)
    assert list(store.operations()) == []
    assert store.commit(str(out), context=castore.Context(operation="x" * 255)).written


def test_if_changed_does_not_hide_that_the_expected_parent_is_gone(
    store: castore.Store, out: Path
) -> None:
    store.commit(str(out))
    before = (out / "report.md").read_bytes()
    (out / "report.md").write_text("changed")
    store.commit(str(out))
    (out / "report.md").write_bytes(before)
    with pytest.raises(errors.RefMoved):
        store.commit(str(out), parent="out@v1", if_changed=True)
    (out / "report.md").write_text("changed")
    assert store.commit(str(out), parent="out@v2", if_changed=True).identical


def test_an_identical_resumed_set_takes_its_partial_away(store: castore.Store, spec: Path) -> None:
    first = store.commit(spec=spec, cwd=spec.parent).version
    refused(store, spec, context=castore.Context(run="r1"))
    same = store.commit(spec=spec, cwd=spec.parent, resume="r1", if_changed=True)
    assert same.identical
    assert same.version.id == first.id
    assert list_partials(store) == []


def test_the_resume_command_names_the_spec_as_typed(store: castore.Store, spec: Path) -> None:
    (spec.parent / "b.json").write_text("{")
    place = f"{spec.parent.name}/{spec.name}"
    request = CommitRequest(
        cwd=spec.parent.parent, spec=Path(place), context=castore.Context(run="r1")
    )
    with pytest.raises(errors.IncompleteSet) as caught:
        commit(store, request)
    assert caught.value.fix == f"cas commit --spec {place} --resume r1"


def test_a_moved_tip_does_not_have_the_same_set_checked_again(
    store: castore.Store, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []

    def conform_beside_another_writer(*given: object) -> object:
        checked.append(1)
        if len(checked) == 1:
            with store.session("weekly") as other:
                other.write("a", json.dumps("beside"))
                other.commit()
        return conform(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(assembly, "conform", conform_beside_another_writer)
    version = store.commit(spec=spec, cwd=spec.parent).version
    assert checked == [1]
    assert version.number == 2
    assert tip(store, "weekly") == version


def test_a_resumed_set_keeps_who_made_it_and_what_was_said(
    store: castore.Store, tmp_path: Path
) -> None:
    (tmp_path / "s.spec.yaml").write_text(
        "spec: s\nversion: 1\nartifacts:\n"
        "  - {name: a, type: dataset, format: json, path: a.json}\n"
    )
    spec = tmp_path / "s.spec.yaml"
    context = castore.Context(
        agent=castore.Agent("writer", "7"), run="r1", trace="t1", workspace="w", author="ann"
    )
    with pytest.raises(errors.IncompleteSet):
        store.commit(spec=spec, context=context, message="first words", meta={"k": 1, "l": 2})
    (tmp_path / "a.json").write_text("[1]")
    bob = castore.Context(author="bob")
    manifest = store.commit(spec=spec, resume="r1", context=bob, meta={"k": 3}).version.manifest
    assert (manifest.agent.id, manifest.agent.version) == ("writer", "7")
    assert (manifest.trace, manifest.workspace, manifest.author) == ("t1", "w", "bob")
    assert manifest.message == "first words"
    assert dict(manifest.meta) == {"k": 3, "l": 2}


def test_a_source_of_no_artifact_is_refused_before_anything_is_stored(
    store: castore.Store, spec: Path
) -> None:
    for options in (
        {"spec": spec, "sources": ("nothing=https://example.org/in",)},
        {"name": "plain", "paths": ("a.txt",), "sources": ("b.txt=https://example.org/in",)},
    ):
        paths = options.pop("paths", ())
        with pytest.raises(errors.InvalidInput, match="the set has no artifact"):
            store.commit(*paths, cwd=spec.parent, **options)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidInput, match="--only needs a version"):
        store.commit("a.txt", cwd=spec.parent, name="plain", only=("a.txt",))
    with pytest.raises(errors.InvalidInput, match="message"):
        store.commit(spec=spec, cwd=spec.parent, message="x" * 100_000)
    assert list_partials(store) == []
    assert not store.database.read(lambda tables: tables.present([blake3(b"a1").digest()]))


def test_what_a_failed_commit_said_holds_when_it_is_gone_on_with(
    store: castore.Store, spec: Path
) -> None:
    store.commit("a.txt", cwd=spec.parent, name="input")
    (spec.parent / "late").mkdir()
    (spec.parent / "late" / "a").write_text("a")
    (spec.parent / "late" / "link").symlink_to("a")
    said = castore.Context(agent=castore.Agent("writer", "7"), run="r1", trace="t1", workspace="w")
    request = {
        "context": said, "message": "as meant", "meta": {"k": "v"}, "sources": ("a.txt=input",),
        "name": "plain", "cwd": spec.parent,
    }  # fmt: skip
    with pytest.raises(errors.InvalidInput, match="symbolic link"):
        store.commit("a.txt", "late", **request)
    [left] = list_partials(store)
    assert (left.kind, left.run, left.artifacts) == ("failed", "r1", ("a.txt",))
    assert "symbolic link" in left.reason
    (spec.parent / "late" / "link").unlink()
    report = store.commit(
        "a.txt", "late", cwd=spec.parent, name="plain", resume="r1", sources=("https://x.org/s",)
    )
    manifest = report.version.manifest
    assert manifest.agent == castore.Agent("writer", "7")
    assert (manifest.run, manifest.trace, manifest.workspace) == ("r1", "t1", "w")
    assert (manifest.message, manifest.meta) == ("as meant", {"k": "v"})
    selectors = {(source.artifact, source.selector) for source in manifest.sources}
    assert selectors == {("a.txt", "input"), ("", "https://x.org/s")}
    assert not [warning for warning in report.warnings if "moved" in warning]
    assert list_partials(store) == []


def test_a_session_that_was_interrupted_is_called_so(store: castore.Store) -> None:
    with store.session("weekly", run="r1") as session:
        session.write("a", "a1")
    stopped = store.session("weekly", run="r2")
    stopped.write("a", "a1")
    stopped.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with store.session("weekly", run="r3") as killed:
        killed.write("a", "a1")
        killed._supply.make_durable()
        stage = staged_sessions(store)[-1]
        dead = replace(stage.header, pid=2**22 + 1)
        store.database.write(lambda tables: tables.put_stage(stage.id, _encode(dead)))
        found = {one.run: (one.kind, one.reason) for one in list_partials(store)}
    assert found == {"r1": ("interrupted", ""), "r2": ("interrupted", ""), "r3": ("killed", "")}


def test_a_stage_header_of_before_can_be_read() -> None:
    keys = {"author": "a", "boot": "b", "branch": "x", "command": "c", "run": "r", "started": "s"}
    header = decode_header(encode({**keys, "at": 1, "pid": 0}))
    assert (header.run, header.said, header.ended, header.why) == ("r", b"", "", "")


def test_sources_of_what_is_missing_stay_with_the_incomplete_set(
    store: castore.Store, spec: Path
) -> None:
    (spec.parent / "b.json").unlink()
    with pytest.raises(errors.IncompleteSet):
        store.commit(
            spec=spec, cwd=spec.parent, context=castore.Context(run="r1"),
            sources=("b=https://example.org/in",),
        )  # fmt: skip
    (spec.parent / "b.json").write_text("{}")
    version = store.commit(spec=spec, cwd=spec.parent, resume="r1").version
    assert [source.artifact for source in version.manifest.sources] == ["b"]
