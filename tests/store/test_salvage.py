"""Salvage: damage of every kind of place; what is readable is there, what is lost is named."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import castore
from castore.content.codecs import compress, stored_frame
from castore.content.extents import block_length, frame_length
from castore.database.leaves import Leaves
from castore.errors import (
    CastoreError,
    Conflict,
    CorruptObject,
    InvalidInput,
    Locked,
    ObjectNotFound,
    StoreFull,
    StoreNotFound,
    WouldOverwrite,
)
from castore.model.ids import Id, content_id
from castore.model.refs import LOST
from castore.store.branches import delete_branch
from castore.store.salvage import salvage
from castore.store.salvage_report import SalvageReport
from tests.store.conftest import ticking
from tests.store.damage import alter, alter_block_of, block_key_of, flip_last, with_table

PAGE = 4096
FILES = ("big", "d/0.txt", "d/7.txt", "d/33.txt")


@dataclass(frozen=True)
class Scene:
    """A store, closed; its versions and what is in them, by selector and file."""

    home: Path
    versions: dict[str, Id]
    content: dict[tuple[str, str], bytes]

    @property
    def cas(self) -> Path:
        return self.home / ".cas"

    @property
    def data(self) -> Path:
        return self.cas / "data.mdb"


def write(out: Path, version: int) -> None:
    (out / "d").mkdir(parents=True, exist_ok=True)
    (out / "big").write_bytes(random.Random(3).randbytes(400_000) + b"x" * version)
    for number in range(40):
        text = b"%d %d\n" % (version if number < 3 else 0, number)
        (out / "d" / f"{number}.txt").write_bytes(text * 100)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    home = tmp_path_factory.mktemp("made")
    with castore.init(home, now=ticking()) as store:
        for version in range(1, 6):
            write(home / "out", version)
            store.commit("out/d", "out/big", name="out", cwd=home)
        store.tag("release", "out@v2")
        store.pin("out@v3")
        assert store.fsck(full=True).ok
        names = [f"out@v{number}" for number in range(1, 6)]
        versions = {name: store.resolve(name).version.id for name in names}
        content = {(v, f): store.read_bytes(f"{v}:{f}") for v in names for f in FILES}
    return Scene(home, versions, content)


@pytest.fixture
def scene(made: Scene, tmp_path: Path) -> Scene:
    shutil.copytree(made.cas, tmp_path / "home" / ".cas")
    return Scene(tmp_path / "home", made.versions, made.content)


def check(scene: Scene, copy: Path, report: SalvageReport) -> set[tuple[str, str]]:
    """What cannot be read in the copy: each of its versions is named; the rest is as it was."""
    json.dumps(report.as_json())
    named = {item.version for finding in report.lost for item in finding.hurt}
    named |= {finding.object for finding in report.lost}
    untold = any(finding.kind == "operation" for finding in report.lost)
    gone = set()
    with castore.open(copy) as store:
        for (version, file), wanted in scene.content.items():
            id = scene.versions[version]
            try:
                assert store.read_bytes(f"{id.hex()}:{file}") == wanted
            except CastoreError:
                gone.add((version, file))
                # Of what the log and all above it are lost of, nobody knows the name.
                unknown = untold and store.database.read(lambda t, id=id: t.object_row(id)) is None
                assert id in named or unknown, (version, file, list(map(str, report.lost)))
        odd = [f for f in store.fsck(full=True).findings if "was lost" not in f.detail]
        assert odd == []
        assert store.database.check_pages().problems == []
    assert report.whole == (not report.lost)
    again = salvage(scene.cas, copy)
    assert not again.changed
    assert {f.object for f in again.lost} == {f.object for f in report.lost}
    with castore.open(copy) as store:
        # What is marked as lost is no damage to a collection.
        store.gc(grace=0)
    return gone


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


def rescue(scene: Scene) -> tuple[SalvageReport, Path]:
    before = contents_of(scene.cas)
    copy = scene.home / "copy"
    report = salvage(scene.cas, copy)
    assert contents_of(scene.cas) == before
    return report, copy


def test_of_a_sound_store_nothing_is_lost(scene: Scene) -> None:
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert (report.whole, report.damage, report.refs, report.operations) == (True, (), 2, 7)
    with castore.open(scene.home) as old, castore.open(copy) as new:
        assert new.database.project == old.database.project
        assert new.database.uuid != old.database.uuid
        entries = [old.database.read(lambda tables: list(tables.operations_from(1)))]
        carried = new.database.read(lambda tables: list(tables.operations_from(1)))
        assert carried[:-1] == entries[0], "the chain of hashes is the same"
        assert carried[-1].op == "salvage"
        assert [pin.version.id for pin in new.pins()] == [scene.versions["out@v3"]]
        assert new.resolve("release").version.id == scene.versions["out@v2"]
        assert new.fsck(full=True).ok


def page_of(scene: Scene, table: str) -> int:
    """The root page of a table."""
    with scene.data.open("rb") as file:
        return Leaves(file.fileno()).roots()[0][table].root


def blank(scene: Scene, page: int, pages: int = 1, junk: bool = False) -> None:
    data = bytearray(scene.data.read_bytes())
    size = pages * PAGE
    data[page * PAGE : page * PAGE + size] = os.urandom(size) if junk else bytes(size)
    scene.data.write_bytes(data)


def spoil(scene: Scene, id: Id) -> None:
    """Flip a bit in the block of an object, in every copy of it in the file."""
    found: list[bytes] = []
    key = block_key_of(scene.cas, id)
    with_table(scene.cas, "blocks", lambda view, table: found.append(view.get(key, db=table)))  # type: ignore[arg-type]
    whole = scene.data.read_bytes()
    assert found[0] in whole
    scene.data.write_bytes(whole.replace(found[0], flip_last(found[0])))


@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize(
    "table", ["blocks", "objects", "refs", "ops", "lookup", "blockinfo", "meta", "pins"]
)
def test_a_page_of_rows_that_is_gone_costs_nothing(scene: Scene, table: str, junk: bool) -> None:
    """Rows of blocks are found by their blocks, refs by the log, the log in older pages."""
    page = page_of(scene, table)
    blank(scene, page, junk=junk)
    report, copy = rescue(scene)
    assert report.damage
    lost = check(scene, copy, report)
    assert lost == set(), [finding.line() for finding in report.lost]
    with castore.open(copy) as store:
        assert store.resolve("out").version.id == scene.versions["out@v5"]
        assert store.resolve("release").version.id == scene.versions["out@v2"]


@pytest.mark.parametrize("how", ["first", "second", "both", "junk"])
def test_meta_pages_that_are_gone_cost_nothing(scene: Scene, how: str) -> None:
    first, pages = {"first": (0, 1), "second": (1, 1), "both": (0, 2), "junk": (0, 2)}[how]
    blank(scene, first, pages, junk=how == "junk")
    with pytest.raises(CorruptObject):
        castore.open(scene.home).close()
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()


def test_a_meta_page_that_fell_back_loses_no_commit(scene: Scene) -> None:
    """A flipped bit in the number of the newest transaction makes the older page look newer."""
    data = bytearray(scene.data.read_bytes())
    numbers = [int.from_bytes(data[at + 144 : at + 152], "little") for at in (0, PAGE)]
    newest = max(range(2), key=lambda page: numbers[page])
    data[newest * PAGE + 144 : newest * PAGE + 152] = bytes(8)
    scene.data.write_bytes(data)
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert report.whole


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_gives_what_is_left(scene: Scene, part: float) -> None:
    size = scene.data.stat().st_size
    os.truncate(scene.data, int(size * part))
    report, copy = rescue(scene)
    gone = check(scene, copy, report)
    assert report.damage
    assert bool(gone) == (not report.whole)
    assert part < 0.9 or len(gone) < len(scene.content)


def test_nothing_but_empty_pages_is_said_to_be_lost(scene: Scene) -> None:
    scene.data.write_bytes(bytes(50_000))
    report, copy = rescue(scene)
    assert (report.blocks, report.refs) == (0, 0)
    assert [finding.where for finding in report.lost] == ["operations 1 to 7"]
    with castore.open(copy) as store:
        assert store.branches() == []


def test_a_flipped_bit_in_a_file_costs_that_file_alone(scene: Scene) -> None:
    spoil(scene, content_id(scene.content["out@v1", "d/0.txt"]))
    report, copy = rescue(scene)
    gone = check(scene, copy, report)
    assert gone
    assert {version for version, _ in gone} <= set(scene.versions)
    paths = {(item.artifact, item.path) for finding in report.lost for item in finding.hurt}
    assert ("d", "0.txt") in paths
    assert all(finding.detail == "was lost" for finding in report.lost)


def test_an_older_copy_in_a_free_page_is_found(scene: Scene) -> None:
    """LMDB writes a changed row elsewhere: what was there before is still in the file."""
    alter_block_of(scene.cas, content_id(scene.content["out@v1", "d/0.txt"]))
    alter_block_of(scene.cas, scene.versions["out@v5"])
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert report.whole
    assert report.damage


def test_a_block_whose_check_is_wrong_and_bytes_are_right_is_kept(scene: Scene) -> None:
    with castore.open(scene.home) as store:
        data = store.set_of(store.version(scene.versions["out@v5"])).get("d")
        assert data is not None
        tree: Id = data.content.id  # type: ignore[union-attr]
    key = block_key_of(scene.cas, tree)
    alter(scene.cas, "blocks", key, lambda block: block[:12] + bytes(8) + block[20:])
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert report.whole
    assert any("check" in text for text in report.damage)


def test_a_branch_whose_newest_version_is_lost_goes_back(scene: Scene) -> None:
    spoil(scene, scene.versions["out@v5"])
    spoil(scene, scene.versions["out@v4"])
    report, copy = rescue(scene)
    check(scene, copy, report)
    told = {(finding.object, finding.kind): finding.detail for finding in report.lost}
    ref = told[scene.versions["out@v5"], "ref"]
    assert ref == "its version is lost: it is at out@v3 now"
    assert (scene.versions["out@v4"], "manifest") in told
    with castore.open(copy) as store:
        assert store.resolve("out").version.id == scene.versions["out@v3"]
        assert store.fsck(full=True).ok


def test_what_lies_below_a_lost_version_is_kept(scene: Scene) -> None:
    spoil(scene, scene.versions["out@v4"])
    report, copy = rescue(scene)
    check(scene, copy, report)
    assert any("parent was lost" in finding.detail for finding in report.lost)
    with castore.open(copy) as store:
        assert store.resolve("out").version.id == scene.versions["out@v5"]
        lost = dict(store.database.read(lambda tables: tables.refs(LOST)))
        assert list(lost.values()) == [scene.versions["out@v3"]]
        with pytest.raises(ObjectNotFound, match="was lost"):
            list(store.log("out"))


def test_a_file_that_was_lost_is_healed_by_its_bytes(scene: Scene) -> None:
    spoil(scene, content_id(scene.content["out@v1", "d/0.txt"]))
    report, copy = rescue(scene)
    assert not report.whole
    with castore.open(copy) as store:
        assert not store.fsck().ok
        for version in range(1, 6):
            write(scene.home / "out", version)
            store.commit("out/d", "out/big", name="out", cwd=scene.home)
        healed = store.fsck(full=True)
        assert healed.ok, list(healed.lines())


@pytest.mark.parametrize("name", ["store.json", "heads.log", "config.toml", "lock.mdb"])
def test_without_the_small_files(scene: Scene, name: str) -> None:
    (scene.cas / name).unlink()
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert report.whole


@pytest.mark.parametrize("name", [".gitignore", "config.toml", "heads.log", "store.json"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_with_something_else_for_a_small_file(
    scene: Scene, name: str, make: Callable[[Path], None]
) -> None:
    (scene.cas / name).unlink(missing_ok=True)
    make(scene.cas / name)
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert report.whole


def test_a_store_that_may_not_be_read_says_what_helps(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "data.mdb"))

    monkeypatch.setattr("castore.store.salvage.Relics", denied)
    with pytest.raises(CastoreError) as caught:
        salvage(scene.cas, scene.home / "copy")
    assert caught.value.fix == f"chmod -R u+rwX {scene.cas}"


@pytest.mark.parametrize("what", ["file", "big", "tree"])
def test_what_fsck_says_of_a_salvaged_store_ends_with_a_sound_one(scene: Scene, what: str) -> None:
    with castore.open(scene.home) as store:
        artifacts = store.set_of(store.version(scene.versions["out@v5"]))
        tree: Id = artifacts.get("d").content.id  # type: ignore[union-attr]
    big, file = (content_id(scene.content["out@v5", path]) for path in ("big", "d/0.txt"))
    spoil(scene, {"file": file, "big": big, "tree": tree}[what])
    report, copy = rescue(scene)
    assert not report.whole
    helps = castore.fsck(copy).fix
    assert helps.startswith("commit the same files again where you have them; else give up")
    for _ in range(6):
        command = castore.fsck(copy).fix.rpartition(": ")[2]
        if not command:
            break
        words = [sys.executable, "-m", "castore", "--store", str(copy), *command.split()[1:]]
        subprocess.run(words, check=True, capture_output=True)
    assert castore.fsck(copy, full=True).ok
    with castore.open(copy) as store:
        assert store.backup(scene.home / "backup").created


@pytest.mark.parametrize(("line", "at"), [(2, 40), (2, 0), (-1, 40)])
def test_a_damaged_line_of_heads_log_costs_nothing(scene: Scene, line: int, at: int) -> None:
    path = scene.cas / "heads.log"
    lines = path.read_bytes().splitlines(keepends=True)
    place = sum(map(len, lines[:line])) + at
    data = bytearray(path.read_bytes())
    data[place] = ord("3") if data[place] == ord("2") else ord("2")
    path.write_bytes(data)
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert report.whole, [finding.line() for finding in report.lost]
    with castore.open(copy) as store:
        assert len(store.database.read(lambda tables: list(tables.operations_from(1)))) == 8
    fixed = castore.fsck(scene.home, full=True)
    assert not fixed.ok
    assert fixed.fix == f"mv {path} {path}.damaged"
    subprocess.run(fixed.fix.split(), check=True)
    assert castore.fsck(scene.home, full=True).ok


def test_an_altered_entry_of_the_log_is_named_and_the_rest_chained_anew(scene: Scene) -> None:
    (scene.cas / "heads.log").unlink()
    number = (3).to_bytes(8, "little")
    alter(scene.cas, "ops", number, lambda value: value.replace(b"commit", b"c0mmit"))
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    named = [finding.where for finding in report.lost if finding.kind == "operation"]
    with castore.open(copy) as store:
        entries = store.database.read(lambda tables: [o.op for o in tables.operations_from(1)])
    # Unless an older page has it still.
    assert (named, len(entries)) in ((["operation 3"], 7), ([], 8))
    assert "c0mmit" not in entries


def test_an_altered_ref_is_where_the_log_says(scene: Scene) -> None:
    alter(scene.cas, "refs", b"heads/out", lambda _: scene.versions["out@v1"])
    alter(scene.cas, "refs", b"tags/release", flip_last)
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    with castore.open(copy) as store:
        assert store.resolve("out").version.id == scene.versions["out@v5"]
        assert store.resolve("release").version.id == scene.versions["out@v2"]


@pytest.mark.parametrize("damaged", [False, True])
def test_what_was_let_go_stays_so(scene: Scene, damaged: bool) -> None:
    with castore.open(scene.home) as store:
        store.forget("out@v1", why="old")
        store.gc(grace=0)
        (scene.home / "secret").write_bytes(b"the secret key" * 999)
        store.commit("secret", name="s", cwd=scene.home)
        store.purge("s:secret", reason="a key")
    if damaged:
        blank(scene, page_of(scene, "blocks"))
    report, copy = rescue(scene)
    assert report.whole, [finding.line() for finding in report.lost]
    with castore.open(copy) as store:
        assert store.fsck(full=True).ok
        with pytest.raises(ObjectNotFound, match="was purged"):
            store.read_bytes("s:secret")
        with pytest.raises(InvalidInput, match="was purged"):
            store.commit("secret", name="s", cwd=scene.home)
        with pytest.raises(ObjectNotFound, match="forgotten"):
            store.read_bytes("out@v1:big")
        removal = store.forgotten(store.version(scene.versions["out@v1"]))
        assert removal is not None
        operation = store.database.read(lambda tables: tables.operation(int(removal.op)))
        assert operation is not None
        assert operation.op == "forget"
    assert b"the secret key" not in (copy / "data.mdb").read_bytes()


@pytest.mark.parametrize("how", ["undone", "deleted"])
@pytest.mark.parametrize("collected", [True, False])
def test_what_a_collection_took_is_not_lost(scene: Scene, how: str, collected: bool) -> None:
    """Its manifest may be there still, in a page that is free, and its content is not."""
    name = "out" if how == "undone" else "other"
    noise = random.Random(9).randbytes(300_000)
    with castore.open(scene.home) as store:
        with store.session(name) as session:
            session.write("noise", noise)
            gone = session.commit()
        if how == "undone":
            store.undo()
        else:
            delete_branch(store, name, by="ann")
        if collected:
            store.gc(grace=0)
    at = scene.data.read_bytes().index(noise[-2000:-1000])
    with scene.data.open("r+b") as file:
        file.seek(at)
        file.write(bytes(500))
    blank(scene, page_of(scene, "lookup"))
    report, copy = rescue(scene)
    named = {item.version for finding in report.lost for item in finding.hurt}
    assert (gone.id in named) == (not collected), [finding.line() for finding in report.lost]
    assert report.whole == collected
    check(scene, copy, report)


def test_a_source_that_got_worse_takes_nothing_away(scene: Scene) -> None:
    first, copy = rescue(scene)
    assert first.whole
    found: list[bytes] = []
    key = (3).to_bytes(8, "little")
    with_table(scene.cas, "ops", lambda view, table: found.append(view.get(key, db=table)))  # type: ignore[arg-type]
    whole = scene.data.read_bytes()
    assert found[0] in whole
    scene.data.write_bytes(whole.replace(found[0], found[0].replace(b"commit", b"c0mmit")))
    spoil(scene, scene.versions["out@v5"])
    # By itself it is so bad now.
    assert any(f.kind == "operation" for f in salvage(scene.cas, scene.home / "other").lost)
    again = salvage(scene.cas, copy)
    assert again.damage
    assert not again.changed
    assert again.whole, [finding.line() for finding in again.lost]


def test_what_was_lost_of_the_log_stays_lost(scene: Scene) -> None:
    number = (3).to_bytes(8, "little")
    (scene.cas / "heads.log").unlink()
    alter(scene.cas, "ops", number, lambda value: value.replace(b"commit", b"c0mmit"))
    first, copy = rescue(scene)
    named = [finding.where for finding in first.lost if finding.kind == "operation"]
    again = salvage(scene.cas, copy)
    assert [f.where for f in again.lost if f.kind == "operation"] == named


def test_what_sessions_that_are_not_finished_hold_is_kept(scene: Scene) -> None:
    with castore.open(scene.home) as store:
        store.stage(b"1" * 100_000)
        stages = store.database.read(lambda tables: tables.stages())
        with contextlib.suppress(EOFError), store.session("work", run="r1") as session:
            session.write("one", b"one")
            raise EOFError
        assert "r1" in [partial.run for partial in store.partials()]
    blank(scene, page_of(scene, "lookup"))
    report, copy = rescue(scene)
    assert report.whole
    with castore.open(copy) as store:
        assert store.fsck(full=True).ok
        assert stages[0] in store.database.read(lambda tables: tables.stages())
        with store.session("work", resume="r1") as session:
            session.write("two", b"1" * 100_000)
            session.commit()
        assert store.read_bytes("work:one") == b"one"
        assert store.read_bytes("work:two") == b"1" * 100_000


def test_places_that_do_not_do(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        salvage(tmp_path, tmp_path / "copy")
    with pytest.raises(InvalidInput, match="in the damaged store"):
        salvage(scene.cas, scene.cas / "copy")
    with pytest.raises(InvalidInput, match="not a folder"):
        salvage(scene.cas, tmp_path / "no" / "copy")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    with pytest.raises(WouldOverwrite):
        salvage(scene.cas, tmp_path / "taken")
    castore.init(tmp_path / "taken").close()
    with pytest.raises(Conflict, match="no salvage"):
        salvage(scene.cas, tmp_path / "taken" / ".cas")
    scene.data.unlink()
    with pytest.raises(CorruptObject, match="missing"):
        salvage(scene.cas, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_store_that_is_written_to_meanwhile_is_refused(scene: Scene) -> None:
    def busy(_: int) -> None:
        with castore.open(scene.home) as store:
            store.database.write(lambda tables: tables.bump_generation())

    with pytest.raises(Locked, match="while it was read"):
        salvage(scene.cas, scene.home / "copy", progress=busy)
    assert [path.name for path in scene.home.iterdir()] == [".cas"]


CUT_SHORT = """
import os, resource, signal, sys
from castore.errors import CastoreError
from castore.store.salvage import salvage
if sys.argv[3] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    end = lambda done: None
else:
    end = lambda done: os.kill(os.getpid(), signal.SIGKILL)
try:
    salvage(sys.argv[1], sys.argv[2], progress=end)
except CastoreError as error:
    print(type(error).__name__, error.code, error.message, "|", error.fix)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_is_told_of_the_copy(scene: Scene, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(StoreFull) as caught:
            salvage(scene.cas, small / "copy")
        assert caught.value.message == f"{small}/copy: the disk is full; there is no copy"
        assert caught.value.fix == "free space there, then try again"
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize("how", ["full", "killed"])
def test_one_that_is_cut_short_leaves_no_store(scene: Scene, how: str) -> None:
    copy = scene.home / "copy"
    command = [sys.executable, "-c", CUT_SHORT, str(scene.cas), str(copy), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if how == "full":
        told = f"StoreFull {StoreFull.code} {copy}: the limit on the size of files is reached; "
        assert done.stdout.startswith(told + "there is no copy | raise the limit"), done.stderr
    else:
        assert done.returncode == -signal.SIGKILL
    assert not copy.exists()
    report, copy = rescue(scene)
    assert check(scene, copy, report) == set()
    assert sorted(path.name for path in scene.home.iterdir()) == [".cas", "copy"]


def random_damage(data: bytearray, dice: random.Random) -> None:
    pages = len(data) // PAGE
    kind = dice.randrange(4)
    if kind == 0:
        for _ in range(dice.choice([1, 8])):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == 1:
        at = dice.randrange(pages) * PAGE
        data[at : at + PAGE] = dice.randbytes(PAGE)
    elif kind == 2:
        at, size = dice.randrange(pages) * PAGE, dice.randrange(1, 12) * PAGE
        data[at : at + size] = bytes(len(data[at : at + size]))
    else:
        del data[dice.randrange(2 * PAGE, len(data)) :]


@pytest.mark.parametrize("seed", range(int(os.environ.get("CASTORE_SALVAGE_ROUNDS", "12"))))
def test_whatever_is_damaged_what_is_lost_is_named(scene: Scene, seed: int) -> None:
    data = bytearray(scene.data.read_bytes())
    random_damage(data, random.Random(seed))
    scene.data.write_bytes(data)
    report, copy = rescue(scene)
    check(scene, copy, report)


def test_the_length_of_a_block_is_told_by_itself() -> None:
    for raw in (b"", b"a", b"ab" * 5_000, random.Random(1).randbytes(300_000), bytes(700_000)):
        frames: list[Callable[[], bytes]] = [lambda raw=raw: compress(raw)]  # type: ignore[misc]
        if raw:
            frames.append(lambda raw=raw: stored_frame([raw], len(raw)))  # type: ignore[misc]
        for make in frames:
            frame = make()
            assert frame_length(b"??" + frame + b"rest", 2) == len(frame)
            assert frame_length(frame[:-1]) == 0
    assert frame_length(b"no frame at all") == block_length(b"no block") == block_length(b"") == 0


def test_damage_is_done(scene: Scene) -> None:
    """The other tests would prove little if `with_table` and `blank` changed nothing."""
    before = scene.data.read_bytes()
    with_table(scene.cas, "pins", lambda transaction, handle: None)
    blank(scene, 5)
    assert scene.data.read_bytes() != before
