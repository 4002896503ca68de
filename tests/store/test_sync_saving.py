"""What a second version costs to push: counted in bytes of requests, not believed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

import castore
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.remote.memory import MemoryTransport
from castore.store.sync_push import push
from tests.store.syncing import NAME, copy_of, refs

Corpus = dict[str, bytes]
Asked = TypeVar("Asked")
MOST = 0.02
"""Of the bytes of the first push, for a second version that differs in a hundredth."""

_LETTERS = Random(7)
_WORDS = [bytes(_LETTERS.choices(b"abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(3000)]


class Counted(MemoryTransport):
    """A bucket that counts what is written to it."""

    sent = 0

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        self.sent += len(data)
        return super().put(key, data, if_absent=if_absent)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        self.sent += len(data)
        return super().replace(key, data, etag)


def prose(dice: Random, size: int) -> bytes:
    """Text of so many bytes, near enough, in lines."""
    words = dice.choices(_WORDS, k=size // 7)
    lines = [b" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
    return b"\n".join(lines) + b"\n"


def many_files(dice: Random) -> tuple[Corpus, Corpus]:
    """1,500 files of text, a hundredth of them with a line edited."""
    first = {f"part{n % 40}/file{n}.md": prose(dice, dice.randint(500, 6000)) for n in range(1500)}
    second = dict(first)
    for name in dice.sample(sorted(first), len(first) // 100):
        lines = second[name].split(b"\n")
        lines[dice.randrange(len(lines))] = b"a line that was edited %d" % dice.getrandbits(30)
        second[name] = b"\n".join(lines)
    return first, second


def one_big_file(dice: Random) -> tuple[Corpus, Corpus]:
    """12 MiB that cannot be compressed, with edits of 100 bytes at 24 places."""
    data = bytearray(dice.randbytes(12 << 20))
    first = {"model.bin": bytes(data)}
    for _ in range(24):
        at = dice.randrange(len(data) - 100)
        data[at : at + 100] = dice.randbytes(100)
    return first, {"model.bin": bytes(data)}


def a_table(dice: Random) -> tuple[Corpus, Corpus]:
    """60,000 rows, a hundredth of them another here and there."""
    rows = [
        b"%d,%s,%d.%02d" % (n, dice.choice(_WORDS), dice.randrange(10_000), dice.randrange(100))
        for n in range(60_000)
    ]
    first = {"rows.csv": b"\n".join(rows)}
    for at in range(0, 60_000, 6_000):
        # Edits of a table come together: the rows of a day, of a customer.
        for row in range(at, at + 60):
            rows[row] += b"1"
    return first, {"rows.csv": b"\n".join(rows)}


def reports(dice: Random) -> tuple[Corpus, Corpus]:
    """20 reports of 100 KB, in each of which one line of a hundred is another.

    A file that changed costs some 330 bytes of ids, so where they are smaller and all change it is
    more: 2.2 % for 40 of 50 KB.
    """
    first = {f"report{n}.md": prose(dice, 100_000) for n in range(20)}
    second = {}
    for name, data in first.items():
        lines = data.split(b"\n")
        for at in dice.sample(range(len(lines)), len(lines) // 100):
            lines[at] = lines[at][:40] + b" %d" % dice.getrandbits(20) + lines[at][46:]
        second[name] = b"\n".join(lines)
    return first, second


def commit(store: castore.Store, folder: Path, corpus: Corpus) -> None:
    for name, data in corpus.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    with store.session(name="out") as session:
        session.add("all", folder)
        session.commit()


@pytest.mark.parametrize("made", [many_files, one_big_file, a_table, reports])
def test_a_hundredth_edited_costs_less_than_a_fiftieth(
    store: castore.Store,
    tmp_path: Path,
    made: Callable[[Random], tuple[Corpus, Corpus]],
) -> None:
    first, second = made(Random(5))
    bucket = Counted()
    folder = tmp_path / "corpus"
    commit(store, folder, first)
    push(store, NAME, bucket)
    whole = bucket.sent
    assert whole > sum(map(len, first.values())) / 20
    commit(store, folder, second)
    bucket.sent = 0
    push(store, NAME, bucket)
    assert bucket.sent < MOST * whole
    with copy_of(bucket, tmp_path / "copy") as copy:
        assert refs(copy) == refs(store)
        for name, data in itertools.islice(second.items(), 20):
            assert copy.read_bytes(f"out:all/{name}") == data


def test_a_clone_looks_for_objects_together(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a folder of many files costs in views of the store does not grow with the files."""
    looks = []
    read = Database.read

    def counted(database: Database, look: Callable[[Reading], Asked]) -> Asked:
        looks.append(look)
        return read(database, look)

    monkeypatch.setattr(Database, "read", counted)
    taken = []
    for many in (10, 400):
        files = tmp_path / f"files{many}"
        files.mkdir()
        for at in range(many):
            (files / f"{at}.txt").write_text(f"file {at} of {many}\n")
        with store.session(name=f"out{many}") as session:
            session.add("files", files)
            session.commit()
        bucket = MemoryTransport()
        push(store, f"bucket{many}", bucket, [f"heads/out{many}"])
        looks.clear()
        copy_of(bucket, tmp_path / f"copy{many}").close()
        taken.append(len(looks))
    assert taken[1] < taken[0] + 40
