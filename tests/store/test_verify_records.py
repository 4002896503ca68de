"""Rows that no object tells of: pins, removals and the next number, against the operation log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import castore
from castore.database.tables import read_integer
from castore.errors import CorruptObject
from castore.model.ids import Id
from castore.store.verify import fsck
from castore.store.verify_report import FsckReport
from tests.store.damage import alter, block_key_of, with_table

WHO = "ann@example.org"


@pytest.fixture
def folder(store: castore.Store, out: Path, tmp_path: Path) -> Path:
    """A closed store with a pin, a pin that ended, and versions forgotten, restored and purged."""
    for number in range(4):
        (out / "report.md").write_text(f"# Report {number}\n")
        store.commit("out", cwd=tmp_path)
    store.pin("out@v1", why="an audit", by=WHO)
    store.pin("out@v2", by=WHO)
    store.unpin("out@v2", by=WHO)
    store.forget("out@v2", by=WHO, why="too old")
    store.forget("out@v3", by=WHO)
    store.undo(by=WHO)
    store.purge("out@v4:report.md", reason="a key", by=WHO)
    assert not fsck(store, full=True).findings
    store.close()
    return tmp_path


def check(folder: Path, *, full: bool = True) -> FsckReport:
    with castore.open(folder) as store:
        return fsck(store, full=full)


def rows(folder: Path, table: str) -> dict[bytes, bytes]:
    with castore.open(folder) as store:
        return dict(store.database.read(lambda tables: list(tables.rows(table))))


def moved(folder: Path, table: str, key: bytes) -> None:
    """A row whose key has another bit."""

    def change(transaction: object, handle: object) -> None:
        value = transaction.get(key, db=handle)  # type: ignore[attr-defined]
        transaction.delete(key, db=handle)  # type: ignore[attr-defined]
        transaction.put(key[:-1] + bytes((key[-1] ^ 1,)), value, db=handle)  # type: ignore[attr-defined]

    with_table(folder / ".cas", table, change)


def one_letter(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(value: bytes) -> bytes:
        assert old in value
        return value.replace(old, new)

    return change


CHANGES = {
    "pins": (b"an audit", b"an audot"),
    "forgotten": (b"too old", b"too odd"),
    "purged": (b"a key", b"a kex"),
}


@pytest.mark.parametrize("table", CHANGES)
@pytest.mark.parametrize("full", [False, True])
def test_words_that_the_log_does_not_know_are_found(folder: Path, table: str, full: bool) -> None:
    (key,) = rows(folder, table)
    alter(folder / ".cas", table, key, one_letter(*CHANGES[table]))
    (found,) = check(folder, full=full).findings
    assert (found.object, found.where) == (key, table)


@pytest.mark.parametrize("table", CHANGES)
def test_rows_of_another_id_are_found(folder: Path, table: str) -> None:
    (key,) = rows(folder, table)
    moved(folder, table, key)
    assert {found.where for found in check(folder).findings} >= {table}


@pytest.mark.parametrize("table", ["pins", "forgotten"])
def test_rows_that_are_missing_are_found(folder: Path, table: str) -> None:
    (key,) = rows(folder, table)
    alter(folder / ".cas", table, key, lambda _: None)
    assert {found.where for found in check(folder).findings} == {table}


@pytest.mark.parametrize(
    ("table", "key"), [("pins", b""), ("refs", b"heads/out"), ("refs", b"heads/\xff")]
)
def test_text_that_is_none_is_damage_and_no_fault_of_the_check(
    folder: Path, table: str, key: bytes
) -> None:
    def change(transaction: object, handle: object) -> None:
        at = key or next(iter(rows_of))
        value = b"\xff\xfe" if table == "pins" else next(iter(rows_of.values()))
        transaction.put(at[:-1] + b"\xff" if table == "refs" else at, value, db=handle)  # type: ignore[attr-defined]

    rows_of = rows(folder, table)
    with_table(folder / ".cas", table, change)
    assert not check(folder).ok


@pytest.mark.parametrize("number", [0, 3])
def test_a_number_that_a_block_has_already_is_found(folder: Path, number: int) -> None:
    """The next commit would be written over that block."""
    assert read_integer(rows(folder, "meta")[b"next_block"], "") > 5
    alter(folder / ".cas", "meta", b"next_block", lambda _: number.to_bytes(8, "little"))
    assert "meta next_block" in {found.where for found in check(folder, full=False).findings}


def test_look_up_tables_of_a_version_nobody_knows_are_found(folder: Path) -> None:
    alter(folder / ".cas", "meta", b"indexes", lambda value: value[:-1] + b"\x40")
    assert "meta indexes" in {found.where for found in check(folder, full=False).findings}


def test_what_is_forgotten_again_and_again_is_counted_once(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    ids: list[Id] = []
    for number in range(3):
        (out / "report.md").write_text(f"# Report {number}\n")
        ids.append(store.commit("out", cwd=tmp_path).version.id)
    for _ in range(3):
        store.forget("out@v1", by=WHO)
        assert not store.forget(ids[0].hex(), by=WHO).versions
        store.undo(by=WHO)
    store.forget("out@v1", "out@v2", by=WHO)
    assert not fsck(store).findings


def test_a_row_that_leads_far_away_costs_no_memory(folder: Path) -> None:
    """A flipped bit in a number of a block: it took a bit for each number below."""
    with castore.open(folder) as store:
        id = store.resolve("out@v1").version.set_id
    far = (1 << 40).to_bytes(8, "little")
    alter(folder / ".cas", "objects", id, lambda row: far + row[8:])
    assert any(finding.object == id for finding in check(folder).findings)


def test_a_rebuild_does_not_forget_what_is_missing(folder: Path) -> None:
    """Without its row nothing would tell that a note was ever there."""
    with castore.open(folder) as store:
        note = store.comment("out", "it was there", by=WHO).id
    alter(folder / ".cas", "blocks", rows(folder, "objects")[note][:8], lambda _: None)
    with castore.open(folder) as store, pytest.raises(CorruptObject, match=note.hex()):
        store.reindex()
    assert not check(folder).ok


def test_what_a_session_noted_of_itself_is_checked(folder: Path) -> None:
    with castore.open(folder) as store:
        store.stage(b"for a session to come\n" * 9)
    (header,) = (key for key in rows(folder, "stage") if key.startswith(b"h"))
    (batch,) = (key for key in rows(folder, "stage") if key.startswith(b"b"))
    assert check(folder).ok
    value = rows(folder, "stage")[header]
    for at in range(0, len(value), 7):
        flipped = value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]
        alter(folder / ".cas", "stage", header, lambda _, new=flipped: new)  # type: ignore[misc]
        assert {found.kind for found in check(folder, full=False).findings} == {"stage"}, at
    alter(folder / ".cas", "stage", header, lambda _: value)
    assert check(folder).ok

    rename(folder, batch, b"b" + b"x" + batch[2:])
    assert {found.kind for found in check(folder).findings} == {"stage"}


def test_what_a_session_stored_is_counted_and_named(folder: Path) -> None:
    """Another number of a batch, or name of an entry, changes no id and would be seen nowhere."""
    data = b"content of a session that is interrupted\n" * 200
    with castore.open(folder) as store, suppress(KeyError), store.session(name="x") as session:
        session.add("one", data)
        raise KeyError
    for part, at, bit in ((b"b", 23, 16), (b"e", 17, 1)):
        (key,) = (key for key in rows(folder, "stage") if key.startswith(part))
        other = key[:at] + bytes((key[at] ^ bit,)) + key[at + 1 :]
        assert check(folder).ok
        rename(folder, key, other)
        assert {found.kind for found in check(folder, full=False).findings} == {"stage"}
        rename(folder, other, key)


def rename(folder: Path, old: bytes, new: bytes) -> None:
    """Give a row of table `stage` another key."""

    def change(transaction: object, handle: object) -> None:
        held = transaction.pop(old, db=handle)  # type: ignore[attr-defined]
        transaction.put(new, held, db=handle)  # type: ignore[attr-defined]

    with_table(folder / ".cas", "stage", change)


def test_an_altered_operation_is_a_finding_and_no_fault_of_the_check(folder: Path) -> None:
    for old, new in ((b"\xa6forget", b"\xa6fo"), (b"versions", b"Versions"), (b"undo", b"Undo")):
        for key, value in rows(folder, "ops").items():
            if old in value:
                alter(folder / ".cas", "ops", key, one_letter(old, new))
                assert not check(folder, full=False).ok
                alter(folder / ".cas", "ops", key, lambda _, value=value: value)  # type: ignore[misc]
    assert check(folder).ok


@pytest.mark.parametrize("what", ["out@v4", "out@v1"])
def test_gc_removes_nothing_where_a_ref_or_a_version_leads_to_no_row(
    folder: Path, what: str
) -> None:
    """What the missing version needs would be taken for garbage."""
    with castore.open(folder) as store:
        id = store.resolve(what).version.id
    alter(folder / ".cas", "objects", id, lambda _: None)
    before = rows(folder, "objects")
    with castore.open(folder) as store, pytest.raises(CorruptObject, match=id.hex()):
        store.gc(grace=0)
    assert rows(folder, "objects") == before


@pytest.mark.parametrize("block", [0, 1 << 40])
def test_gc_removes_nothing_that_only_a_wrong_row_leads_away_from(folder: Path, block: int) -> None:
    """A flipped bit in a row made the only bytes of a file look like an older copy."""
    with castore.open(folder) as store:
        set_id = store.resolve("out@v1").version.set_id
    row = rows(folder, "objects")[set_id]
    alter(folder / ".cas", "objects", set_id, lambda _: block.to_bytes(8, "little") + row[8:])
    before = rows(folder, "blocks")
    with castore.open(folder) as store, pytest.raises(CorruptObject):
        store.gc(grace=0)
    assert rows(folder, "blocks") == before
    assert not check(folder).ok


def test_an_empty_block_is_damage_for_a_checkout_too(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one file\n" * 99)
    store.commit("a", cwd=tmp_path, name="one")
    (file,) = store.files("one")
    store.close()
    alter(store.folder, "blocks", block_key_of(store.folder, file.digest), lambda _: b"")
    with castore.open(tmp_path) as opened, pytest.raises(CorruptObject):
        opened.checkout("one", tmp_path / "there")
    assert not (tmp_path / "there").exists()
