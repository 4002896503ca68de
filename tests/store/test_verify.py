"""fsck: a whole store has no findings; each damage is named, with the versions it hurts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

import castore
from castore.content.layouts import iter_parts
from castore.content.trees import build_tree, find_entry
from castore.database.reading import Reading
from castore.database.tables import ObjectRow, State
from castore.database.writing import Writing
from castore.model.artifact_set import Artifact, FileContent, TreeContent, make_set
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import FOLDER_DEPTH
from castore.model.pages import TREE, Entry
from castore.store.branches import delete_branch
from castore.store.verify import FsckReport, fsck
from castore.store.verify_closure import Marks
from castore.store.verify_report import FINDINGS, Findings
from tests.store.damage import (
    alter,
    alter_block_of,
    block_key_of,
    flip_last,
    publish_set,
    with_table,
)


@dataclass
class Subject:
    """A store with two versions, closed; and the ids of things in it."""

    folder: Path
    versions: list[castore.Version]
    small: Id
    big: Id
    chunk: Id
    page: Id

    @property
    def cas(self) -> Path:
        return self.folder / ".cas"

    def check(self, **options: bool) -> FsckReport:
        with castore.open(self.folder) as store:
            report = fsck(store, **options)
        json.dumps(report.as_json())
        assert report.ok == (not report.findings)
        return report


@pytest.fixture
def subject(store: castore.Store, out: Path, tmp_path: Path) -> Subject:
    (out / "data" / "big.bin").write_bytes(os.urandom(900_000))
    first = store.commit("out", cwd=tmp_path).version
    (out / "report.md").write_text("# Another\n")
    second = store.commit("out", cwd=tmp_path).version
    store.tag("release", "out@v1")
    big = content_id((out / "data" / "big.bin").read_bytes())
    root = store.reader.layout_root(big)
    assert root is not None
    chunk = next(iter_parts(store.reader.layout_page, root)).id
    data = store.set_of(second).get("data")
    assert data is not None
    assert isinstance(data.content, TreeContent)
    deep = find_entry(store.reader.tree_page, data.content.id, b"deep")
    assert deep is not None
    small = content_id((out / "data" / "a.csv").read_bytes())
    store.close()
    return Subject(tmp_path, [first, second], small, big, chunk, deep.id)


def test_a_whole_store_has_no_findings(subject: Subject) -> None:
    quick, full = subject.check(), subject.check(full=True)
    assert quick.findings == full.findings == ()
    assert quick.counts["versions"] == full.counts["versions"] == 2
    assert quick.counts["refs"] == 2
    assert full.counts["big files"] == 1
    assert full.counts["objects"] > full.counts["blocks"] > 5


def hurt(report: FsckReport) -> set[str]:
    return {str(item) for finding in report.findings for item in finding.hurt}


def test_a_flipped_bit_in_a_small_file_names_the_file_in_every_version(subject: Subject) -> None:
    key = block_key_of(subject.cas, subject.small)
    alter(subject.cas, "blocks", key, lambda block: block.replace(b"1,2\n2,3\n", b"1,2\n2,4\n"))
    assert not subject.check().findings, "quick does not read contents"
    report = subject.check(full=True)
    assert [finding.object for finding in report.findings] == [subject.small]
    assert {"out@v1:data/a.csv", "out@v2:data/a.csv"} <= hurt(report)


def test_a_flipped_bit_in_a_chunk_names_the_big_file(subject: Subject) -> None:
    alter_block_of(subject.cas, subject.chunk)
    report = subject.check(full=True)
    kinds = {(finding.object, finding.kind) for finding in report.findings}
    assert (subject.chunk, "chunk") in kinds
    assert (subject.big, "layout") in kinds
    assert {"out@v1:data/big.bin", "out@v2:data/big.bin"} <= hurt(report)
    chunk = next(f for f in report.findings if f.object == subject.chunk)
    assert any(item.path == "big.bin" for item in chunk.hurt)


def test_a_damaged_folder_set_or_manifest_hurts_its_versions(subject: Subject) -> None:
    second = subject.versions[1]
    for id, kind in ((subject.page, "tree"), (second.set_id, "set"), (second.id, "manifest")):
        alter_block_of(subject.cas, id)
        for options in ({}, {"full": True}):
            report = subject.check(**options)
            assert report.findings, kind
            assert "out@v2" in {item.split(":")[0] for item in hurt(report)} or any(
                second.id in (item.version for item in f.hurt) or "heads/out" in f.where
                for f in report.findings
            ), (kind, report.findings)
        alter_block_of(subject.cas, id)
    assert not subject.check(full=True).findings


def test_a_missing_object_is_found_without_reading_contents(subject: Subject) -> None:
    for id in (subject.small, subject.chunk, subject.page, subject.versions[0].set_id):
        kept: list[bytes] = []
        alter(subject.cas, "objects", id, lambda row, kept=kept: kept.append(row))  # type: ignore[misc]
        report = subject.check()
        assert any(f.object == id and "missing" in f.detail for f in report.findings)
        put_back(subject.cas, "objects", id, kept[0])
    assert not subject.check().findings


def put_back(folder: Path, table: str, key: bytes, value: bytes) -> None:
    with_table(folder, table, lambda transaction, handle: transaction.put(key, value, db=handle))  # type: ignore[func-returns-value]


def test_a_missing_parent_and_a_missing_version_are_found(subject: Subject) -> None:
    alter(subject.cas, "objects", subject.versions[0].id, lambda _: None)
    report = subject.check()
    details = {(finding.kind, finding.where) for finding in report.findings}
    assert ("manifest", "out@v2") in details
    assert ("ref", "tags/release") in details


def test_a_ref_that_the_log_does_not_know_of_is_found(subject: Subject) -> None:
    first = subject.versions[0].id
    alter(subject.cas, "refs", b"heads/out", lambda _: first)
    report = subject.check()
    assert [finding.where for finding in report.findings] == ["heads/out"]
    assert "operation log" in report.findings[0].detail


def test_a_ref_that_names_what_is_no_version_is_found(subject: Subject) -> None:
    wrong = subject.versions[0].set_id
    alter(subject.cas, "refs", b"tags/release", lambda _: wrong)
    report = subject.check()
    assert any("no version" in finding.detail for finding in report.findings)


def test_an_altered_operation_breaks_the_chain(subject: Subject) -> None:
    number = (1).to_bytes(8, "little")
    alter(subject.cas, "ops", number, lambda value: value.replace(b"commit", b"c0mmit"))
    report = subject.check()
    assert any(finding.kind == "operation" for finding in report.findings)


@pytest.mark.parametrize("table", ["blockinfo", "lookup"])
def test_a_derived_table_that_is_not_as_a_rebuild_gives_is_found(
    subject: Subject, table: str
) -> None:
    def damage(transaction: object, handle: object) -> None:
        with transaction.cursor(handle) as cursor:  # type: ignore[attr-defined]
            assert cursor.first()
            key, value = cursor.item()
        if table == "lookup":
            transaction.delete(key, db=handle)  # type: ignore[attr-defined]
        else:
            transaction.put(key, flip_last(value), db=handle)  # type: ignore[attr-defined]

    with_table(subject.cas, table, damage)
    report = subject.check(full=True)
    assert any(finding.kind == "table" for finding in report.findings)


def test_one_version_and_its_chain(subject: Subject) -> None:
    alter_block_of(subject.cas, content_id(b"# Another\n"))
    with castore.open(subject.folder) as store:
        assert fsck(store, version=subject.versions[0], full=True).ok
        report = fsck(store, version=subject.versions[1], full=True)
        assert report.counts["versions"] == 2
    assert "out@v2:report.md" in hurt(report)


def entries(*rows: Entry) -> tuple[Artifact, list[tuple[Id, bytes]]]:
    built = build_tree(rows)
    content = TreeContent(built.root, built.size)
    return Artifact("folder", "folder", "folder", "folder", content), built.pages


def test_versions_that_lie_about_sizes_numbers_and_parents_are_found(
    store: castore.Store,
) -> None:
    with store.session("base") as session:
        session.write("part", b"12345")
        base = session.commit()
    digest = content_id(b"12345")
    file = Artifact("part", "t", "text", "part", FileContent(digest, 5))
    members = make_set([file])
    publish_set(store, "good", members, [])
    assert fsck(store, full=True).ok
    publish_set(store, "base", members, [], number=7)
    artifact, pages = entries(Entry(b"f", "file", digest, 5, 0))
    lying = Artifact("folder", "folder", "folder", "folder", TreeContent(artifact.content.id, 6))  # type: ignore[union-attr]
    publish_set(store, "size", make_set([lying]), pages)
    absent = FileContent(b"\7" * 32, 1)
    publish_set(store, "absent", make_set([Artifact("a", "t", "text", "a", absent)]), [])
    publish_set(
        store, "kind", make_set([Artifact("a", "t", "text", "a", FileContent(base.id, 1))]), []
    )
    publish_set(store, "partial", members, [], state="partial", missing=("x",))
    report = fsck(store)
    found = {finding.where.split("@")[0]: finding.detail for finding in report.findings}
    assert "number 7" in found["base"]
    assert "6" not in found["size"]
    assert "not what is said" in found["size"]
    assert "missing" in found["absent"]
    assert "manifest where a chunk" in found["kind"]
    assert "incomplete version" in found["heads/partial"]


def test_purged_and_promised_objects_say_why_they_are_not_there(subject: Subject) -> None:
    with castore.open(subject.folder) as store:

        def transact(tables: Writing) -> None:
            tables.set_state(subject.small, Kind.CHUNK, State.PURGED)
            tables.set_state(subject.chunk, Kind.CHUNK, State.LOST)

        store.database.write(transact)
        report = fsck(store)
    assert [(finding.object, finding.detail) for finding in report.findings] == [
        (subject.chunk, "was lost")
    ]


def test_progress_is_told_the_bytes_of_blocks(subject: Subject) -> None:
    told: list[int] = []
    with castore.open(subject.folder) as store:
        fsck(store, full=True, progress=told.append)
    assert 900_000 < sum(told) < 1_000_000, "the big file is hashed while its blocks pass"


def test_a_file_whose_chunks_do_not_come_in_order_is_read_again(store: castore.Store) -> None:
    """Its second half was stored before its first; and both are hashed as whole files."""
    first, second = Random(3).randbytes(600_000), Random(4).randbytes(600_000)
    for name, data in (("late", second), ("both", first + second)):
        with store.session(name=name) as session:
            session.add("data", data)
            session.commit()
    told: list[int] = []
    report = fsck(store, full=True, progress=told.append)
    assert report.ok
    assert report.counts["big files"] == 2
    assert sum(told) > 2_300_000, "blocks once, and one of the files once more"


def test_marks_tell_what_was_seen() -> None:
    marks = Marks()
    rows = [
        ObjectRow(block, slot, Kind.CHUNK, State.STORED)
        for block in (0, 7, 8, 100_000)
        for slot in (0, 1, 63, 4095)
    ]
    assert all(marks.add(row) for row in rows)
    assert not any(marks.add(row) for row in rows)


def test_findings_are_kept_once_and_bounded() -> None:
    findings = Findings()
    for _ in range(2):
        for number in range(FINDINGS + 5):
            findings.add(b"", "ref", str(number), "x")
    assert len(findings.kept) == FINDINGS
    assert findings.more == 10


def test_folders_nested_too_deep_are_found_wherever_they_are_reached_first(
    store: castore.Store,
) -> None:
    """A tall folder in one version, that folder in another of another, and a shared inner one."""
    with store.session("file") as session:
        leaf = session.write("a", b"content").content
        session.commit()
    assert isinstance(leaf, FileContent)
    tall: list[tuple[Id, int]] = []
    pages: list[tuple[Id, bytes]] = []
    entry = Entry(b"f", "file", leaf.digest, leaf.size, 0)
    for _ in range(FOLDER_DEPTH + 1):
        built = build_tree([entry])
        pages += built.pages
        tall.append((built.root, leaf.size))
        entry = Entry(b"d", TREE, built.root, leaf.size, 0)

    def findings(branch: str, heights: list[int]) -> list[str]:
        parts = [
            Artifact(f"x{number}", "", "folder", f"x{number}", TreeContent(*tall[height - 1]))
            for number, height in enumerate(heights)
        ]
        publish_set(store, branch, make_set(parts), pages)
        return [f.detail for f in fsck(store).findings if branch in f.where]

    assert findings("good", [FOLDER_DEPTH, 10, FOLDER_DEPTH - 1]) == []
    deep = f"folders nested deeper than {FOLDER_DEPTH}"
    assert findings("bad", [3, 200, FOLDER_DEPTH + 1]) == [deep]


def test_what_is_collected_during_a_check_is_no_damage(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.session("gone") as session:
        session.write("a", "soon collected")
        session.commit()
    with store.session("kept") as session:
        session.write("a", "stays")
        session.commit()
    read = store.database.read

    def then_collect(fn: Callable[[Reading], Any]) -> Any:
        result = read(fn)
        if isinstance(result, list) and any(name == "heads/gone" for name, _ in result):
            monkeypatch.setattr(store.database, "read", read)
            delete_branch(store, "gone", by="me")
            store.gc(grace=0)
        return result

    monkeypatch.setattr(store.database, "read", then_collect)
    report = fsck(store)
    assert store.database.read is read, "nothing was collected"
    assert not report.findings


def test_damage_is_told_although_something_was_collected_meanwhile(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.session("hurt") as session:
        session.write("a", "soon lost")
        version = session.commit()
    store.database.write(lambda tables: tables.drop_object_row(version.manifest.set))
    read = store.database.read

    def then_sweep(fn: Callable[[Reading], Any]) -> Any:
        store.database.write(lambda tables: tables.bump_gc_epoch())
        return read(fn)

    monkeypatch.setattr(store.database, "read", then_sweep)
    assert fsck(store, attempts=2).findings


def test_what_is_collected_during_every_attempt_is_no_damage(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "gone0", "gone1", "gone2"):
        with store.session(name) as session:
            session.write("a", f"of {name}")
            session.commit()
    read = store.database.read
    left = ["gone0", "gone1", "gone2"]

    def then_collect(fn: Callable[[Reading], Any]) -> Any:
        result = read(fn)
        rows = [row for row in result if isinstance(row, tuple)] if isinstance(result, list) else []
        if left and any(row[0] == f"heads/{left[0]}" for row in rows):
            monkeypatch.setattr(store.database, "read", read)
            delete_branch(store, left.pop(0), by="me")
            store.gc(grace=0)
            monkeypatch.setattr(store.database, "read", then_collect)
        return result

    monkeypatch.setattr(store.database, "read", then_collect)
    report = fsck(store, attempts=2)
    assert left == ["gone2"]
    assert not report.findings
