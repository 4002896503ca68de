"""Healing: a damaged store from a bucket, and a damaged bucket from a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import castore
from castore.content.layouts import iter_parts
from castore.database.datafile import DATA_FILE
from castore.database.environment import Database
from castore.database.leaves import Leaves
from castore.database.tables import State
from castore.errors import Conflict, CorruptObject, InvalidInput, PermissionDenied
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Id
from castore.remote.bucket import look
from castore.remote.collect import collect_bucket
from castore.remote.memory import MemoryTransport
from castore.store.heal import heal
from castore.store.heal_bucket import heal_bucket
from castore.store.opening import clock
from castore.store.sync_plan import Move
from castore.store.sync_pull import pull
from castore.store.sync_push import push, push_moves
from castore.store.sync_remote import connect
from castore.store.sync_repair import repair
from castore.store.sync_send import PackSender
from castore.store.sync_verify import verify_bucket
from tests.store.damage import alter, alter_block_of, block_key_of
from tests.store.syncing import NAME, commit, copy_of, sound

PAGE = 4096
BIG = Random(9).randbytes(700_000)
TEXT = b"".join(b"row %d of a table that compresses\n" % row for row in range(9_000))


@pytest.fixture
def bucket() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def folder(store: castore.Store, bucket: MemoryTransport, tmp_path: Path) -> Path:
    """The folder of a store, closed, whose versions are in the bucket too."""
    deep = tmp_path / "deep"
    (deep / "sub").mkdir(parents=True)
    for number in range(50):
        (deep / "sub" / f"{number}.txt").write_text(f"file {number}\n" * 10)
    for version in range(3):
        text = TEXT.replace(b"row 4000 ", b"ROW %04d " % version)
        with store.session(name="out") as session:
            session.add("big", BIG)
            session.add("text", text)
            session.add("deep", deep)
            session.commit()
    store.approve("out", by="bob@example.org")
    push(store, NAME, bucket)
    store.close()
    return store.folder


def opened(folder: Path) -> castore.Store:
    return castore.open(folder)


def content_of(folder: Path, selector: str) -> Id:
    with opened(folder) as store:
        artifact = store.resolve(selector).artifact
        assert artifact is not None
        content = artifact.content
        if isinstance(content, FileContent):
            return content.digest
        assert isinstance(content, TreeContent)
        return content.id


def drop_block(folder: Path, id: Id) -> None:
    alter(folder, "blocks", block_key_of(folder, id), lambda _: None)


def drop_row(folder: Path, id: Id) -> None:
    alter(folder, "objects", id, lambda _: None)


def manifest_of(folder: Path) -> Id:
    with opened(folder) as store:
        return store.resolve("out@v2").version.id


def set_of(folder: Path) -> Id:
    with opened(folder) as store:
        return store.resolve("out@v2").version.set_id


@pytest.mark.parametrize("harm", [alter_block_of, drop_block], ids=["altered", "gone"])
@pytest.mark.parametrize(
    "what",
    [
        lambda folder: content_of(folder, "out:big"),
        lambda folder: content_of(folder, "out@v1:text"),
        lambda folder: content_of(folder, "out@v3:text"),
        lambda folder: content_of(folder, "out:deep"),
        set_of,
        manifest_of,
    ],
    ids=["big", "base", "text", "folder", "set", "manifest"],
)
def test_what_is_damaged_is_put_in_again(
    folder: Path,
    bucket: MemoryTransport,
    what: Callable[[Path], Id],
    harm: Callable[[Path, Id], None],
) -> None:
    harm(folder, what(folder))
    with opened(folder) as store:
        assert not store.fsck(full=True).ok
        foreseen = heal(store, NAME, bucket, dry_run=True)
        assert foreseen.objects > 0
        assert not foreseen.whole
        done = heal(store, NAME, bucket, by="ann@example.org")
        assert done.whole, [finding.line() for finding in done.left]
        assert done.objects > 0
        sound(store)
        again = heal(store, NAME, bucket)
        assert (again.whole, again.objects) == (True, 0)
        assert store.read_bytes("out:big") == BIG
        assert store.read_bytes("out@v1:text").startswith(b"row 0")
        assert len(list(store.log("out"))) == 3


def test_rows_that_vanished(folder: Path, bucket: MemoryTransport) -> None:
    drop_row(folder, content_of(folder, "out:big"))
    with opened(folder) as store:
        done = heal(store, NAME, bucket)
        assert done.objects >= 1
        assert store.read_bytes("out:big") == BIG
        assert all(finding.kind == "table" for finding in done.left)


def test_what_nobody_has_is_named_and_stays(folder: Path, bucket: MemoryTransport) -> None:
    with opened(folder) as store:
        commit(store, "own", small=b"only here", text=TEXT[::-1])
    harmed = content_of(folder, "own:text")
    alter_block_of(folder, content_of(folder, "out:big"))
    alter_block_of(folder, harmed)
    with opened(folder) as store:
        done = heal(store, NAME, bucket)
        assert not done.whole
        assert any(finding.hurt for finding in done.left)
        assert {hurt.label for finding in done.left for hurt in finding.hurt} == {"own@v1"}
        assert store.read_bytes("out:big") == BIG
        assert store.read_bytes("own:small") == b"only here"
        again = heal(store, NAME, bucket)
        assert (again.objects, again.left) == (0, done.left)


def table_root(folder: Path, table: str) -> int:
    """The root page of a table, as its record tells."""
    with (folder / DATA_FILE).open("rb") as file:
        return Leaves(file.fileno()).roots()[0][table].root


@pytest.mark.parametrize("table", ["objects", "blocks", "blockinfo", "lookup", "refs"])
def test_what_needs_a_salvage_is_left(folder: Path, bucket: MemoryTransport, table: str) -> None:
    """Nothing is put into a data file whose pages are damaged, and nothing else is raised."""
    page = table_root(folder, table)
    with (folder / DATA_FILE).open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(PAGE))
    with opened(folder) as store:
        done = heal(store, NAME, bucket)
    assert not done.whole
    assert "cas salvage" in done.fix


def test_what_was_purged_does_not_come_back(folder: Path, bucket: MemoryTransport) -> None:
    with opened(folder) as store:
        store.purge("out@v1:text", reason="private", include=["all"], by="ann@example.org")
        gone = store.database.read(lambda tables: [id for id, _ in tables.removals("purged")])
    alter_block_of(folder, content_of(folder, "out:big"))
    with opened(folder) as store:
        assert heal(store, NAME, bucket).whole
        rows = store.database.read(lambda tables: [tables.object_row(id) for id in gone])
        assert {row.state for row in rows if row} == {State.PURGED}
        sound(store)


def test_a_bucket_that_is_damaged_itself_gives_nothing_wrong(
    folder: Path, bucket: MemoryTransport
) -> None:
    for item in list(bucket.list("packs/")):
        data = bytearray(bucket.get(item.key).data)
        for at in range(100, len(data), 97):
            data[at] ^= 1
        bucket.delete([item.key])
        bucket.put(item.key, bytes(data))
    alter_block_of(folder, content_of(folder, "out:big"))
    with opened(folder) as store:
        done = heal(store, NAME, bucket)
        assert (done.whole, done.objects) == (False, 0)


def spoil(bucket: MemoryTransport, prefix: str, *, gone: bool = False, most: int = 1_000) -> int:
    """Damage objects of a bucket, as a failing disk below it would; how many."""
    keys = [item.key for item in bucket.list(prefix)][:most]
    for key in keys:
        data = bytearray(bucket.get(key).data)
        data[-7] ^= 1
        bucket.delete([key])
        if not gone:
            bucket.put(key, bytes(data))
    return len(keys)


def faults(store: castore.Store, bucket: MemoryTransport, name: str = NAME) -> list[str]:
    known = connect(store, name, bucket)
    return list(verify_bucket(known.bucket, known).lines())


@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
@pytest.mark.parametrize("prefix", ["packs/", "index/", ""])
def test_a_bucket_gets_again_what_it_lacks(
    folder: Path, bucket: MemoryTransport, tmp_path: Path, prefix: str, *, gone: bool
) -> None:
    for part in [prefix] if prefix else ["packs/", "index/"]:
        assert spoil(bucket, part, gone=gone)
    # One that knows nothing of the bucket but what it can read.
    with castore.Store(Database.open(folder), now=clock, entropy=os.urandom) as store:
        store.database.write(lambda tables: tables.clear("located"))
        before = connect(store, NAME, bucket).bucket.read().root
        assert faults(store, bucket)
        foreseen = heal_bucket(store, NAME, bucket, dry_run=True)
        done = heal_bucket(store, NAME, bucket)
        assert done.whole, [finding.line() for finding in done.left]
        assert 0 < done.objects == foreseen.objects
        after = connect(store, NAME, bucket).bucket.read().root
        assert (after.refs, after.notes) == (before.refs, before.notes)
        again = heal_bucket(store, NAME, bucket)
        assert (again.whole, again.objects) == (True, 0)
        commit(store, "out", a=b"goes on")
        push(store, NAME, bucket)
        known = connect(store, NAME, bucket)
        collect_bucket(known.bucket, known, os.urandom)
        assert faults(store, bucket) == []
    with copy_of(bucket, tmp_path / "copy") as copy:
        assert copy.read_bytes("out@v1:big") == BIG
        assert copy.gate("out@v3", require=["approved"]).passed
        sound(copy)


def first_chunk(folder: Path) -> Id:
    """A chunk of the big file, which does not compress."""
    with opened(folder) as store:
        root = store.reader.layout_root(content_of(folder, "out:big"))
        assert root is not None
        return next(iter_parts(store.reader.layout_page, root)).id


def test_no_damage_is_sent(folder: Path) -> None:
    alter_block_of(folder, first_chunk(folder))
    empty = MemoryTransport()
    with opened(folder) as store, pytest.raises(CorruptObject, match="nothing of it is sent"):
        push(store, "second", empty)
    assert look(empty) is not None
    with opened(folder) as store:
        assert not connect(store, "second", empty).bucket.read().root.refs


def test_wrong_bytes_that_somebody_sent_are_replaced(
    folder: Path, bucket: MemoryTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack is as its name says, and what lies in it is not: another castore sent it so."""
    other = MemoryTransport()
    with copy_of(bucket, tmp_path / "copy") as whole:
        alter_block_of(folder, first_chunk(folder))
        with opened(folder) as store, monkeypatch.context() as patch:
            patch.setattr(PackSender, "_compared", lambda *_: [])
            push(store, "second", other)
        assert faults(whole, other, "second")
        done = heal_bucket(whole, "second", other)
        assert done.whole, [finding.line() for finding in done.left]
        assert done.objects > 0
        assert faults(whole, other, "second") == []
        assert heal_bucket(whole, "second", other).objects == 0
    with copy_of(other, tmp_path / "again") as again:
        assert again.read_bytes("out:big") == BIG


def test_an_index_that_is_cached_is_not_lost(folder: Path, bucket: MemoryTransport) -> None:
    spoil(bucket, "index/", gone=True)
    with opened(folder) as store:
        done = heal_bucket(store, NAME, bucket)
        assert (done.whole, done.objects) == (True, 0)
        assert faults(store, bucket) == []


def test_a_bucket_keeps_what_a_store_does_not_have(
    folder: Path, bucket: MemoryTransport, tmp_path: Path
) -> None:
    with copy_of(bucket, tmp_path / "copy") as copy:
        commit(copy, "theirs", own=Random(4).randbytes(50_000))
        push(copy, NAME, bucket)
        spoil(bucket, "packs/")
        with opened(folder) as store:
            done = heal_bucket(store, NAME, bucket)
            assert not done.whole
            assert done.objects > 0
            left = [finding.line() for finding in heal_bucket(store, NAME, bucket).left]
        assert heal_bucket(copy, NAME, bucket).whole
        assert left
        assert faults(copy, bucket) == []


def test_an_index_goes_only_if_nothing_is_lost_with_it(
    folder: Path, bucket: MemoryTransport, tmp_path: Path
) -> None:
    with copy_of(bucket, tmp_path / "copy") as copy:
        commit(copy, "theirs", own=b"x")
        push(copy, NAME, bucket)
    spoil(bucket, "index/", gone=True)
    with castore.Store(Database.open(folder), now=clock, entropy=os.urandom) as store:
        store.database.write(lambda tables: tables.clear("located"))
        before = connect(store, NAME, bucket).bucket.read().root
        done = heal_bucket(store, NAME, bucket)
        assert (done.whole, done.objects) == (False, 0)
        assert any("this store has it not" in finding.detail for finding in done.left)
        assert connect(store, NAME, bucket).bucket.read().root.indexes == before.indexes


def denied(keys: list[str]) -> None:
    raise PermissionDenied(f"{keys[0]}: 403")


@pytest.mark.parametrize("may_delete", [True, False])
def test_damage_that_nobody_needs_goes_with_what_needs_it(
    folder: Path,
    bucket: MemoryTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    may_delete: bool,
) -> None:
    with copy_of(bucket, tmp_path / "copy") as copy:
        known = set(bucket.list("packs/"))
        made = commit(copy, "theirs", own=Random(4).randbytes(700_000))
        push(copy, NAME, bucket)
        push_moves(copy, NAME, bucket, [Move("heads/theirs", made.id, b"")])
        pack = max(set(bucket.list("packs/")) - known, key=lambda item: item.size).key
        data = bytearray(bucket.get(pack).data)
        data[len(data) // 2] ^= 1
        bucket.delete([pack])
        bucket.put(pack, bytes(data))
        if not may_delete:
            monkeypatch.setattr(bucket, "delete", denied)
        with opened(folder) as store:
            assert faults(store, bucket)
            assert heal_bucket(store, NAME, bucket).whole
            assert faults(store, bucket) == []
        push(copy, NAME, bucket)
        assert faults(copy, bucket) == []
    with copy_of(bucket, tmp_path / "third") as third:
        sound(third)


def copies(bucket: MemoryTransport) -> list[str]:
    return sorted(item.key for item in bucket.list("roots/"))


@pytest.mark.parametrize("harm", ["gone", "garbage", "older"])
def test_a_lost_root_comes_back(
    folder: Path, bucket: MemoryTransport, tmp_path: Path, harm: str
) -> None:
    first = bucket.get(copies(bucket)[0]).data
    bucket.delete(["root"])
    if harm != "gone":
        bucket.put("root", b"garbage" if harm == "garbage" else first)
    with opened(folder) as store:
        with pytest.raises(castore.CastoreError) as told:
            push(store, NAME, bucket)
        assert "cas remote repair" in told.value.fix
        foreseen = repair(store, NAME, bucket, dry_run=True)
        with pytest.raises(castore.CastoreError):
            push(store, NAME, bucket)
        done = repair(store, NAME, bucket)
        assert (done.behind, done.notes, done.moved) == (0, 0, {})
        assert done.report.missing == done.report.passed == ()
        assert foreseen.report.serial == done.report.serial > done.report.copy
        assert not push(store, NAME, bucket).changed
        assert faults(store, bucket) == []
        with pytest.raises(Conflict, match="is fine"):
            repair(store, NAME, bucket)
    with copy_of(bucket, tmp_path / "copy") as copy:
        assert copy.gate("out@v3", require=["approved"]).passed


def test_what_an_older_copy_does_not_know_is_told(
    folder: Path, bucket: MemoryTransport, tmp_path: Path
) -> None:
    with copy_of(bucket, tmp_path / "copy") as copy, opened(folder) as store:
        before = store.resolve("out").version.id
        made = commit(store, "out", a=b"x")
        store.comment("out", "seen", by="ann@example.org")
        push(store, NAME, bucket)
        pull(copy, NAME, bucket)
        newest = copies(bucket)
        bucket.delete(["root", newest[-1]])
        bucket.delete([newest[-2]])
        bucket.put(newest[-2], b"garbage")
        done = repair(store, NAME, bucket)
        assert done.behind == 2
        assert done.notes == 1
        assert done.moved == {"out": (made.id, before)}
        assert done.report.passed[0].startswith(newest[-2])
        # Who saw more than there is refuses it, and a push of who has it brings it again.
        with pytest.raises(CorruptObject, match="notes"):
            pull(copy, NAME, bucket)
        push(store, NAME, bucket)
        assert not pull(copy, NAME, bucket).moves
        assert faults(copy, bucket) == []


def test_repairs_that_cannot_be(folder: Path, bucket: MemoryTransport, tmp_path: Path) -> None:
    with castore.init(tmp_path / "o" if (tmp_path / "o").mkdir() is None else "") as other:
        with pytest.raises(InvalidInput, match="is empty"):
            repair(other, NAME, MemoryTransport())
        bucket.delete(["root", "castore.json"])
        with pytest.raises(InvalidInput, match="another project"):
            repair(other, NAME, bucket)
    with opened(folder) as store:
        assert "neither" in repair(store, NAME, bucket).report.damage
        assert faults(store, bucket) == []
        spoil(bucket, "index/", gone=True)
        bucket.delete(["root"])
        assert len(repair(store, NAME, bucket).report.missing) >= 1
        assert heal_bucket(store, NAME, bucket).whole
        for key in copies(bucket):
            bucket.delete([key])
            bucket.put(key, b"garbage")
        bucket.delete(["root"])
        with pytest.raises(CorruptObject, match="none of its"):
            repair(store, NAME, bucket)
