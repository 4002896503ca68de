"""Staleness: every reason by an example, what counts as today, and what is never a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore import errors
from castore.store.newer import REJECTED, SOURCE, UNKNOWN, WITHDRAWN
from castore.store.stale import CONTRACT, MIXED, REASONS, SPEC, Freshness
from tests.store.reviewing import say

NAMES = ("code", "tests", "openapi")


def write_spec(root: Path, version: str, *, more: str = "", id: str = "api") -> Path:
    """A spec of three texts, and the texts, which are told anew at each call."""
    lines = [f"spec: {id}", f"version: '{version}'", "artifacts:"]
    lines += [
        f"- {{name: {name}, type: code, format: text, path: {name}.txt{more}}}" for name in NAMES
    ]
    path = root / "api.spec.yaml"
    path.write_text("\n".join(lines) + "\n")
    for name in NAMES:
        if not (root / f"{name}.txt").exists():
            (root / f"{name}.txt").write_text(name)
    return path


def make(
    store: castore.Store, version: str, *, only: tuple[str, ...] = (), sources: tuple[str, ...] = ()
) -> castore.Version:
    """A version of `api` under its spec of this version."""
    spec = write_spec(store.root, version)
    for name in only or NAMES:
        (store.root / f"{name}.txt").write_text(f"{name} {store.now()}")
    return store.commit(spec=spec, cwd=store.root, only=only, sources=sources).version


def text(
    store: castore.Store, branch: str, content: str, **fields: tuple[str, ...]
) -> castore.Version:
    """A version with the one artifact `a`."""
    with store.session(branch, **fields) as session:  # type: ignore[arg-type]
        session.write("a", content)
        return session.commit()


def one(store: castore.Store, rev: str = "api", spec: Path | None = None) -> Freshness:
    """The freshness of one version."""
    [found] = store.stale(rev, spec=spec)
    return found


def rows(found: Freshness) -> list[tuple[str, str, str, str]]:
    """Artifact, reason, old and new of each."""
    return [(row.artifact, row.reason, row.old, row.new) for row in found.stale]


def test_a_version_made_as_today_is_fresh(store: castore.Store) -> None:
    make(store, "1.0")
    found = one(store)
    assert found.fresh
    assert found.refresh == ""
    assert found.compared == "api.spec.yaml"
    assert list(store.stale()) == [found]


def test_another_version_of_the_spec(store: castore.Store) -> None:
    make(store, "1.0")
    write_spec(store.root, "1.1")
    found = one(store)
    assert rows(found) == [(name, SPEC, "1.0", "1.1") for name in sorted(NAMES)]
    assert found.refresh == "cas commit --spec api.spec.yaml"
    assert found.stale[0].refresh == "cas commit --spec api.spec.yaml --only code"


def test_another_contract_of_the_same_version(store: castore.Store) -> None:
    make(store, "1.0")
    spec = write_spec(store.root, "1.0", more=", title: Another")
    spec.write_text("# a remark\nstore: .cas\n" + spec.read_text())
    assert one(store).fresh
    write_spec(store.root, "1.0", more=", checks: {max_size: 1MB}")
    assert [row[1:] for row in rows(one(store))] == [(CONTRACT, "1.0", "1.0")] * 3


def test_code_and_tests_under_the_old_spec_and_the_document_under_the_new(
    store: castore.Store,
) -> None:
    make(store, "1.0")
    make(store, "1.1", only=("openapi",))
    found = one(store)
    assert rows(found) == [
        ("code", SPEC, "1.0", "1.1"),
        ("tests", SPEC, "1.0", "1.1"),
        ("code", MIXED, "1.0", "1.1"),
        ("tests", MIXED, "1.0", "1.1"),
    ]
    assert found.refresh == "cas commit --spec api.spec.yaml --only code --only tests"
    assert rows(one(store, "api:tests")) == [row for row in rows(found) if row[0] == "tests"]
    assert one(store, "api:openapi").fresh
    make(store, "1.1", only=("code", "tests"))
    assert one(store).fresh


def test_mixed_is_told_where_today_agrees_with_the_old(store: castore.Store) -> None:
    make(store, "1.0")
    make(store, "1.1", only=("openapi",))
    write_spec(store.root, "1.0")
    assert rows(one(store)) == [
        ("openapi", SPEC, "1.1", "1.0"),
        ("code", MIXED, "1.0", "1.1"),
        ("tests", MIXED, "1.0", "1.1"),
    ]


def test_without_the_file_the_newest_version_counts(store: castore.Store) -> None:
    first = make(store, "1.0")
    make(store, "1.1")
    (store.root / "api.spec.yaml").unlink()
    newest = one(store)
    assert newest.fresh
    assert (newest.compared, newest.absent) == ("api@v2", "api.spec.yaml is not here")
    assert [row[1:] for row in rows(one(store, first.id.hex()))] == [(SPEC, "1.0", "1.1")] * 3


def test_a_spec_that_is_given_wins(store: castore.Store, tmp_path: Path) -> None:
    make(store, "1.0")
    (tmp_path / "else").mkdir()
    other = write_spec(tmp_path / "else", "2.0")
    assert {row[3] for row in rows(one(store, spec=other))} == {"2.0"}
    assert one(store, spec=other).refresh == "cas commit --spec else/api.spec.yaml"
    text(store, "plain", "x")
    labels = {found.version.label: found.fresh for found in store.stale(spec=other)}
    assert labels == {"api@v1": False, "plain@v1": True}


def test_a_spec_that_cannot_be_read_is_told(store: castore.Store) -> None:
    make(store, "1.0")
    (store.root / "api.spec.yaml").write_text("spec: api\n")
    [row] = one(store).stale
    assert (row.artifact, row.reason) == ("", UNKNOWN)
    assert row.refresh == "cas spec check api.spec.yaml"
    with pytest.raises(errors.InvalidSpec):
        one(store, spec=store.root / "api.spec.yaml")


def test_a_file_that_became_another_spec_does_not_count(store: castore.Store) -> None:
    make(store, "1.0")
    write_spec(store.root, "9.9", id="other")
    found = one(store)
    assert found.fresh
    assert found.absent == "api.spec.yaml is the spec of other today"


def test_a_version_without_a_spec_has_none_to_differ_from(store: castore.Store) -> None:
    text(store, "plain", "x")
    assert one(store, "plain") == Freshness(store.resolve("plain").version)


def test_a_newer_source_by_the_selector_it_was_taken_with(store: castore.Store) -> None:
    text(store, "raw", "1")
    text(store, "moves", "x", sources=("raw",))
    text(store, "stays", "x", sources=("raw@v1",))
    text(store, "part", "x", sources=("a=raw:a",))
    assert all(found.fresh for found in store.stale())
    text(store, "raw", "2")
    assert rows(one(store, "moves")) == [("", SOURCE, "raw@v1", "raw@v2")]
    assert one(store, "moves").stale[0].refresh.endswith("--source raw")
    assert one(store, "stays").fresh
    assert rows(one(store, "part")) == [("a", SOURCE, "raw@v1:a", "raw@v2:a")]
    assert one(store, "part").refresh.endswith("--source a=raw:a")


def test_a_newer_version_with_the_same_bytes_changes_nothing(store: castore.Store) -> None:
    text(store, "raw", "1")
    text(store, "whole", "x", sources=("raw",))
    text(store, "part", "x", sources=("raw:a",))
    text(store, "raw", "1")
    assert all(found.fresh for found in store.stale())
    with store.session("raw", only=("b",)) as session:
        session.write("b", "new")
        session.commit()
    assert rows(one(store, "whole")) == [("", SOURCE, "raw@v1", "raw@v3")]
    assert one(store, "part").fresh


def test_a_folder_of_a_source(store: castore.Store, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "f").write_text("1")
    store.commit(f"data={folder}", name="raw")
    text(store, "part", "x", sources=("raw:data",))
    store.commit(f"data={folder}", name="raw")
    assert one(store, "part").fresh
    (folder / "f").write_text("2")
    store.commit(f"data={folder}", name="raw")
    assert rows(one(store, "part")) == [("", SOURCE, "raw@v1:data", "raw@v3:data")]


def test_an_approved_source_is_compared_with_the_newest_approved(store: castore.Store) -> None:
    say(store, text(store, "raw", "1"), "ann@example.org")
    text(store, "report", "x", sources=("raw@approved",))
    second = text(store, "raw", "2")
    assert one(store, "report").fresh
    approval = say(store, second, "ann@example.org")
    assert rows(one(store, "report")) == [("", SOURCE, "raw@v1", "raw@v2")]
    say(store, second, "ann@example.org", "revoked", replaces=(approval,))
    assert one(store, "report").fresh


def test_a_source_that_was_withdrawn_or_rejected(store: castore.Store) -> None:
    first = text(store, "raw", "1")
    text(store, "report", "x", sources=("raw",))
    say(store, first, "ann@example.org", "withdrawn", subject="lifecycle")
    say(store, first, "ben@example.org", "rejected")
    found = one(store, "report")
    assert rows(found) == [("", WITHDRAWN, "raw@v1", ""), ("", REJECTED, "raw@v1", "")]
    assert found.stale[1].detail == "raw@v1 was rejected by ben@example.org"
    assert {row.refresh for row in found.stale} == {"cas log raw"}
    text(store, "raw", "2")
    assert {row.reason: row.new for row in one(store, "report").stale} == dict.fromkeys(
        (SOURCE, WITHDRAWN, REJECTED), "raw@v2"
    )


def test_the_sources_of_what_is_carried_are_those_of_its_maker(store: castore.Store) -> None:
    text(store, "raw", "1")
    text(store, "other", "1")
    make(store, "1.0", sources=("raw", "tests=other"))
    make(store, "1.0", only=("openapi",))
    assert one(store).fresh
    text(store, "raw", "2")
    text(store, "other", "2")
    assert rows(one(store)) == [
        ("code", SOURCE, "raw@v1", "raw@v2"),
        ("tests", SOURCE, "raw@v1", "raw@v2"),
        ("tests", SOURCE, "other@v1", "other@v2"),
    ]
    assert one(store).refresh == (
        "cas commit --spec api.spec.yaml --only code --only tests --source raw --source tests=other"
    )


def test_what_grew_from_a_version_is_no_newer_source_of_it(store: castore.Store) -> None:
    text(store, "report", "1")
    text(store, "report", "2", sources=("report",))
    assert one(store, "report").fresh
    text(store, "report", "3")
    assert one(store, "report@v2").fresh


def test_a_source_that_cannot_be_found_any_more(store: castore.Store) -> None:
    text(store, "raw", "1")
    text(store, "report", "x", sources=("raw",))
    text(store, "good", "x", sources=("raw@v1",))
    store.database.write(
        lambda tables: tables.remove_if_equals("heads/raw", store.resolve("raw").version.id)
    )
    for name in ("report", "good"):
        [row] = one(store, name).stale
        assert (row.reason, row.old, row.new) == (UNKNOWN, "raw@v1", "")
        assert "means nothing here today" in row.detail


def test_a_source_whose_version_is_not_stored_here(store: castore.Store) -> None:
    first = text(store, "raw", "1")
    text(store, "report", "x", sources=("raw",))
    text(store, "raw", "1")
    assert one(store, "report").fresh
    store.database.write(lambda tables: tables.drop_object_row(first.id))
    assert rows(one(store, "report")) == [("", SOURCE, "raw@v1", "raw@v2")]


def test_a_maker_that_is_not_stored_here(store: castore.Store) -> None:
    first = make(store, "1.0")
    make(store, "1.0", only=("openapi",))
    store.database.write(lambda tables: tables.drop_object_row(first.id))
    assert rows(one(store)) == [("code", UNKNOWN, "", ""), ("tests", UNKNOWN, "", "")]


def test_files_and_what_lies_elsewhere(store: castore.Store, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("1")
    text(store, "report", "x", sources=(given.as_uri(), "https://example.org/in"))
    found = one(store, "report")
    assert found.fresh
    assert found.unchecked == ("https://example.org/in lies elsewhere",)
    given.write_text("2")
    [row] = one(store, "report").stale
    assert (row.reason, row.detail) == (SOURCE, f"{given.as_uri()} has other bytes today")
    given.write_text("longer")
    assert one(store, "report").stale[0].new == "6 bytes"
    given.unlink()
    found = one(store, "report")
    assert found.fresh
    assert f"{given.as_uri()} is not here" in found.unchecked


def test_only_the_tips_are_judged(store: castore.Store) -> None:
    for number in range(3):
        text(store, "raw", str(number))
        text(store, "report", str(number), sources=("raw",))
    assert [found.version.label for found in store.stale()] == ["report@v3", "raw@v3"]
    read: list[bytes] = []
    load = store.reader.manifest
    store.reader.manifest = lambda id: read.append(id) or load(id)  # type: ignore[func-returns-value,method-assign]
    list(store.stale())
    tips = {store.resolve(name).version.id for name in ("raw", "report")}
    assert set(read) <= tips


def test_a_reason_as_data(store: castore.Store) -> None:
    text(store, "raw", "1")
    version = text(store, "report", "x", sources=("raw",))
    text(store, "raw", "2")
    [row] = one(store, "report").rows()
    assert row["version"] == version.id.hex()
    assert row["artifact"] is None
    assert (row["reason"], row["old"], row["new"]) == ("source", "raw@v1", "raw@v2")
    assert row["source"]["selector"] == "raw"
    assert row["reason"] in REASONS


def test_unknown_versions_and_artifacts(store: castore.Store) -> None:
    make(store, "1.0")
    for rev in ("nobody", "api:nothing"):
        with pytest.raises(errors.RefNotFound):
            one(store, rev)
