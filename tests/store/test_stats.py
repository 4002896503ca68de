"""Statistics: of the store, and what a version holds beyond its parent and beyond all others."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import castore
from castore.content.encoder import encode_chunks
from castore.content.trees import build_tree
from castore.model.artifact_set import Artifact, FileContent, TreeContent, make_set
from castore.model.ids import content_id
from castore.model.pages import FILE, TREE, Entry
from castore.store.savings import SAMPLE, Savings
from castore.store.stats import Held, store_stats, version_stats
from tests.store.damage import publish_set

BIG = 2_000_000


@pytest.fixture
def versions(store: castore.Store, tmp_path: Path) -> list[castore.Version]:
    """v1: a big file; v2: the big file and 1000 new bytes; v3 instead of those 2000 new ones."""
    made = []
    big, small, other = os.urandom(BIG), os.urandom(1000), os.urandom(2000)
    for files in ({"big": big}, {"big": big, "small": small}, {"big": big, "other": other}):
        with store.session("out") as session:
            for name, data in files.items():
                session.write(name, data)
            made.append(session.commit())
    return made


def test_logical_counts_every_version_and_unique_every_content_once(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    found = store_stats(store)
    assert (found.versions, found.branches, found.sets) == (3, 1, 3)
    assert found.logical == 3 * BIG + 3000
    assert found.unique == BIG + 3000
    assert BIG + 3000 <= found.stored < BIG + 20_000, "random bytes do not shrink"
    assert 0 < found.metadata < 20_000
    assert found.dead == 0
    assert found.file == (store.folder / "data.mdb").stat().st_size
    assert found.as_json()["rows"]["refs"] == 1


def test_identical_sets_count_logically_and_not_otherwise(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    before = store_stats(store)
    with store.session("copy") as session:
        for name in ("big", "other"):
            session.write(name, store.read_bytes(f"out:{name}"))
        session.commit()
    after = store_stats(store)
    assert after.logical == before.logical + BIG + 2000
    assert (after.unique, after.stored, after.sets) == (before.unique, before.stored, before.sets)


def test_beyond_the_parent_and_alone(store: castore.Store, versions: list[castore.Version]) -> None:
    first, second, third = (version_stats(store, version) for version in versions)
    assert first.beyond_parent.unique == BIG
    assert first.alone == Held()
    assert (second.beyond_parent.unique, second.beyond_parent.objects) == (1000, 1)
    assert second.alone == second.beyond_parent
    assert third.beyond_parent.unique == 2000
    assert third.logical == BIG + 2000
    assert (third.artifacts, third.files) == (2, 2)
    assert 1000 <= second.beyond_parent.stored < 1400
    assert version_stats(store, versions[2], alone=False).alone is None


def test_a_copy_on_another_branch_takes_being_alone_away(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    with store.session("copy") as session:
        session.write("x", store.read_bytes("out@v2:small"))
        session.commit()
    found = version_stats(store, versions[1])
    assert found.beyond_parent.unique == 1000
    assert found.alone == Held()


def test_a_forgotten_parent_holds_nothing(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    with store.session("out") as session:
        session.write("other", store.read_bytes("out:other"))
        session.write("last", b"last")
        last = session.commit()
    assert version_stats(store, last).alone == version_stats(store, last).beyond_parent
    assert version_stats(store, last).beyond_parent.unique == 4
    store.forget("out@v3", by="me", why="wrong")
    # Not collected yet, as after it.
    found = version_stats(store, last)
    assert found.alone is not None
    assert found.alone.unique == found.beyond_parent.unique == 2004
    store.gc(grace=0)
    again = version_stats(store, last)
    assert again.alone is not None
    assert again.alone.unique == again.beyond_parent.unique == 2004


def test_files_in_folders_count(store: castore.Store, out: Path, tmp_path: Path) -> None:
    version = store.commit("out", cwd=tmp_path).version
    found = version_stats(store, version)
    assert found.files == 4
    assert found.logical == sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    (out / "data" / "more.txt").write_text("more")
    second = version_stats(store, store.commit("out", cwd=tmp_path).version)
    assert second.beyond_parent.unique == 4
    assert second.as_json()["alone"]["unique_bytes"] == 4


def test_pages_that_stand_for_very_many_files_are_counted_once(store: castore.Store) -> None:
    with store.session("file") as session:
        leaf = session.write("a", b"x").content
        session.commit()
    assert isinstance(leaf, FileContent)
    entries, size = [Entry(b"%d" % n, FILE, leaf.digest, 1, 0) for n in range(10)], 10
    pages = []
    for _ in range(12):
        built = build_tree(entries)
        pages += built.pages
        entries = [Entry(b"%d" % n, TREE, built.root, size, 0) for n in range(10)]
        size *= 10
    folder = Artifact("x", "", "folder", "x", TreeContent(built.root, size // 10))
    version = publish_set(store, "many", make_set([folder]), pages)
    found = version_stats(store, version)
    assert found.files == found.logical == 10**12


def test_an_empty_store(store: castore.Store) -> None:
    found = store_stats(store)
    assert (found.versions, found.logical, found.unique, found.stored) == (0, 0, 0, 0)


def test_what_was_saved_adds_up(store: castore.Store, tmp_path: Path) -> None:
    """Each way is seen where it works, and together they are the whole difference."""
    dice = random.Random(1)
    row = '{"id": %d, "name": "customer", "state": "active", "region": "north"}\n'
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(200):
        (notes / f"{number}.json").write_text(row % number)
    for round in range(3):
        with store.session("out") as session:
            session.add("notes", notes)
            session.write("table.csv", "".join(f"{n},active,north\n" for n in range(40_000)))
            session.write("noise", dice.randbytes(200_000))
            session.write("round", str(round))
            session.commit()
    found = store_stats(store)
    saved = found.saved
    assert saved.dedup == found.logical - found.unique > 1_000_000
    assert saved.compression + saved.solid + saved.delta == found.unique - found.stored
    assert saved.compression > 300_000
    assert saved.solid > 200 * 50, "alone each would take a header and not shrink"
    assert saved.delta == 0
    assert 0 < saved.measured == saved.grouped
    one = version_stats(store, store.resolve("out").version)
    assert one.saved.dedup == 0
    assert one.saved.compression + one.saved.solid == one.logical - one.stored
    assert one.saved.solid > 200 * 50
    assert one.as_json()["saved"]["solid_bytes"] == one.saved.solid


def test_what_content_deltas_saved_is_told(store: castore.Store) -> None:
    dice = random.Random(2)
    pages, plain = [dice.randbytes(4000) for _ in range(20)], 0
    for round in range(4):
        pages[round] = dice.randbytes(4000)
        data = b"".join(pages)
        plain += encode_chunks([(content_id(data), data)])[0].size
        with store.session("out") as session:
            session.write("book", data)
            session.commit()
    found = store_stats(store)
    assert found.unique == 4 * 80_000, "each version is one chunk of its own"
    assert found.saved.delta == plain - found.stored > 3 * 75_000
    assert found.saved.grouped == found.saved.measured == 3
    assert found.saved.solid == 0
    assert found.saved.compression + found.saved.delta == found.unique - found.stored
    one = version_stats(store, store.resolve("out").version)
    assert one.saved.delta == one.as_json()["saved"]["delta_bytes"] > 75_000


def test_what_one_version_holds_twice_is_dedup(store: castore.Store) -> None:
    data = os.urandom(50_000)
    with store.session("out") as session:
        session.write("one", data)
        session.write("two", data)
        version = session.commit()
    found = version_stats(store, version)
    assert found.logical == 100_000
    assert found.saved.dedup == 50_000
    assert found.saved.solid == 0
    assert -200 < found.saved.compression < 0, "random bytes cost their header"
    assert found.stored == 50_000 - found.saved.compression


def test_savings_of_many_blocks_are_estimated_from_some(store: castore.Store) -> None:
    for number in range(SAMPLE + 8):
        with store.session("out") as session:
            for name in ("a", "b", "c"):
                session.write(name, f"{name} {number} some text that is rather short\n" * 3)
            session.commit()
    saved = store_stats(store).saved
    assert saved.grouped == SAMPLE + 8
    assert saved.measured == SAMPLE
    found = store_stats(store)
    assert saved.compression + saved.solid == found.unique - found.stored


def test_nothing_saved_in_an_empty_store(store: castore.Store) -> None:
    assert store_stats(store).saved == Savings()
