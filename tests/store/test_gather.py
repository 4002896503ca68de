"""Gathering: which inputs a commit takes, with a spec and without, and the dry run of it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import castore
from castore import errors
from castore.store.commit import CommitRequest, commit, preview
from castore.store.status import status as work_status

SPEC = """\
spec: site
version: "2"
base: build
artifacts:
  - {name: pages, type: page, format: html, path: "html/*.html"}
  - {name: data, type: dataset, format: json, path: data.json}
  - {name: logo, type: image, format: png, path: logo.png, required: false}
  - {name: raw, type: dataset, format: csv, storage: external, uri: "https://example.org/raw.csv"}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site.spec.yaml").write_text(SPEC)
    (tmp_path / "build" / "html").mkdir(parents=True)
    (tmp_path / "build" / "html" / "a.html").write_text("<p>a</p>")
    (tmp_path / "build" / "html" / "note.txt").write_text("not a page")
    (tmp_path / "build" / "data.json").write_text("[]")
    return tmp_path


def names(store: castore.Store, selector: str) -> list[str]:
    version = store.resolve(selector).version
    return [artifact.name for artifact in store.set_of(version).artifacts]


def test_the_one_spec_here_is_taken(store: castore.Store, site: Path) -> None:
    report = store.commit(cwd=site)
    assert report.version.branch == "site"
    assert names(store, "site") == ["data", "pages", "raw"]
    assert store.read_bytes("site:pages/a.html") == b"<p>a</p>"
    with pytest.raises(errors.RefNotFound):
        store.read_bytes("site:pages/note.txt")
    with pytest.raises(errors.TypeMismatch, match="external"):
        store.read_bytes("site:raw")
    record = store.record(report.version)
    raw = next(a for a in record["artifacts"] if a["name"] == "raw")
    assert (raw["storage"], raw["uri"]) == ("external", "https://example.org/raw.csv")
    assert (raw["digest"], raw["size"]) == (None, None)


def test_two_specs_or_none_are_asked_about(store: castore.Store, site: Path) -> None:
    (site / "other.spec.yaml").write_text(SPEC)
    with pytest.raises(errors.InvalidInput, match="nothing to commit"):
        store.commit(cwd=site)


def test_a_glob_without_a_match_is_missing(store: castore.Store, site: Path) -> None:
    (site / "build" / "html" / "a.html").unlink()
    with pytest.raises(errors.IncompleteSet) as caught:
        store.commit(cwd=site)
    assert caught.value.missing == ["pages"]


def test_a_folder_stands_for_the_base_and_extras_are_told(store: castore.Store, site: Path) -> None:
    os.rename(site / "build", site / "elsewhere")
    (site / "elsewhere" / "stray.tmp").write_text("x")
    report = store.commit("elsewhere", spec=site / "site.spec.yaml", cwd=site)
    assert names(store, "site") == ["data", "pages", "raw"]
    assert any("stray.tmp" in warning for warning in report.warnings)


def test_a_pair_changes_where_bytes_come_from_not_their_place(
    store: castore.Store, site: Path
) -> None:
    (site / "mine.json").write_text("[1]")
    report = store.commit("data=mine.json", spec=site / "site.spec.yaml", cwd=site)
    data = store.set_of(report.version).get("data")
    assert data is not None
    assert data.path == "data.json"
    assert store.read_bytes("site:data") == b"[1]"


def test_standard_input_is_an_artifact(store: castore.Store, tmp_path: Path) -> None:
    request = CommitRequest(
        cwd=tmp_path, paths=("log=-",), name="piped", stdin=io.BytesIO(b"from a pipe")
    )
    commit(store, request)
    assert store.read_bytes("piped:log") == b"from a pipe"


def test_links_are_refused_skipped_or_followed(store: castore.Store, out: Path) -> None:
    (out / "data" / "link").symlink_to("a.csv")
    with pytest.raises(errors.InvalidInput, match="link"):
        store.commit(str(out))
    store.commit(str(out), links="skip")
    with pytest.raises(errors.RefNotFound):
        store.read_bytes("out:data/link")
    store.commit(str(out), links="follow")
    assert store.read_bytes("out:data/link") == (out / "data" / "a.csv").read_bytes()


def test_links_skipped_are_told_wherever_they_are(store: castore.Store, out: Path) -> None:
    (out / "link").symlink_to("report.md")
    (out / "data" / "link").symlink_to("a.csv")
    told = store.commit(str(out), links="skip").warnings
    assert [text.rpartition(": ")[0] for text in told] == ["links skipped"] * 2
    assert {text.rpartition("out/")[2] for text in told} == {"link", "data/link"}


def test_ignored_and_never_taken_entries(store: castore.Store, out: Path) -> None:
    (out / ".casignore").write_text("*.tmp\n")
    (out / "x.tmp").write_text("x")
    (out / ".git").mkdir()
    store.commit(str(out))
    assert names(store, "out") == ["data", "metrics.json", "report.md"]
    assert {row.state for row in work_status(store, "out").artifacts} == {"unchanged"}


def test_entries_that_cannot_be_artifacts_are_listed_with_a_way_out(
    store: castore.Store, out: Path
) -> None:
    (out / "a:b").write_text("x")
    with pytest.raises(errors.InvalidName, match="a:b") as caught:
        store.commit(str(out))
    assert "NAME=DIR" in caught.value.fix
    store.commit("all=out", name="whole", cwd=out.parent)
    assert store.read_bytes("whole:all/a:b") == b"x"


def test_names_that_collide_elsewhere_are_recorded(store: castore.Store, out: Path) -> None:
    (out / "data" / "README").write_text("1")
    (out / "data" / "readme").write_text("2")
    store.commit(str(out))
    assert store.read_bytes("out:data/readme") == b"2"


def test_a_dry_run_tells_the_truth_and_writes_nothing(store: castore.Store, out: Path) -> None:
    request = CommitRequest(cwd=out.parent, paths=("out",))
    told = preview(store, request)
    before = store.database.read(lambda tables: tables.counts())
    assert preview(store, request) == told
    assert store.database.read(lambda tables: tables.counts()) == before
    report = commit(store, request)
    assert (told.branch, told.number) == (report.version.branch, report.version.number)
    assert (told.new_bytes, told.known_bytes) == (report.new_bytes, report.known_bytes)
    (out / "report.md").write_text("new text")
    again = preview(store, request)
    states = {artifact.name: artifact.state for artifact in again.artifacts}
    assert states == {"data": "unchanged", "metrics.json": "unchanged", "report.md": "changed"}


def test_a_dry_run_tells_the_faults_of_the_commit(store: castore.Store, site: Path) -> None:
    request = CommitRequest(cwd=site)
    assert preview(store, request).faults == ()
    (site / "build" / "data.json").write_text("{")
    (site / "odd.txt").write_text("x")
    odd = CommitRequest(cwd=site, paths=("odd=odd.txt",), spec=site / "site.spec.yaml")
    told = preview(store, odd).faults
    assert [(fault["artifact"], fault["check"]) for fault in told] == [
        ("odd", "declared"),
        ("data", "format"),
    ]
    with pytest.raises(errors.IncompleteSet) as caught:
        commit(store, odd)
    assert {f["artifact"] for f in caught.value.faults} == {"odd", "data"}
    (site / "build" / "html" / "a.html").unlink()
    assert preview(store, request).missing == ("pages",)


def test_a_dry_run_says_that_nothing_differs(store: castore.Store, out: Path) -> None:
    request = CommitRequest(cwd=out.parent, paths=("out",))
    assert not preview(store, request).identical
    commit(store, request)
    assert preview(store, request).identical
    (out / "report.md").unlink()
    assert not preview(store, request).identical


def test_unknown_only_names_have_near_matches(store: castore.Store, site: Path) -> None:
    store.commit(cwd=site)
    with pytest.raises(errors.InvalidInput, match="did you mean pages"):
        store.commit(spec=site / "site.spec.yaml", only=("page",), cwd=site)


def test_only_without_a_parent_is_refused(store: castore.Store, site: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="carry the rest"):
        store.commit(spec=site / "site.spec.yaml", only=("data",), cwd=site)


def test_a_spec_with_a_schema_that_is_not_there(store: castore.Store, tmp_path: Path) -> None:
    spec = tmp_path / "s.spec.yaml"
    spec.write_text(
        "spec: s\nversion: 1\nartifacts:\n"
        "  - {name: a, type: dataset, format: json, path: a.json, checks: {schema: no.json}}\n"
    )
    with pytest.raises(errors.InvalidSpec, match=r"no\.json") as caught:
        store.commit(spec=spec)
    assert caught.value.faults[0]["line"] == 4
