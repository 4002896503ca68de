"""Checkout: what is written, what is refused, and that nothing is left behind or escapes."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import castore
from castore import errors
from castore.content.trees import build_tree
from castore.model.artifact_set import Artifact, FileContent, TreeContent, make_set
from castore.model.ids import Kind
from castore.model.pages import Entry
from castore.store import materialise
from castore.store.checkout import TEMPORARY, checkout, default_destination
from castore.store.materialise import FolderWriter, check_component
from tests.store.damage import alter_block_of, publish_set


def files_below(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every folder with None, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def version(store: castore.Store, out: Path, tmp_path: Path) -> castore.Version:
    (out / "data" / "empty").mkdir()
    (out / "data" / "big.bin").write_bytes(os.urandom(700_000))
    return store.commit("out", cwd=tmp_path).version


def test_a_new_folder_holds_exactly_what_was_committed(
    store: castore.Store, version: castore.Version, out: Path, tmp_path: Path
) -> None:
    done = checkout(store, version, (), tmp_path / "deep" / "restored")
    assert files_below(tmp_path / "deep" / "restored") == files_below(out)
    assert done.files == 5
    assert done.size == sum(len(data) for data in files_below(out).values() if data)
    assert [item.artifact for item in done.written] == ["data", "metrics.json", "report.md"]


def test_the_executable_bit_comes_back_and_only_where_it_was(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    checkout(store, version, (), tmp_path / "r")
    assert (tmp_path / "r/data/deep/run.sh").stat().st_mode & stat.S_IXUSR
    assert not (tmp_path / "r/report.md").stat().st_mode & stat.S_IXUSR


def test_chosen_artifacts_only(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    checkout(store, version, ["report.md", "report.md"], tmp_path / "r")
    assert list(files_below(tmp_path / "r")) == ["report.md"]
    with pytest.raises(errors.RefNotFound, match=r"report\.md"):
        checkout(store, version, ["reprt.md"], tmp_path / "r2")
    assert not (tmp_path / "r2").exists()


def test_the_default_destination(
    store: castore.Store, version: castore.Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkout(store, version).destination == tmp_path / "out-v1"
    assert default_destination(castore.Version(version.id, version.manifest, "a/b")) == Path(
        "a-b-v1"
    )


def test_a_folder_with_anything_in_it_is_refused_even_if_equal(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    checkout(store, version, (), tmp_path / "r")
    before = files_below(tmp_path / "r")
    with pytest.raises(errors.WouldOverwrite) as caught:
        checkout(store, version, (), tmp_path / "r")
    assert caught.value.code == 4
    assert caught.value.fix
    assert files_below(tmp_path / "r") == before


def test_an_empty_folder_is_filled_and_stays_the_same_folder(
    store: castore.Store, version: castore.Version, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "r").mkdir(mode=0o750)
    inode = (tmp_path / "r").stat().st_ino
    checkout(store, version, (), tmp_path / "r")
    assert files_below(tmp_path / "r") == files_below(out)
    assert (tmp_path / "r").stat().st_ino == inode


def test_force_replaces_the_sets_own_files_and_keeps_others(
    store: castore.Store, version: castore.Version, out: Path, tmp_path: Path
) -> None:
    target = tmp_path / "r"
    (target / "data" / "deep").mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    (target / "data" / "deep" / "mine.txt").write_text("mine too")
    (target / "report.md").write_text("old")
    os.link(target / "report.md", tmp_path / "other-name")
    done = checkout(store, version, (), target, force=True)
    found = files_below(target)
    assert found.pop("mine.txt") == b"mine"
    assert found.pop("data/deep/mine.txt") == b"mine too"
    assert found == files_below(out)
    assert (tmp_path / "other-name").read_text() == "old", "written through a hard link"
    assert done.files == 5


def test_force_does_not_replace_a_folder_by_a_file_or_a_file_by_a_folder(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    for place, is_folder in (("report.md", True), ("data", False)):
        target = tmp_path / f"r-{place}"
        target.mkdir()
        (target / place).mkdir() if is_folder else (target / place).write_text("x")
        (target / "metrics.json").write_text("old")
        before = files_below(target)
        with pytest.raises(errors.WouldOverwrite, match=place):
            checkout(store, version, (), target, force=True)
        assert files_below(target) == before


def test_force_never_writes_through_a_link(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("safe")
    target = tmp_path / "r"
    target.mkdir()
    (target / "data").symlink_to(outside)
    with pytest.raises(errors.WouldOverwrite, match="link"):
        checkout(store, version, (), target, force=True)
    assert list(files_below(outside)) == ["victim"]
    (target / "data").unlink()
    (target / "report.md").symlink_to(outside / "victim")
    checkout(store, version, (), target, force=True)
    assert (outside / "victim").read_text() == "safe"
    assert not (target / "report.md").is_symlink()


def test_a_race_of_links_lets_nothing_escape(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "r"
    (target / "data").mkdir(parents=True)
    stop = threading.Event()

    def swap() -> None:
        for turn in itertools.count():
            if stop.is_set():
                return
            with contextlib.suppress(OSError):
                if (target / "data").is_symlink():
                    os.unlink(target / "data")
                else:
                    os.rename(target / "data", tmp_path / f"real-{turn}")
                    os.symlink(outside, target / "data")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(20):
            with contextlib.suppress(errors.CastoreError):
                checkout(store, version, (), target, force=True)
    finally:
        stop.set()
        thread.join()
    assert files_below(outside) == {}
    if (target / "data").is_symlink():
        (target / "data").unlink()
    checkout(store, version, (), target, force=True)
    assert not [name for name in os.listdir(target) if name.startswith(TEMPORARY)]


def test_a_link_put_in_place_after_the_look_is_not_followed(
    store: castore.Store,
    version: castore.Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The race lost on purpose: the folder becomes a link between the look and the opening."""
    outside, target = tmp_path / "outside", tmp_path / "r"
    outside.mkdir()
    (target / "data" / "deep").mkdir(parents=True)
    has_folder = materialise.Placement._has_folder

    def too_late(self: Any, name: bytes, *rest: Any) -> bool:
        found = has_folder(self, name, *rest)
        if name == b"data" and not (target / "data").is_symlink():
            os.rename(target / "data", tmp_path / "moved")
            os.symlink(outside, target / "data")
        return found

    monkeypatch.setattr(materialise.Placement, "check", lambda self: None)
    monkeypatch.setattr(materialise.Placement, "_has_folder", too_late)
    with pytest.raises(errors.CastoreError):
        checkout(store, version, (), target, force=True)
    assert files_below(outside) == {}


def test_a_new_folder_that_becomes_a_link_is_not_written_into(
    store: castore.Store,
    version: castore.Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def linked(name: bytes, *, dir_fd: int) -> None:
        os.symlink(outside, name, dir_fd=dir_fd)

    folder = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(materialise.os, "mkdir", linked)
    try:
        with pytest.raises(OSError, match="data"):
            FolderWriter(folder).enter([b"data"])
    finally:
        os.close(folder)
    assert files_below(outside) == {}


def test_a_file_that_is_a_link_already_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "f").symlink_to(tmp_path / "victim")
    told: list[int] = []
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            FolderWriter(folder).write(folder, b"f", iter([b"bad"]), 0, told.append)
    finally:
        os.close(folder)
    assert (tmp_path / "victim").read_text() == "safe"


def test_a_file_or_a_dangling_link_as_destination_is_refused(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(errors.WouldOverwrite):
            checkout(store, version, (), tmp_path / name, force=True)
    assert sorted(os.listdir(tmp_path)) == [".cas", "dangling", "file", "out"]


def test_the_stores_own_folder_is_refused(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    (tmp_path / "door").symlink_to(store.folder)
    for place in (store.folder / "x", tmp_path / "door" / "x"):
        with pytest.raises(errors.InvalidInput, match="own folder"):
            checkout(store, version, (), place)


@pytest.mark.parametrize("existing", ["absent", "empty", "forced"])
def test_a_damaged_file_leaves_nothing_behind(
    store: castore.Store, version: castore.Version, out: Path, tmp_path: Path, existing: str
) -> None:
    store.close()
    alter_block_of(store.folder, version_digest(out / "data" / "big.bin"))
    target = tmp_path / "a" / "r"
    if existing != "absent":
        target.mkdir(parents=True)
    if existing == "forced":
        (target / "report.md").write_text("old")
    before = files_below(tmp_path)
    with castore.open(tmp_path) as again, pytest.raises(errors.CorruptObject):
        checkout(again, version, (), target, force=existing == "forced")
    assert files_below(tmp_path).keys() == before.keys()
    assert files_below(target) == {"report.md": b"old"} if existing == "forced" else True


def version_digest(path: Path) -> bytes:
    return blake3(path.read_bytes()).digest()


def test_an_artifact_that_cannot_be_read_is_named_and_the_others_can_be_had(
    store: castore.Store, tmp_path: Path
) -> None:
    with store.session(name="out") as session:
        session.add("secret", b"a password")
        session.add("plain", b"nothing special")
        version = session.commit()
    store.purge("out@v1:secret", reason="a password")
    with pytest.raises(
        errors.ObjectNotFound, match=r"artifact 'secret' of out@v1: .*was purged"
    ) as it:
        checkout(store, version, destination=tmp_path / "all")
    assert it.value.attributes["artifact"] == "secret"
    *_, command, label, name = it.value.fix.split()
    assert (command, label) == ("checkout", "out@v1")
    checkout(store, version, [name], tmp_path / "some")
    assert [path.read_bytes() for path in (tmp_path / "some").iterdir()] == [b"nothing special"]


@pytest.mark.parametrize("existing", ["absent", "empty", "forced"])
def test_an_interrupt_leaves_nothing_behind(
    store: castore.Store,
    version: castore.Version,
    tmp_path: Path,
    existing: str,
) -> None:
    target = tmp_path / "a" / "r"
    if existing != "absent":
        target.mkdir(parents=True)
    if existing == "forced":
        (target / "report.md").write_text("old")
    before = {**files_below(tmp_path / "a")} if target.exists() else None

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkout(store, version, (), target, force=existing == "forced", progress=interrupt)
    assert (files_below(tmp_path / "a") if before is not None else None) == before
    assert (tmp_path / "a").exists() == (before is not None)


@pytest.mark.parametrize("stop_at", range(4))
def test_an_interrupt_while_files_are_put_in_place_is_undone(
    store: castore.Store,
    version: castore.Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
) -> None:
    """Every rename of the last step is the one that is interrupted, once."""
    target = tmp_path / "r"
    (target / "data").mkdir(parents=True)
    for name in ("report.md", "metrics.json", "data/a.csv"):
        (target / name).write_text(f"old {name}")
    before = files_below(target)
    place = materialise.Placement._place
    calls = 0

    def interrupted(self: Any, *args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        place(self, *args, **options)
        if calls == stop_at + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(materialise.Placement, "_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkout(store, version, (), target, force=True)
    assert calls == stop_at + 1
    assert files_below(target) == before


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    target = tmp_path / "r"
    target.mkdir()

    def appear(_: int) -> None:
        (target / "report.md").write_text("mine")

    with pytest.raises(errors.WouldOverwrite):
        checkout(store, version, (), target, progress=appear)
    assert files_below(target) == {"report.md": b"mine"}


def test_progress_is_told_every_byte(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    told: list[int] = []
    done = checkout(store, version, (), tmp_path / "r", progress=told.append)
    assert sum(told) == done.size


def test_external_artifacts_are_listed_and_not_written(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "e.spec.yaml").write_text(
        "spec: e\nversion: 1\nartifacts:\n"
        "  - {name: near, type: document, format: text, path: near.txt}\n"
        "  - {name: far, type: dataset, format: binary, storage: external,"
        ' uri: "s3://bucket/far"}\n'
    )
    (tmp_path / "near.txt").write_text("near")
    version = store.commit(spec=tmp_path / "e.spec.yaml", cwd=tmp_path).version
    done = checkout(store, version, (), tmp_path / "r")
    assert list(files_below(tmp_path / "r")) == ["near.txt"]
    assert [(item.artifact, item.uri, item.size) for item in done.external] == [
        ("far", "s3://bucket/far", -1)
    ]
    assert done.as_json()["external"][0]["size"] is None


def tree_version(store: castore.Store, entries: list[tuple[bytes, bytes]]) -> castore.Version:
    """A version with one folder artifact of these (name, data), whatever the names."""
    objects = [(Kind.CHUNK, data) for _, data in entries]
    with store.session("odd") as session:
        for index, (_, data) in enumerate(objects):
            session.write(f"part-{index}", data)
        session.commit()
    rows = [Entry(name, "file", blake3(data).digest(), len(data), 0) for name, data in entries]
    built = build_tree(rows)
    artifact = Artifact("folder", "folder", "folder", "folder", TreeContent(built.root, built.size))
    return publish_set(store, "odd", make_set([artifact]), built.pages)


@pytest.mark.parametrize("name", [b".git", b".GIT", b".cas", ".g\u200cit".encode()])
def test_names_that_belong_to_git_or_castore_are_refused(
    store: castore.Store, tmp_path: Path, name: bytes
) -> None:
    version = tree_version(store, [(name, b"[core]")])
    with pytest.raises(errors.InvalidName, match="never written"):
        checkout(store, version, (), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_names_that_only_look_alike_are_fine() -> None:
    for name in (b".gitignore", b".github", b"git", "\u200c".encode(), b".casignore"):
        check_component(name, ())


def test_names_that_differ_in_case_are_two_files_where_they_can_be(
    store: castore.Store, tmp_path: Path
) -> None:
    version = tree_version(store, [(b"README", b"1"), (b"readme", b"2")])
    checkout(store, version, (), tmp_path / "r")
    assert files_below(tmp_path / "r/folder") == {"README": b"1", "readme": b"2"}


def test_a_file_system_that_takes_two_names_for_one_is_noticed(tmp_path: Path) -> None:
    """The second file of a pair meets the first: as on a file system that ignores case."""
    folder = os.open(tmp_path, os.O_RDONLY)
    writer = FolderWriter(folder)
    told: list[int] = []
    try:
        writer.write(writer.enter([b"a"]), b"same", iter([b"1"]), 0, told.append)
        with pytest.raises(FileExistsError) as caught:
            writer.write(writer.enter([b"a"]), b"same", iter([b"2"]), 0, told.append)
        refused = materialise.write_error(caught.value, "a/SAME")
        assert isinstance(refused, errors.InvalidName)
        assert "case" in refused.message
    finally:
        writer.close()
        os.close(folder)
    assert (tmp_path / "a/same").read_bytes() == b"1"


def test_a_full_disk_is_said_before_anything_is_written(
    store: castore.Store, version: castore.Version, tmp_path: Path
) -> None:
    huge = Artifact("h", "x", "binary", "h", FileContent(b"\1" * 32, 1 << 60))
    claimed = publish_set(store, "huge", make_set([huge]), [])
    with pytest.raises(errors.StoreFull, match="free"):
        checkout(store, claimed, (), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_folder_of_another_size_than_said_is_refused(
    store: castore.Store, tmp_path: Path
) -> None:
    with store.session("odd") as session:
        session.write("part", b"12345")
        session.commit()
    built = build_tree([Entry(b"f", "file", blake3(b"12345").digest(), 5, 0)])
    artifact = Artifact("folder", "folder", "folder", "folder", TreeContent(built.root, 4))
    lying = publish_set(store, "odd", make_set([artifact]), built.pages)
    with pytest.raises(errors.CorruptObject, match="said to be"):
        checkout(store, lying, (), tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1500):
        (folder / f"f{number}").write_bytes(b"%d" % number * (number % 40))
    (folder / ("z" * 255)).write_text("long name")
    return folder


def test_a_folder_of_many_files_over_several_batches_and_pages(
    store: castore.Store, many: Path, tmp_path: Path
) -> None:
    version = store.commit("all=many", name="many", cwd=tmp_path).version
    checkout(store, version, (), tmp_path / "r")
    assert files_below(tmp_path / "r/all") == files_below(many)
