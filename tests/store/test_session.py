"""Sessions and commits: what becomes a version, what is refused, and what is kept of it."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

import castore
from castore import errors
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import content_id
from castore.store.branches import delete_branch
from castore.store.partials import list_partials
from castore.store.selectors import resolve, tip

SPEC = """\
spec: weekly
version: 1.0
artifacts:
  - name: summary
    type: document
    format: markdown
    path: summary.md
  - name: metrics
    type: dataset
    format: json
    path: metrics.json
    checks: {schema: metrics.schema.json}
  - name: extra
    type: dataset
    format: csv
    path: extra.csv
    required: false
"""
SCHEMA = {
    "type": "object",
    "required": ["rows"],
    "properties": {"rows": {"type": "integer"}},
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "weekly.spec.yaml").write_text(SPEC)
    (tmp_path / "metrics.schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "summary.md").write_text("# Summary\n")
    (tmp_path / "metrics.json").write_text('{"rows": 7}')
    return tmp_path / "weekly.spec.yaml"


def test_a_session_becomes_a_version_that_reads_back(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("# Report\n")
    with store.session(
        "weekly", agent="writer@7", run="run-81", author="ann@example.org"
    ) as session:
        session.add("report", tmp_path / "report.md")
        session.write("metrics.json", json.dumps({"rows": 3}))
        session.add("log", io.BytesIO(b"line\n" * 10))
        session.add("parts", iter([b"a", b"b"]))
        version = session.commit("October numbers")
    assert version.label == "weekly@v1"
    assert store.read_bytes("weekly:report") == b"# Report\n"
    assert store.read_bytes("weekly@v1:parts") == b"ab"
    record = store.record(version)
    assert record["agent"] == {"id": "writer", "version": "7"}
    assert record["run"] == "run-81"
    assert [a["name"] for a in record["artifacts"]] == ["log", "metrics.json", "parts", "report"]
    report = next(a for a in record["artifacts"] if a["name"] == "report")
    assert report["digest"] == content_id(b"# Report\n").hex()
    assert record["review"] == "none"
    assert record["trace"] is None


def test_a_folder_commits_its_top_level_entries(store: castore.Store, out: Path) -> None:
    report = store.commit(str(out), message="first")
    version = report.version
    assert version.branch == "out"
    assert version.manifest.folder == "out"
    members = {a.name: a.content for a in store.set_of(version).artifacts}
    assert isinstance(members["data"], TreeContent)
    assert isinstance(members["report.md"], FileContent)
    assert store.read_bytes("out:data/deep/run.sh") == b"#!/bin/sh\necho hi\n"
    assert report.new_bytes == sum(p.stat().st_size for p in out.rglob("*") if p.is_file())


def test_the_same_outputs_have_the_same_set_and_cost_nothing(
    store: castore.Store, out: Path
) -> None:
    first = store.commit(str(out))
    second = store.commit(str(out))
    assert second.identical
    assert second.new_bytes == 0
    assert second.version.number == 2
    assert second.version.id != first.version.id
    assert second.version.set_id == first.version.set_id
    third = store.commit(str(out), if_changed=True)
    assert third.version.id == second.version.id
    assert third.identical


def test_missing_failed_and_undeclared_are_all_reported_and_history_stands(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    first = store.commit(spec=spec).version
    before = [store.record(v) for v in store.log()]
    (tmp_path / "summary.md").unlink()
    (tmp_path / "metrics.json").write_text('{"rows": "seven"}')
    (tmp_path / "other.txt").write_text("x")
    context = castore.Context(run="run-9")
    with pytest.raises(errors.IncompleteSet) as caught:
        store.commit("other=other.txt", spec=spec, context=context, cwd=tmp_path)
    assert caught.value.missing == ["summary"]
    assert caught.value.failed == ["metrics", "other"]
    checks = {(fault["artifact"], fault["check"]) for fault in caught.value.faults}
    assert ("summary", "present") in checks
    assert ("metrics", "schema") in checks
    assert ("other", "declared") in checks
    assert [store.record(v) for v in store.log()] == before
    tipped = tip(store, "weekly")
    assert tipped is not None
    assert tipped.id == first.id


def test_a_refused_set_resumes_into_the_set_of_an_untroubled_run(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    good = store.commit(spec=spec).version
    (tmp_path / "metrics.json").write_text("{")
    context = castore.Context(run="run-9")
    with pytest.raises(errors.IncompleteSet) as caught:
        store.commit(spec=spec, context=context)
    assert "--resume run-9" in caught.value.fix
    [partial] = list_partials(store)
    assert (partial.run, partial.branch, partial.kind) == ("run-9", "weekly", "sealed")
    assert partial.artifacts == ("summary",)
    (tmp_path / "metrics.json").write_text('{"rows": 7}')
    (tmp_path / "summary.md").write_text("changed since: must not be taken")
    done = store.commit(spec=spec, resume="run-9").version
    assert done.set_id == good.set_id
    assert done.manifest.run == "run-9"
    assert list_partials(store) == []


def test_a_partial_is_never_selected_as_a_version(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(errors.IncompleteSet):
        store.commit(spec=spec, context=castore.Context(run="r1"))
    with pytest.raises(errors.RefNotFound):
        store.resolve("weekly")
    held = store.resolve("partial/r1/weekly").version
    assert not held.manifest.complete
    with pytest.raises(errors.InvalidInput, match="complete"):
        store.tag("t", held.id.hex())


def test_only_carries_the_rest_and_says_who_made_it(
    store: castore.Store, spec: Path, tmp_path: Path
) -> None:
    first = store.commit(spec=spec, context=castore.Context(run="r1")).version
    spec.write_text(SPEC.replace("version: 1.0", "version: 1.1"))
    (tmp_path / "metrics.json").write_text('{"rows": 8}')
    (tmp_path / "summary.md").write_text("not taken: carried")
    second = store.commit(spec=spec, only=("metrics",), context=castore.Context(run="r2")).version
    assert dict(second.manifest.carried) == {"summary": first.id}
    assert store.read_bytes("weekly:summary") == b"# Summary\n"
    made = {a["name"]: a["made_by"] for a in store.record(second)["artifacts"]}
    assert made["summary"]["spec"]["version"] == "1.0"
    assert made["summary"]["run"] == "r1"
    assert made["metrics"]["spec"]["version"] == "1.1"
    (tmp_path / "metrics.json").write_text('{"rows": 9}')
    third = store.commit(spec=spec, only=("metrics",)).version
    assert dict(third.manifest.carried) == {"summary": first.id}


def test_a_moved_parent_keeps_the_loser(store: castore.Store, out: Path) -> None:
    first = store.commit(str(out)).version
    (out / "report.md").write_text("second")
    second = store.commit(str(out)).version
    (out / "report.md").write_text("third")
    with pytest.raises(errors.RefMoved) as caught:
        store.commit(str(out), parent="out@v1")
    lost = store.resolve(caught.value.attributes["lost"]).version
    assert lost.manifest.parents == (first.id,)
    assert store.resolve("out").version.id == second.id


def test_an_operation_id_is_honoured_once_per_branch(store: castore.Store, out: Path) -> None:
    context = castore.Context(operation="op-1")
    first = store.commit(str(out), context=context)
    (out / "report.md").write_text("changed")
    again = store.commit(str(out), context=context)
    assert again.replayed
    assert again.version.id == first.version.id
    other = store.commit(str(out), context=context, name="elsewhere")
    assert not other.replayed


def test_an_exception_keeps_what_was_staged(store: castore.Store) -> None:
    def broken() -> None:
        with store.session("weekly", run="r7") as session:
            session.write("a", "alpha")
            raise RuntimeError("the pipeline broke")

    with pytest.raises(RuntimeError, match="broke"):
        broken()
    assert resolve_fails(store, "weekly")


def test_a_session_that_is_over_takes_nothing_more(store: castore.Store) -> None:
    with store.session("weekly") as session:
        session.write("a", "alpha")
        session.commit()
        with pytest.raises(errors.InvalidInput, match="over"):
            session.write("b", "beta")
        with pytest.raises(errors.InvalidInput, match="over"):
            session.commit()
    with store.session("weekly") as other:
        pass
    with pytest.raises(errors.InvalidInput, match="over"):
        other.write("a", "late")


@pytest.mark.parametrize("wrong", [12, {"a": 1}, None, 1.5])
def test_what_cannot_be_stored_is_told_with_its_artifact(
    store: castore.Store, wrong: object
) -> None:
    with store.session("weekly") as session:
        with pytest.raises(errors.InvalidInput, match="cannot be stored"):
            session.add("a", wrong)  # type: ignore[arg-type]
        with pytest.raises(errors.InvalidInput, match="'a'"):
            session.write("a", wrong)  # type: ignore[arg-type]


def test_every_session_has_a_run_of_its_own(store: castore.Store, spec: Path) -> None:
    for _ in range(2):
        with store.session(spec=spec) as session:
            session.write("metrics", "{")
            with pytest.raises(errors.IncompleteSet):
                session.commit()
    assert len({partial.run for partial in list_partials(store)}) == 2


def test_an_interruption_says_how_to_go_on(store: castore.Store) -> None:
    def interrupted() -> None:
        with store.session("weekly", run="r7") as session:
            session.write("a", "alpha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert caught.value.__notes__ == ["cas commit --name weekly --resume r7"]


def test_skipped_links_and_an_unused_spec_are_told(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    (out / "data" / "link").symlink_to("a.csv")
    assert any("link" in warning for warning in store.commit(str(out), links="skip").warnings)
    (tmp_path / "some.spec.yaml").write_text(SPEC)
    warnings = store.commit("out", cwd=tmp_path, links="skip").warnings
    assert any("some.spec.yaml was not used" in warning for warning in warnings)


def test_a_cached_file_whose_content_was_collected_is_read_again(out: Path, tmp_path: Path) -> None:
    time.sleep(0.2)  # now the stat of the files tells them from later ones
    with castore.init(tmp_path) as store:
        for branch in ("out", "again"):
            store.commit(str(out), name=branch)
            delete_branch(store, branch, by="ann")
        assert store.gc(grace=0).freed > 0
        version = store.commit(str(out)).version
        assert store.read_bytes("out:metrics.json") == (out / "metrics.json").read_bytes()
        assert version.number == 1
        assert store.fsck(full=True).ok


def resolve_fails(store: castore.Store, selector: str) -> bool:
    try:
        resolve(store, selector)
    except errors.RefNotFound:
        return True
    return False


def test_sources_are_recorded_with_label_target_and_evidence(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    first = store.commit(str(out)).version
    outside = tmp_path / "raw.csv"
    outside.write_text("a,b\n")
    sources = ["out:metrics.json", outside.as_uri(), "report=https://example.org/data"]
    with store.session("derived", sources=sources) as session:
        session.use("out@v1")
        session.write("report", "x")
        version = session.commit()
    by_selector = {source.selector: source for source in version.manifest.sources}
    assert by_selector["out:metrics.json"].target == first.id
    assert by_selector["out:metrics.json"].label == "out@v1:metrics.json"
    assert by_selector["out:metrics.json"].evidence == "claimed"
    assert by_selector["out@v1"].evidence == "observed"
    assert by_selector[outside.as_uri()].digest == content_id(b"a,b\n")
    assert by_selector["https://example.org/data"].artifact == "report"
    assert not by_selector["https://example.org/data"].pinned


@pytest.mark.parametrize(
    "selector",
    ["out", "out@v2", "out@latest", "out@v3~1", "out~0", "out@v2:report.md", "out@spec="],
)
def test_selectors_that_resolve(store: castore.Store, out: Path, selector: str) -> None:
    for text in ("one", "two", "three"):
        (out / "report.md").write_text(text)
        store.commit(str(out))
    assert store.resolve(selector).version.number in (2, 3)


@pytest.mark.parametrize(
    ("selector", "error"),
    [
        ("nope", errors.RefNotFound),
        ("out@v9", errors.RefNotFound),
        ("out~9", errors.RefNotFound),
        ("out@", errors.InvalidInput),
        ("out:", errors.InvalidInput),
        ("out:report", errors.RefNotFound),
        ("out@yesterday-ish", errors.InvalidInput),
        ("", errors.InvalidInput),
        ("0" * 64, errors.RefNotFound),
        ("abcdef0", errors.RefNotFound),
    ],
)
def test_selectors_that_do_not(
    store: castore.Store, out: Path, selector: str, error: type[Exception]
) -> None:
    store.commit(str(out))
    with pytest.raises(error):
        store.resolve(selector)


def test_an_id_prefix_resolves_and_times_select(store: castore.Store, out: Path) -> None:
    first = store.commit(str(out)).version
    (out / "report.md").write_text("two")
    store.commit(str(out))
    assert store.resolve(first.id.hex()[:12]).version.id == first.id
    assert store.resolve(first.id.hex()).version.id == first.id
    with pytest.raises(errors.RefNotFound):
        store.resolve("out@2001-01-01")
    assert store.resolve("out@2100-01-01").version.number == 2


def test_names_with_an_equals_sign_that_exist_are_paths(
    store: castore.Store, tmp_path: Path
) -> None:
    (tmp_path / "a=b").write_text("x")
    version = store.commit("a=b", name="n", cwd=tmp_path).version
    assert [a.name for a in store.set_of(version).artifacts] == ["a=b"]


@pytest.mark.parametrize(
    ("paths", "match"),
    [
        (("missing",), "does not exist"),
        (("out", "out2"), "does not exist"),
        (("out", "out/report.md"), "name"),
        (("x=out", "x=out/report.md"), "twice"),
        (("x=",), "must follow"),
    ],
)
def test_bad_paths_are_told(
    store: castore.Store, out: Path, tmp_path: Path, paths: tuple[str, ...], match: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=match):
        store.commit(*paths, cwd=tmp_path)
