"""Folders on disk: what is taken, what is left out, what is refused."""

from __future__ import annotations

import os
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.content import folders
from castore.content.folders import FolderScan, Ignore, list_folder
from castore.content.globs import match_glob
from castore.content.ingest import Ingestor
from castore.content.stamps import MODE, SIZE, pack_stamps, read_stamps, stamp_of
from castore.content.trees import walk_tree
from castore.errors import CastoreError, InvalidInput, InvalidName, NotFound
from castore.model.artifact_set import TreeContent
from castore.model.pages import TREE
from tests.content.memory_sink import MemorySink


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(path.encode())
    return root


def taken(folder: Path, **options: object) -> list[str]:
    """The paths a folder is stored with; folders end with a slash."""
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        tree = ingestor.add_folder(folder, **options)  # type: ignore[arg-type]
    return paths_of(sink, tree)


def paths_of(sink: MemorySink, tree: TreeContent) -> list[str]:
    return [
        path.decode() + ("/" if entry.kind == TREE else "")
        for path, entry in walk_tree(sink.reader.tree_page, tree.id)
    ]


def test_a_folder_is_stored_with_all_below(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/x", "a/deep/er/y", "empty/", "ümläut", "with space")
    os.chmod(tmp_path / "a" / "x", 0o755)
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        tree = ingestor.add_folder(tmp_path)
    walked = dict(walk_tree(sink.reader.tree_page, tree.id))
    assert {path.decode() for path in walked} == {
        "a", "a/deep", "a/deep/er", "a/deep/er/y", "a/x", "b.txt", "empty", "ümläut", "with space",
    }  # fmt: skip
    for path, entry in walked.items():
        if entry.kind != TREE:
            assert sink.reader.read(entry.id, entry.size, 100) == path
    assert (walked[b"a/x"].mode, walked[b"b.txt"].mode) == (1, 0)
    assert tree.size == sum(len(path) for path, e in walked.items() if e.kind != TREE)
    assert sink.closure([tree.id]) == set(sink.rows)


def test_many_folders_and_files_in_groups(tmp_path: Path) -> None:
    for n in range(2500):
        make(tmp_path, f"{n % 40}/{n % 7}/{n}")
    for n in range(1500):
        (tmp_path / "flat" / f"{n}").mkdir(parents=True)
    expected = sorted(
        str(path.relative_to(tmp_path)) + ("/" if path.is_dir() else "")
        for path in tmp_path.rglob("*")
    )
    assert sorted(taken(tmp_path)) == expected


def test_the_same_folder_is_the_same_tree(tmp_path: Path) -> None:
    one = make(tmp_path / "1", "a/b", "c", "d/e/f")
    two = make(tmp_path / "2", "d/e/f", "c", "a/b")
    sink = MemorySink()
    with Ingestor(sink) as ingestor:
        assert ingestor.add_folder(one) == ingestor.add_folder(two)
        assert ingestor.add_folder(one).id != ingestor.add_folder(one / "a").id


def test_git_and_castore_folders_are_never_taken(tmp_path: Path) -> None:
    make(tmp_path, ".git/config", ".cas/data.mdb", "sub/.GIT/x", "sub/.Cas", "sub/.gitignore", "a")
    assert taken(tmp_path) == ["a", "sub/", "sub/.gitignore"]


def test_a_casignore_leaves_out_what_it_names(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "keep.log", "b/c.log", "build/x", "b/build/y", "src/tmp/z", "tmp/z")
    (tmp_path / ".casignore").write_text("*.log\n!keep.log\nbuild/\n/tmp\n# a comment\n")
    assert taken(tmp_path) == [".casignore", "b/", "keep.log", "src/", "src/tmp/", "src/tmp/z"]


def test_an_inner_casignore_rules_what_is_below_it(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "in/a.txt", "in/b.md", "in/x/a.txt", "in/x/only")
    (tmp_path / ".casignore").write_text("*.md\n")
    (tmp_path / "in" / ".casignore").write_text("!b.md\na.txt\n/only\n")
    assert taken(tmp_path) == [
        ".casignore", "a.txt", "in/", "in/.casignore", "in/b.md", "in/x/", "in/x/only",
    ]  # fmt: skip


def test_patterns_may_be_given(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b/a.txt", "b/c")
    assert taken(tmp_path, ignore=Ignore("a.txt\n")) == ["b/", "b/c"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 300_000])
def test_a_casignore_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".casignore").write_bytes(content)
    with pytest.raises(InvalidInput, match="casignore"):
        taken(tmp_path)


def test_a_glob_takes_matching_files_and_the_folders_they_need(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "b.txt", "c/d.md", "c/e.txt", "f/g.txt", "empty/")
    assert taken(tmp_path, only=match_glob("*.md")) == ["a.md"]
    assert taken(tmp_path, only=match_glob("**/*.md")) == ["a.md", "c/", "c/d.md"]
    assert taken(tmp_path, only=match_glob("*.pdf")) == []


def test_links_are_refused_skipped_or_followed_inside(tmp_path: Path) -> None:
    folder = make(tmp_path / "folder", "real/x", "y")
    (folder / "file").symlink_to("real/x")
    (folder / "dir").symlink_to("real", target_is_directory=True)
    with pytest.raises(InvalidInput, match="symbolic link") as caught:
        taken(folder)
    assert ".casignore" in caught.value.fix
    assert taken(folder, links="skip") == ["real/", "real/x", "y"]
    assert taken(folder, links="follow") == ["dir/", "dir/x", "file", "real/", "real/x", "y"]
    with pytest.raises(InvalidInput, match="links"):
        taken(folder, links="yes")


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "nowhere", ".", "../folder-2/x"])
def test_links_that_lead_elsewhere_are_refused(tmp_path: Path, target: str) -> None:
    folder = make(tmp_path / "folder", "x")
    make(tmp_path, "outside", "folder-2/x")
    (folder / "link").symlink_to(target)
    with pytest.raises(CastoreError, match="link"):
        taken(folder, links="follow")


def test_a_link_into_a_store_is_refused(tmp_path: Path) -> None:
    make(tmp_path, ".cas/secret")
    (tmp_path / "link").symlink_to(".cas/secret")
    with pytest.raises(InvalidInput, match="never taken"):
        taken(tmp_path, links="follow")


def test_links_in_a_loop_end(tmp_path: Path) -> None:
    make(tmp_path, "a/b/x")
    (tmp_path / "a" / "b" / "up").symlink_to("../../a", target_is_directory=True)
    with pytest.raises(InvalidInput, match="lies in"):
        taken(tmp_path, links="follow")


def test_a_linked_root_is_the_users_choice(tmp_path: Path) -> None:
    make(tmp_path, "real/x")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    assert taken(tmp_path / "link") == ["x"]


def test_fifos_sockets_and_devices_are_refused_and_can_be_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match=r"pipe: a fifo.*") as caught:
        taken(tmp_path)
    assert caught.value.fix == "name it in .casignore"
    (tmp_path / ".casignore").write_text("pipe\nsock\n")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)
        try:
            listener.bind("sock")
        finally:
            os.chdir(here)
        assert taken(tmp_path) == [".casignore"]
        (tmp_path / ".casignore").write_text("pipe\n")
        with pytest.raises(InvalidInput, match="sock: a socket"):
            taken(tmp_path)
    with pytest.raises(InvalidInput, match="device"):
        taken(Path("/dev"), ignore=Ignore("*\n!null\n"))


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(InvalidName, match="UTF-8"):
        taken(tmp_path)


@pytest.mark.parametrize(
    ("one", "two"),
    [("README", "readme"), ("\u00e9", "e\u0301"), ("Straße", "STRASSE"), ("a", "A/x")],
)
def test_names_that_are_one_file_elsewhere_are_kept(tmp_path: Path, one: str, two: str) -> None:
    make(tmp_path, one, two)
    assert {one, two} <= set(taken(tmp_path))


def test_a_refusal_names_the_first_links_of_the_whole_folder(tmp_path: Path) -> None:
    make(tmp_path, "a/x", "b/y")
    for at in range(4):
        (tmp_path / "a" / f"l{at}").symlink_to("x")
        (tmp_path / "b" / f"m{at}").symlink_to("y")
    with pytest.raises(InvalidInput, match="symbolic links") as caught:
        taken(tmp_path)
    named = [word for word in ("l0", "l1", "l2", "l3", "m0", "m1") if word in caught.value.message]
    assert named == ["l0", "l1", "l2", "l3", "m0"]
    assert "--links skip" in caught.value.fix


def test_names_with_odd_characters_are_kept(tmp_path: Path) -> None:
    names = ["new\nline", "tab\t", "-dash", "back\\slash", "quote'\"", "…", "x" * 255]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert sorted(taken(tmp_path)) == sorted(names)


def test_folders_nested_too_deep_are_refused(tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(258):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    with pytest.raises(InvalidInput, match="deeper"):
        taken(tmp_path)


def test_what_is_no_folder(tmp_path: Path) -> None:
    make(tmp_path, "file")
    with pytest.raises(NotFound):
        taken(tmp_path / "absent")
    with pytest.raises(InvalidInput, match="not a folder"):
        taken(tmp_path / "file")


def test_listing_gives_the_names_taken(tmp_path: Path) -> None:
    make(tmp_path, "b", "a/x", ".git/x", "c.log")
    (tmp_path / ".casignore").write_text("*.log\n")
    assert list_folder(tmp_path) == ([".casignore", "a", "b"], ())


@given(st.text(max_size=200))
def test_any_text_is_patterns_or_refused(text: str) -> None:
    try:
        ignore = Ignore(text)
    except InvalidInput:
        return
    assert ignore.decides("some/path", False) in (True, False, None)


def test_a_folder_swapped_for_a_link_while_scanning_is_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "in/sub/x", "out/secret")
    scan = FolderScan(str(tmp_path / "in"))
    listing, _ = scan.take(scan.root, "", (), 0)
    (tmp_path / "in" / "sub" / "x").unlink()
    (tmp_path / "in" / "sub").rmdir()
    (tmp_path / "in" / "sub").symlink_to("../out", target_is_directory=True)
    with pytest.raises(InvalidInput):
        scan.take(listing.folders[0].path, "sub/", (), 1)


@pytest.mark.parametrize("ignore", [None, Ignore("7*")])
def test_stamps_are_those_of_the_files_however_many_are_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignore: Ignore | None
) -> None:
    monkeypatch.setattr(folders, "_ENTRIES_AT_ONCE", 7)
    for number in range(23):
        (tmp_path / str(number)).write_bytes(bytes(number))
    (tmp_path / "folder").mkdir()
    scan = FolderScan(str(tmp_path), "refuse", ignore)
    listing, _ = scan.take(str(tmp_path), "", scan.rules, 0)
    names = sorted(str(number) for number in range(23) if ignore is None or number != 7)
    assert listing.files == names
    assert listing.stamps == pack_stamps([stamp_of((tmp_path / name).stat()) for name in names])
    assert [stamp[SIZE] for stamp in read_stamps(listing.stamps)] == [int(name) for name in names]
    assert all(stamp[MODE] for stamp in read_stamps(listing.stamps))


def test_entries_do_not_keep_what_they_said(tmp_path: Path) -> None:
    count = 3 * folders._ENTRIES_AT_ONCE
    for number in range(count):
        (tmp_path / str(number)).touch()
    scan = FolderScan(str(tmp_path))
    tracemalloc.start()
    try:
        scan.take(str(tmp_path), "", scan.rules, 0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 1,100 bytes a file where all stat results are held.
    assert most < 700 * count
