"""The operation log: chained, found by operation id, and noted outside the database."""

from __future__ import annotations

import random
import shlex
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.database import headslog
from castore.database.check import check_structure
from castore.database.datafile import HEADS_LOG
from castore.database.environment import Database
from castore.database.headslog import LINE_DAMAGED, append_head, last_head, read_heads
from castore.database.operations import decode_operation, encode_operation
from castore.database.tables import number_key
from castore.errors import CorruptObject, InvalidInput
from castore.model.ids import operation_hash
from tests.database.material import edit


def append(database: Database, count: int, start: int = 0) -> None:
    """Log some operations, one transaction each."""
    for number in range(start, start + count):
        moves = [("heads/a", b"", bytes([number]) * 32)]
        database.write(
            lambda w, number=number, moves=moves: w.append_operation(
                "commit", op_id=f"o{number}", at=100 + number, by="me", refs=moves, detail={"n": 1}
            )
        )


def complaints(database: Database) -> str:
    """What the check says about a store."""
    return "\n".join(f"{where}: {detail}" for where, detail, _ in check_structure(database))


def test_entries_are_chained(database: Database) -> None:
    append(database, 5)
    newest = database.read(lambda r: list(r.operations()))
    oldest = database.read(lambda r: list(r.operations(newest_first=False)))
    assert newest == oldest[::-1]
    assert [o.sequence for o in oldest] == [1, 2, 3, 4, 5]
    assert [o.prev for o in oldest] == [b"", *(o.hash for o in oldest[:-1])]
    assert database.read(lambda r: r.last_operation()) == oldest[-1]
    assert database.read(lambda r: [o.sequence for o in r.operations(before=3)]) == [2, 1]
    assert database.read(lambda r: [o.sequence for o in r.operations_from(4)]) == [4, 5]
    assert complaints(database) == ""


def test_several_entries_of_one_transaction_are_chained(database: Database) -> None:
    def transact(writing: object) -> None:
        for _ in range(3):
            writing.append_operation("x", at=1, by="")  # type: ignore[attr-defined]

    database.write(transact)
    chain = database.read(lambda r: list(r.operations(newest_first=False)))
    assert [o.prev for o in chain] == [b"", chain[0].hash, chain[1].hash]
    assert database.heads_log() == [(3, chain[2].hash)]


def test_the_newest_of_an_operation_id_is_found(database: Database) -> None:
    append(database, 3)
    append(database, 2, start=1)
    found = database.read(lambda r: next(r.operations_by_id("o1"), None))
    assert found is not None
    assert found.sequence in (2, 4)
    assert database.read(lambda r: next(r.operations_by_id("o9"), None)) is None
    assert database.read(lambda r: next(r.operations_by_id(""), None)) is None


@given(
    st.lists(
        st.tuples(
            st.text(max_size=20),
            st.sampled_from([b"", b"a" * 32]),
            st.sampled_from([b"", b"b" * 32]),
        ),
        max_size=5,
    ),
    st.text(max_size=30),
    st.integers(0, (1 << 63) - 1),
)
def test_records_survive_encoding(moves: list[tuple[str, bytes, bytes]], why: str, at: int) -> None:
    payload = encode_operation(
        "op", op_id="i", at=at, by="b", why=why, prev=b"", refs=moves, detail={"k": [1]}
    )
    operation = decode_operation(7, payload)
    assert (operation.sequence, operation.at, operation.why) == (7, at, why)
    assert operation.refs == tuple(moves)
    assert operation.hash == operation_hash(payload)
    assert operation.detail == {"k": [1]}


def test_a_long_log_of_heads_keeps_its_newest_lines(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while several threads append: no line is lost to a file that was replaced."""
    monkeypatch.setattr(headslog, "LONGEST", 4000)
    monkeypatch.setattr(headslog, "_KEPT_BYTES", 1000)
    path = database.folder / HEADS_LOG
    path.chmod(0o640)

    def work() -> None:
        for _ in range(60):
            database.write(lambda w: w.append_operation("x", at=1, by=""))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = {o.sequence: o.hash for o in database.read(lambda r: list(r.operations()))}
    heads = database.heads_log()
    assert heads[-1] == (240, chain[240])
    assert all(chain[sequence] == hash for sequence, hash in heads)
    assert heads == sorted(heads)
    assert 10 < len(heads) < 100
    assert path.stat().st_mode & 0o777 == 0o640
    assert not list(database.folder.glob("*.new"))
    assert complaints(database) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"refs": [("heads/a", b"", b"short")]},
        {"refs": [("n" * 600, b"", b"a" * 32)]},
        {"prev": b"short"},
        {"at": -1},
    ],
)
def test_what_could_not_be_read_again_is_not_written(wrong: dict[str, Any]) -> None:
    whole = {"op_id": "", "at": 1, "by": "", "why": "", "prev": b"", "refs": [], "detail": {}}
    decode_operation(1, encode_operation("x", **whole))
    with pytest.raises(InvalidInput, match="cannot be stored"):
        encode_operation("x", **{**whole, **wrong})


def test_what_cannot_be_encoded_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInput):
        database.write(lambda w: w.append_operation("x", at=1, by="", detail={"n": 1.5}))
    assert database.read(lambda r: r.last_operation()) is None


@pytest.mark.parametrize("sequence", [1, 2, 5])
def test_an_altered_entry_is_found(database: Database, sequence: int) -> None:
    append(database, 5)

    def forge(rows: dict[bytes, bytes]) -> None:
        rows[number_key(sequence)] = rows[number_key(sequence)].replace(
            b"\xa2by\xa2me", b"\xa2by\xa2ME"
        )

    edit(database, "ops", forge)
    said = complaints(database)
    assert "was altered" in said or "not the one that was acknowledged" in said
    if sequence == 5:
        with pytest.raises(CorruptObject, match="not the one noted"):
            database.check_heads_log()


@pytest.mark.parametrize("sequence", [1, 3, 5])
def test_a_removed_entry_is_found(database: Database, sequence: int) -> None:
    append(database, 5)
    edit(database, "ops", lambda rows: rows.pop(number_key(sequence)) and None)
    assert f"operation {sequence}" in complaints(database)


def test_garbage_in_the_log_is_found(database: Database) -> None:
    append(database, 3)
    edit(database, "ops", lambda rows: rows.update({number_key(2): b"garbage"}))
    assert "operation 2" in complaints(database)


def test_swapped_entries_are_found(database: Database) -> None:
    append(database, 4)

    def swap(rows: dict[bytes, bytes]) -> None:
        a, b = number_key(2), number_key(3)
        rows[a], rows[b] = rows[b], rows[a]

    edit(database, "ops", swap)
    assert "altered" in complaints(database)


# heads.log.


def test_a_bit_flipped_in_heads_log_is_not_taken_for_damage_of_the_database(
    database: Database, tmp_path: Path
) -> None:
    append(database, 12)
    database.close()
    path = database.folder / HEADS_LOG
    whole = path.read_bytes()
    dice, told, refused = random.Random(5), 0, 0
    last = len(whole) - len(whole.splitlines()[-1]) - 1
    numbers = [at for at, byte in enumerate(whole) if byte in b" \n"]
    places = dice.sample(range(len(whole)), 40) + [at - 1 for at in numbers]
    for at in (*places, *dice.sample(range(last, len(whole)), 30)):
        for bit in range(5):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                opened = Database.open(database.folder)
            except CorruptObject as error:
                refused += error.message == f"{path}: its last line is damaged, not the database"
                subprocess.run(shlex.split(error.fix), check=True)
                opened = Database.open(database.folder)
            said = complaints(opened)
            assert {line.endswith(LINE_DAMAGED) for line in said.splitlines()} <= {True}, said
            told += bool(said)
            opened.close()
    assert told > 50
    assert refused > 20


def test_lines_only_rise(tmp_path: Path) -> None:
    for sequence in (3, 1, 5, 5, 4, 6):
        append_head(tmp_path, sequence, bytes([sequence]) * 32)
    assert [sequence for sequence, _ in read_heads(tmp_path)] == [3, 5, 6]
    assert last_head(tmp_path) == (6, bytes([6]) * 32)


def test_a_torn_line_is_skipped_and_closed(tmp_path: Path) -> None:
    for sequence in range(1, 200):
        append_head(tmp_path, sequence, bytes([sequence]) * 32)
    path = tmp_path / HEADS_LOG
    whole = path.read_bytes()
    for cut in range(2, 68):
        path.write_bytes(whole[:-cut])
        assert last_head(tmp_path) == (198, bytes([198]) * 32)
        append_head(tmp_path, 200, b"x" * 32)
        assert read_heads(tmp_path)[-2:] == [(198, bytes([198]) * 32), (200, b"x" * 32)]
        assert last_head(tmp_path) == (200, b"x" * 32)


def test_threads_append_in_order(tmp_path: Path) -> None:
    def work(offset: int) -> None:
        for sequence in range(1 + offset, 60, 3):
            append_head(tmp_path, sequence, b"h" * 32)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequences = [sequence for sequence, _ in read_heads(tmp_path)]
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == 59


def test_a_log_that_is_behind_is_no_fault(database: Database, home: Path) -> None:
    append(database, 3)
    lines = (home / HEADS_LOG).read_bytes().splitlines(keepends=True)
    (home / HEADS_LOG).write_bytes(lines[0])
    database.close()
    again = Database.open(home)
    assert complaints(again) == ""
    (home / HEADS_LOG).unlink()
    assert complaints(again) == ""
    append(again, 1, start=9)
    assert [sequence for sequence, _ in again.heads_log()] == [4]
    again.close()


def test_a_log_that_cannot_be_written_loses_no_write(database: Database, home: Path) -> None:
    (home / HEADS_LOG).unlink()
    (home / HEADS_LOG).mkdir()
    append(database, 2)
    assert len(database.read(lambda r: list(r.operations()))) == 2
