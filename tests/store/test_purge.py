"""Purging: no byte is left in the data file, history verifies, and the content never comes back."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import castore
import castore.store.purge as purging
from castore.content.blocks import decode_block
from castore.content.encoder import encode_solid
from castore.database import scrub as scrubbing
from castore.database.datafile import newest_meta
from castore.database.failures import disk_full
from castore.database.pages import unused_bytes
from castore.database.reading import Reading
from castore.database.tables import State
from castore.database.writing import Writing
from castore.errors import (
    Conflict,
    InvalidInput,
    Locked,
    ObjectNotFound,
    RefNotFound,
    StoreFull,
)
from castore.model.ids import Id, content_id
from castore.model.limits import SMALL_OBJECT_BYTES
from castore.store.branches import create_branch, delete_branch
from castore.store.listing import named_file
from castore.store.purge import ALL, PurgeRequest, purge
from castore.store.purge_reach import doom
from castore.store.verify import fsck
from tests.database.material import dump
from tests.store.gcscene import commit, delta, put, rebuilt, stored_ids, whole

DICE = random.Random(11)
SIZES = [40, 700, 1_900, 2_300, 3_900, 4_200, 9_000, 20_000, 70_000, 300_000, 1_500_000]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    with castore.init(tmp_path) as made:
        yield made


def secret(size: int) -> bytes:
    """Bytes that are stored as they are."""
    return DICE.randbytes(size)


def prose(size: int) -> bytes:
    """Bytes that are compressed."""
    words = [DICE.randbytes(4).hex().encode() for _ in range(200)]
    return b" ".join(DICE.choice(words) for _ in range(size // 9 + 1))[:size]


def data_file(store: castore.Store) -> bytes:
    return (store.folder / "data.mdb").read_bytes()


def left_of(store: castore.Store, data: bytes, width: int = 24) -> int:
    """How many pieces of `data` are anywhere in the data file."""
    file = data_file(store)
    step = max(1, len(data) // 25)
    return sum(data[at : at + width] in file for at in range(0, max(1, len(data) - width), step))


def frames_of(store: castore.Store, digests: list[Id]) -> list[bytes]:
    """The frames of the blocks that hold nothing but these objects."""

    def read(tables: Reading) -> list[bytes]:
        blocks = [decode_block(tables.load(id).block, "") for id in digests]
        own = {*digests}
        return [block.frame for block in blocks if own.issuperset(m.id for m in block.members)]

    return store.database.read(read)


def chunks_of(store: castore.Store, selector: str) -> list[Id]:
    file = named_file(store, store.resolve(selector))
    return sorted(doom(store, {file.digest: file.size}).chunks)


def gone(store: castore.Store, ids: list[Id]) -> None:
    """Every one of these is purged, and says so."""

    def read(tables: Reading) -> None:
        for id in ids:
            row = tables.object_row(id)
            assert row is not None
            assert (row.state, row.block, row.slot) == (State.PURGED, 0, 0)
            assert tables.purged(id) is not None

    store.database.read(read)


def cleared(store: castore.Store) -> None:
    """By page accounting, without a map: whatever no row needs is zero, free pages and gaps."""
    path = str(store.folder / "data.mdb")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        meta = newest_meta(descriptor, path)
        free, _ = unused_bytes(descriptor, meta, path)
        late = 0
        for page, is_free in enumerate(free):
            data = os.pread(descriptor, meta.page_size, page * meta.page_size)
            late += bool(is_free and any(data))
        # What the record of the end itself freed: pages of its tables.
        assert late < 30
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [secret, prose])
def test_no_byte_is_left(store: castore.Store, size: int, make: Any) -> None:
    data, other, later = make(size), secret(5_000), secret(size)
    commit(store, "main", a=data, b=other)
    commit(store, "main", a=later, b=other)
    frames = frames_of(store, chunks_of(store, "main@v1:a"))
    if make is secret:
        assert left_of(store, data) > 0
    assert all(left_of(store, frame) for frame in frames)
    ids = chunks_of(store, "main@v1:a")
    done = store.purge("main@v1:a", reason="a name in it", by="me")
    assert done.bytes >= size
    assert [place.label for place in done.places] == ["main@v1:a"]
    gone(store, [*ids, content_id(data)])
    assert left_of(store, data) == 0
    assert frames or size < SMALL_OBJECT_BYTES
    assert not any(left_of(store, frame) for frame in frames)
    cleared(store)
    assert store.read_bytes("main@v1:b") == other
    assert store.read_bytes("main:a") == later
    with pytest.raises(ObjectNotFound, match=r"purged by me .*: a name in it"):
        store.read_bytes("main@v1:a")
    whole(store)
    # And not after more was written by the same process, which LMDB does with memory of before.
    for n in range(20):
        commit(store, "more", a=secret(3_000), n=str(n).encode())
    assert left_of(store, data) == 0


def test_without_scrubbing_the_bytes_are_found(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search of these tests finds what is only freed."""
    data = secret(50_000)
    commit(store, "main", a=data)
    monkeypatch.setattr(
        "castore.database.environment.scrub", lambda *_, **__: scrubbing.Scrubbed(0, 0, 0)
    )
    store.purge("main:a", reason="x")
    assert left_of(store, data) > 0


def test_what_shares_the_bytes_must_be_named(store: castore.Store) -> None:
    data = secret(200_000)
    for n in range(3):
        commit(store, "main", a=data, b=str(n).encode())
    commit(store, "side", copy=data)
    for include in ([], ["main@v2", "main@v3:a"], ["side"]):
        with pytest.raises(Conflict) as caught:
            store.purge("main@v1:a", reason="x", include=include)
        assert caught.value.attributes["count"] == {0: 3, 2: 1, 1: 2}[len(include)]
        assert "--include" in caught.value.fix
    assert store.read_bytes("main:a") == data
    said = store.purge("main@v1:a", reason="x", include=[ALL], dry_run=True)
    assert store.read_bytes("main:a") == data
    done = store.purge("main@v1:a", "main@v2:a", reason="x", include=["main", "side:copy"])
    assert (done.places, done.bytes) == (said.places, said.bytes)
    assert sorted(place.label for place in done.places) == [
        "main@v1:a", "main@v2:a", "main@v3:a", "side@v1:copy",
    ]  # fmt: skip
    assert store.read_bytes("main:b") == b"2"
    whole(store)


def test_shared_chunks_are_shared_bytes(store: castore.Store) -> None:
    """A longer file has chunks of a shorter one: it goes too, and only when that was said."""
    head = secret(900_000)
    commit(store, "main", a=head + secret(300_000))
    tail = secret(300_000)
    commit(store, "main", a=head + tail)
    with pytest.raises(Conflict) as caught:
        store.purge("main@v1:a", reason="x")
    assert [place["label"] for place in caught.value.attributes["places"]] == ["main@v2"]
    store.purge("main@v1:a", reason="x", include=[ALL])
    for rev in ("main@v1:a", "main@v2:a"):
        with pytest.raises(ObjectNotFound, match="purged"):
            store.read_bytes(rev)
    assert left_of(store, head[:600_000]) == 0
    # The list of chunks of the other is not taken for the file again.
    gone(store, [content_id(head + tail)])
    # What the other had for itself is garbage now; neither of the two may come back.
    assert store.gc(grace=0).freed > 0
    for data in (head + tail, head):
        with pytest.raises(InvalidInput, match="purged"):
            commit(store, "main", a=data)
    commit(store, "main", a=tail)
    whole(store)


def test_it_never_comes_back(store: castore.Store, tmp_path: Path) -> None:
    data, big = b"a short secret", secret(400_000)
    folder = tmp_path / "work" / "box"
    (folder / "in").mkdir(parents=True)
    for name in ("in/a", "b"):
        (folder / name).write_bytes(data if name == "in/a" else big)
    for number in range(2):
        (folder / "c").write_text(str(number))
        os.utime(folder / "in" / "a", ns=(10**18, 10**18))
        with store.session("main") as session:
            session.add("box", folder)
            session.write("plain", f"{number}")
            session.commit()
    done = store.purge("main@v1:box/in/a", "main@v2:box/in", reason="a secret", by="me")
    assert sorted(place.label for place in done.places) == ["main@v1:box/in/a", "main@v2:box/in/a"]

    def again(how: str) -> None:
        with store.session("main", only=["plain"] if how == "carried" else ()) as session:
            if how == "bytes":
                session.write("x", data)
            elif how == "folder":
                session.add("box", folder)
            elif how == "file":
                session.add("a", folder / "in" / "a")
            elif how == "staged":
                session.add("a", store.stage(data))
            else:
                session.write("plain", "3")
            session.commit()

    before = next(store.operations()).sequence
    for how in ("bytes", "folder", "file", "carried", "staged"):
        with pytest.raises((InvalidInput, ObjectNotFound), match="purged") as caught:
            again(how)
        assert caught.value.fix
    assert next(store.operations()).sequence == before
    with store.session("main") as session:
        session.write("plain", "new")
        session.add("b", folder / "b")
        session.commit()
    assert store.read_bytes("main:b") == big
    assert left_of(store, data, len(data)) == 0


def test_every_command_treats_it_right(store: castore.Store, tmp_path: Path) -> None:
    data = prose(30_000)
    commit(store, "main", a=data, b=b"stays")
    commit(store, "main", a=data[:-5], b=b"stays")
    store.purge("main@v1:a", reason="why not", by="me")
    with pytest.raises(ObjectNotFound, match="purged by me") as caught:
        store.checkout("main@v1", tmp_path / "out")
    assert caught.value.code == 3
    assert not (tmp_path / "out").exists()
    store.checkout("main@v1", tmp_path / "some", artifacts=["b"])
    assert store.diff("main@v2", "main@v1").as_json()
    record = {
        row["name"]: row["storage"]
        for row in store.record(store.resolve("main@v1").version)["artifacts"]
    }
    assert record == {"a": "purged", "b": "stored"}
    assert store.stats().logical
    assert store.version_stats("main@v1").files == 2
    assert {found.version.number for found in store.find("a")} == {1, 2}
    assert store.gc(grace=0).freed == 0
    assert store.forget("main@v1", dry_run=True).freed is not None
    store.backup(tmp_path / "copy")
    with castore.open(tmp_path / "copy") as copy:
        assert left_of(copy, data) == 0
        whole(copy)
    whole(store)


def test_a_backup_is_brought_up_to_date_to_the_last_byte(
    store: castore.Store, tmp_path: Path
) -> None:
    data, small = secret(60_000), secret(900)
    commit(store, "main", a=data, s=small)
    store.backup(tmp_path / "copy")
    commit(store, "main", b=b"b")
    store.purge("main@v1:a", "main@v1:s", reason="x")
    with castore.open(tmp_path / "copy") as copy:
        assert left_of(copy, data)
    store.backup(tmp_path / "copy")
    with castore.open(tmp_path / "copy") as copy:
        assert left_of(copy, data) == left_of(copy, small) == 0
        whole(copy)


def test_deltas_that_rest_on_it_are_written_in_full(store: castore.Store) -> None:
    base, other = secret(60_000), secret(60_000)
    middle, end = base[:-9] + b"123456789", base[:-9] + b"987654321"
    commit(store, "main", a=base, o=other)
    put(store, delta([base], [middle]))
    put(store, delta([middle, other], [end], depth=2))
    commit(store, "main", m=middle)
    commit(store, "main", e=end)
    store.purge("main@v2:m", reason="x")
    assert store.read_bytes("main@v1:a") == base
    assert store.read_bytes("main:e") == end
    with pytest.raises(ObjectNotFound):
        store.read_bytes("main@v2:m")
    whole(store)
    store.purge("main@v1:a", reason="x")
    assert store.read_bytes("main:e") == end
    whole(store)


def test_a_second_copy_goes_too(store: castore.Store) -> None:
    """Two writers that stored the same at once: one of the copies has no row."""
    data = secret(50_000)
    commit(store, "main", a=data)
    solid = secret(5_000)
    twice = encode_solid([(content_id(data), data), (content_id(solid), solid)])
    put(store, *twice)
    commit(store, "main", s=solid)
    assert data_file(store).count(data[100:200]) == 2
    store.purge("main@v1:a", reason="x")
    assert left_of(store, data) == 0
    assert store.read_bytes("main:s") == solid
    rebuilt(store)


def test_old_versions_of_pages_and_dead_garbage_hold_nothing(store: castore.Store) -> None:
    """The bytes were collected, moved and split between pages before they were purged."""
    data = secret(1_200)
    for n in range(30):
        commit(store, f"b{n % 3}", own=secret(900 + n), shared=data if n % 5 else b"0")
    for n in range(3):
        if n:
            delete_branch(store, f"b{n}", by="")
    store.gc(grace=0)
    store.purge("b0@v2:shared", reason="x", include=[ALL])
    assert left_of(store, data) == 0
    whole(store)


def test_an_unfinished_commit_that_relies_on_it_is_told(store: castore.Store) -> None:
    data = secret(30_000)
    commit(store, "main", a=data)
    session = store.session("other", run="run-7")
    session.write("copy", data)
    session._supply.make_durable()
    with pytest.raises(Conflict, match="run-7"):
        store.purge("main:a", reason="x")
    session.commit()
    with pytest.raises(Conflict, match="other@v1"):
        store.purge("main:a", reason="x")
    late = store.session("third", run="run-8")
    late.write("copy", data)
    store.purge("main:a", reason="x", include=[ALL])
    with pytest.raises(InvalidInput, match="purged"):
        late.commit()
    assert left_of(store, data) == 0


def test_who_comes_in_between_is_seen(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found, and then committed elsewhere: it is looked again, and that has to be named."""
    data = secret(300_000)
    commit(store, "main", a=data)
    find, calls = purging._find, []

    def late(*given: Any) -> Any:
        found = find(*given)
        if not calls:
            commit(store, "late", a=data + secret(200_000))
        calls.append(1)
        return found

    monkeypatch.setattr(purging, "_find", late)
    with pytest.raises(Conflict, match="late@v1:a"):
        store.purge("main:a", reason="x")
    assert store.read_bytes("main:a") == data
    calls.clear()
    store.purge("main:a", reason="x", include=[ALL])
    whole(store)


HOLD = """
import sys
from pathlib import Path
import castore
def hold(tables):
    print("in", flush=True)
    sys.stdin.readline()
    print(tables.load(bytes.fromhex(sys.argv[2])).kind.name, flush=True)
castore.open(Path(sys.argv[1])).database.read(hold)
"""


def test_a_reader_from_before_keeps_what_it_sees(store: castore.Store, tmp_path: Path) -> None:
    data = secret(50_000)
    commit(store, "main", a=data)
    waits: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), content_id(data).hex()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "in\n"
        with pytest.raises(Locked, match="reader"):
            purge(store, PurgeRequest(("main:a",), "x"), sleep=waits.append)
        with pytest.raises(ObjectNotFound):
            store.read_bytes("main:a")
        print("go", file=reader.stdin, flush=True)
        assert reader.stdout.readline() == "CHUNK\n"
    assert len(waits) > 100
    store.purge("main:a", reason="x")
    assert left_of(store, data) == 0
    whole(store)


def test_what_cannot_be_purged(store: castore.Store) -> None:
    commit(store, "main", a=b"", b=b"b")
    for selector, kind in (
        ("main", InvalidInput), ("main:a", InvalidInput), ("main:c", RefNotFound),
        ("main:b/x", RefNotFound), ("nowhere:a", RefNotFound),
    ):  # fmt: skip
        with pytest.raises(kind):
            store.purge(selector, reason="x")
    with pytest.raises(InvalidInput, match="reason"):
        store.purge("main:b", reason=" ")
    assert stored_ids(store)


def test_the_record_tells_who_why_and_what(store: castore.Store) -> None:
    data = secret(300_000)
    version = commit(store, "main", a=data)
    done = store.purge("main:a", reason="asked to", by="me")
    operations = {operation.op: operation for operation in store.operations()}
    assert done.record == operations["purge"]
    assert operations["purge"].detail["files"] == [content_id(data)]
    assert operations["purge-end"].by == "me"
    removal = store.database.read(lambda tables: tables.purged(content_id(data)))
    assert removal
    assert (removal.by, removal.why) == ("me", "asked to")
    assert store.resolve("main@v1").version.id == version.id
    assert done.as_json()["out_of_reach"]
    create_branch(store, "still", version, by="")
    assert not fsck(store, full=True).findings


def test_open_stores_of_this_process_write_with_fresh_memory(tmp_path: Path) -> None:
    """A writer that wrote the content itself writes on after the purge of another."""
    castore.init(tmp_path).close()
    code = (
        "import sys, random\nfrom pathlib import Path\nimport castore\n"
        "store = castore.open(Path(sys.argv[1]))\n"
        "data = random.Random(3).randbytes(1500)\n"
        "def commit(name, **content):\n"
        "    with store.session(name) as session:\n"
        "        for key, value in content.items():\n"
        "            session.write(key, value)\n"
        "        session.commit()\n"
        "for n in range(10):\n"
        "    commit('main', a=data + bytes([n]))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for n in range(30):\n"
        "    commit('more', a=bytes([n]) * 600)\n"
        "print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        data = random.Random(3).randbytes(1500)
        with castore.open(tmp_path) as store:
            assert left_of(store, data)
            store.purge(*(f"main@v{n + 1}:a" for n in range(10)), reason="x")
            assert left_of(store, data) == 0
            print("go", file=process.stdin, flush=True)
            assert process.stdout.readline() == "done\n"
            assert left_of(store, data) == 0


def test_a_scrub_changes_no_row(store: castore.Store, tmp_path: Path) -> None:
    for n in range(12):
        commit(store, f"b{n % 4}", a=secret(100 * n + 1), b=prose(4_000 * n + 1))
    delete_branch(store, "b1", by="")
    store.gc(grace=0)
    before = dump(store.database)

    def same(tables: Writing) -> None:
        tables.set_integer("generation", 7)

    store.database.write(same)
    store.database.scrub()
    store.database.write(lambda tables: tables.set_integer("generation", 7))
    after = dump(store.database)
    assert {k: v for k, v in after.items() if k != "meta"} == {
        k: v for k, v in before.items() if k != "meta"
    }
    whole(store)


def test_a_disk_that_fills_after_the_record_is_told_and_the_purge_is_finished_later(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = secret(9_000)
    commit(store, "a", data=data)
    request = PurgeRequest(("a:data",), "it was secret")
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "scrub", _full)
        with pytest.raises(StoreFull, match="the purge is recorded") as caught:
            purge(store, request)
    assert "nothing of this write" not in caught.value.message
    assert caught.value.fix == "free space on this disk, then purge the same again"
    with pytest.raises(ObjectNotFound, match="purged"):
        store.read_bytes("a:data")
    purge(store, request)
    assert left_of(store, data) == 0


def _full(**_: object) -> None:
    raise disk_full(Path("store"))
