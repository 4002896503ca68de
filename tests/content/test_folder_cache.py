"""Folders known again by their stamps: what they give must be what a first look gives."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from castore.content.ingest import Ingestor
from castore.content.stamps import (
    column,
    keep_settled,
    pack_stamps,
    read_remembered,
    read_stamps,
    remember_all,
    settled,
    stamp_of,
)
from castore.content.tally import Tally
from castore.errors import InvalidInput
from castore.model.artifact_set import TreeContent
from castore.model.ids import content_id
from castore.model.limits import KIB, MIB, TREE_ENTRIES
from tests.content.memory_sink import MemoryCache, MemorySink
from tests.content.samples import noise

SECOND = 1_000_000_000


def later() -> int:
    """Long after anything a test writes."""
    return 4_000_000_000 * SECOND


class Scene:
    """A folder, a sink and a cache; `take` looks at the folder, and compares with a first look."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "folder"
        self.folder.mkdir()
        self.sink, self.cache = MemorySink(), MemoryCache()

    def put(self, name: str, data: bytes = b"") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data or name.encode())
        return path

    def take(self, **options: object) -> tuple[TreeContent, Tally]:
        with Ingestor(MemorySink()) as fresh:
            expected = fresh.add_folder(self.folder, **options)  # type: ignore[arg-type]
        with Ingestor(self.sink, cache=self.cache, now_ns=later) as ingestor:
            found = ingestor.add_folder(self.folder, **options)  # type: ignore[arg-type]
        assert found == expected
        self.sink.closure([found.id])
        assert ingestor.tally.files == fresh.tally.files
        return found, ingestor.tally

    def read(self, **options: object) -> int:
        """How many files were read."""
        tally = self.take(**options)[1]
        return tally.files - tally.cached_files


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    found = Scene(tmp_path)
    for name in ("a", "b", "sub/c", "sub/d", "sub/deep/e", "z"):
        found.put(name)
    (found.folder / "empty").mkdir()
    return found


def test_nothing_is_read_twice_nor_written(scene: Scene) -> None:
    assert scene.read() == 6
    blocks, rows = len(scene.sink.blocks), dict(scene.cache.rows)
    assert scene.read() == 0
    assert (len(scene.sink.blocks), scene.cache.rows) == (blocks, rows)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda f: (f / "sub/c").write_bytes(b"!"), 1),
        (lambda f: (f / "a").rename(f / "aa"), 1),
        (lambda f: (f / "a").unlink(), 0),
        (lambda f: (f / "new").write_bytes(b"new"), 1),
        (lambda f: (f / "a").chmod(0o755), 1),
        (lambda f: (f / "sub/d").rename(f / "d"), 1),
        (lambda f: (f / "sub").rename(f / "other"), 3),
        (lambda f: (f / ".casignore").write_text("a\nc\n"), 1),
        (lambda f: (f / "empty/not").write_bytes(b"any more"), 1),
        (lambda f: (f / "empty").rmdir(), 0),
        (lambda f: os.utime(f / "z", ns=(5, 5)), 1),
        (lambda f: (f / "sub/deep/e").unlink(), 0),
    ],
)
def test_one_change_reads_only_what_it_must(scene: Scene, change: object, read: int) -> None:
    scene.take()
    change(scene.folder)  # type: ignore[operator]
    assert scene.read() == read
    assert scene.read() == 0


def test_a_file_swapped_for_one_of_the_same_size_and_times(scene: Scene) -> None:
    scene.take()
    old = scene.folder / "a"
    other = scene.put("other", b"x")
    os.utime(other, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    other.rename(old)
    assert scene.read() == 1


def test_a_racy_file_is_read_again_until_it_has_settled(scene: Scene) -> None:
    newest = max(path.stat().st_ctime_ns for path in scene.folder.rglob("*"))
    racy = scene.put("racy")
    os.utime(racy, ns=(newest + 10 * SECOND, newest + 10 * SECOND + 7))

    def at(moment: int) -> int:
        with Ingestor(scene.sink, cache=scene.cache, now_ns=lambda: moment) as ingestor:
            ingestor.add_folder(scene.folder)
        return ingestor.tally.files - ingestor.tally.cached_files

    moment = newest + 10 * SECOND + 10_000_000
    assert [at(moment), at(moment), at(moment + SECOND), at(moment + SECOND)] == [7, 1, 1, 0]


def test_the_moment_of_a_row_is_before_its_files_were_read(scene: Scene) -> None:
    """One that changes while the walk goes on keeps its times, at worst, and is not trusted."""
    late = scene.put("zz")
    os.utime(late, ns=(late.stat().st_mtime_ns, later()))
    moments = iter([later(), *[later() + 9 * SECOND] * 1000])
    for number in range(1100):
        scene.put(f"sub/{number}")
    with Ingestor(scene.sink, cache=scene.cache, now_ns=lambda: next(moments)) as ingestor:
        ingestor.add_folder(scene.folder)
    with Ingestor(scene.sink, cache=scene.cache, now_ns=lambda: 0) as again:
        again.add_folder(scene.folder)
    assert again.tally.files - again.tally.cached_files == 1


@pytest.mark.parametrize("what", ["file", "page", "all"])
def test_what_vanished_below_a_known_folder_is_stored_again(scene: Scene, what: str) -> None:
    tree, _ = scene.take()
    everything = set(scene.sink.rows)
    lost = {"file": {content_id(b"sub/c")}, "page": {tree.id}, "all": everything}[what]
    with Ingestor(scene.sink, cache=scene.cache, now_ns=later) as ingestor:
        assert ingestor.add_folder(scene.folder) == tree
        scene.sink.lose_before_write = lost
    assert scene.sink.refused == 1
    assert scene.sink.closure([tree.id]) == everything
    assert scene.sink.reader.read(content_id(b"sub/c"), 5, 5) == b"sub/c"


def test_what_vanished_and_changed_since_is_an_error(scene: Scene) -> None:
    scene.take()
    again = Ingestor(scene.sink, cache=scene.cache, now_ns=later)
    again.add_folder(scene.folder)
    scene.sink.lose([content_id(b"sub/c")])
    scene.put("sub/c", b"other")
    with pytest.raises(InvalidInput, match=r"sub/c: changed"):
        again.flush()


def test_a_known_folder_may_name_what_is_still_under_way(scene: Scene) -> None:
    scene.take()
    scene.sink.lose(set(scene.sink.rows))
    with Ingestor(scene.sink, cache=scene.cache, now_ns=later) as ingestor:
        for name in ("a", "b", "z"):
            ingestor.add_bytes(name.encode())
        tree = ingestor.add_folder(scene.folder)
    scene.sink.closure([tree.id])


def test_part_of_a_folder_leaves_the_rest_known(scene: Scene) -> None:
    assert scene.read() == 6
    rows = dict(scene.cache.rows)
    assert scene.read(only=lambda path: path in ("a", "sub/c")) == 0
    assert scene.cache.rows == rows
    scene.put("a", b"changed")
    assert scene.read(only=lambda path: path in ("a", "sub/c")) == 1
    assert scene.read() == 0
    (scene.folder / "b").unlink()
    scene.put("z", b"changed")
    assert scene.read(only=lambda path: path == "z") == 1
    assert scene.read() == 0


def test_links_are_followed_to_what_is_known(scene: Scene) -> None:
    (scene.folder / "link").symlink_to("sub/c")
    assert scene.read(links="follow") == 7
    assert scene.read(links="follow") == 0
    (scene.folder / "link").unlink()
    (scene.folder / "link").symlink_to("sub/d")
    assert scene.read(links="follow") == 1


def test_a_folder_of_many_pages(scene: Scene) -> None:
    names = [f"many/{number * 7919 % 5000:05}" for number in range(3000)]
    for name in names:
        scene.put(name)
    for number in range(0, 3000, 30):
        scene.put(f"many/d{number:05}/x")
    assert scene.read() == 3106
    assert len(scene.cache.rows) > 3000 // TREE_ENTRIES
    assert scene.read() == 0
    scene.put(names[1500], b"changed")
    scene.put("many/d00900/x", b"changed")
    assert scene.read() == 2
    (scene.folder / names[700]).unlink()
    assert scene.read() < 1024
    # Cut where it was not: a page that was two is read again, and no more.
    scene.put("many/000000")
    assert scene.read() == 1
    assert scene.read() == 0


def test_a_folder_that_grows_beyond_a_page_and_shrinks_again(scene: Scene) -> None:
    for number in range(TREE_ENTRIES):
        scene.put(f"grow/{number:05}")
    assert scene.read() == TREE_ENTRIES + 6
    scene.put("grow/99999")
    assert scene.read() <= TREE_ENTRIES
    assert scene.read() == 0
    (scene.folder / "grow/99999").unlink()
    scene.take()
    assert scene.read() == 0


def test_big_files_in_a_folder_are_known_too(scene: Scene) -> None:
    scene.put("big", noise(5 * MIB))
    scene.put("medium", noise(300 * KIB, "medium"))
    assert scene.read() == 8
    assert scene.read() == 0


def test_any_changes_give_what_a_first_look_gives(scene: Scene) -> None:
    dice = random.Random(20)
    for _ in range(40):
        files = sorted(path for path in scene.folder.rglob("*") if path.is_file())
        for _ in range(dice.randrange(4)):
            path = dice.choice(files)
            match dice.randrange(6):
                case 0:
                    path.write_bytes(b"%d" % dice.randrange(300))
                case 1 if path.exists() and len(files) > 3:
                    path.unlink()
                case 2:
                    scene.put(f"{dice.randrange(5)}/{dice.randrange(5)}.x", dice.randbytes(5))
                case 3 if path.exists():
                    path.chmod(dice.choice((0o600, 0o700)))
                case 4 if path.exists():
                    path.rename(path.with_name(f"r{dice.randrange(20)}"))
                case 5:
                    scene.put(".casignore", b"*.%d\n" % dice.randrange(3))
        options = {} if dice.random() < 0.8 else {"only": lambda path: len(path) % 2 == 0}
        scene.take(**options)


# Stamps.


@pytest.mark.parametrize(
    ("mtime", "ctime", "moment", "trusted"),
    [
        (10 * SECOND + 5, 10 * SECOND + 5, 11 * SECOND, True),
        (10 * SECOND + 5, 10 * SECOND + 5, 10 * SECOND + 5, False),
        (10 * SECOND + 5, 10 * SECOND + 5, 10 * SECOND + 6, False),
        (10 * SECOND + 5, 12 * SECOND + 5, 11 * SECOND, False),
        (12 * SECOND + 5, 10 * SECOND + 5, 11 * SECOND, False),
        (10 * SECOND, 10 * SECOND + 5, 11 * SECOND, False),
        (10 * SECOND + 5, 10 * SECOND, 11 * SECOND, False),
        (10 * SECOND, 10 * SECOND, 13 * SECOND, True),
        # As an archive unpacks: the time of content is whole and old, that of the inode is not.
        (2 * SECOND, 10 * SECOND + 5, 11 * SECOND, True),
        (2 * SECOND, 10 * SECOND + 5, 10 * SECOND + 6, False),
        (9 * SECOND, 10 * SECOND + 5, 11 * SECOND, False),
        (10 * SECOND + 5, 2 * SECOND, 11 * SECOND, True),
        (-5, 10 * SECOND + 5, 11 * SECOND, True),
    ],
)
def test_only_what_was_older_than_the_moment_is_kept(
    mtime: int, ctime: int, moment: int, trusted: bool
) -> None:
    stamp, old = (0o100644, 1, 2, 3, mtime, ctime), (0o100644, 1, 3, 3, 5, 5)
    assert settled(stamp, moment) is trusted
    files = {
        b"a": (pack_stamps([stamp]), b"d" * 32),
        b"b": (pack_stamps([old]), b"e" * 32),
    }
    row = keep_settled(remember_all(moment, files))
    assert row.by_name() == {name: files[name] for name in files if trusted or name == b"b"}
    assert read_remembered(row.pack()) == row


def test_stamps_hold_any_number_of_the_system() -> None:
    stamps = [(0o100755, 1 << 63, (1 << 64) - 1, 1 << 40, -5, 7), (0o100644, 1, 2, 3, 4, 5)]
    packed = pack_stamps(stamps)
    assert len(packed) == 96
    assert list(column(packed, 3)) == [1 << 40, 3]
    assert read_stamps(packed)[1] == stamps[1]
    assert pack_stamps(read_stamps(packed)) == packed
    assert pack_stamps(stamps[1:]) == packed[48:]
    assert pack_stamps([stamp_of(os.stat("/"))]) == pack_stamps([stamp_of(os.stat("/"))])
