"""Folders stored as deltas of the version before: through commits, collections and backups."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

import castore
from castore.content.blocks import Block, decode_block
from castore.content.earlier import PAGE_DEPTH
from castore.database.reading import Reading
from castore.model.ids import Id
from castore.store import collect_sweep
from castore.store.collect import _Collection
from castore.store.collect_census import Census
from castore.store.collect_map import LiveMap
from castore.store.verify import fsck
from tests.store.conftest import ticking
from tests.store.damage import alter_block_of
from tests.store.gcscene import after_each_write, closed, drop, stored_bytes, stored_ids, whole


def deltas_of(store: castore.Store) -> list[Block]:
    """Every delta that is stored."""

    def read(tables: Reading) -> list[Block]:
        blocks = [decode_block(data, "") for _, data in tables.blocks()]
        return [block for block in blocks if block.bases]

    return store.database.read(read)


def files(folder: Path, count: int = 300) -> Path:
    """A folder of one page."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04}").write_bytes(b"file %d" % number)
    return folder


def add(store: castore.Store, branch: str, folder: Path) -> castore.Version:
    with store.session(branch) as session:
        session.add("site", folder)
        return session.commit()


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def held(store: castore.Store, selector: str) -> dict[str, bytes]:
    return {
        entry.path: store.read_bytes(f"{selector}/{entry.path}") for entry in store.files(selector)
    }


def line(store: castore.Store, folder: Path, count: int) -> list[dict[str, bytes]]:
    """Versions of main, each with a page that is a delta of the one before."""
    files(folder)
    states = []
    for number in range(count):
        (folder / f"{number:04}").write_bytes(b"edit %d" % number)
        add(store, "main", folder)
        states.append(state(folder))
    return states


def forget(store: castore.Store, *numbers: int) -> None:
    """Let the sets of these versions of main go."""
    store.forget(*[f"main@v{number}" for number in numbers], force=True, by="me", why="asked")


def test_a_version_is_a_delta_of_the_one_before(store: castore.Store, tmp_path: Path) -> None:
    folder = files(tmp_path / "site")
    first = add(store, "main", folder)
    (folder / "0007").write_bytes(b"edited")
    second = add(store, "main", folder)
    (block,) = deltas_of(store)
    assert len(block.frame) < 100
    root = store.artifacts(first.id.hex())[0].artifact.content
    assert block.bases == (root.id,)  # type: ignore[union-attr]
    assert held(store, "main:site") == state(folder)
    (tmp_path / "fresh").mkdir()
    with castore.init(tmp_path / "fresh", now=ticking()) as fresh:
        assert add(fresh, "main", folder).set_id == second.set_id
    whole(store)


def test_chains_stay_short_and_old_versions_readable(store: castore.Store, tmp_path: Path) -> None:
    folder = files(tmp_path / "site")
    states = []
    for number in range(2 * PAGE_DEPTH + 3):
        (folder / f"{number:04}").write_bytes(b"edit")
        add(store, "main", folder)
        states.append(state(folder))
    assert max(block.depth for block in deltas_of(store)) == PAGE_DEPTH
    for number in (1, PAGE_DEPTH, PAGE_DEPTH + 1, 2 * PAGE_DEPTH + 3):
        assert held(store, f"main@v{number}:site") == states[number - 1]
    whole(store)


@pytest.mark.parametrize("slice_bytes", [1, collect_sweep.SLICE_BYTES])
@pytest.mark.parametrize("gone", [(1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3), (2, 3)])
def test_old_versions_go_and_new_ones_stay(
    store: castore.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gone: tuple[int, ...],
    slice_bytes: int,
) -> None:
    monkeypatch.setattr(collect_sweep, "SLICE_BYTES", slice_bytes)
    states = line(store, tmp_path / "site", 4)
    assert [block.depth for block in deltas_of(store)] == [1, 2, 3]
    whole(store)
    forget(store, *gone)
    before = stored_bytes(store)
    said = store.gc(grace=0, dry_run=True)
    with contextmanager(after_each_write)(monkeypatch, store, lambda: closed(store)):
        done = store.gc(grace=0)
    assert before - stored_bytes(store) == done.freed == said.freed
    assert done.dropped_blocks + done.rewritten_blocks >= len(gone)
    for number, then in enumerate(states, 1):
        if number not in gone:
            assert held(store, f"main@v{number}:site") == then
    whole(store)
    assert store.gc(grace=0).freed == 0
    # What is written in full is a base again.
    (tmp_path / "site" / "0100").write_bytes(b"later")
    add(store, "main", tmp_path / "site")
    assert held(store, "main:site") == state(tmp_path / "site")
    drop(store, "main")
    store.gc(grace=0)
    assert stored_ids(store) == set()


def test_only_the_last_of_many_versions_is_kept(store: castore.Store, tmp_path: Path) -> None:
    states = line(store, tmp_path / "site", 2 * PAGE_DEPTH + 5)
    forget(store, *range(1, 2 * PAGE_DEPTH + 5))
    said = store.gc(grace=0, dry_run=True)
    before = stored_bytes(store)
    assert before - said.freed == before - store.gc(grace=0).freed == stored_bytes(store)
    assert held(store, "main:site") == states[-1]
    assert deltas_of(store) == []
    whole(store)


def test_a_base_collected_before_the_commit_is_done_without(
    store: castore.Store, tmp_path: Path
) -> None:
    folder = files(tmp_path / "site")
    add(store, "main", folder)
    (folder / "0007").write_bytes(b"edited")
    with store.session("main") as session:
        session.add("site", folder)
        drop(store, "main")
        assert store.gc(grace=0).freed > 0
        session.commit()
    assert deltas_of(store) == []
    assert held(store, "main:site") == state(folder)
    whole(store)


@pytest.mark.parametrize("staged", [False, True])
def test_a_base_of_what_is_published_beside_a_collection_stays(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    folder = files(tmp_path / "site")
    add(store, "main", folder)
    (folder / "0007").write_bytes(b"edited")
    session = store.session("main")
    session.add("site", folder)
    drop(store, "main")
    census = _Collection._census

    def late(self: _Collection, live: LiveMap) -> Census:
        """Everything old was found dead, and is judged so; then the delta comes."""
        found = census(self, live)
        if staged:
            session._supply.make_durable()
        session.commit()
        return found

    monkeypatch.setattr(_Collection, "_census", late)
    store.gc(grace=0)
    monkeypatch.undo()
    assert len(deltas_of(store)) == 1
    assert held(store, "main:site") == state(folder)
    whole(store)
    # The next collection finds the base dead, and writes the page in full.
    store.gc(grace=0)
    assert deltas_of(store) == []
    assert held(store, "main:site") == state(folder)
    whole(store)


def test_backups_follow_deltas(store: castore.Store, tmp_path: Path) -> None:
    site, copy = tmp_path / "site", tmp_path / "backup"
    states = line(store, site, 3)
    store.backup(copy)
    (site / "0200").write_bytes(b"later")
    add(store, "main", site)
    store.backup(copy)
    forget(store, 1, 2)
    store.gc(grace=0)
    store.backup(copy)
    with castore.open(copy) as other:
        assert other.fsck(full=True).ok
        assert held(other, "main@v3:site") == states[2]
        assert held(other, "main:site") == state(site)
        assert len(deltas_of(other)) == 1


def test_undo_goes_back_over_deltas(store: castore.Store, tmp_path: Path) -> None:
    states = line(store, tmp_path / "site", 3)
    store.undo()
    assert held(store, "main:site") == states[1]
    whole(store)


def test_a_damaged_base_hurts_what_rests_on_it(store: castore.Store, tmp_path: Path) -> None:
    line(store, tmp_path / "site", 3)
    root: Id = store.artifacts("main@v1")[0].artifact.content.id  # type: ignore[union-attr]
    folder = store.folder
    store.close()
    alter_block_of(folder, root)
    with castore.open(folder.parent) as again:
        report = fsck(again, full=True)
        hurt = {finding.object for finding in report.findings if finding.kind == "tree"}
        # The page itself lies in a block whose check fails; those that rest on it cannot be read.
        assert len(hurt - {root}) == 2
